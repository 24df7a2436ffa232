package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"
)

// The sentinels of this package. Errors wrap one of them and start with the
// JSON path of the place ($.shards[0].package.bytes).
var (
	ErrSyntax        = errors.New("not JSON")
	ErrSchemaVersion = errors.New("another schema version")
	ErrUnknownField  = errors.New("unknown field")
	ErrDuplicateKey  = errors.New("key stands twice")
	ErrMissingField  = errors.New("field is missing")
	ErrType          = errors.New("wrong type")
	ErrTrailingData  = errors.New("text after the end")
	ErrInvalid       = errors.New("invalid")
)

// DecodeRecord reads a record strictly: each field present and known, no key
// twice, nothing after the end, the schema version this package's own, and
// Verify passed.
func DecodeRecord(text []byte) (*Record, error) {
	var r Record
	if err := decode(text, RecordSchema, &r); err != nil {
		return nil, err
	}
	if err := r.Verify(); err != nil {
		return nil, err
	}
	return &r, nil
}

// DecodeVerdict reads a verdict as strictly as DecodeRecord.
func DecodeVerdict(text []byte) (*Verdict, error) {
	var v Verdict
	if err := decode(text, VerdictSchema, &v); err != nil {
		return nil, err
	}
	if err := v.Verify(); err != nil {
		return nil, err
	}
	return &v, nil
}

// decode fills dst, a pointer to a struct with a schema field. The first pass
// looks for the version alone, since a newer text may have fields that would
// else be reported in its place; the second is the strict one; only then does
// encoding/json, which forgives much, see the text.
func decode(text []byte, schema string, dst any) error {
	if !utf8.Valid(text) {
		return fmt.Errorf("$: %w: invalid UTF-8", ErrSyntax)
	}
	if err := checkVersion(text, schema); err != nil {
		return err
	}
	return decodeStrictly(text, dst)
}

// decodeStrictly is decode of a text whose version is known.
func decodeStrictly(text []byte, dst any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := strictValue(dec, reflect.TypeOf(dst).Elem(), "$"); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("$: %w", ErrTrailingData)
	}
	if err := json.Unmarshal(text, dst); err != nil {
		return fmt.Errorf("$: %w: %w", ErrType, err)
	}
	return nil
}

// checkVersion reads the top level's schema field.
func checkVersion(text []byte, schema string) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	tok, err := dec.Token()
	if err != nil {
		return syntax("$", err)
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("$: %w: wanted an object, found %s", ErrType, describe(tok))
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return syntax("$", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return syntax("$", err)
		}
		if key != "schema" {
			continue
		}
		var found string
		if json.Unmarshal(value, &found) != nil {
			return fmt.Errorf("$.schema: %w: wanted a string", ErrType)
		}
		if found != schema {
			return fmt.Errorf("$.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, schema, found)
		}
		return nil
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return syntax("$", err)
	}
	return fmt.Errorf("$.schema: %w", ErrMissingField)
}

// syntax wraps an error of the JSON decoder.
func syntax(path string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: %w: %w", path, ErrSyntax, err)
}

// invalid returns an ErrInvalid about one place.
func invalid(path, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", path, ErrInvalid, fmt.Sprintf(format, args...))
}
