package conformance

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

func halves(values ...float64) tensorData {
	out := make([]float16.Float16, len(values))
	for i, v := range values {
		out[i] = half.FromFloat64(v)
	}
	return tensorData{half: out}
}

func TestParseTolerance(t *testing.T) {
	for text, want := range map[string]Tolerance{"exact": {}, "4ulp": {ULPs: 4}, "2 ulp": {ULPs: 2}, "0.03": {Relative: 0.03}} {
		got, err := ParseTolerance(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "0", "1", "-0.1", "NaN", "0ulp", "-1ulp", "65536ulp", "ulp", "some"} {
		_, err := ParseTolerance(text)
		assert.ErrorIs(t, err, ErrBisect, text)
	}
}

// TestCompareTolerances: what agrees under which tolerance.
func TestCompareTolerances(t *testing.T) {
	next := half.ToFloat64(half.FromFloat64(1) + 1)
	inf, nan := math.Inf(1), math.NaN()
	for _, tt := range []struct {
		name  string
		a, b  float64
		exact bool
		ulp   bool // within one
		share bool // within a tenth
	}{
		{"equal", 1, 1, true, true, true},
		{"one step", 1, next, false, true, true},
		{"signs of zero", 0, math.Copysign(0, -1), false, true, true},
		{"nearly zero beside 2", 0.1, 0, false, false, true},
		{"far", 1, 3, false, false, false},
		{"infinite", inf, 1, false, false, false},
		{"both infinite", inf, inf, true, true, true},
		{"largest and infinite", 65504, inf, false, false, false},
		{"not a number", nan, 1, false, false, false},
		{"both not a number", nan, nan, true, true, true},
	} {
		for tol, want := range map[Tolerance]bool{{}: tt.exact, {ULPs: 1}: tt.ulp, {Relative: 0.1}: tt.share} {
			g := geometry{rows: 1, live: 1, slots: 8, tolerance: tol}
			m, err := g.compare([]int{2}, halves(2, tt.a), []int{2}, []tensorData{halves(2, tt.b)}, false)
			require.NoError(t, err)
			assert.Equal(t, want, m.First == nil, "%s, %s", tt.name, tol)
			assert.Equal(t, 2, m.Compared)
			if m.First != nil {
				assert.Equal(t, 1, m.First.Index)
				assert.Equal(t, 1, m.First.Count)
			}
		}
	}
	exact := geometry{rows: 1, live: 1}
	wide := tensorData{wide: []float64{1.0000001, 2}}
	m, err := exact.compare([]int{2}, halves(1, 2.5), []int{2}, []tensorData{wide}, false)
	require.NoError(t, err)
	assert.Equal(t, 1, m.First.Index, "exact is the oracle's value after rounding")
}

// TestCompareRows: which elements of a block belong to which single. The block
// has two rows of three tokens' room at slot 1 of four.
func TestCompareRows(t *testing.T) {
	g := geometry{rows: 3, live: 2, pos: 1, slots: 4, singles: true}
	same := func(name string, shapeA []int, a tensorData, shapeB []int, b []tensorData, softmax bool, compared int) {
		t.Helper()
		m, err := g.compare(shapeA, a, shapeB, b, softmax)
		require.NoError(t, err, name)
		assert.Nil(t, m.First, name)
		assert.Equal(t, compared, m.Compared, name)
		for i := range a.half { // no element that counts may be wrong
			spoiled := tensorData{half: slices.Clone(a.half)}
			spoiled.half[i] ^= 0x10
			m, err := g.compare(shapeA, spoiled, shapeB, b, softmax)
			require.NoError(t, err)
			if m.First != nil {
				compared--
				assert.Equal(t, i, m.First.Index)
			}
		}
		assert.LessOrEqual(t, compared, 2, "%s: elements that were counted, but not held against anything", name)
	}
	same("channels", []int{1, 2, 3, 1}, halves(1, 2, 9, 3, 4, 9), []int{1, 2, 1, 1}, []tensorData{halves(1, 3), halves(2, 4)}, false, 4)
	same("rows", []int{3, 2}, halves(1, 2, 3, 4, 9, 9), []int{1, 2}, []tensorData{halves(1, 2), halves(3, 4)}, false, 4)
	// Slots 1 and 2 are written by rows 0 and 1; 0 and 3 are as they were in both.
	same("cache", []int{1, 1, 4, 1}, halves(5, 1, 2, 6), []int{1, 1, 4, 1}, []tensorData{halves(5, 1, 9, 6), halves(5, 8, 2, 6)}, false, 6)
	// Row 0 does not see slot 2, which a single has not filled yet.
	scores := []tensorData{halves(1, 2, 7, 4), halves(5, 6, 7, 8)}
	same("scores", []int{1, 1, 3, 4}, halves(1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9), []int{1, 1, 1, 4}, scores, false, 7)
	m, err := g.compare([]int{1, 1, 3, 4}, halves(1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9), []int{1, 1, 1, 4}, scores, true)
	require.NoError(t, err)
	require.NotNil(t, m.First, "softmax is 0 there, and must be")
	assert.Equal(t, []int{0, 0, 0, 2}, m.First.At)

	for _, shapes := range [][2][]int{{{1, 6}, {1, 2}}, {{1, 3}, {1, 3, 1}}, {{3, 3}, {1, 1}}, {{2, 4}, {1, 4}}} {
		_, err := g.compare(shapes[0], tensorData{}, shapes[1], nil, false)
		assert.ErrorIs(t, err, errShapes, "%v", shapes)
	}
}

// TestLongestCommon: one op more or less does not shift the rest.
func TestLongestCommon(t *testing.T) {
	ops := func(names string) []*mil.Op {
		var out []*mil.Op
		for _, n := range names {
			out = append(out, &mil.Op{Type: string(n)})
		}
		return out
	}
	same := func(x, y *mil.Op) bool { return x.Type == y.Type }
	assert.Equal(t, [][2]int{{0, 0}, {1, 1}, {3, 2}, {4, 3}}, longestCommon(ops("abcde"), ops("abde"), same))
	assert.Equal(t, [][2]int{{0, 1}, {1, 2}}, longestCommon(ops("ab"), ops("xaby"), same))
	assert.Empty(t, longestCommon(ops("ab"), ops("cd"), same))
	assert.Empty(t, longestCommon(nil, ops("cd"), same))
}

func TestRowsApart(t *testing.T) {
	assert.True(t, rowsApart([]int32{1, 128, 4, 1}, []int32{1, 128, 1, 1}, 4))
	assert.False(t, rowsApart([]int32{1, 128, 4, 1}, []int32{1, 64, 1, 1}, 4))
	assert.False(t, rowsApart([]int32{0, 1, 3, 2}, []int32{0, 1, 2, 3}, 4))
	assert.False(t, rowsApart(nil, nil, 4))
}
