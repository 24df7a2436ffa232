package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// strictValue reads one JSON value and checks that it fits t to the letter:
// what encoding/json would let pass in silence (unknown, repeated or missing
// keys, other letter case, null) is an error with the JSON path. It recurses as
// deep as t does, never as deep as the text.
func strictValue(dec *json.Decoder, t reflect.Type, path string) error {
	tok, err := dec.Token()
	if err != nil {
		return syntax(path, err)
	}
	return strictToken(dec, tok, t, path)
}

// strictToken is strictValue with the value's first token already read.
func strictToken(dec *json.Decoder, tok json.Token, t reflect.Type, path string) error {
	if t == reflect.TypeFor[Figure]() {
		return strictFigure(tok, path)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if tok == nil { // null: absent
			return nil
		}
		return strictToken(dec, tok, t.Elem(), path)
	case reflect.Struct:
		if tok != json.Delim('{') {
			return wrongType(path, "an object", tok)
		}
		return strictObject(dec, t, path)
	case reflect.Map:
		if tok != json.Delim('{') {
			return wrongType(path, "an object", tok)
		}
		return strictMap(dec, t, path)
	case reflect.Slice:
		if tok != json.Delim('[') {
			return wrongType(path, "a list", tok)
		}
		return strictList(dec, t, path)
	case reflect.String:
		if _, ok := tok.(string); !ok {
			return wrongType(path, "a string", tok)
		}
		return nil
	case reflect.Bool:
		if _, ok := tok.(bool); !ok {
			return wrongType(path, "true or false", tok)
		}
		return nil
	default:
		return strictNumber(tok, t, path)
	}
}

// strictObject reads the fields of a struct after its opening brace.
func strictObject(dec *json.Decoder, t reflect.Type, path string) error {
	fields := map[string]reflect.Type{}
	optional := map[string]bool{}
	var required []string
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = t.Field(i).Type
		if option == "omitempty" {
			optional[name] = true
		} else {
			required = append(required, name)
		}
	}
	seen := map[string]bool{}
	err := eachKey(dec, path, func(key, at string) error {
		field, ok := fields[key]
		if !ok {
			return fmt.Errorf("%s: %w", at, ErrUnknownField)
		}
		seen[key] = true
		tok, err := dec.Token()
		if err != nil {
			return syntax(at, err)
		}
		if optional[key] && (tok == nil || tok == "") {
			// Absent has one form: no field.
			return wrongType(at, "a value or no field", tok)
		}
		return strictToken(dec, tok, field, at)
	})
	if err != nil {
		return err
	}
	for _, name := range required {
		if !seen[name] {
			return fmt.Errorf("%s.%s: %w", path, name, ErrMissingField)
		}
	}
	return nil
}

// strictMap reads the entries of a map after its opening brace.
func strictMap(dec *json.Decoder, t reflect.Type, path string) error {
	return eachKey(dec, path, func(_, at string) error {
		return strictValue(dec, t.Elem(), at)
	})
}

// eachKey reads an object up to its closing brace. visit reads the value of
// each key; a key that stands twice is an error.
func eachKey(dec *json.Decoder, path string, visit func(key, at string) error) error {
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return syntax(path, err)
		}
		key, ok := tok.(string)
		if !ok {
			return wrongType(path, "a key", tok)
		}
		at := path + "." + quoted(key)
		if seen[key] {
			return fmt.Errorf("%s: %w", at, ErrDuplicateKey)
		}
		seen[key] = true
		if err := visit(key, at); err != nil {
			return err
		}
	}
	return closing(dec, path)
}

// strictList reads the elements of a list after its opening bracket.
func strictList(dec *json.Decoder, t reflect.Type, path string) error {
	for i := 0; dec.More(); i++ {
		if err := strictValue(dec, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return closing(dec, path)
}

// closing reads the brace or bracket that ends an object or a list.
func closing(dec *json.Decoder, path string) error {
	if _, err := dec.Token(); err != nil {
		return syntax(path, err)
	}
	return nil
}

// strictNumber checks an integer or a float of Go.
func strictNumber(tok json.Token, t reflect.Type, path string) error {
	number, ok := tok.(json.Number)
	if !ok {
		return wrongType(path, "a number", tok)
	}
	if t.Kind() == reflect.Float64 {
		if _, err := finite(number); err != nil {
			return fmt.Errorf("%s: %w: wanted a number that a float64 holds, found %.40s", path, ErrType, number)
		}
		return nil
	}
	if _, err := strconv.ParseInt(string(number), 10, t.Bits()); err != nil {
		return fmt.Errorf("%s: %w: wanted an integer of %d bits, found %.40s", path, ErrType, t.Bits(), number)
	}
	return nil
}

// strictFigure checks a Figure.
func strictFigure(tok json.Token, path string) error {
	switch v := tok.(type) {
	case json.Number:
		if _, err := finite(v); err == nil {
			return nil
		}
	case string:
		if v == "NaN" || v == "+Inf" || v == "-Inf" {
			return nil
		}
	}
	return wrongType(path, `a finite number, "NaN", "+Inf" or "-Inf"`, tok)
}

// finite parses a number; what does not fit a float64 is an error.
func finite(number json.Number) (float64, error) {
	v, err := strconv.ParseFloat(string(number), 64)
	if err == nil && (math.IsInf(v, 0) || math.IsNaN(v)) {
		err = strconv.ErrRange
	}
	return v, err
}

// wrongType returns an ErrType about one place.
func wrongType(path, wanted string, found json.Token) error {
	return fmt.Errorf("%s: %w: wanted %s, found %s", path, ErrType, wanted, describe(found))
}

// describe names a token for an error.
func describe(tok json.Token) string {
	switch v := tok.(type) {
	case nil:
		return "null"
	case json.Delim:
		return map[json.Delim]string{'{': "an object", '[': "a list", '}': "}", ']': "]"}[v]
	case string:
		return fmt.Sprintf("the string %.40q", v)
	default:
		return fmt.Sprintf("%.40s", fmt.Sprint(v))
	}
}

// quoted returns a key for a path, quoted where it is not a plain name.
func quoted(key string) string {
	if isLowerSnake(key) {
		return key
	}
	return fmt.Sprintf("%.80q", key)
}
