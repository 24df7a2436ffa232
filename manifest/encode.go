package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// EncodeRecord returns the record's canonical JSON. A record that does not
// agree with itself is ErrInvalid and has no text.
func EncodeRecord(r Record) ([]byte, error) {
	if err := r.Verify(); err != nil {
		return nil, err
	}
	return encode(r)
}

// EncodeVerdict returns the verdict's canonical JSON. A verdict that does not
// agree with itself is ErrInvalid and has no text.
func EncodeVerdict(v Verdict) ([]byte, error) {
	if err := v.Verify(); err != nil {
		return nil, err
	}
	return encode(v)
}

// encode writes canonical JSON.
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(filled(reflect.ValueOf(v)).Interface()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return text.Bytes(), nil
}

// filled returns a deep copy of v in which nil lists and maps are empty ones,
// since JSON's null is no list. Pointers stay: for them null means absent.
func filled(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(filled(v.Field(i)))
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(filled(v.Index(i)))
		}
	case reflect.Map:
		out.Set(reflect.MakeMap(v.Type()))
		for key, value := range v.Seq2() {
			out.SetMapIndex(key, filled(value))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(filled(v.Elem()))
		}
	default:
		out.Set(v)
	}
	return out
}
