package mil

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/x448/float16"
)

// WeightFile is the file name of every blob reference, as Core ML spells the
// package's weight file.
const WeightFile = "@model_path/weights/weight.bin"

// Int32s is an int32 vector. Values outside int32 give a literal that every
// check refuses (its data is missing), so they surface where it is used.
func Int32s(values ...int) Literal {
	lit := Literal{Type: Tensor(Int32, len(values))}
	lit.Ints = toInt32(values)
	return lit
}

// Int32Scalar is a rank-0 int32. See Int32s for values outside int32.
func Int32Scalar(value int) Literal {
	return Literal{Type: Tensor(Int32), Ints: toInt32([]int{value})}
}

func toInt32(values []int) []int32 {
	out := make([]int32, len(values))
	for i, v := range values {
		if v < math.MinInt32 || v > math.MaxInt32 {
			return nil
		}
		out[i] = int32(v)
	}
	return out
}

// Bools is a bool vector.
func Bools(values ...bool) Literal {
	return Literal{Type: Tensor(Bool, len(values)), Bools: append([]bool{}, values...)}
}

// BoolScalar is a rank-0 bool.
func BoolScalar(value bool) Literal {
	return Literal{Type: Tensor(Bool), Bools: []bool{value}}
}

// StringScalar is a rank-0 string.
func StringScalar(value string) Literal {
	return Literal{Type: Tensor(String), Strings: []string{value}}
}

// Half is a rank-0 float16.
func Half(value float16.Float16) Literal {
	return Halfs(nil, []float16.Float16{value})
}

// Halfs is a float16 tensor of the given shape, data in row-major order.
func Halfs(shape []int, data []float16.Float16) Literal {
	bytes := make([]byte, 0, 2*len(data))
	for _, h := range data {
		bytes = binary.LittleEndian.AppendUint16(bytes, h.Bits())
	}
	return Literal{Type: Tensor(Float16, append([]int(nil), shape...)...), Bytes: bytes}
}

// Blob is a tensor whose data stands in the weight file; offset is that of the
// blob's metadata record.
func Blob(dt DType, shape []int, offset uint64) Literal {
	return Literal{
		Type: Tensor(dt, append([]int(nil), shape...)...),
		Blob: &BlobRef{File: WeightFile, Offset: offset},
	}
}

// ByteSize is the number of bytes of the data as a weight file stores it, with
// sub-byte types packed. It is -1 for strings and for invalid types.
func (l *Literal) ByteSize() int {
	bits, n := l.Type.DType.Bits(), NumElements(l.Type.Shape)
	if bits == 0 || n < 0 {
		return -1
	}
	return (n*bits + 7) / 8
}

// Check says whether the data has the storage and the length that the type
// asks for. It cannot see into the weight file.
func (l *Literal) Check() error {
	if l.Type.State || !l.Type.DType.Known() {
		return &Error{Kind: ErrLiteral, Wanted: "a tensor of a known element type", Found: l.Type.String()}
	}
	if err := CheckShape(l.Type.Shape); err != nil {
		return err
	}
	if len(l.Type.Shape) != 1 {
		if err := checkPositive(l.Type.Shape); err != nil {
			return err
		}
	}
	if l.Blob != nil {
		return l.checkBlob()
	}
	field, n := l.storage()
	wanted := fmt.Sprintf("%d %s", n, field)
	if n == 0 {
		wanted = noData
	}
	if found := l.stored(); found != wanted {
		return &Error{Kind: ErrLiteral, Wanted: wanted + " for " + l.Type.String(), Found: found}
	}
	return l.checkRange()
}

const noData = "no data"

// stored says how many elements of which fields an immediate has.
func (l *Literal) stored() string {
	var found []string
	for _, f := range []struct {
		field  string
		length int
	}{
		{"ints", len(l.Ints)},
		{"floats", len(l.Floats)},
		{"bools", len(l.Bools)},
		{"strings", len(l.Strings)},
		{"bytes", len(l.Bytes)},
	} {
		if f.length > 0 {
			found = append(found, fmt.Sprintf("%d %s", f.length, f.field))
		}
	}
	if len(found) == 0 {
		return noData
	}
	return strings.Join(found, " and ")
}

// storage gives the field that holds an immediate of this type, and its length.
func (l *Literal) storage() (field string, length int) {
	n := NumElements(l.Type.Shape)
	switch l.Type.DType {
	case Int16, Int32, UInt16, UInt32:
		return "ints", n
	case Float32:
		return "floats", n
	case Bool:
		return "bools", n
	case String:
		return "strings", n
	}
	return "bytes", l.ByteSize()
}

func (l *Literal) checkBlob() error {
	if l.Type.DType == Bool || l.Type.DType == String || NumElements(l.Type.Shape) == 0 {
		return &Error{Kind: ErrLiteral, Wanted: "an immediate (bool, string and empty values are never in the weight file)", Found: "blob of " + l.Type.String()}
	}
	if found := l.stored(); found != noData {
		return &Error{Kind: ErrLiteral, Wanted: "no data beside the blob", Found: found}
	}
	if l.Blob.File == "" {
		return &Error{Kind: ErrLiteral, Wanted: "a file name in the blob reference", Found: `""`}
	}
	return nil
}

// checkRange refuses 16-bit immediates, which travel as int32, that do not fit.
func (l *Literal) checkRange() error {
	low, high := int32(math.MinInt32), int32(math.MaxInt32)
	switch l.Type.DType {
	case Int16:
		low, high = math.MinInt16, math.MaxInt16
	case UInt16:
		low, high = 0, math.MaxUint16
	}
	for i, v := range l.Ints {
		if v < low || v > high {
			return &Error{Kind: ErrLiteral, Wanted: fmt.Sprintf("element %d in %d..%d", i, low, high), Found: fmt.Sprint(v)}
		}
	}
	return nil
}

// float32At reads element i of a float16 or float32 immediate, exactly.
func (l *Literal) float32At(i int) float32 {
	if l.Type.DType == Float32 {
		return l.Floats[i]
	}
	return float16.Frombits(binary.LittleEndian.Uint16(l.Bytes[2*i:])).Float32()
}
