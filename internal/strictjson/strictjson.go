package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is wrapped by every error of this package.
var ErrSyntax = errors.New("malformed JSON")

// maxDepth bounds the nesting; the documents read here nest three deep.
const maxDepth = 64

// Object decodes text, which must hold one JSON object and nothing else.
// Values are nil, bool, string, json.Number, []any and map[string]any. An
// error says where: a path of keys, "a.b[3]", or nothing for the top.
func Object(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	if err := syntax(text); err != nil {
		return nil, err
	}
	d := decoder{json: json.NewDecoder(bytes.NewReader(text))}
	d.json.UseNumber()
	value, err := d.value(0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: want one object, found %s", ErrSyntax, Describe(value))
	}
	return object, nil
}

// syntax runs encoding/json's own check over the whole text, so that the
// token walk after it meets valid JSON only.
func syntax(text []byte) error {
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		at := ""
		var s *json.SyntaxError
		if errors.As(err, &s) {
			at = fmt.Sprintf(" at byte %d", s.Offset)
		}
		return fmt.Errorf("%w%s: %w", ErrSyntax, at, err)
	}
	return nil
}

// Describe puts a decoded value into few words for an error message.
func Describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%q", cut(v))
	case json.Number:
		return cut(string(v))
	case []any:
		return fmt.Sprintf("an array of %d", len(v))
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprint(v)
	}
}

func cut(text string) string {
	const limit = 64
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}

type decoder struct {
	json *json.Decoder
	path []string
}

func (d *decoder) fail(format string, args ...any) error {
	where := strings.TrimPrefix(strings.Join(d.path, ""), ".")
	if where != "" {
		where += ": "
	}
	return fmt.Errorf("%w: %s%s", ErrSyntax, where, fmt.Sprintf(format, args...))
}

func (d *decoder) value(depth int) (any, error) {
	tok, err := d.json.Token()
	if err != nil {
		return nil, d.fail("%v", err)
	}
	if depth > maxDepth {
		return nil, d.fail("want at most %d levels, found more", maxDepth)
	}
	switch tok {
	case json.Delim('{'):
		return d.object(depth)
	case json.Delim('['):
		return d.array(depth)
	default:
		return tok, nil
	}
}

func (d *decoder) object(depth int) (any, error) {
	out := map[string]any{}
	for d.json.More() {
		tok, err := d.json.Token()
		if err != nil {
			return nil, d.fail("%v", err)
		}
		key := tok.(string) // valid JSON has no other key
		if _, ok := out[key]; ok {
			return nil, d.fail("want each key once, found %q twice", cut(key))
		}
		d.path = append(d.path, "."+cut(key))
		if out[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
	}
	return out, d.close()
}

func (d *decoder) array(depth int) (any, error) {
	out := []any{}
	for d.json.More() {
		d.path = append(d.path, fmt.Sprintf("[%d]", len(out)))
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		d.path = d.path[:len(d.path)-1]
	}
	return out, d.close()
}

// close takes the closing bracket.
func (d *decoder) close() error {
	if _, err := d.json.Token(); err != nil {
		return d.fail("%v", err)
	}
	return nil
}
