package kernel

import (
	"math"

	"lockstep/internal/half"
)

// LayerNorm computes layer_norm of one vector: mean = sum/n, c = x - mean, var =
// sum(c*c)/n, y = c/sqrt(var+eps), then y*gamma, then + beta; each step is
// float32, the result is rounded once to float16. gamma and beta may be nil, and
// any float32 values. dst may be src; it is as long as src.
func LayerNorm(dst, src, gamma, beta []float32, eps float32) {
	layerNorm(dst, src, gamma, beta, eps)
	half.Round(dst)
}

// LayerNormFloat32 is LayerNorm of any float32 values, not rounded to float16.
func LayerNormFloat32(dst, src, gamma, beta []float32, eps float32) {
	layerNorm(dst, src, gamma, beta, eps)
	canonicalize(dst)
}

func layerNorm(dst, src, gamma, beta []float32, eps float32) {
	src = src[:len(dst)]
	n := float32(len(src))
	mean := Sum(src) / n
	for i, f := range src {
		dst[i] = f - mean
	}
	deviation := sqrt32(SumSquares(dst)/n + eps)
	for i, c := range dst {
		dst[i] = c / deviation
	}
	if gamma != nil {
		for i, g := range gamma[:len(dst)] {
			dst[i] = float32(dst[i] * g)
		}
	}
	if beta != nil {
		for i, b := range beta[:len(dst)] {
			dst[i] += b
		}
	}
}

// sqrt32 is the correctly rounded float32 square root: float64 has more than
// 2*24+2 bits.
func sqrt32(f float32) float32 { return float32(math.Sqrt(float64(f))) }

// Softmax computes softmax of one vector: e = Exp32(x - max), then e/sum(e), in
// float32, rounded once to float16. An element that lies 87 or more below the
// largest becomes exactly +0. A NaN or +Inf in src makes every result NaN. dst
// may be src; it is as long as src.
func Softmax(dst, src []float32) {
	softmax(dst, src)
	half.Round(dst)
}

// SoftmaxFloat32 is Softmax of any float32 values, not rounded to float16.
func SoftmaxFloat32(dst, src []float32) {
	softmax(dst, src)
	canonicalize(dst)
}

func softmax(dst, src []float32) {
	src = src[:len(dst)]
	largest := MaxOf(src)
	for i, f := range src {
		dst[i] = Exp32(f - largest)
	}
	sum := Sum(dst)
	for i, e := range dst {
		dst[i] = e / sum
	}
}
