package gguf

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is wrapped by every error about a file's content.
var ErrFormat = errors.New("malformed GGUF")

// FormatError says where a file breaks the format.
type FormatError struct {
	File   string // the name given to Parse; empty when encoding
	Key    string // the key that is wrong, if one is
	Tensor string // the tensor that is wrong, if one is
	Field  string // "magic", "version", "value type", "dimensions", "offset", ...
	Want   string
	Found  string
}

// Error names file, key or tensor, field, wanted and found.
func (e *FormatError) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, "key %s: ", excerpt(e.Key))
	}
	if e.Tensor != "" {
		fmt.Fprintf(&b, "tensor %s: ", excerpt(e.Tensor))
	}
	fmt.Fprintf(&b, "%s: want %s, found %s", e.Field, e.Want, e.Found)
	return b.String()
}

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *FormatError) Unwrap() error { return ErrFormat }

// excerpt quotes text that came from a file, cut to a length fit for a message.
func excerpt(text string) string {
	const limit = 64
	if len(text) > limit {
		text = text[:limit] + "..."
	}
	return fmt.Sprintf("%q", text)
}
