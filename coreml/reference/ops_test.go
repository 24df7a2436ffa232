package reference_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// TestOps compares each op with its naive meaning on drawn shapes, parameters
// and values, bit for bit.
func TestOps(t *testing.T) {
	for _, op := range []string{"add", "sub", "mul", "real_div", "maximum", "minimum"} {
		each(t, op, 24, func(s *sample) []string { return s.binary(op) })
	}
	each(t, "conv", 48, conv)
	each(t, "matmul", 64, matmul)
	each(t, "matmul_one_hot", 16, matmulOneHot)
	each(t, "softmax", 32, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		return []string{s.op("softmax", mil.Arg("x", s.tensor(shape...)), mil.Lit("axis", mil.Int32Scalar(s.between(-len(shape), len(shape)-1))))}
	})
	each(t, "layer_norm", 40, layerNorm)
	for _, op := range []string{"reduce_sum", "reduce_mean", "reduce_max", "reduce_sum_square", "reduce_l2_norm"} {
		each(t, op, 24, func(s *sample) []string { return s.reduce(op) })
	}
	each(t, "reshape", 24, reshape)
	each(t, "transpose", 24, func(s *sample) []string {
		shape := s.shapeOf(1, 5)
		return []string{s.op("transpose", mil.Arg("x", s.tensor(shape...)), mil.Lit("perm", mil.Int32s(s.signed(s.Perm(len(shape)), len(shape))...)))}
	})
	each(t, "split", 24, split)
	each(t, "slice_by_index", 64, slice)
	each(t, "concat", 40, concat)
	each(t, "constexpr_blockwise_shift_scale", 24, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		w := s.quantized(shape...)
		return []string{s.op("add", mil.Arg("x", s.input(shape...)), mil.Arg("y", w)), w}
	})
}

// TestUnaryOps compares the unary ops with their float64 meaning on every
// finite float16 value.
func TestUnaryOps(t *testing.T) {
	var all []float16.Float16
	for i := range 1 << 16 {
		if h := float16.Float16(i); half.IsFinite(h) {
			all = append(all, h)
		}
	}
	epsilon := mil.Literal{Type: mil.Tensor(mil.Float32), Floats: []float32{1e-5}}
	for _, tc := range []struct {
		op   string
		args []mil.Operand
	}{
		{"silu", nil},
		{"sigmoid", nil},
		{"relu", nil},
		{"tanh", nil},
		{"exp", nil},
		{"sqrt", nil},
		{"square", nil},
		{"abs", nil},
		{"gelu", nil},
		{"gelu", []mil.Operand{mil.Lit("mode", mil.StringScalar(mil.GeluTanh))}},
		{"gelu", []mil.Operand{mil.Lit("mode", mil.StringScalar(mil.GeluSigmoid))}},
		{"rsqrt", nil},
		{"rsqrt", []mil.Operand{mil.Lit("epsilon", mil.Half(half.FromFloat64(1e-3)))}},
		{"rsqrt", []mil.Operand{mil.Lit("epsilon", epsilon)}},
	} {
		t.Run(tc.op, func(t *testing.T) {
			s := newSample(tc.op)
			x := s.Const("all", s.blobs.halfs([]int{len(all)}, all))
			s.run(t, s.op(tc.op, append(tc.args, mil.Arg("x", x))...), s.op(tc.op, append(tc.args, mil.Arg("x", s.input(2, 3)))...))
		})
	}
	require.Len(t, kernel.UnaryNames(), 12, "the ops above, gelu in three modes")
}

// TestScalars runs rank-0 tensors through the ops that take them.
func TestScalars(t *testing.T) {
	s := newSample("scalars")
	x, y := s.input(), s.constant()
	s.run(t, s.op("add", mil.Arg("x", x), mil.Arg("y", y)), s.op("sub", mil.Arg("x", s.input(2, 2)), mil.Arg("y", x)),
		s.op("silu", mil.Arg("x", x)), s.op("reduce_mean", mil.Arg("x", x)), s.op("reduce_max", mil.Arg("x", x)),
		s.op("transpose", mil.Arg("x", x), mil.Lit("perm", mil.Int32s())), s.op("layer_norm", mil.Arg("x", x)),
		s.op("expand_dims", mil.Arg("x", x), mil.Lit("axes", mil.Int32s(0, -1))), s.op("squeeze", mil.Arg("x", s.input(1, 1))))
}

