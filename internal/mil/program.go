package mil

// DType is an element type, numbered as MILSpec.DataType numbers it.
type DType uint8

// The element types that lockstep's programs and its op table use.
const (
	Bool    DType = 1
	String  DType = 2
	Float16 DType = 10
	Float32 DType = 11
	Int8    DType = 21
	Int16   DType = 22
	Int32   DType = 23
	Int4    DType = 25
	UInt8   DType = 31
	UInt16  DType = 32
	UInt32  DType = 33
	UInt4   DType = 35
	UInt2   DType = 36
	UInt1   DType = 37
	UInt6   DType = 38
	UInt3   DType = 39
)

// Type is the type of a value: a tensor of static shape, or a state that wraps
// one. A scalar is a tensor of rank 0 (Shape empty).
type Type struct {
	DType DType
	Shape []int
	State bool
}

// Value is a named, typed value: a function input, a state, or an op's output.
type Value struct {
	Name string
	Type Type
}

// Program is the body of an ML Program model.
type Program struct {
	Functions []*Function // sorted by name
}

// Function is one function of a program, with the single block that its opset
// selects.
type Function struct {
	Name    string
	Opset   string  // for example "CoreML8"
	Inputs  []Value // tensors and states in declared order
	Ops     []*Op   // in def-before-use order
	Outputs []string
}

// OpCounts counts the function's operations by type.
func (f *Function) OpCounts() map[string]int {
	counts := map[string]int{}
	for _, op := range f.Ops {
		counts[op.Type]++
	}
	return counts
}

// Op is one operation. Every op has a Name (attribute "name"); a const has its
// value in Val and no arguments.
type Op struct {
	Type    string // without dialect, for example "conv"
	Name    string
	Args    []Argument // sorted by Param
	Outputs []Value
	Val     *Literal // const only
}

// Argument binds a parameter to one value, or to several for a variadic one
// (concat's values).
type Argument struct {
	Param    string
	Bindings []Binding
}

// Binding is either the name of a value or a literal written in place.
type Binding struct {
	Name    string
	Literal *Literal
}

// Literal is a compile-time value. Exactly one of the data fields is set, by
// Type.DType and storage:
//
//   - Blob: a record of the weight file;
//   - Ints: int32, and int16/uint16/uint32 immediates;
//   - Floats: float32; Bools: bool; Strings: string;
//   - Bytes: float16 (little-endian), int8, uint8 and packed sub-byte types.
type Literal struct {
	Type    Type
	Blob    *BlobRef
	Ints    []int32
	Floats  []float32
	Bools   []bool
	Strings []string
	Bytes   []byte
}

// BlobRef points at a blob's metadata record in a weight file (facts: MIL blob
// storage v2; Offset is that of the metadata, never of the data).
type BlobRef struct {
	File   string // "@model_path/weights/weight.bin"
	Offset uint64
}
