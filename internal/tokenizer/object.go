package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"lockstep/internal/strictjson"
)

// document is one tokenizer.json while it is read. It keeps the first error, so
// that the readers of sections need not pass it on; what they return after it
// is not used.
type document struct {
	file string
	err  error
}

func (d *document) fail(field, want, found string) {
	if d.err == nil {
		d.err = &FormatError{d.file, field, want, found}
	}
}

// object is a JSON object of which each key is taken once; what nobody took is
// refused by done.
type object struct {
	doc  *document
	path string
	rest map[string]any
}

func (o *object) field(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o *object) fail(key, want string, found any) {
	o.doc.fail(o.field(key), want, strictjson.Describe(found))
}

// take removes a key; an absent one is null, as it is to the file's own library.
func (o *object) take(key string) any {
	v := o.rest[key]
	delete(o.rest, key)
	return v
}

// done refuses what is left: a key that nobody reads might change the ids.
func (o *object) done() {
	for _, key := range slices.Sorted(maps.Keys(o.rest)) {
		o.fail(key, "no such key", o.rest[key])
	}
}

// bool is a flag that may be left out; null or absent is def.
func (o *object) bool(key string, def bool) bool {
	switch v := o.take(key).(type) {
	case nil:
		return def
	case bool:
		return v
	default:
		o.fail(key, "true or false", v)
		return def
	}
}

// flag is a required flag.
func (o *object) flag(key string) bool {
	v := o.take(key)
	b, ok := v.(bool)
	if !ok {
		o.fail(key, "true or false", v)
	}
	return b
}

// text is a required string.
func (o *object) text(key string) string {
	v := o.take(key)
	s, ok := v.(string)
	if !ok {
		o.fail(key, "a string", v)
	}
	return s
}

// id is a required token id.
func (o *object) id(key string) int {
	id, err := tokenID(o.rest[key])
	if err != nil {
		o.fail(key, err.Error(), o.rest[key])
	}
	o.take(key)
	return id
}

// none takes a key that must be null.
func (o *object) none(key string) {
	if v := o.take(key); v != nil {
		o.fail(key, "null", v)
	}
}

// object is a section; nil if it is null or absent.
func (o *object) object(key string) *object {
	v := o.take(key)
	if v == nil {
		return nil
	}
	return o.doc.object(o.field(key), v)
}

// required is a section that must be there; empty after an error.
func (o *object) required(key string) *object {
	return o.doc.object(o.field(key), o.take(key))
}

// array is a required array.
func (o *object) array(key string) []any {
	v := o.take(key)
	list, ok := v.([]any)
	if !ok {
		o.fail(key, "an array", v)
	}
	return list
}

// objects is a required array of objects.
func (o *object) objects(key string) []*object {
	var out []*object
	for i, v := range o.array(key) {
		out = append(out, o.doc.object(fmt.Sprintf("%s[%d]", o.field(key), i), v))
	}
	return out
}

func (d *document) object(path string, v any) *object {
	rest, ok := v.(map[string]any)
	if !ok {
		d.fail(path, "an object", strictjson.Describe(v))
	}
	return &object{d, path, rest}
}

// maxID bounds token ids, so that two fit a key of the merges.
const maxID = 1<<31 - 1

func tokenID(v any) (int, error) {
	number, _ := v.(json.Number)
	id, err := strconv.Atoi(string(number))
	if err != nil || id < 0 || id > maxID {
		return 0, fmt.Errorf("a token id from 0 to %d", maxID)
	}
	return id, nil
}
