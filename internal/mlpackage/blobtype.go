package mlpackage

import (
	"fmt"

	"lockstep/internal/mil"
)

// BlobType is an element type as the weight file numbers it, which is not how
// MIL numbers it.
type BlobType uint32

// The element types of MIL blob storage v2.
const (
	BlobFloat16  BlobType = 1
	BlobFloat32  BlobType = 2
	BlobUInt8    BlobType = 3
	BlobInt8     BlobType = 4
	BlobBFloat16 BlobType = 5
	BlobInt16    BlobType = 6
	BlobUInt16   BlobType = 7
	BlobInt4     BlobType = 8
	BlobUInt1    BlobType = 9
	BlobUInt2    BlobType = 10
	BlobUInt4    BlobType = 11
	BlobUInt3    BlobType = 12
	BlobUInt6    BlobType = 13
	BlobInt32    BlobType = 14
	BlobUInt32   BlobType = 15
	BlobF8E4M3FN BlobType = 16
	BlobF8E5M2   BlobType = 17
)

// blobTypes describes each type; the MIL type is 0 where package mil has none.
var blobTypes = map[BlobType]struct {
	name string
	bits int
	mil  mil.DType
}{
	BlobFloat16:  {"fp16", 16, mil.Float16},
	BlobFloat32:  {"fp32", 32, mil.Float32},
	BlobUInt8:    {"uint8", 8, mil.UInt8},
	BlobInt8:     {"int8", 8, mil.Int8},
	BlobBFloat16: {"bf16", 16, 0},
	BlobInt16:    {"int16", 16, mil.Int16},
	BlobUInt16:   {"uint16", 16, mil.UInt16},
	BlobInt4:     {"int4", 4, mil.Int4},
	BlobUInt1:    {"uint1", 1, mil.UInt1},
	BlobUInt2:    {"uint2", 2, mil.UInt2},
	BlobUInt4:    {"uint4", 4, mil.UInt4},
	BlobUInt3:    {"uint3", 3, mil.UInt3},
	BlobUInt6:    {"uint6", 6, mil.UInt6},
	BlobInt32:    {"int32", 32, mil.Int32},
	BlobUInt32:   {"uint32", 32, mil.UInt32},
	BlobF8E4M3FN: {"f8e4m3fn", 8, 0},
	BlobF8E5M2:   {"f8e5m2", 8, 0},
}

// String is the type's name, or its number if there is no such type.
func (t BlobType) String() string {
	if info, ok := blobTypes[t]; ok {
		return info.name
	}
	return fmt.Sprintf("blob type %d", uint32(t))
}

// Bits is the size of an element, or 0 if there is no such type.
func (t BlobType) Bits() int { return blobTypes[t].bits }

// DType is the MIL type of the elements, or 0 if package mil has none.
func (t BlobType) DType() mil.DType { return blobTypes[t].mil }

// BlobTypeOf is the blob type for MIL type dt; false for types that are never
// stored in a weight file (bool, string).
func BlobTypeOf(dt mil.DType) (BlobType, bool) {
	for t, info := range blobTypes {
		if info.mil == dt && dt != 0 {
			return t, true
		}
	}
	return 0, false
}

// BlobSize returns the bytes that count elements of type t take in a weight
// file, and the unused bits of the last byte: the arguments of Layout.Add.
func BlobSize(t BlobType, count int64) (size int64, paddingBits int) {
	return packedSize(t.Bits(), count)
}
