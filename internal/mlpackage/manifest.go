package mlpackage

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The items of a manifest, by their path relative to Data.
const (
	ModelItem   = "com.apple.CoreML/model.mlmodel"
	WeightsItem = "com.apple.CoreML/weights"
)

// MaxManifestBytes bounds Manifest.json, which is read whole.
const MaxManifestBytes = 1 << 20

const itemAuthor = "com.apple.CoreML"

// Manifest is the content of Manifest.json.
type Manifest struct {
	// Items are the package's items by identifier.
	Items map[string]Item
	// Root is the identifier of the model's item.
	Root string
}

// Item is a file or directory of a package.
type Item struct {
	Path        string `json:"path"` // author/name, relative to Data
	Name        string `json:"name"`
	Author      string `json:"author"`
	Description string `json:"description"`
}

// Has tells whether an item has the path.
func (m *Manifest) Has(path string) bool {
	for _, item := range m.Items {
		if item.Path == path {
			return true
		}
	}
	return false
}

// EncodeManifest returns Manifest.json of a package with a model and, with
// hasWeights, the directory of its weight file. The identifiers, which need
// only differ within a package, are made from the items' paths, so that equal
// arguments give equal bytes.
func EncodeManifest(hasWeights bool) []byte {
	items := []Item{{Path: ModelItem, Name: "model.mlmodel", Author: itemAuthor, Description: "CoreML Model Specification"}}
	if hasWeights {
		items = append(items, Item{Path: WeightsItem, Name: "weights", Author: itemAuthor, Description: "CoreML Model Weights"})
	}
	entries := make(map[string]map[string]string, len(items))
	for _, item := range items {
		entries[identifier(item.Path)] = map[string]string{
			"path": item.Path, "name": item.Name, "author": item.Author, "description": item.Description,
		}
	}
	text, err := json.MarshalIndent(map[string]any{ // maps, since their keys are written sorted
		"fileFormatVersion":   "1.0.0",
		"itemInfoEntries":     entries,
		"rootModelIdentifier": identifier(ModelItem),
	}, "", "    ")
	if err != nil {
		panic(err) // maps of strings have no value that JSON cannot write
	}
	return append(text, '\n')
}

// identifier is a UUID of version 8 (RFC 9562: custom) from the hash of name.
func identifier(name string) string {
	u := sha256.Sum256([]byte("lockstep package item " + name))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// DecodeManifest parses Manifest.json strictly: exactly the keys of the
// format, each once; a version of at most 1.0.0; items whose path is author
// and name and stays within the package; a root that names an item. Everything
// else is ErrManifest.
func DecodeManifest(text []byte) (*Manifest, error) {
	if len(text) > MaxManifestBytes {
		return nil, manifestError("size", fmt.Sprintf("at most %d bytes", MaxManifestBytes), fmt.Sprint(len(text)))
	}
	if !utf8.Valid(text) {
		return nil, manifestError("text", "valid UTF-8", "other bytes")
	}
	top, err := objectOf(text, "manifest", "fileFormatVersion", "itemInfoEntries", "rootModelIdentifier")
	if err != nil {
		return nil, err
	}
	version, err := stringOf(top["fileFormatVersion"], "fileFormatVersion")
	if err != nil {
		return nil, err
	}
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	out := &Manifest{Items: map[string]Item{}}
	if out.Root, err = stringOf(top["rootModelIdentifier"], "rootModelIdentifier"); err != nil {
		return nil, err
	}
	entries, err := objectOf(top["itemInfoEntries"], "itemInfoEntries")
	if err != nil {
		return nil, err
	}
	for _, id := range sortedKeys(entries) {
		if out.Items[id], err = decodeItem(entries[id], "itemInfoEntries."+id); err != nil {
			return nil, err
		}
	}
	if _, ok := out.Items[out.Root]; !ok {
		return nil, manifestError("rootModelIdentifier", "the identifier of an item", strconv.Quote(out.Root))
	}
	return out, nil
}

// checkVersion wants three dotted numbers of at most 1.0.0.
func checkVersion(version string) error {
	const field = "fileFormatVersion"
	parts := strings.Split(version, ".")
	var numbers [3]uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(parts) != len(numbers) {
			return manifestError(field, "three dotted numbers", strconv.Quote(version))
		}
		numbers[i] = n
	}
	if numbers[0] > 1 || numbers[0] == 1 && (numbers[1] > 0 || numbers[2] > 0) {
		return manifestError(field, "at most 1.0.0", strconv.Quote(version))
	}
	return nil
}

func decodeItem(raw json.RawMessage, field string) (Item, error) {
	keys := []string{"path", "name", "author", "description"}
	object, err := objectOf(raw, field, keys...)
	if err != nil {
		return Item{}, err
	}
	var item Item
	for i, target := range []*string{&item.Path, &item.Name, &item.Author, &item.Description} {
		if *target, err = stringOf(object[keys[i]], field+"."+keys[i]); err != nil {
			return Item{}, err
		}
	}
	if item.Path != item.Author+"/"+item.Name || !fs.ValidPath(item.Path) {
		return Item{}, manifestError(field+".path", "author/name, within the package", strconv.Quote(item.Path))
	}
	return item, nil
}

// objectOf parses one JSON object without duplicate keys or anything after
// it. With keys given, it must have exactly these.
func objectOf(raw []byte, field string, keys ...string) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, manifestError(field, "a JSON object", describe(open, err))
	}
	out := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return nil, manifestError(field, "a key", describe(token, err))
		}
		if _, twice := out[key]; twice {
			return nil, manifestError(field, "each key once", "another "+strconv.Quote(key))
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, manifestError(field+"."+key, "a JSON value", err.Error())
		}
		out[key] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, manifestError(field, "the end of the object", err.Error())
	}
	if token, err := decoder.Token(); err != io.EOF {
		return nil, manifestError(field, "nothing after the object", describe(token, err))
	}
	return out, wantKeys(out, field, keys)
}

func wantKeys(object map[string]json.RawMessage, field string, keys []string) error {
	for _, key := range keys {
		if _, ok := object[key]; !ok {
			return manifestError(field, "key "+key, fmt.Sprintf("keys %q", sortedKeys(object)))
		}
	}
	if len(keys) > 0 && len(object) > len(keys) {
		return manifestError(field, fmt.Sprintf("keys %q alone", keys), fmt.Sprintf("keys %q", sortedKeys(object)))
	}
	return nil
}

func stringOf(raw json.RawMessage, field string) (string, error) {
	var out *string
	if err := json.Unmarshal(raw, &out); err != nil || out == nil {
		return "", manifestError(field, "a string", string(raw))
	}
	return *out, nil
}

func describe(token json.Token, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(token)
}

// manifestError is an Error about Manifest.json.
func manifestError(field, wanted, found string) error {
	return &Error{File: ManifestPath, Field: field, Wanted: wanted, Found: found, Kind: ErrManifest}
}
