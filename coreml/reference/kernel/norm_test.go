package kernel

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/half"
)

// definedLayerNorm is the design's two passes, step by step.
func definedLayerNorm(x, gamma, beta []float32, eps float32) []float32 {
	n := float32(len(x))
	mean := definedSum(len(x), func(k int) float32 { return x[k] }) / n
	c := make([]float32, len(x))
	for i := range x {
		c[i] = x[i] - mean
	}
	variance := definedSum(len(x), func(k int) float32 { return float32(c[k] * c[k]) }) / n
	root := float32(math.Sqrt(float64(variance + eps)))
	for i := range c {
		y := c[i] / root
		if gamma != nil {
			y = float32(y * gamma[i])
		}
		if beta != nil {
			y += beta[i]
		}
		c[i] = y
	}
	return rounded16(c)
}

func TestLayerNorm(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/layer norm")
		for _, n := range lengths() {
			if n == 0 {
				continue
			}
			x, gamma, beta, got := floats(r, n, kind), floats(r, n, ordinary), floats(r, n, ordinary), make([]float32, n)
			LayerNorm(got, x, nil, nil, 1e-5)
			requireBits(t, definedLayerNorm(x, nil, nil, 1e-5), got, "plain", n)
			LayerNorm(got, x, gamma, nil, 1e-5)
			requireBits(t, definedLayerNorm(x, gamma, nil, 1e-5), got, "gamma", n)
			LayerNorm(got, x, nil, beta, 1e-5)
			requireBits(t, definedLayerNorm(x, nil, beta, 1e-5), got, "beta", n)
			want := definedLayerNorm(x, gamma, beta, 1e-5)
			LayerNorm(x, x, gamma, beta, 1e-5)
			requireBits(t, want, x, "in place", n)
		}
	})
}

// TestLayerNormOfMirroredIsRMSNorm: over [x, -x] the mean is 0, so the first
// half is x/rms(x), whatever the magnitude.
func TestLayerNormOfMirroredIsRMSNorm(t *testing.T) {
	for _, scale := range []float64{1e-3, 1, 100, 10000} {
		r := source("kernel/mirrored")
		x, squares := make([]float32, 512), 0.0
		for i := range 256 {
			x[i] = half.ToFloat32(half.FromFloat64(scale * r.NormFloat64()))
			x[i+256] = -x[i]
			squares += float64(x[i]) * float64(x[i])
		}
		got := make([]float32, 512)
		LayerNorm(got, x, nil, nil, 1e-9)
		for i := range 256 {
			want := float64(x[i]) / math.Sqrt(squares/256+1e-9)
			require.InDelta(t, want, got[i], math.Abs(want)*0x1p-10+0x1p-24)
		}
	}
}

func definedSoftmax(x []float32) []float32 {
	e := make([]float32, len(x))
	for i := range x {
		e[i] = Exp32(x[i] - MaxOf(x))
	}
	sum := definedSum(len(e), func(k int) float32 { return e[k] })
	for i := range e {
		e[i] /= sum
	}
	return rounded16(e)
}

func TestSoftmax(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/softmax")
		for _, n := range lengths() {
			x, got := floats(r, n, kind), make([]float32, n)
			want := definedSoftmax(x)
			Softmax(got, x)
			requireBits(t, want, got, "Softmax", n)
			Softmax(x, x)
			requireBits(t, want, x, "in place", n)
		}
	})
}

// TestSoftmaxHidesMaskedSlots: a slot under the mask of -1e4 weighs exactly +0,
// and the visible ones weigh what they do without it.
func TestSoftmaxHidesMaskedSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "slots")
		seen := rapid.IntRange(1, n).Draw(t, "visible")
		scores, mask := make([]float32, n), make([]float32, n)
		for i := range scores {
			scores[i] = half.ToFloat32(half.FromFloat64(rapid.Float64Range(-500, 500).Draw(t, "score")))
			if i >= seen {
				mask[i] = -1e4
			}
		}
		Add(mask, scores, mask)
		masked, alone := make([]float32, n), make([]float32, seen)
		Softmax(masked, mask)
		Softmax(alone, scores[:seen])
		requireBits(t, alone, masked[:seen], "visible")
		requireBits(t, make([]float32, n-seen), masked[seen:], "hidden")
	})
}

func TestSoftmaxOfNonFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, x := range [][]float32{{1, float32(math.NaN()), 2}, {inf, 1}, {-inf, -inf}} {
		got := make([]float32, len(x))
		Softmax(got, x)
		for _, f := range got {
			assert.Equal(t, uint32(0x7FC00000), math.Float32bits(f), "%v", x)
		}
	}
	got := make([]float32, 2)
	Softmax(got, []float32{-inf, 3})
	assert.Equal(t, []float32{0, 1}, got)
}

func BenchmarkSoftmax(b *testing.B) {
	x := floats(source("kernel/benchmark"), 2048, ordinary)
	dst := make([]float32, len(x))
	for b.Loop() {
		Softmax(dst, x)
	}
}

func BenchmarkLayerNorm(b *testing.B) {
	x := floats(source("kernel/benchmark"), 6144, ordinary)
	dst := make([]float32, len(x))
	for b.Loop() {
		LayerNorm(dst, x, nil, nil, 1e-5)
	}
}
