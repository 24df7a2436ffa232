package mlpackage

import (
	"fmt"

	"lockstep/internal/mil"
)

// subByteRange returns the values that an element of a sub-byte type can have.
func subByteRange(dt mil.DType) (low, high int8, err error) {
	width := dt.Bits()
	switch {
	case dt == mil.Int4:
		return -8, 7, nil
	case width == 0 || width >= 8:
		return 0, 0, fmt.Errorf("element type: wanted int4 or an unsigned type below 8 bits, found %v: %w", dt, ErrUnsupported)
	}
	return 0, 1<<width - 1, nil
}

// Pack packs elements of a sub-byte type (uint1, uint2, uint3, uint4, uint6,
// int4) as weight files and immediate values hold them: a little-endian stream
// of bits, element i from bit i*width on, int4 in two's complement, the unused
// bits of the last byte zero. A value out of range is ErrConvention.
func Pack(dt mil.DType, values []int8) ([]byte, error) {
	low, high, err := subByteRange(dt)
	if err != nil {
		return nil, err
	}
	width := dt.Bits()
	size, _ := packedSize(width, int64(len(values)))
	out := make([]byte, size)
	for i, v := range values {
		if v < low || v > high {
			return nil, fmt.Errorf("%v element %d: wanted %d to %d, found %d: %w", dt, i, low, high, v, ErrConvention)
		}
		bit := i * width
		wide := uint16(uint8(v)&(1<<width-1)) << (bit % 8)
		out[bit/8] |= byte(wide)
		if wide > 0xff {
			out[bit/8+1] |= byte(wide >> 8)
		}
	}
	return out, nil
}

// Unpack is the inverse of Pack for count elements. Packed bytes of another
// length, or with bits set after the last element, are ErrConvention.
func Unpack(dt mil.DType, packed []byte, count int) ([]int8, error) {
	if _, _, err := subByteRange(dt); err != nil {
		return nil, err
	}
	width := dt.Bits()
	t := mil.Tensor(dt, count)
	if size := (&mil.Literal{Type: t}).ByteSize(); size != len(packed) {
		return nil, fmt.Errorf("packed %v: wanted %d bytes, found %d: %w", t, size, len(packed), ErrConvention)
	}
	if wanted, found := paddingFault(t, packed); wanted != "" {
		return nil, fmt.Errorf("packed %v: wanted %s, found %s: %w", t, wanted, found, ErrConvention)
	}
	out := make([]int8, count)
	for i := range out {
		bit := i * width
		wide := uint16(packed[bit/8])
		if bit%8+width > 8 {
			wide |= uint16(packed[bit/8+1]) << 8
		}
		v := int8(wide >> (bit % 8) & (1<<width - 1))
		if dt == mil.Int4 && v > 7 {
			v -= 16
		}
		out[i] = v
	}
	return out, nil
}
