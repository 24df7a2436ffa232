package mil

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxElements bounds the product of a shape's dimensions, so that a count
	// of elements, bytes or bits, and a sum of two of them, fit in an int.
	maxElements = math.MaxInt >> 8
	// maxRank bounds the work of checking a hostile program. It is far above
	// what Core ML takes; that limit is a lint rule.
	maxRank = 32
)

var dtypeNames = map[DType]string{
	Bool: "bool", String: "string", Float16: "fp16", Float32: "fp32",
	Int4: "int4", Int8: "int8", Int16: "int16", Int32: "int32",
	UInt1: "uint1", UInt2: "uint2", UInt3: "uint3", UInt4: "uint4",
	UInt6: "uint6", UInt8: "uint8", UInt16: "uint16", UInt32: "uint32",
}

// Known reports whether d is one of the element types above.
func (d DType) Known() bool { return dtypeNames[d] != "" }

// String is the short name that MIL's cast op uses ("fp16", "int32").
func (d DType) String() string {
	if s := dtypeNames[d]; s != "" {
		return s
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// Bits is the storage size of one element in bits: 1 to 6 for packed types, 8
// for bool, and 0 for string and unknown types, which have no fixed size.
func (d DType) Bits() int {
	switch d {
	case UInt1:
		return 1
	case UInt2:
		return 2
	case UInt3:
		return 3
	case Int4, UInt4:
		return 4
	case UInt6:
		return 6
	case Bool, Int8, UInt8:
		return 8
	case Float16, Int16, UInt16:
		return 16
	case Float32, Int32, UInt32:
		return 32
	}
	return 0
}

// Tensor is the type of a tensor; without dimensions, of a scalar.
func Tensor(d DType, shape ...int) Type { return Type{DType: d, Shape: shape} }

// Equal reports whether both types have the same element type and shape and
// are both tensors or both states.
func (t Type) Equal(u Type) bool {
	return t.DType == u.DType && t.State == u.State && slices.Equal(t.Shape, u.Shape)
}

// String writes a type as "fp16[1,3072,1,4]", a scalar as "fp16" and a state
// as "state<fp16[1,8,4096,128]>".
func (t Type) String() string {
	s := t.DType.String()
	if len(t.Shape) > 0 {
		s += formatShape(t.Shape)
	}
	if t.State {
		s = "state<" + s + ">"
	}
	return s
}

func formatShape(shape []int) string {
	if len(shape) > maxRank {
		return fmt.Sprintf("[rank %d]", len(shape))
	}
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.Itoa(d)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// NumElements is the product of the dimensions: 1 for a scalar, and -1 for a
// shape that CheckShape refuses.
func NumElements(shape []int) int {
	if CheckShape(shape) != nil {
		return -1
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// CheckShape refuses, with ErrShape, a negative dimension, a rank above 32,
// and a shape whose number of elements does not fit comfortably in an int
// (zero dimensions do not hide an overflow of the others).
func CheckShape(shape []int) error {
	if len(shape) > maxRank {
		return &Error{Kind: ErrShape, Wanted: fmt.Sprintf("rank at most %d", maxRank), Found: fmt.Sprintf("rank %d", len(shape))}
	}
	n := 1
	for i, d := range shape {
		if d < 0 {
			return &Error{Kind: ErrShape, Wanted: fmt.Sprintf("dimension %d at least 0", i), Found: formatShape(shape)}
		}
		if d == 0 {
			continue
		}
		if d > maxElements/n {
			return &Error{Kind: ErrShape, Wanted: fmt.Sprintf("at most %d elements", maxElements), Found: formatShape(shape)}
		}
		n *= d
	}
	return nil
}

// checkValueType refuses types that no run-time value can have.
func checkValueType(t Type) error {
	if !t.DType.Known() || t.DType == String {
		return &Error{Kind: ErrType, Wanted: "a numeric or bool element type", Found: t.DType.String()}
	}
	return checkPositive(t.Shape)
}

// checkPositive also refuses zero dimensions: only const vectors may be empty.
func checkPositive(shape []int) error {
	if err := CheckShape(shape); err != nil {
		return err
	}
	if slices.Contains(shape, 0) {
		return &Error{Kind: ErrShape, Wanted: "dimensions of at least 1", Found: formatShape(shape)}
	}
	return nil
}
