package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Tokenizer turns text into token ids and back. It is safe for concurrent use.
type Tokenizer struct {
	alphabet   *alphabet
	raw        finder // added tokens that are looked for before normalizing
	normalized finder // the others
	nfc        bool
	steps      []step
	model      *bpe
	before     []int // ids around every text
	after      []int
	spelled    map[int]string // what each token stands for
	special    map[int]bool
}

// Encode gives a text's ids, with what the file puts before and after every
// text. Added tokens within the text are found as such, special ones, too. An
// error wraps ErrText.
func (t *Tokenizer) Encode(text string) ([]int, error) {
	if !utf8.ValidString(text) {
		return nil, textError("UTF-8", "other bytes")
	}
	ids := slices.Clone(t.before)
	for _, part := range t.raw.cut(text) {
		if part.token != nil {
			ids = append(ids, part.token.id)
			continue
		}
		normal, err := t.normalize(part.text)
		if err != nil {
			return nil, err
		}
		for _, part := range t.normalized.cut(normal) {
			if part.token != nil {
				ids = append(ids, part.token.id)
			} else if ids, err = t.appendIDs(ids, part.text); err != nil {
				return nil, err
			}
		}
	}
	return append(ids, t.after...), nil
}

// combiningGrapheme is what x/text puts after 30 combining marks in a row, to
// bound its memory. It is no part of NFC.
const combiningGrapheme = "\u034f"

func (t *Tokenizer) normalize(text string) (string, error) {
	if !t.nfc {
		return text, nil
	}
	normal := norm.NFC.String(text)
	if strings.Count(normal, combiningGrapheme) != strings.Count(text, combiningGrapheme) {
		return "", textError("at most 30 combining marks in a row, which is what NFC is done for", "more")
	}
	return normal, nil
}

// appendIDs encodes text that has no added tokens.
func (t *Tokenizer) appendIDs(ids []int, text string) ([]int, error) {
	pieces := []string{text}
	for _, s := range t.steps {
		var next []string
		for _, piece := range pieces {
			parts, err := s.split(piece)
			if err != nil {
				return nil, err
			}
			next = append(next, parts...)
		}
		pieces = next
	}
	for _, piece := range pieces {
		ids = t.model.appendIDs(ids, piece, t.alphabet)
	}
	return ids, nil
}

// Has reports whether the id is a token's.
func (t *Tokenizer) Has(id int) bool {
	_, ok := t.spelled[id]
	return ok
}

// Highest is the highest id of a token.
func (t *Tokenizer) Highest() int {
	highest := 0
	for id := range t.spelled {
		highest = max(highest, id)
	}
	return highest
}

// Special reports whether the token is marked as special: a sign to the model
// rather than text.
func (t *Tokenizer) Special(id int) bool { return t.special[id] }

// Decode gives the text of ids, special tokens with it. Bytes that are not UTF-8
// become U+FFFD; an id without a token is no text.
func (t *Tokenizer) Decode(ids []int) string {
	d := t.Decoder()
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(d.Next(id))
	}
	b.WriteString(d.End())
	return b.String()
}
