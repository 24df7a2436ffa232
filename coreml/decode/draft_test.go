package decode_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/coreml/decode"
)

func TestNGram(t *testing.T) {
	for _, tt := range []struct {
		name    string
		g       decode.NGram
		history []int
		n       int
		want    []int
	}{
		{"nothing stands twice", decode.DefaultNGram(), []int{1, 2, 3}, 3, nil},
		{"one token is no history", decode.DefaultNGram(), []int{1}, 3, nil},
		{"what followed", decode.DefaultNGram(), []int{1, 2, 7, 8, 9, 1, 2}, 3, []int{7, 8, 9}},
		{"the latest place", decode.DefaultNGram(), []int{1, 7, 1, 8, 1}, 1, []int{8}},
		{"the longer run", decode.DefaultNGram(), []int{5, 1, 7, 6, 1, 8, 5, 1}, 1, []int{7}},
		{"runs too short", decode.NGram{Max: 3, Min: 2}, []int{1, 7, 1}, 2, nil},
		{"a period goes round", decode.DefaultNGram(), []int{1, 2, 1, 2, 1}, 5, []int{2, 1, 2, 1, 2}},
		{"size", decode.NGram{Max: 3, Min: 1, Size: 2}, []int{1, 2, 7, 8, 9, 1, 2}, 3, []int{7, 8}},
	} {
		assert.Equal(t, tt.want, tt.g.Draft(tt.history, tt.n), tt.name)
	}
}

// TestNGramProposesWhatFollowed: a draft stands after an earlier place of the
// longest run that has one.
func TestNGramProposesWhatFollowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := decode.NGram{Min: rapid.IntRange(1, 3).Draw(t, "min")}
		g.Max = g.Min + rapid.IntRange(0, 2).Draw(t, "more")
		history := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 30).Draw(t, "history")
		before := slices.Clone(history)
		n := rapid.IntRange(1, 6).Draw(t, "n")
		out := g.Draft(history, n)
		require.Equal(t, before, history)
		places := func(size int) (ends []int) { // where a run of that size ends that the history ends with
			for end := size; size <= len(history) && end < len(history); end++ {
				if slices.Equal(history[end-size:end], history[len(history)-size:]) {
					ends = append(ends, end)
				}
			}
			return ends
		}
		for size := g.Max; size >= g.Min; size-- {
			ends := places(size)
			if len(ends) == 0 {
				continue
			}
			require.Len(t, out, n)
			end := ends[len(ends)-1]
			all := append(slices.Clone(history), out...)
			require.Equal(t, all[end:end+n], out)
			return
		}
		require.Empty(t, out)
	})
}

func TestNGramCheck(t *testing.T) {
	require.NoError(t, decode.DefaultNGram().Check())
	for _, g := range []decode.NGram{{}, {Max: 1}, {Max: 1, Min: 2}, {Max: 1, Min: 1, Size: -1}} {
		assert.ErrorIs(t, g.Check(), decode.ErrOptions, "%+v", g)
	}
}
