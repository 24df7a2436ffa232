package gguf

import "fmt"

// ValueType is the type of a key's value, numbered as the format does.
type ValueType uint32

// The value types.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

// valueTypes holds each type's name and the bytes of a value; a string is
// preceded by its length, and an array's size is in the file.
var valueTypes = [...]struct {
	name string
	size int
}{
	Uint8: {"uint8", 1}, Int8: {"int8", 1}, Uint16: {"uint16", 2}, Int16: {"int16", 2}, Uint32: {"uint32", 4},
	Int32: {"int32", 4}, Float32: {"float32", 4}, Bool: {"bool", 1}, String: {"string", 0}, Array: {"array", 0},
	Uint64: {"uint64", 8}, Int64: {"int64", 8}, Float64: {"float64", 8},
}

func (t ValueType) known() bool { return int(t) < len(valueTypes) }

// String is the type's name for messages.
func (t ValueType) String() string {
	if !t.known() {
		return fmt.Sprintf("value type %d", uint32(t))
	}
	return valueTypes[t].name
}

// Type is the type of a tensor's elements, numbered as ggml does.
type Type uint32

// The tensor types that hold plain numbers or the simplest blocks. Types
// without a constant here are known by name and size alone.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8
	BF16 Type = 30
)

// tensorTypes holds ggml's tensor types: elements and bytes of a block. The
// numbers left out were withdrawn by ggml.
var tensorTypes = map[Type]struct {
	name            string
	elements, bytes int64
}{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, Q8_0: {"Q8_0", 32, 34},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 9: {"Q8_1", 32, 40},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292}, 16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4},
	27: {"I64", 1, 8}, 28: {"F64", 1, 8}, 29: {"IQ1_M", 256, 56}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18},
}

// String is ggml's name of the type.
func (t Type) String() string {
	if known, ok := tensorTypes[t]; ok {
		return known.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// size is the number of bytes of a tensor. Dims are in the file's order, so
// blocks lie along the first. What is wrong with them otherwise is field, want
// and found.
func (t Type) size(dims []int) (size int64, field, want, found string) {
	block, ok := tensorTypes[t]
	if !ok {
		return 0, "type", "a tensor type of ggml", t.String()
	}
	const limit = 1 << 62
	n := int64(1)
	for _, d := range dims {
		if d < 1 {
			return 0, "dimensions", "at least 1 each", fmt.Sprint(dims)
		}
		if n > limit/block.bytes/int64(d) {
			return 0, "dimensions", "a size below 2^62 bytes", fmt.Sprint(dims)
		}
		n *= int64(d)
	}
	if int64(dims[0])%block.elements != 0 {
		return 0, "dimensions", fmt.Sprintf("a row length that is a multiple of the %d elements of a %s block", block.elements, t), fmt.Sprint(dims[0])
	}
	return n / block.elements * block.bytes, "", "", ""
}
