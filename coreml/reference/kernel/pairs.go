package kernel

import (
	"math"

	"lockstep/internal/elementary"
	"lockstep/internal/half"
)

// Pairs are the inner loops of an operation with two operands: vector by
// vector, and with the scalar on the right or on the left. A loop's slices are
// equally long. Elements are what Ints says of the operands' and the result's
// types.
type Pairs struct {
	VV func(dst, a, b []float32)
	VS func(dst, a []float32, b float32)
	SV func(dst []float32, a float32, b []float32)
}

// elements is how the elements of a type lie in a value.
type elements[T any] struct {
	of  func(v []float32) []T
	one func(v float32) T
}

var (
	float = elements[float32]{func(v []float32) []float32 { return v }, func(v float32) float32 { return v }}
	whole = elements[int32]{Ints, func(v float32) int32 { return int32(math.Float32bits(v)) }}
)

// pairs makes the loops of a function of two elements.
func pairs[T, R any](in elements[T], out elements[R], f func(a, b T) R) Pairs {
	return Pairs{
		VV: func(dst, a, b []float32) {
			to, x, y := out.of(dst), in.of(a), in.of(b)
			for i := range to {
				to[i] = f(x[i], y[i])
			}
		},
		VS: func(dst, a []float32, b float32) {
			to, x, y := out.of(dst), in.of(a), in.one(b)
			for i := range to {
				to[i] = f(x[i], y)
			}
		},
		SV: func(dst []float32, a float32, b []float32) {
			to, x, y := out.of(dst), in.one(a), in.of(b)
			for i := range to {
				to[i] = f(x, y[i])
			}
		},
	}
}

func floatPairs(f func(a, b float32) float32) Pairs {
	return pairs(float, float, func(a, b float32) float32 { return canonical(f(a, b)) })
}

// PairsFloat32 gives the loops of add, sub, mul, real_div, maximum, minimum or
// pow of any float32 values, rounded once to float32; ok is false for another
// operation. maximum and minimum are Max and Min. pow is that of PowHalf
// but for the type it is rounded to.
func PairsFloat32(op string) (p Pairs, ok bool) {
	switch op {
	case "add":
		return floatPairs(func(a, b float32) float32 { return a + b }), true
	case "sub":
		return floatPairs(func(a, b float32) float32 { return a - b }), true
	case "mul":
		return floatPairs(func(a, b float32) float32 { return a * b }), true
	case "real_div":
		return floatPairs(func(a, b float32) float32 { return a / b }), true
	case "maximum":
		return floatPairs(func(a, b float32) float32 { return max(a, b) }), true
	case "minimum":
		return floatPairs(func(a, b float32) float32 { return min(a, b) }), true
	case "pow":
		return floatPairs(func(a, b float32) float32 { return float32(power(float64(a), float64(b))) }), true
	}
	return Pairs{}, false
}

// PowHalf gives the loops of pow of float16 values: a^b in float64 with a
// relative error below 2^-50, rounded once to float16. Special operands give
// what C's pow gives.
func PowHalf() Pairs {
	return floatPairs(func(a, b float32) float32 { return halfOf(power(float64(a), float64(b))) })
}

// power extends elementary.Pow to negative a, which have a power if b is whole.
// A square is exact.
func power(a, b float64) float64 {
	if b == 2 {
		return a * a
	}
	if !(a < 0 || a == 0 && math.Signbit(a)) || b == 0 {
		return elementary.Pow(a, b)
	}
	integral := math.Floor(b) == b // infinities are, and even
	if !integral && a != 0 && a >= -math.MaxFloat64 {
		return math.NaN()
	}
	if a == -1 && math.IsInf(b, 0) {
		return 1
	}
	size := elementary.Pow(-a, b)
	if integral && math.Abs(b) < 1<<53 && math.Mod(b, 2) != 0 {
		return -size
	}
	return size
}

// halfOf is f rounded to float16.
func halfOf(f float64) float32 { return half.ToFloat32(half.FromFloat64(f)) }

// PairsInt32 gives the loops of add, sub, mul, maximum or minimum of int32
// values: exact modulo 2^32, as two's complement wraps; ok is false for another
// operation.
func PairsInt32(op string) (p Pairs, ok bool) {
	var f func(a, b int32) int32
	switch op {
	case "add":
		f = func(a, b int32) int32 { return a + b }
	case "sub":
		f = func(a, b int32) int32 { return a - b }
	case "mul":
		f = func(a, b int32) int32 { return a * b }
	case "maximum":
		f = func(a, b int32) int32 { return max(a, b) }
	case "minimum":
		f = func(a, b int32) int32 { return min(a, b) }
	default:
		return Pairs{}, false
	}
	return pairs(whole, whole, f), true
}

// ComparePairs gives the loops of greater_equal, less or equal, of int32 values
// or of floats, whose results are bool values; ok is false for another
// operation. NaN is none of the three to anything, and -0 equals +0.
func ComparePairs(op string, ints bool) (p Pairs, ok bool) {
	switch op {
	case "greater_equal":
		return comparison(ints, func(a, b float32) bool { return a >= b }, func(a, b int32) bool { return a >= b }), true
	case "less":
		return comparison(ints, func(a, b float32) bool { return a < b }, func(a, b int32) bool { return a < b }), true
	case "equal":
		return comparison(ints, func(a, b float32) bool { return a == b }, func(a, b int32) bool { return a == b }), true
	}
	return Pairs{}, false
}

func comparison(ints bool, ofFloats func(a, b float32) bool, ofInts func(a, b int32) bool) Pairs {
	if ints {
		return pairs(whole, whole, func(a, b int32) int32 { return word(ofInts(a, b)) })
	}
	return pairs(float, whole, func(a, b float32) int32 { return word(ofFloats(a, b)) })
}
