package kernel

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/elementary"
	"lockstep/internal/elementary/bigref"
)

// expStep is which of the 285 million float32 values of the range the tests
// look at: every one, unless -short is given.
func expStep() uint32 {
	if testing.Short() {
		return 997
	}
	return 1
}

// TestExp32Monotone walks down from -2^-27, above which every result is 1.
func TestExp32Monotone(t *testing.T) {
	t.Parallel()
	first, last := math.Float32bits(-0x1p-27), math.Float32bits(-87.5)
	previous := float32(1)
	for bits := first; bits <= last; bits += expStep() {
		e := Exp32(math.Float32frombits(bits))
		if !(e <= previous) {
			require.Failf(t, "not monotone", "exp(%v) is %v, above its neighbour's %v", math.Float32frombits(bits), e, previous)
		}
		previous = e
	}
	assert.Zero(t, math.Float32bits(previous))
	for bits := uint32(0x80000000); bits < first; bits += 9973 {
		require.Equal(t, float32(1), Exp32(math.Float32frombits(bits)), "%#x", bits)
	}
}

// TestExp32Error compares with Exp, whose error of 2^-50 is far below a unit in
// the last place of float32, and with arbitrary precision in fewer places.
func TestExp32Error(t *testing.T) {
	t.Parallel()
	worst := 0.0
	last := math.Float32bits(-87)
	for bits := uint32(0x80000000); bits < last; bits += 257 * min(expStep(), 30) {
		x := math.Float32frombits(bits)
		got := Exp32(x)
		ulp := float64(math.Nextafter32(got, 2) - got)
		worst = max(worst, math.Abs(float64(got)-elementary.Exp(float64(x)))/ulp)
	}
	assert.LessOrEqual(t, worst, 0.51, "units in the last place; the promise is 2")

	r := source("kernel/exp")
	for range 2000 {
		x := -float32(r.Float64() * 87)
		got := Exp32(x)
		difference := new(big.Float).Sub(bigref.Number(float64(got)), bigref.Exp(bigref.Number(float64(x))))
		limit := bigref.Number(0.51 * float64(math.Nextafter32(got, 2)-got))
		require.Negative(t, difference.Abs(difference).Cmp(limit), "exp(%v)", x)
	}
}

func TestExp32Edges(t *testing.T) {
	negative := float32(math.Copysign(0, -1))
	infinity := float32(math.Inf(1))
	for _, c := range []struct {
		x    float32
		want uint32
	}{
		{0, 0x3F800000},
		{negative, 0x3F800000},
		{-87, 0},
		{-87.5, 0},
		{-1e4, 0},
		{-infinity, 0},
		{-math.MaxFloat32, 0},
		{float32(math.NaN()), 0x7FC00000},
		{math.Float32frombits(0xFF800001), 0x7FC00000},
		{1, 0x7FC00000},
		{infinity, 0x7FC00000},
	} {
		assert.Equal(t, c.want, math.Float32bits(Exp32(c.x)), "exp(%v)", c.x)
	}
	above := Exp32(math.Nextafter32(-87, 0))
	assert.Greater(t, above, float32(0x1p-126), "normal just above -87")
}

func BenchmarkExp32(b *testing.B) {
	x := float32(-3.7)
	for b.Loop() {
		x = -3.7 - Exp32(x)
	}
}
