package reference_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// TestForeignOps compares the ops that lockstep's own packages do not have
// with their naive meaning, bit for bit.
func TestForeignOps(t *testing.T) {
	each(t, "linear", 48, func(s *sample) []string { return linear(t, s) })
	each(t, "conv_constexpr", 24, func(s *sample) []string { return convConstexpr(t, s) })
	each(t, "slice_by_size", 40, sliceBySize)
	each(t, "slice_update", 64, sliceUpdate)
	each(t, "tile", 40, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		x := s.tensor(shape...)
		y := s.op("tile", mil.Arg("x", x), mil.Lit("reps", mil.Int32s(s.ints(len(shape), 1, 3)...)))
		return []string{y, s.op("abs", mil.Arg("x", x))}
	})
	each(t, "identity", 16, func(s *sample) []string {
		x := s.tensor(s.shapeOf(0, 4)...)
		y := s.op("identity", mil.Arg("x", x))
		return []string{y, s.op("silu", mil.Arg("x", y)), x}
	})
	each(t, "dequantize", 96, func(s *sample) []string {
		shape := s.shapeOf(1, 6)
		w := s.blocks(t, shape)
		return []string{s.op("mul", mil.Arg("x", s.input(shape...)), mil.Arg("y", w)), w}
	})
	each(t, "palette", 96, func(s *sample) []string {
		shape := s.shapeOf(1, 5)
		w := s.palette(t, shape)
		return []string{s.op("mul", mil.Arg("x", s.input(shape...)), mil.Arg("y", w)), w}
	})
	each(t, "scale_of_weight", 24, func(s *sample) []string {
		shape := s.shape(s.between(1, 3), 4)
		return []string{s.op("constexpr_blockwise_shift_scale",
			mil.Inline("data", s.integers(t, mil.UInt8, shape)), mil.Arg("scale", s.quantized(shape...)), mil.Arg("offset", s.palette(t, shape)))}
	})
}

// TestSquareByPow squares every finite value.
func TestSquareByPow(t *testing.T) {
	var all []float16.Float16
	for i := range 1 << 16 {
		if h := float16.Float16(i); half.IsFinite(h) {
			all = append(all, h)
		}
	}
	s := newSample("pow")
	x, two := s.Const("all", s.blobs.halfs([]int{len(all)}, all)), mil.Halfs([]int{1}, []float16.Float16{0x4000})
	s.run(t, s.op("pow", mil.Arg("x", x), mil.Lit("y", mil.Half(0x4000))), s.op("pow", mil.Arg("x", s.input(2, 3)), mil.Lit("y", two)))
}

// TestRsqrtOfTiny has a float32 epsilon that float16 rounds to 0.
func TestRsqrtOfTiny(t *testing.T) {
	s := newSample("rsqrt tiny")
	epsilon := mil.Lit("epsilon", mil.Literal{Type: mil.Tensor(mil.Float32), Floats: []float32{1e-12}})
	x := s.Const("x", mil.Halfs([]int{4}, []float16.Float16{0, 1, 0x3C00, 0x7BFF}))
	f, err := s.Finish(s.op("rsqrt", epsilon, mil.Arg("x", x)))
	require.NoError(t, err)
	fn := openFunction(t, openPackage(t, writePackage(t, nil, f)), f.Name)
	out := tensors(fn.Signature().Outputs)
	_ = fn.Predict(t.Context(), tensors(fn.Signature().Inputs), nil, out) // 1/sqrt(1e-12) is no float16
	require.Equal(t, []float16.Float16{0x7C00, half.FromFloat64(1 / math.Sqrt(0x1p-24+float64(float32(1e-12)))), 0x3C00, half.FromFloat64(1 / math.Sqrt(65504))},
		out[f.Outputs[0]].Data)
}

