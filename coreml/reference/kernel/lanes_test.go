package kernel

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSums(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/sums")
		for _, n := range lengths() {
			a, b := floats(r, n, kind), floats(r, n, kind)
			requireBits(t, []float32{definedDot(a, b)}, []float32{Dot(a, b)}, "Dot", n)

			// The two that take any float32: no products that are exact.
			for i := range a {
				a[i] = math.Nextafter32(a[i], 3) * 1.1
			}
			requireBits(t, []float32{definedSum(n, func(k int) float32 { return a[k] })}, []float32{Sum(a)}, "Sum", n)
			requireBits(t, []float32{definedSum(n, func(k int) float32 { return float32(a[k] * a[k]) })}, []float32{SumSquares(a)}, "SumSquares", n)
		}
	})
}

// TestOrderShows has sums that only the defined order gives, so that a test of
// equality above has something to find.
func TestOrderShows(t *testing.T) {
	big := float32(1 << 25)
	x := make([]float32, 32)
	x[0], x[16], x[8] = big, -big, 1 // lane 0 cancels before lane 8 joins it
	assert.Equal(t, float32(1), Sum(x))
	x = make([]float32, 32)
	x[0], x[8], x[4] = big, 1, -big // lane 8 is lost in lane 0 before lane 4 joins
	assert.Equal(t, float32(0), Sum(x))
}

func TestEmptySumsArePositiveZero(t *testing.T) {
	negative := float32(math.Copysign(0, -1))
	for _, f := range []float32{Sum(nil), Dot(nil, nil), SumSquares(nil), Sum([]float32{negative}), Dot([]float32{negative}, []float32{1})} {
		assert.Zero(t, math.Float32bits(f))
	}
}

func TestDotPanicsOnShortVector(t *testing.T) {
	assert.Panics(t, func() { Dot(make([]float32, 17), make([]float32, 16)) })
}

// TestPortableLanes compares the portable loops, by themselves, with the
// definition.
func TestPortableLanes(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/portable lanes")
		for _, n := range lengths() {
			a, b := floats(r, n, kind), floats(r, n, kind)
			var s [1]lanes
			multiply(s[:], a, b, 0, false)
			requireBits(t, []float32{definedDot(a, b)}, []float32{canonical(s[0].total())}, "multiply", n)
		}
	})
}

func TestAllFinite(t *testing.T) {
	r := source("kernel/finite")
	for n := range 68 {
		x := floats(r, n, finite)
		require.True(t, AllFinite(x))
		require.True(t, allFinitePortable(x))
		for i := range x {
			was := x[i]
			for _, bits := range []uint32{0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF} {
				x[i] = math.Float32frombits(bits)
				require.False(t, AllFinite(x), "%#x at %d of %d", bits, i, n)
				require.False(t, allFinitePortable(x))
			}
			for _, bits := range []uint32{0x7F7FFFFF, 0xFF7FFFFF, 0x80000000, 1} {
				x[i] = math.Float32frombits(bits)
				require.True(t, AllFinite(x), "%#x at %d of %d", bits, i, n)
			}
			x[i] = was
		}
	}
}
