package checkpoint

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// DType is the type of a tensor's stored elements, spelled as safetensors
// does.
type DType string

// The element types that weights may have.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// Size is the number of bytes of one element, 0 for a type that weights cannot
// have.
func (d DType) Size() int {
	switch d {
	case F32:
		return 4
	case F16, BF16:
		return 2
	default:
		return 0
	}
}

// decode converts little-endian elements to float32, which holds each of the
// types exactly, and returns the index of the first NaN or infinity, -1 if
// there is none. len(raw) is len(dst) elements.
func (d DType) decode(dst []float32, raw []byte) int {
	switch d {
	case BF16:
		return decodeBF16(dst, raw)
	case F16:
		return decodeF16(dst, raw)
	default:
		return decodeF32(dst, raw)
	}
}

func decodeF32(dst []float32, raw []byte) int {
	bad := -1
	for i := range dst {
		bits := binary.LittleEndian.Uint32(raw[4*i:])
		if bits&0x7F800000 == 0x7F800000 && bad < 0 {
			bad = i
		}
		dst[i] = math.Float32frombits(bits)
	}
	return bad
}

func decodeF16(dst []float32, raw []byte) int {
	bad := -1
	for i := range dst {
		bits := binary.LittleEndian.Uint16(raw[2*i:])
		if bits&0x7C00 == 0x7C00 && bad < 0 {
			bad = i
		}
		dst[i] = float16.Frombits(bits).Float32()
	}
	return bad
}

// decodeBF16 takes four elements at a time: real checkpoints are bfloat16, and
// an export passes each weight through here. Adding one to the exponent field
// of each lane carries into the cleared sign bit exactly if the field was all
// ones.
func decodeBF16(dst []float32, raw []byte) int {
	const exponents, one, signs = 0x7F80_7F80_7F80_7F80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000
	var carry uint64
	i := 0
	for ; i+4 <= len(dst); i += 4 {
		w := binary.LittleEndian.Uint64(raw[2*i : 2*i+8])
		carry |= w&exponents + one
		d := dst[i : i+4 : i+4]
		d[0] = math.Float32frombits(uint32(w) << 16)
		d[1] = math.Float32frombits(uint32(w) & 0xFFFF0000)
		d[2] = math.Float32frombits(uint32(w>>32) << 16)
		d[3] = math.Float32frombits(uint32(w>>32) & 0xFFFF0000)
	}
	tail := i
	for ; i < len(dst); i++ {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
	}
	if carry&signs != 0 {
		return firstNonFinite(dst)
	}
	if bad := firstNonFinite(dst[tail:]); bad >= 0 {
		return tail + bad
	}
	return -1
}

func firstNonFinite(x []float32) int {
	for i, v := range x {
		if math.Float32bits(v)&0x7F800000 == 0x7F800000 {
			return i
		}
	}
	return -1
}
