package mil

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func TestLiterals(t *testing.T) {
	halves := []float16.Float16{0x3C00, 0xBC00}
	for _, c := range []struct {
		name string
		got  Literal
		want Literal
		size int
		text string
	}{
		{"ints", Int32s(1, -2), Literal{Type: i32(2), Ints: []int32{1, -2}}, 8, "{1, -2}"},
		{"no ints", Int32s(), Literal{Type: i32(0), Ints: []int32{}}, 0, "{}"},
		{"int", Int32Scalar(0), Literal{Type: Tensor(Int32), Ints: []int32{0}}, 4, "0"},
		{"bools", Bools(true, false), Literal{Type: b1(2), Bools: []bool{true, false}}, 2, "{true, false}"},
		{"bool", BoolScalar(false), Literal{Type: Tensor(Bool), Bools: []bool{false}}, 1, "false"},
		{"string", StringScalar("a\nb"), Literal{Type: Tensor(String), Strings: []string{"a\nb"}}, -1, `"a\nb"`},
		{"half", Half(0xBC00), Literal{Type: Tensor(Float16), Bytes: []byte{0x00, 0xBC}}, 2, "-1"},
		{"halves", Halfs([]int{2, 1}, halves), Literal{Type: f16(2, 1), Bytes: []byte{0x00, 0x3C, 0x00, 0xBC}}, 4, "{1, -1}"},
		{"int16 limits", Literal{Type: Tensor(Int16, 2), Ints: []int32{-32768, 32767}}, Literal{Ints: []int32{-32768, 32767}}, 4, "{-32768, 32767}"},
		{"uint16 limits", Literal{Type: Tensor(UInt16, 2), Ints: []int32{0, 65535}}, Literal{Ints: []int32{0, 65535}}, 4, "{0, 65535}"},
		{"blob", Blob(Int8, []int{3, 5}, 64), Literal{Type: Tensor(Int8, 3, 5), Blob: &BlobRef{WeightFile, 64}}, 15, "blob@64"},
		{"packed blob", Blob(UInt3, []int{3, 1}, 128), Literal{Type: Tensor(UInt3, 3, 1), Blob: &BlobRef{WeightFile, 128}}, 2, "blob@128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want.Type.DType != 0 {
				assert.True(t, c.want.Type.Equal(c.got.Type), c.got.Type.String())
			}
			c.want.Type = c.got.Type // whose empty Shape may be nil or not
			assert.Equal(t, c.want, c.got)
			require.NoError(t, c.got.Check())
			assert.Equal(t, c.size, c.got.ByteSize())
			assert.Equal(t, c.text, formatLiteral(&c.got))
		})
	}
}

// Bit packing is LSB first; the examples are the bytes of real weight files.
func TestPackedElements(t *testing.T) {
	for _, c := range []struct {
		d     DType
		bytes []byte
		want  string
	}{
		{UInt4, []byte{0x21, 0x43, 0x05}, "{1, 2, 3, 4, 5}"},
		{Int4, []byte{0x8f, 0x07}, "{-1, -8, 7, 0}"},
		{UInt6, []byte{0x81, 0x30, 0x10, 0x05}, "{1, 2, 3, 4, 5}"},
		{UInt3, []byte{0xd1, 0x58}, "{1, 2, 3, 4, 5}"},
		{UInt2, []byte{0x39, 0x01}, "{1, 2, 3, 0, 1}"},
		{UInt1, []byte{0x05}, "{1, 0, 1}"},
		{Int8, []byte{0xff, 0x7f}, "{-1, 127}"},
		{UInt8, []byte{0xff, 0x7f}, "{255, 127}"},
	} {
		n := map[DType]int{Int4: 4, UInt1: 3, Int8: 2, UInt8: 2}[c.d]
		if n == 0 {
			n = 5
		}
		lit := Literal{Type: Tensor(c.d, n), Bytes: c.bytes}
		require.NoError(t, lit.Check(), c.d)
		assert.Equal(t, c.want, formatLiteral(&lit), c.d.String())
	}
}

func TestLiteralCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		lit  Literal
		err  error
	}{
		{"no data", Literal{Type: i32(2)}, ErrLiteral},
		{"too few", Literal{Type: i32(2), Ints: []int32{1}}, ErrLiteral},
		{"too many", Literal{Type: Tensor(Int32), Ints: []int32{1, 2}}, ErrLiteral},
		{"wrong field", Literal{Type: i32(1), Floats: []float32{1}}, ErrLiteral},
		{"two fields", Literal{Type: i32(1), Ints: []int32{1}, Floats: []float32{1}}, ErrLiteral},
		{"data of an empty vector", Literal{Type: i32(0), Bools: []bool{true}}, ErrLiteral},
		{"half in floats", Literal{Type: f16(1), Floats: []float32{1}}, ErrLiteral},
		{"half bytes", Literal{Type: f16(2), Bytes: []byte{0, 0, 0}}, ErrLiteral},
		{"packed bytes", Literal{Type: Tensor(UInt3, 3), Bytes: []byte{0}}, ErrLiteral},
		{"int16 out of range", Literal{Type: Tensor(Int16, 1), Ints: []int32{32768}}, ErrLiteral},
		{"int16 below", Literal{Type: Tensor(Int16, 1), Ints: []int32{-32769}}, ErrLiteral},
		{"uint16 above", Literal{Type: Tensor(UInt16, 1), Ints: []int32{65536}}, ErrLiteral},
		{"uint16 negative", Literal{Type: Tensor(UInt16, 1), Ints: []int32{-1}}, ErrLiteral},
		{"int32 constructor out of range", Int32s(math.MaxInt32 + 1), ErrLiteral},
		{"int32 scalar out of range", Int32Scalar(math.MinInt32 - 1), ErrLiteral},
		{"unknown element type", Literal{Type: Tensor(99), Bytes: []byte{0}}, ErrLiteral},
		{"state", Literal{Type: state(i32()), Ints: []int32{1}}, ErrLiteral},
		{"blob and immediate", Literal{Type: i32(1), Blob: &BlobRef{WeightFile, 64}, Ints: []int32{1}}, ErrLiteral},
		{"blob of bools", Blob(Bool, []int{16}, 64), ErrLiteral},
		{"blob of strings", Blob(String, []int{16}, 64), ErrLiteral},
		{"empty blob", Blob(Float16, []int{0}, 64), ErrLiteral},
		{"blob without a file", Literal{Type: f16(1), Blob: &BlobRef{Offset: 64}}, ErrLiteral},
		{"zero dimension at rank 2", Literal{Type: i32(0, 2)}, ErrShape},
		{"negative dimension", Literal{Type: i32(-1)}, ErrShape},
		{"overflow", Blob(Float16, []int{1 << 40, 1 << 40}, 64), ErrShape},
		{"overflow behind a zero", Literal{Type: i32(0, 1<<40, 1<<40)}, ErrShape},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, c.lit.Check(), c.err)
			b := NewBuilder("f", opset)
			b.Const("c", c.lit)
			var e *Error
			require.ErrorAs(t, b.Err(), &e)
			require.ErrorIs(t, e, c.err)
			assert.Equal(t, []string{"f", "c", "val"}, []string{e.Function, e.Op, e.Param})
		})
	}
}

func TestNumElements(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  int
	}{
		{nil, 1},
		{[]int{1, 3072, 1, 4}, 12288},
		{[]int{3, 0, 2}, 0},
		{[]int{-1}, -1},
		{[]int{maxElements}, maxElements},
		{[]int{maxElements, 2}, -1},
		{[]int{maxElements + 1}, -1},
		{[]int{1 << 32, 1 << 32}, -1},
		{[]int{0, 1 << 32, 1 << 32}, -1},
		{make([]int, maxRank+1), -1},
	} {
		assert.Equal(t, c.want, NumElements(c.shape), formatShape(c.shape))
	}
}

func TestTypeString(t *testing.T) {
	assert.Equal(t, "fp16[1,3072,1,4]", f16(1, 3072, 1, 4).String())
	assert.Equal(t, "int32", i32().String())
	assert.Equal(t, "state<fp16[1,8,32,128]>", state(f16(1, 8, 32, 128)).String())
	assert.Equal(t, "dtype(7)[2]", Tensor(7, 2).String())
}

// Every element type has a name and, but for string, a size.
func TestDTypes(t *testing.T) {
	known := 0
	for d := range DType(64) {
		if d.Known() {
			known++
			assert.Equal(t, d != String, d.Bits() > 0, d.String())
		} else {
			assert.Zero(t, d.Bits(), d.String())
		}
	}
	assert.Equal(t, 16, known)
}
