package mlpackage

import (
	"fmt"
	"math"

	"lockstep/internal/mil"
)

// maxBytes bounds a blob's size so that no count of its bits overflows.
const maxBytes = math.MaxInt64 >> 8

// packedSize returns the bytes that count elements of the given width take and
// the bits left over in the last of them.
func packedSize(width int, count int64) (size int64, padding int) {
	total := count * int64(width)
	size = (total + 7) / 8
	return size, int(8*size - total)
}

// paddingFault says which bits are set after the last element of t's packed
// data, or "".
func paddingFault(t mil.Type, packed []byte) (wanted, found string) {
	width := t.DType.Bits()
	if width >= 8 || len(packed) == 0 {
		return "", ""
	}
	_, padding := packedSize(width, int64(mil.NumElements(t.Shape)))
	if last := packed[len(packed)-1]; last>>(8-padding) != 0 {
		return fmt.Sprintf("%d zero bits at the end of %v", padding, t), fmt.Sprintf("last byte %#02x", last)
	}
	return "", ""
}
