package kernel

import (
	"math"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/internal/half"
)

// Ints shows the memory of a value as int32. Values of every element type
// travel as float32 slices; the elements of an integer or bool value are the 32
// bits of an int32, not float32 numbers, which end being exact at 2^24. Loads
// and stores keep all bits, so what only moves elements need not know which
// they are.
func Ints(v []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}

// Canonicalize replaces any NaN in x by the one NaN.
func Canonicalize(x []float32) { canonicalize(x) }

// IntsToHalves sets dst[i] to float16(src[i]), rounded once; unsigned says how
// src's bits are read. Here and below the two are equally long.
func IntsToHalves(dst []float32, src []int32, unsigned bool) {
	for i, n := range src[:len(dst)] {
		dst[i] = halfOf(number(n, unsigned))
	}
}

// EncodeInts sets dst[i] to src[i] as IntsToHalves has it, as float16 bits.
func EncodeInts(dst []float16.Float16, src []int32, unsigned bool) {
	for i, n := range src[:len(dst)] {
		dst[i] = half.FromFloat64(number(n, unsigned))
	}
}

// IntsToFloats sets dst[i] to float32(src[i]), rounded once.
func IntsToFloats(dst []float32, src []int32, unsigned bool) {
	for i, n := range src[:len(dst)] {
		dst[i] = float32(number(n, unsigned))
	}
}

func number(n int32, unsigned bool) float64 {
	if unsigned {
		return float64(uint32(n))
	}
	return float64(n)
}

// FloatsToHalves sets dst[i] to float16(src[i]), rounded once.
func FloatsToHalves(dst, src []float32) {
	copy(dst, src[:len(dst)])
	half.Round(dst)
}

// FloatsToInts sets dst[i] to src[i] without its fraction, to low or high if it
// lies beyond them, and to 0 if it is NaN.
func FloatsToInts(dst []int32, src []float32, low, high int32) {
	for i, f := range src[:len(dst)] {
		switch n := math.Trunc(float64(f)); {
		case n != n:
			dst[i] = 0
		case n <= float64(low):
			dst[i] = low
		case n >= float64(high):
			dst[i] = high
		default:
			dst[i] = int32(n)
		}
	}
}

// WrapInts sets dst[i] to the number of so many low bits of src[i].
func WrapInts(dst, src []int32, bits int, signed bool) {
	shift := 32 - bits
	for i, n := range src[:len(dst)] {
		if signed {
			dst[i] = n << shift >> shift
		} else {
			dst[i] = int32(uint32(n) << shift >> shift)
		}
	}
}

// FloatsToBools sets dst[i] to 1, or to 0 if src[i] is a zero. NaN is not.
func FloatsToBools(dst []int32, src []float32) {
	for i, f := range src[:len(dst)] {
		dst[i] = word(f != 0)
	}
}

// IntsToBools sets dst[i] to 1, or to 0 if src[i] is 0.
func IntsToBools(dst, src []int32) {
	for i, n := range src[:len(dst)] {
		dst[i] = word(n != 0)
	}
}

// word is a bool as it travels.
func word(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// SquareInt32 sets each dst[i] to the product of src[i] with itself, which
// wraps. Both hold int32 values, as Ints says.
func SquareInt32(dst, src []float32) {
	to := Ints(dst)
	for i, n := range Ints(src) {
		to[i] = n * n
	}
}

// AbsInt32 sets each dst[i] to the magnitude of src[i]; that of the least int32
// wraps to itself. Both hold int32 values, as Ints says.
func AbsInt32(dst, src []float32) {
	to := Ints(dst)
	for i, n := range Ints(src) {
		to[i] = max(n, -n)
	}
}
