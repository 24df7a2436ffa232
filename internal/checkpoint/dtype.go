package checkpoint

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// DType is the type of a tensor's stored elements, spelled as its container
// does; safetensors and GGUF agree on F32, F16 and BF16.
type DType string

// The element types that weights may have.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	Q8_0 DType = "Q8_0" // GGUF: blocks of 32 int8 with one float16 scale
)

// Block is the number of elements that are stored together, along a row, and
// their bytes: (1, 4) for F32. Both are 0 for a type that weights cannot have.
func (d DType) Block() (elements, bytes int) {
	switch d {
	case F32:
		return 1, 4
	case F16, BF16:
		return 1, 2
	case Q8_0:
		return q8Elements, q8Bytes
	default:
		return 0, 0
	}
}

// decode converts little-endian elements to float32, which holds each of the
// types exactly, and returns the index of the first NaN or infinity, -1 if
// there is none. len(raw) is the bytes of len(dst) elements.
func (d DType) decode(dst []float32, raw []byte) int {
	switch d {
	case BF16:
		return decodeBF16(dst, raw)
	case F16:
		return decodeF16(dst, raw)
	case Q8_0:
		return decodeQ8(dst, raw)
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

// A Q8_0 block: a float16 scale, then 32 int8.
const (
	q8Elements = 32
	q8Bytes    = 2 + q8Elements
)

// decodeQ8 multiplies each int8 by its block's scale. The product has at most
// 18 significant bits and is exact. The index that it returns is a block's
// first element, since a scale that is not finite spoils them all.
func decodeQ8(dst []float32, raw []byte) int {
	bad := -1
	for i := 0; i+q8Elements <= len(dst); i += q8Elements {
		block := raw[i/q8Elements*q8Bytes:][:q8Bytes]
		bits := binary.LittleEndian.Uint16(block)
		if bits&0x7C00 == 0x7C00 && bad < 0 {
			bad = i
		}
		scale := float16.Frombits(bits).Float32()
		for j, q := range block[2:] {
			dst[i+j] = scale * float32(int8(q))
		}
	}
	return bad
}

// q8Scale is the scale of the block that holds element i.
func q8Scale(raw []byte, i int) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(raw[i/q8Elements*q8Bytes:])).Float32()
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
