package tokenizer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// letters is a model whose bytes are their own ids.
func letters(pairs ...pair) *bpe {
	m := &bpe{ranks: map[pair]int{}}
	for b := range m.bytes {
		m.bytes[b] = b
	}
	for rank, p := range pairs {
		m.ranks[p] = rank
		m.merges = append(m.merges, merge{p, 256 + rank})
	}
	return m
}

// naive looks through the whole piece for each merge.
func naive(m *bpe, piece string) []int {
	var ids []int
	for i := range len(piece) {
		ids = append(ids, m.bytes[piece[i]])
	}
	for {
		at, best := -1, len(m.merges)
		for i := range len(ids) - 1 {
			if rank, ok := m.ranks[pair{ids[i], ids[i+1]}]; ok && rank < best {
				at, best = i, rank
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, m.merges[best].id)
	}
}

// TestMergesAreTheNaive draws merges, each into a token of its own, and words of
// few letters.
func TestMergesAreTheNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pairs []pair
		ids := []int{'a', 'b', 'c'}
		for range rapid.IntRange(0, 12).Draw(t, "merges") {
			p := pair{rapid.SampledFrom(ids).Draw(t, "left"), rapid.SampledFrom(ids).Draw(t, "right")}
			if !slices.Contains(pairs, p) {
				ids = append(ids, 256+len(pairs))
				pairs = append(pairs, p)
			}
		}
		// Merges need not come in the order in which their parts are made.
		m := letters(pairs...)
		for i, rank := range rapid.Permutation(ranksOf(pairs)).Draw(t, "ranks") {
			m.ranks[pairs[i]] = rank
			m.merges[rank] = merge{pairs[i], 256 + i}
		}
		word := rapid.StringMatching(`[abc]{0,40}`).Draw(t, "word")
		require.Equal(t, naive(m, word), m.appendIDs(nil, word, newAlphabet()))
	})
}

func ranksOf(pairs []pair) []int {
	out := make([]int, len(pairs))
	for i := range out {
		out[i] = i
	}
	return out
}

// TestMergesByHand has the cases that a wrong order or a wrong neighbour shows in.
func TestMergesByHand(t *testing.T) {
	a, b, c := int('a'), int('b'), int('c')
	for _, tt := range []struct {
		name  string
		m     *bpe
		piece string
		want  []int
	}{
		{"nothing", letters(), "", nil},
		{"no merge", letters(), "ab", []int{a, b}},
		{"leftmost of equals", letters(pair{a, a}), "aaa", []int{256, a}},
		{"lowest rank first", letters(pair{b, c}, pair{a, b}), "abc", []int{a, 256}},
		{"the other rank first", letters(pair{a, b}, pair{b, c}), "abc", []int{256, c}},
		{"upon each other", letters(pair{a, b}, pair{256, c}), "abcabc", []int{257, 257}},
		{"with the one before", letters(pair{b, b}, pair{a, 256}), "abb", []int{257}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.m.appendIDs(nil, tt.piece, newAlphabet()))
		})
	}
}
