package kernel

import (
	"math"

	"lockstep/internal/half"
)

// Add sets dst[i] to float16(a[i]+b[i]). The three are equally long; dst may be
// a or b, here and below. The sum, difference, product or quotient of two
// float16 values, rounded to float32 and then to float16, is the same as
// rounded once: float32 has at least 2*11+2 bits (S. A. Figueroa, "When is
// double rounding innocuous?", 1995), and where float16 is subnormal a sum is
// exact and a quotient too far from any midpoint.
func Add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := addSIMD(dst, a, b)
	addPortable(dst[n:], a[n:], b[n:])
}

func addPortable(dst, a, b []float32) {
	for i, f := range a {
		dst[i] = f + b[i]
	}
	half.Round(dst)
}

// Sub sets dst[i] to float16(a[i]-b[i]).
func Sub(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := subSIMD(dst, a, b)
	subPortable(dst[n:], a[n:], b[n:])
}

func subPortable(dst, a, b []float32) {
	for i, f := range a {
		dst[i] = f - b[i]
	}
	half.Round(dst)
}

// Mul sets dst[i] to float16(a[i]*b[i]).
func Mul(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := mulSIMD(dst, a, b)
	mulPortable(dst[n:], a[n:], b[n:])
}

func mulPortable(dst, a, b []float32) {
	for i, f := range a {
		dst[i] = f * b[i]
	}
	half.Round(dst)
}

// Div sets dst[i] to float16(a[i]/b[i]).
func Div(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i, f := range a {
		dst[i] = f / b[i]
	}
	half.Round(dst)
}

// Max sets dst[i] to the larger of a[i] and b[i]: NaN if either is NaN, and +0
// of two zeros with different signs.
func Max(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i, f := range a {
		dst[i] = canonical(max(f, b[i]))
	}
}

// Min sets dst[i] to the smaller of a[i] and b[i]: NaN if either is NaN, and -0
// of two zeros with different signs.
func Min(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i, f := range a {
		dst[i] = canonical(min(f, b[i]))
	}
}

// AddScalar sets dst[i] to float16(a[i]+b).
func AddScalar(dst, a []float32, b float32) {
	a = a[:len(dst)]
	n := addScalarSIMD(dst, a, b)
	addScalarPortable(dst[n:], a[n:], b)
}

func addScalarPortable(dst, a []float32, b float32) {
	for i, f := range a {
		dst[i] = f + b
	}
	half.Round(dst)
}

// SubScalar sets dst[i] to float16(a[i]-b).
func SubScalar(dst, a []float32, b float32) { AddScalar(dst, a, -b) }

// ScalarSub sets dst[i] to float16(a-b[i]).
func ScalarSub(dst []float32, a float32, b []float32) {
	for i, f := range b[:len(dst)] {
		dst[i] = a - f
	}
	half.Round(dst)
}

// MulScalar sets dst[i] to float16(a[i]*b).
func MulScalar(dst, a []float32, b float32) {
	a = a[:len(dst)]
	n := mulScalarSIMD(dst, a, b)
	mulScalarPortable(dst[n:], a[n:], b)
}

func mulScalarPortable(dst, a []float32, b float32) {
	for i, f := range a {
		dst[i] = f * b
	}
	half.Round(dst)
}

// DivScalar sets dst[i] to float16(a[i]/b).
func DivScalar(dst, a []float32, b float32) {
	for i, f := range a[:len(dst)] {
		dst[i] = f / b
	}
	half.Round(dst)
}

// ScalarDiv sets dst[i] to float16(a/b[i]).
func ScalarDiv(dst []float32, a float32, b []float32) {
	for i, f := range b[:len(dst)] {
		dst[i] = a / f
	}
	half.Round(dst)
}

// MaxScalar sets dst[i] to the larger of a[i] and b, as Max does.
func MaxScalar(dst, a []float32, b float32) {
	for i, f := range a[:len(dst)] {
		dst[i] = canonical(max(f, b))
	}
}

// MinScalar sets dst[i] to the smaller of a[i] and b, as Min does.
func MinScalar(dst, a []float32, b float32) {
	for i, f := range a[:len(dst)] {
		dst[i] = canonical(min(f, b))
	}
}

// MaxOf returns the largest element of x: NaN if any is NaN, +0 if +0 and -0
// are the largest, and -Inf if x is empty.
func MaxOf(x []float32) float32 {
	best := float32(math.Inf(-1))
	for _, f := range x {
		best = max(best, f)
	}
	return canonical(best)
}

// MinOf returns the smallest element of x: NaN if any is NaN, -0 if +0 and -0
// are the smallest, and +Inf if x is empty.
func MinOf(x []float32) float32 {
	best := float32(math.Inf(1))
	for _, f := range x {
		best = min(best, f)
	}
	return canonical(best)
}
