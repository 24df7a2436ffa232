package tokenizer

import "unicode/utf8"

// The byte-level alphabet writes each byte as one printable character: a byte
// that is one in Latin-1 stands for itself, the others follow from U+0100 on
// (Radford et al. 2019, the vocabulary of GPT-2).
type alphabet struct {
	letters [256]rune
	bytes   map[rune]byte
}

func newAlphabet() *alphabet {
	a := &alphabet{bytes: make(map[rune]byte, 256)}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if printable := '!' <= r && r <= '~' || 0xA1 <= r && r <= 0xFF && r != 0xAD; !printable {
			r = next
			next++
		}
		a.letters[b] = r
		a.bytes[r] = byte(b)
	}
	return a
}

// spell writes bytes in the alphabet.
func (a *alphabet) spell(text string) string {
	out := make([]byte, 0, 2*len(text))
	for i := range len(text) {
		out = utf8.AppendRune(out, a.letters[text[i]])
	}
	return string(out)
}

// read is what a token stands for. A token with a character outside the
// alphabet stands for its own UTF-8, as to the file's own library: added tokens
// are written as they are.
func (a *alphabet) read(token string) string {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := a.bytes[r]
		if !ok {
			return token
		}
		out = append(out, b)
	}
	return string(out)
}
