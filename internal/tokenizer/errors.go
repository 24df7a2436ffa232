package tokenizer

import (
	"errors"
	"fmt"
)

var (
	// ErrFormat is wrapped by every error about a tokenizer.json: malformed, in
	// disagreement with itself, or asking for what is not read here.
	ErrFormat = errors.New("unusable tokenizer")
	// ErrText is wrapped by every error about a text that cannot be encoded.
	ErrText = errors.New("unusable text")
)

// FormatError says which field of a tokenizer.json is wrong.
type FormatError struct {
	File  string
	Field string // a path of keys: "pre_tokenizer.pretokenizers[0].behavior"
	Want  string
	Found string
}

// Error names file, field, wanted and found.
func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: %s: want %s, found %s", e.File, e.Field, e.Want, e.Found)
}

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *FormatError) Unwrap() error { return ErrFormat }

func textError(want, found string) error {
	return fmt.Errorf("%w: want %s, found %s", ErrText, want, found)
}