func (s *sample) binary(op string) []string {
	out := s.shapeOf(0, 5)
	operand := func(drop int) string {
		shape := slices.Clone(out[drop:])
		for d := range shape {
			if s.IntN(3) == 0 {
				shape[d] = 1
			}
		}
		return s.tensor(shape...)
	}
	x, y := operand(0), operand(s.between(0, len(out)))
	if s.IntN(2) == 0 {
		x, y = y, x
	}
	return []string{s.op(op, mil.Arg("x", x), mil.Arg("y", y))}
}

func conv(s *sample) []string {
	k, rows := s.between(1, 70), s.between(1, 20)
	spatial := s.shape(s.between(1, 3), 3)
	if s.big {
		k, rows = s.between(200, 600), s.between(150, 400)
	}
	shape := append([]int{rows, k}, slices.Repeat([]int{1}, len(spatial))...)
	w := s.quantized
	if s.IntN(2) == 0 {
		w = s.constant
	}
	args := []mil.Operand{mil.Arg("x", s.tensor(append([]int{1, k}, spatial...)...)), mil.Arg("weight", w(shape...))}
	if s.IntN(3) == 0 {
		args = append(args, mil.Arg("bias", s.constant(rows)))
	}
	if s.IntN(2) == 0 {
		args = append(args, mil.Lit("strides", mil.Int32s(shape[2:]...)), mil.Lit("groups", mil.Int32Scalar(1)),
			mil.Lit("pad", mil.Int32s(make([]int, 2*len(spatial))...)), mil.Lit("pad_type", mil.StringScalar("custom")))
	}
	return []string{s.op("conv", args...)}
}

func matmul(s *sample) []string {
	m, k, n := s.between(1, 7), s.between(1, 40), s.between(1, 40)
	batch := s.shape(s.between(0, 4), 3)
	if s.big {
		m, k, n, batch = s.between(1, 20), s.between(60, 90), s.between(60, 300), batch[:min(1, len(batch))]
	}
	operand := func(rows, columns int, transposed bool) string {
		if transposed {
			rows, columns = columns, rows
		}
		own := slices.Clone(batch[s.between(0, len(batch)):])
		for d := range own {
			if s.IntN(3) == 0 {
				own[d] = 1
			}
		}
		return s.tensor(append(own, rows, columns)...)
	}
	tx, ty := s.IntN(3) == 0, s.IntN(2) == 0
	return []string{s.op("matmul", mil.Arg("x", operand(m, k, tx)), mil.Arg("y", operand(k, n, ty)),
		mil.Lit("transpose_x", mil.BoolScalar(tx)), mil.Lit("transpose_y", mil.BoolScalar(ty)))}
}

// matmulOneHot is a cache write: slots by rows, times each head's rows.
func matmulOneHot(s *sample) []string {
	slots, rows, heads := s.between(1, 60), s.between(1, 5), s.between(1, 3)
	if s.big {
		slots = 3000
	}
	mask := s.Const("mask", mil.Halfs([]int{1, 1, slots, rows}, s.oneHots(slots, rows)))
	return []string{s.op("matmul", mil.Arg("x", mask), mil.Arg("y", s.input(1, heads, rows, s.between(1, 40))))}
}

func layerNorm(s *sample) []string {
	shape := s.shapeOf(1, 4)
	axes := s.subset(len(shape))
	args := []mil.Operand{mil.Arg("x", s.tensor(shape...))}
	var own []int
	if s.IntN(5) == 0 {
		own = shape
	} else {
		args = append(args, mil.Lit("axes", mil.Int32s(s.signed(axes, len(shape))...)))
		for _, a := range axes {
			own = append(own, shape[a])
		}
	}
	if s.IntN(2) == 0 {
		args = append(args, mil.Arg("gamma", s.constant(own...)))
	}
	if s.IntN(2) == 0 {
		args = append(args, mil.Arg("beta", s.constant(own...)))
	}
	if s.IntN(2) == 0 {
		epsilon := mil.Half(half.FromFloat64(math.Abs(s.NormFloat64())))
		if s.dtype == mil.Float32 {
			epsilon = float(float32(math.Abs(s.NormFloat64())))
		}
		args = append(args, mil.Lit("epsilon", epsilon))
	}
	return []string{s.op("layer_norm", args...)}
}