// TestWeightValues has one element of each kind, by hand.
func TestWeightValues(t *testing.T) {
	halfs := func(shape []int, values ...float64) mil.Literal {
		var out []float16.Float16
		for _, v := range values {
			out = append(out, half.FromFloat64(v))
		}
		return mil.Halfs(shape, out)
	}
	s := newSample("by hand")
	dequantize := func(d mil.DType, shape []int, data []byte, scale mil.Literal, args ...mil.Operand) string {
		lit := mil.Literal{Type: mil.Tensor(d, shape...), Bytes: data}
		return s.op("constexpr_blockwise_shift_scale", append(args, mil.Inline("data", lit), mil.Inline("scale", scale))...)
	}
	int4 := dequantize(mil.Int4, []int{1, 4}, []byte{0x8F, 0x07}, halfs([]int{1, 2}, 2, 0.5)) // -1, -8, 7, 0
	offset := mil.Inline("offset", mil.Literal{Type: mil.Tensor(mil.UInt8, 2, 1), Bytes: []byte{128, 255}})
	uint8 := dequantize(mil.UInt8, []int{2, 2}, []byte{0, 255, 0, 255}, halfs([]int{2, 1}, 1, 2), offset)
	lut := s.op("constexpr_lut_to_dense", mil.Inline("indices", mil.Literal{Type: mil.Tensor(mil.UInt2, 4), Bytes: []byte{0x39}}), // 1, 2, 3, 0
		mil.Inline("lut", halfs([]int{2, 4, 1}, 10, 11, 12, 13, 20, 21, 22, 23)))
	// 1.0009765625 times 3.00048828125 is 3.0034184, which float16 has as
	// 3.00390625; of the difference as float16, 3, it would be 3.0029296875 and
	// so, midway, 3.00390625 or 3.001953125: to even, the latter.
	once := dequantize(mil.Int8, []int{1}, []byte{3}, halfs([]int{1}, 1+0x1p-10), mil.Inline("offset", halfs([]int{1}, -0x1p-11)))
	f, err := s.Finish(int4, uint8, lut, once)
	require.NoError(t, err)
	got := predict(t, openPackage(t, writePackage(t, nil, f)), f.Name)
	values := func(name string) (out []float64) {
		for _, h := range got[name].Data {
			out = append(out, half.ToFloat64(h))
		}
		return out
	}
	require.Equal(t, []float64{-2, -16, 3.5, 0}, values(int4))
	require.Equal(t, []float64{-128, 127, -510, 0}, values(uint8))
	require.Equal(t, []float64{11, 12, 23, 20}, values(lut))
	require.Equal(t, []float64{3.00390625}, values(once))
}

// integers is a constant of drawn elements, in place or in the weight file.
func (s *sample) integers(t testing.TB, d mil.DType, shape []int) mil.Literal {
	values := make([]int8, elements(shape))
	for i := range values {
		switch low, high := 0, 1<<d.Bits()-1; d {
		case mil.Int4, mil.Int8:
			values[i] = int8(s.between(-(high+1)/2, high/2))
		default:
			values[i] = int8(uint8(s.between(low, high)))
		}
	}
	lit := s.blobs.integers(t, d, shape, values)
	if s.IntN(2) > 0 {
		return lit
	}
	return mil.Literal{Type: lit.Type, Bytes: slices.Clone(s.blobs.data[len(s.blobs.data)-1])}
}

// divisors draws how many blocks each axis is cut into.
func (s *sample) divisors(shape []int) []int {
	out := make([]int, len(shape))
	for d, n := range shape {
		for out[d] = s.between(1, n); n%out[d] != 0; out[d]-- {
		}
		if s.IntN(3) == 0 {
			out[d] = 1
		}
	}
	return out
}

// blocks is a weight of any integer type with blocks of any form, and often an
// offset.
func (s *sample) blocks(t testing.TB, shape []int) string {
	types := []mil.DType{mil.Int8, mil.UInt8, mil.Int4, mil.UInt4}
	d, scale := types[s.IntN(len(types))], s.divisors(shape)
	args := []mil.Operand{mil.Inline("data", s.integers(t, d, shape)), mil.Inline("scale", s.literal(scale...))}
	switch s.IntN(3) {
	case 0:
		args = append(args, mil.Inline("offset", s.integers(t, d, scale)))
	case 1:
		args = append(args, mil.Inline("offset", s.literal(scale...)))
	}
	return s.op("constexpr_blockwise_shift_scale", args...)
}

// palette is a weight of indices into tables, themselves at times quantized.
func (s *sample) palette(t testing.TB, shape []int) string {
	types := []mil.DType{mil.UInt1, mil.UInt2, mil.UInt3, mil.UInt4, mil.UInt6, mil.UInt8}
	d, groups := types[s.IntN(len(types))], s.divisors(shape)
	if elements(groups) > 500 { // of a table of up to 256 each
		groups = slices.Repeat([]int{1}, len(shape))
	}
	table := append(slices.Clone(groups), 1<<d.Bits(), 1)
	var lut mil.Operand
	switch s.IntN(3) {
	case 0:
		lut = mil.Arg("lut", s.quantized(table...))
	case 1:
		lut = mil.Arg("lut", s.blocks(t, table))
	default:
		lut = mil.Inline("lut", s.literal(table...))
	}
	return s.op("constexpr_lut_to_dense", mil.Inline("indices", s.integers(t, d, shape)), lut)
}

// weight is a weight in any form.
func (s *sample) weight(t testing.TB, shape ...int) string {
	switch s.IntN(4) {
	case 0:
		return s.constant(shape...)
	case 1:
		return s.quantized(shape...)
	case 2:
		return s.blocks(t, shape)
	}
	return s.palette(t, shape)
}

