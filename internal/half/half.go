package half

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// NaN is the one NaN that a conversion to float16 produces.
const NaN = float16.Float16(0x7E00)

// MaxFinite is the largest finite float16 value.
const MaxFinite = 65504

const (
	infinity = 0x7C00 // exponent field all ones, mantissa zero

	// From this magnitude on, a number rounds to infinity: 65520 is halfway
	// between the largest finite value and 2^16, and the tie goes to even.
	overflow32 = 0x477FF000
	overflow64 = 0x40EFFE0000000000

	// The smallest normal magnitude, 2^-14.
	normal32 = 0x38800000
	normal64 = 0x3F10000000000000
)

// FromFloat32 rounds f to float16, to nearest even. A NaN becomes NaN.
func FromFloat32(f float32) float16.Float16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	abs := bits & 0x7FFFFFFF
	switch {
	case abs >= overflow32:
		if abs > 0x7F800000 {
			return NaN
		}
		return float16.Float16(sign | infinity)
	case abs >= normal32:
		// Adding just under half a unit, or half a unit if the kept part is
		// odd, carries into it exactly when rounding goes up.
		abs += 0xFFF + abs>>13&1
		return float16.Float16(sign | uint16(abs>>13-(127-15)<<10))
	default:
		// Numbers of [0.5, 1) have the spacing of float16 subnormals, 2^-24, so
		// this addition is the rounding.
		sum := math.Float32frombits(abs) + 0.5
		return float16.Float16(sign | uint16(math.Float32bits(sum)-math.Float32bits(0.5)))
	}
}

// FromFloat64 rounds f to float16, to nearest even, in one step: there is no
// detour through float32. A NaN becomes NaN.
func FromFloat64(f float64) float16.Float16 {
	bits := math.Float64bits(f)
	sign := uint16(bits>>48) & 0x8000
	abs := bits & 0x7FFFFFFFFFFFFFFF
	switch {
	case abs >= overflow64:
		if abs > 0x7FF0000000000000 {
			return NaN
		}
		return float16.Float16(sign | infinity)
	case abs >= normal64:
		abs += 1<<41 - 1 + abs>>42&1
		return float16.Float16(sign | uint16(abs>>42-(1023-15)<<10))
	default:
		// Numbers of [2^28, 2^29) have the spacing 2^-24.
		const anchor = 1 << 28
		sum := math.Float64frombits(abs) + anchor
		return float16.Float16(sign | uint16(math.Float64bits(sum)-math.Float64bits(anchor)))
	}
}

// ToFloat32 widens h, which is exact. A NaN becomes quiet and keeps its sign
// and payload, as the processors' conversion instructions do.
func ToFloat32(h float16.Float16) float32 {
	sign := uint32(h&0x8000) << 16
	abs := uint32(h & 0x7FFF)
	switch {
	case abs >= infinity:
		if abs > infinity {
			abs |= 0x0200
		}
		return math.Float32frombits(sign | 0x7F800000 | abs<<13)
	case abs >= 0x0400:
		return math.Float32frombits(sign | (abs<<13 + (127-15)<<23))
	default:
		// A subnormal counts units of 2^-24.
		return math.Float32frombits(sign | math.Float32bits(float32(float32(abs)*0x1p-24)))
	}
}

// ToFloat64 widens h, which is exact.
func ToFloat64(h float16.Float16) float64 { return float64(ToFloat32(h)) }

// IsFinite says whether h is neither a NaN nor an infinity.
func IsFinite(h float16.Float16) bool { return h&infinity != infinity }

// FirstNonFinite returns the index of the first NaN or infinity in s, or -1.
func FirstNonFinite(s []float16.Float16) int {
	for i, h := range s {
		if h&infinity == infinity {
			return i
		}
	}
	return -1
}

// Encode rounds each element of src into dst, which must be at least as long.
func Encode(dst []float16.Float16, src []float32) {
	encode(dst[:len(src)], src)
}

// Decode widens each element of src into dst, which must be at least as long.
func Decode(dst []float32, src []float16.Float16) {
	decode(dst[:len(src)], src)
}

// Round replaces each element of x by the nearest float16 value, still held as
// a float32. A NaN becomes the float32 of NaN, 0x7FC00000.
func Round(x []float32) { round(x) }

// The portable loops have the common case, normal numbers that stay normal,
// in line; one unsigned comparison recognizes it.

func encodePortable(dst []float16.Float16, src []float32) {
	dst = dst[:len(src)]
	for i, f := range src {
		bits := math.Float32bits(f)
		if abs := bits & 0x7FFFFFFF; abs-normal32 < overflow32-normal32 {
			abs += 0xFFF + abs>>13&1
			dst[i] = float16.Float16(bits>>16&0x8000 | (abs>>13 - (127-15)<<10))
			continue
		}
		dst[i] = FromFloat32(f)
	}
}

func decodePortable(dst []float32, src []float16.Float16) {
	dst = dst[:len(src)]
	for i, h := range src {
		if abs := uint32(h & 0x7FFF); abs-0x0400 < infinity-0x0400 {
			dst[i] = math.Float32frombits(uint32(h&0x8000)<<16 | (abs<<13 + (127-15)<<23))
			continue
		}
		dst[i] = ToFloat32(h)
	}
}

func roundPortable(x []float32) {
	for i, f := range x {
		bits := math.Float32bits(f)
		if bits&0x7FFFFFFF-normal32 < overflow32-normal32 {
			x[i] = math.Float32frombits((bits + 0xFFF + bits>>13&1) &^ 0x1FFF)
			continue
		}
		x[i] = ToFloat32(FromFloat32(f))
	}
}

// FromBytes reads len(dst) little-endian float16 values from src, which must
// hold at least 2*len(dst) bytes.
func FromBytes(dst []float16.Float16, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = float16.Float16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// ToBytes writes src as little-endian float16 values to dst, which must hold at
// least 2*len(src) bytes.
func ToBytes(dst []byte, src []float16.Float16) {
	dst = dst[:2*len(src)]
	for i, h := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(h))
	}
}