func (s *sample) reduce(op string) []string {
	shape := s.shapeOf(1, 4)
	args := []mil.Operand{mil.Arg("x", s.tensor(shape...)), mil.Lit("keep_dims", mil.BoolScalar(s.IntN(2) == 0))}
	if s.IntN(4) > 0 {
		axes := s.subset(len(shape))
		s.Shuffle(len(axes), func(i, j int) { axes[i], axes[j] = axes[j], axes[i] })
		args = append(args, mil.Lit("axes", mil.Int32s(s.signed(axes, len(shape))...)))
	}
	return []string{s.op(op, args...)}
}

// reshape runs the ops that only rename a buffer, chained.
func reshape(s *sample) []string {
	shape := s.shapeOf(1, 4)
	x := s.tensor(shape...)
	flat := s.op("reshape", mil.Arg("x", x), mil.Lit("shape", mil.Int32s(-1)))
	wide := s.op("expand_dims", mil.Arg("x", flat), mil.Lit("axes", mil.Int32s(0, 2)))
	same := s.op("reshape", mil.Arg("x", wide), mil.Lit("shape", mil.Int32s(0, -1, 1)))
	return []string{flat, s.op("abs", mil.Arg("x", wide)), s.op("squeeze", mil.Arg("x", same), mil.Lit("axes", mil.Int32s(-1))), x}
}

func split(s *sample) []string {
	shape := s.shapeOf(1, 4)
	axis := s.IntN(len(shape))
	args := []mil.Operand{mil.Lit("axis", mil.Int32Scalar(s.signed([]int{axis}, len(shape))[0]))}
	var sizes []int
	if s.IntN(2) == 0 {
		n, size := s.between(1, 4), s.between(1, 3)
		sizes = slices.Repeat([]int{size}, n)
		args = append(args, mil.Lit("num_splits", mil.Int32Scalar(n)))
	} else {
		sizes = s.ints(s.between(1, 4), 1, 4)
		args = append(args, mil.Lit("split_sizes", mil.Int32s(sizes...)))
	}
	shape[axis] = 0
	var outs []string
	for _, n := range sizes {
		shape[axis] += n
		outs = append(outs, s.name())
	}
	x := s.tensor(shape...)
	s.Ops("split", outs, append(args, mil.Arg("x", x))...)
	s.Shuffle(len(outs), func(i, j int) { outs[i], outs[j] = outs[j], outs[i] })
	return append(outs[:s.between(1, len(outs))], s.op("add", mil.Arg("x", outs[0]), mil.Arg("y", outs[0])))
}

func slice(s *sample) []string {
	shape := s.shapeOf(1, 4)
	n := len(shape)
	begin, end, stride := make([]int, n), make([]int, n), make([]int, n)
	masks := [3][]bool{make([]bool, n), make([]bool, n), make([]bool, n)}
	for d, size := range shape {
		lo := s.IntN(size)
		hi := s.between(lo+1, size)
		begin[d], end[d], stride[d] = lo, hi, s.between(1, 3)
		if s.IntN(3) == 0 { // backwards, from hi-1 down to lo; past 0 only a mask reaches
			stride[d] = -stride[d]
			begin[d], end[d] = hi-1, lo-1
			masks[1][d] = lo == 0
		}
		begin[d] = s.signed([]int{begin[d]}, size)[0]
		if end[d] > 0 && end[d] < size {
			end[d] = s.signed([]int{end[d]}, size)[0]
		}
		for m := range masks {
			masks[m][d] = masks[m][d] || s.IntN(8) == 0
		}
	}
	args := []mil.Operand{
		mil.Arg("x", s.tensor(shape...)), mil.Lit("begin", mil.Int32s(begin...)), mil.Lit("end", mil.Int32s(end...)),
		mil.Lit("stride", mil.Int32s(stride...)), mil.Lit("begin_mask", mil.Bools(masks[0]...)),
		mil.Lit("end_mask", mil.Bools(masks[1]...)), mil.Lit("squeeze_mask", mil.Bools(masks[2]...)),
	}
	out := s.op("slice_by_index", args...)
	return []string{out, s.op("abs", mil.Arg("x", out))}
}

func concat(s *sample) []string {
	shape := s.shapeOf(1, 4)
	axis, interleave := s.IntN(len(shape)), s.IntN(3) == 0
	var xs []string
	for range s.between(1, 4) {
		own := slices.Clone(shape)
		if !interleave {
			own[axis] = s.between(1, 4)
		}
		xs = append(xs, s.tensor(own...))
	}
	return []string{s.op("concat", mil.Arg("values", append(xs, xs[0])...),
		mil.Lit("axis", mil.Int32Scalar(s.signed([]int{axis}, len(shape))[0])), mil.Lit("interleave", mil.BoolScalar(interleave)))}
}