func linear(t testing.TB, s *sample) []string {
	k, n := s.between(1, 70), s.between(1, 20)
	x := s.shape(s.between(0, 3), 3)
	if s.big {
		k, n = s.between(200, 600), s.between(150, 400)
	}
	args := []mil.Operand{mil.Arg("x", s.tensor(append(x, k)...)), mil.Arg("weight", s.weight(t, n, k))}
	switch s.IntN(3) {
	case 0:
		args = append(args, mil.Arg("bias", s.constant(n)))
	case 1:
		args = append(args, mil.Arg("bias", s.weight(t, n)))
	}
	return []string{s.op("linear", args...)}
}

func convConstexpr(t testing.TB, s *sample) []string {
	k, n := s.between(1, 70), s.between(1, 20)
	if s.big {
		k, n = s.between(200, 600), s.between(150, 400)
	}
	x, w := s.tensor(1, k, s.between(1, 4), 1), s.weight(t, n, k, 1, 1)
	plain := s.op("conv", mil.Arg("x", x), mil.Arg("weight", w))
	return []string{plain, s.op("conv", mil.Arg("x", x), mil.Arg("weight", w), mil.Arg("bias", s.weight(t, n)))}
}

func sliceBySize(s *sample) []string {
	shape := s.shapeOf(1, 4)
	begin, size := make([]int, len(shape)), make([]int, len(shape))
	for d, n := range shape {
		begin[d] = s.IntN(n)
		size[d] = s.between(1, n-begin[d])
		if s.IntN(4) == 0 {
			size[d] = -1
		}
	}
	y := s.op("slice_by_size", mil.Arg("x", s.tensor(shape...)), mil.Lit("begin", mil.Int32s(begin...)), mil.Lit("size", mil.Int32s(size...)))
	return []string{y, s.op("abs", mil.Arg("x", y))}
}

// sliceUpdate replaces a part, or as often all, of a state's content or a value.
func sliceUpdate(s *sample) []string {
	shape := s.shapeOf(1, 4)
	n, whole := len(shape), s.IntN(2) == 0
	begin, end, stride := make([]int, n), make([]int, n), slices.Repeat([]int{1}, n)
	masks := [3][]bool{make([]bool, n), make([]bool, n), make([]bool, n)}
	var update []int
	for d, size := range shape {
		if masks[0][d], masks[1][d] = s.IntN(2) == 0, true; whole { // as torch's cache[:] = new
			update = append(update, size)
			continue
		}
		lo := s.IntN(size)
		hi := s.between(lo+1, size)
		masks[0][d], masks[1][d], masks[2][d] = s.IntN(6) == 0, s.IntN(4) == 0, s.IntN(6) == 0
		begin[d], end[d], stride[d] = s.signed([]int{lo}, size)[0], hi, s.between(1, 3)
		if masks[0][d] {
			lo = 0
		}
		if masks[1][d] {
			hi, end[d] = size, 0
		}
		if !masks[2][d] {
			update = append(update, (hi-lo+stride[d]-1)/stride[d])
		}
	}
	args := []mil.Operand{
		mil.Lit("begin", mil.Int32s(begin...)), mil.Lit("end", mil.Int32s(end...)), mil.Lit("stride", mil.Int32s(stride...)),
		mil.Lit("begin_mask", mil.Bools(masks[0]...)), mil.Lit("end_mask", mil.Bools(masks[1]...)), mil.Lit("squeeze_mask", mil.Bools(masks[2]...)),
	}
	part := s.tensor(update...)
	if s.IntN(2) == 0 {
		x := s.tensor(shape...)
		return []string{s.op("slice_update", append(args, mil.Arg("x", x), mil.Arg("update", part))...), x}
	}
	state := s.State("cache", fp16(shape...))
	old := s.op("read_state", mil.Arg("input", state))
	y := s.op("slice_update", append(args, mil.Arg("x", old), mil.Arg("update", part))...)
	s.Write(state, y)
	out := []string{s.op("read_state", mil.Arg("input", state))}
	if s.IntN(2) == 0 {
		out = append(out, old)
	}
	return out
}

// TestOldContent keeps what was read of a state, by another name or in part,
// beyond the next write.
func TestOldContent(t *testing.T) {
	s := newSample("old content")
	state, next := s.State("cache", fp16(2, 4)), s.input(2, 4)
	part := s.op("slice_by_size", mil.Arg("x", s.op("read_state", mil.Arg("input", state))), mil.Lit("begin", mil.Int32s(1, 0)), mil.Lit("size", mil.Int32s(1, 4)))
	whole := s.op("identity", mil.Arg("x", s.op("read_state", mil.Arg("input", state))))
	s.Write(state, next)
	s.run(t, part, whole, s.op("read_state", mil.Arg("input", state)))
}
