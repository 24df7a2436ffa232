package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is found in the text itself, before it is split.
type addedToken struct {
	id         int
	content    string
	singleWord bool // only where no letter, digit or the like touches it
	lstrip     bool // takes the white space before it
	rstrip     bool // takes the white space after it
	normalized bool // is looked for in the normalized text, else before that
	special    bool
}

// section is a part of a text: an added token, or text between them.
type section struct {
	token *addedToken // nil for text
	text  string
}

// finder finds added tokens: the leftmost, of those the longest.
type finder map[byte][]*addedToken // by first byte, longest first

func newFinder(tokens []*addedToken) finder {
	f := finder{}
	for _, t := range tokens {
		f[t.content[0]] = append(f[t.content[0]], t)
	}
	for _, list := range f {
		slices.SortFunc(list, func(a, b *addedToken) int { return cmp.Compare(len(b.content), len(a.content)) })
	}
	return f
}

// cut splits a text at its added tokens.
func (f finder) cut(text string) []section {
	var out []section
	done := 0
	for at := 0; at < len(text); {
		t := f.at(text[at:])
		if t == nil {
			at++
			continue
		}
		from, to := at, at+len(t.content)
		at = to
		if t.singleWord && (wordEnds(text[:from]) || wordBegins(text[to:])) {
			continue
		}
		if t.lstrip {
			from = len(strings.TrimRightFunc(text[:from], unicode.IsSpace))
		}
		if t.rstrip {
			to = len(text) - len(strings.TrimLeftFunc(text[to:], unicode.IsSpace))
		}
		if done < from {
			out = append(out, section{text: text[done:from]})
		}
		out = append(out, section{token: t})
		done = to
	}
	if done < len(text) {
		out = append(out, section{text: text[done:]})
	}
	return out
}

// at is the longest token that the text begins with.
func (f finder) at(text string) *addedToken {
	for _, t := range f[text[0]] {
		if strings.HasPrefix(text, t.content) {
			return t
		}
	}
	return nil
}

func wordEnds(text string) bool {
	r, n := utf8.DecodeLastRuneInString(text)
	return n > 0 && isWord(r)
}

func wordBegins(text string) bool {
	r, n := utf8.DecodeRuneInString(text)
	return n > 0 && isWord(r)
}

// isWord is \w of Unicode's UTS 18, annex C: alphabetic, a mark, a decimal digit,
// connector punctuation or a join control.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc, unicode.Join_Control)
}