// TestMatmulBatches has the ways in which batch axes can broadcast, grouped
// heads among them.
func TestMatmulBatches(t *testing.T) {
	withWorkers(t, 3)
	for i, tc := range []struct{ x, y []int }{
		{nil, nil},
		{[]int{3}, nil},
		{nil, []int{3}},
		{[]int{2, 3}, []int{2, 3}},
		{[]int{1, 3}, []int{1, 1}},
		{[]int{1, 1}, []int{1, 3}},
		{[]int{2, 3}, []int{2, 1}},
		{[]int{2, 3}, []int{1, 3}},
		{[]int{2, 1}, []int{1, 3}},
		{[]int{2, 1, 2}, []int{1, 3, 1}},
		{[]int{4, 2, 1, 3, 2}, []int{2, 2, 1, 2}},
	} {
		for _, transposed := range []bool{false, true} {
			s := newSample(fmt.Sprint("matmul batches ", i, transposed))
			n := s.between(1, 70)
			y := append(slices.Clone(tc.y), 33, n)
			if transposed {
				y = append(slices.Clone(tc.y), n, 33)
			}
			x := s.input(append(slices.Clone(tc.x), 2, 33)...)
			s.run(t, s.op("matmul", mil.Arg("x", x), mil.Arg("y", s.input(y...)), mil.Lit("transpose_y", mil.BoolScalar(transposed))))
		}
	}
}

// TestMeanIsAQuotient: the mean of these values lies between two float16
// values, and the sum times the rounded reciprocal of 26 does not.
func TestMeanIsAQuotient(t *testing.T) {
	values := slices.Repeat([]float16.Float16{0x3C00 + 614}, 26)
	values[25] += 13
	s := newSample("mean")
	x := s.Const("x", mil.Halfs([]int{26}, values))
	f, err := s.Finish(s.op("reduce_mean", mil.Arg("x", x)))
	require.NoError(t, err)
	got := predict(t, openPackage(t, writePackage(t, nil, f)), f.Name)
	require.Equal(t, []float16.Float16{0x3C00 + 614}, got["v1"].Data)
}

// TestLiteralsInPlace runs operands that are written in the op itself.
func TestLiteralsInPlace(t *testing.T) {
	s := newSample("in place")
	x := s.input(1, 2, 3, 1)
	weight, bias := s.literal(4, 2, 1, 1), s.literal(4)
	y := s.op("conv", mil.Arg("x", x), mil.Inline("weight", weight), mil.Inline("bias", bias))
	z := s.op("mul", mil.Arg("x", y), mil.Inline("y", s.literal(4, 1, 1)))
	joined := s.op("concat", mil.Arg("values", z, y), mil.Inline("axis", mil.Int32Scalar(2)))
	f, err := s.Finish(joined, z)
	require.NoError(t, err)
	second := s.literal(1, 4, 3, 1)
	for i, arg := range f.Ops[len(f.Ops)-1].Args {
		if arg.Param == "values" {
			f.Ops[len(f.Ops)-1].Args[i].Bindings[1] = mil.Binding{Literal: &second}
		}
	}
	dir := writePackage(t, s.blobs, f)
	files, err := mlpackage.Open(dir)
	require.NoError(t, err)
	defer files.Close()
	comparePasses(t, openPackage(t, dir), files, f, s.draw, 2)
}

// TestEmptyConstant reduces a vector of no elements, the one empty tensor that
// MIL has.
func TestEmptyConstant(t *testing.T) {
	s := newSample("empty")
	x := s.Const("x", mil.Halfs([]int{0}, nil))
	y := s.input(3)
	s.run(t, s.op("reduce_sum", mil.Arg("x", x)), s.op("concat", mil.Arg("values", x, y), mil.Lit("axis", mil.Int32Scalar(0))))
}

// predict runs a function once on zeros, which may give what is not finite.
func predict(t testing.TB, pkg coreml.Package, name string) map[string]coreml.Tensor {
	t.Helper()
	fn := openFunction(t, pkg, name)
	out := tensors(fn.Signature().Outputs)
	require.NoError(t, fn.Predict(context.Background(), tensors(fn.Signature().Inputs), newState(t, pkg), out))
	return out
}
