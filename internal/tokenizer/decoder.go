package tokenizer

import (
	"errors"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Decoder gives the text of ids as they come. A token need not end where a
// character does: bytes that may still become one wait for the next id.
type Decoder struct {
	t       *Tokenizer
	pending []byte
}

// Decoder begins a text.
func (t *Tokenizer) Decoder() *Decoder { return &Decoder{t: t} }

// Next is the text that the id completes.
func (d *Decoder) Next(id int) string {
	d.pending = append(d.pending, d.t.spelled[id]...)
	return d.flush(false)
}

// End is what of the text still waits; U+FFFD for part of a character.
func (d *Decoder) End() string { return d.flush(true) }

// flush takes whole characters. What is none becomes U+FFFD, one for each
// maximal subpart (Unicode 3.9, table 3-8), as in the file's own library.
func (d *Decoder) flush(end bool) string {
	if len(d.pending) == 0 {
		return ""
	}
	const replacement = 3                           // bytes of U+FFFD, for one at worst
	out := make([]byte, replacement*len(d.pending)) //
	n, taken, err := unicode.UTF8.NewDecoder().Transformer.Transform(out, d.pending, end)
	if err != nil && !errors.Is(err, transform.ErrShortSrc) {
		panic("tokenizer: " + err.Error()) // out has room for whatever comes
	}
	d.pending = append(d.pending[:0], d.pending[taken:]...)
	return string(out[:n])
}
