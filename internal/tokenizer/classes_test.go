package tokenizer

import (
	"encoding/json"
	"os"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClasses holds what a pattern takes for a letter, a digit or a space, of
// every character, against the tokenizers package. Its Unicode is younger than
// Go's: they may differ on what Go does not know, and on nothing else.
func TestClasses(t *testing.T) {
	text, err := os.ReadFile("../../fixtures/tokenizer/classes.json")
	require.NoError(t, err)
	var classes map[string][][2]rune
	require.NoError(t, json.Unmarshal(text, &classes))
	require.GreaterOrEqual(t, len(classes), 15)
	young := map[rune]bool{}
	for pattern, ranges := range classes {
		theirs := map[rune]bool{}
		for _, r := range ranges {
			for c := r[0]; c <= r[1]; c++ {
				theirs[c] = true
			}
		}
		require.NotEmpty(t, theirs, pattern)
		ours := members(t, pattern)
		for c := range everyCharacter {
			switch {
			case ours[c] == theirs[c]:
			case unicode.Is(unicode.Cn, c):
				young[c] = true
			default:
				assert.Fail(t, "differs", "%U is %s: want %v, found %v", c, pattern, theirs[c], ours[c])
			}
		}
	}
	t.Logf("Unicode %s: %d characters are too young for it", unicode.Version, len(young))
}

// everyCharacter yields all of Unicode but the surrogates.
func everyCharacter(yield func(rune) bool) {
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if utf8.ValidRune(c) && !yield(c) {
			return
		}
	}
}

// members are the characters that a pattern matches.
func members(t *testing.T, pattern string) map[rune]bool {
	t.Helper()
	re, err := compile(pattern + "+")
	require.NoError(t, err)
	var everything []byte
	for c := range everyCharacter {
		everything = utf8.AppendRune(everything, c)
	}
	found, err := matches(re, string(everything))
	require.NoError(t, err)
	out := map[rune]bool{}
	for _, m := range found {
		for _, c := range string(everything[m[0]:m[1]]) {
			out[c] = true
		}
	}
	return out
}
