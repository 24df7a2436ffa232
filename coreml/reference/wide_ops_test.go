package reference_test

import (
	"fmt"
	"slices"
	"testing"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// TestWideOps compares the ops over float32 and int32 with their naive meaning,
// bit for bit.
func TestWideOps(t *testing.T) {
	both := []mil.DType{mil.Float32, mil.Int32}
	for _, d := range both {
		for _, op := range []string{"add", "sub", "mul", "maximum", "minimum", "real_div"} {
			if op != "real_div" || d == mil.Float32 {
				eachOf(t, d, op, 9, func(s *sample) []string { return s.binary(op) })
			}
		}
		for _, op := range []string{"reduce_sum", "reduce_max", "reduce_sum_square", "reduce_mean", "reduce_l2_norm"} {
			if d == mil.Float32 || op != "reduce_mean" && op != "reduce_l2_norm" {
				eachOf(t, d, op, 9, func(s *sample) []string { return s.reduce(op) })
			}
		}
		eachOf(t, d, "matmul", 20, matmul)
		eachOf(t, d, "linear", 16, wideLinear)
		eachOf(t, d, "reshape", 8, reshape)
		eachOf(t, d, "transpose", 8, func(s *sample) []string {
			shape := s.shapeOf(1, 4)
			return []string{s.op("transpose", mil.Arg("x", s.tensor(shape...)), mil.Lit("perm", mil.Int32s(s.Perm(len(shape))...)))}
		})
		eachOf(t, d, "split", 8, split)
		eachOf(t, d, "slice_by_index", 16, slice)
		eachOf(t, d, "slice_by_size", 9, sliceBySize)
		eachOf(t, d, "concat", 9, concat)
		for _, op := range []string{"square", "abs"} {
			eachOf(t, d, op, 8, func(s *sample) []string { return []string{s.op(op, mil.Arg("x", s.tensor(s.shapeOf(0, 4)...)))} })
		}
	}
	eachOf(t, mil.Float32, "softmax", 16, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		return []string{s.op("softmax", mil.Arg("x", s.tensor(shape...)), mil.Lit("axis", mil.Int32Scalar(s.between(-len(shape), len(shape)-1))))}
	})
	eachOf(t, mil.Float32, "layer_norm", 20, layerNorm)
	each(t, "layer_norm_of_float32_gain", 16, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		x, own := s.tensor(shape...), shape[len(shape)-1:]
		gain, shift := mil.Inline("gamma", s.words(mil.Float32, own...)), mil.Inline("beta", s.words(mil.Float32, own...))
		return []string{s.op("layer_norm", mil.Arg("x", x), mil.Lit("axes", mil.Int32s(-1)), gain, shift, mil.Lit("epsilon", float(0x1p-20)))}
	})
	for _, op := range []string{"silu", "sigmoid", "relu", "tanh", "exp", "sqrt", "gelu", "rsqrt"} {
		eachOf(t, mil.Float32, op, 8, func(s *sample) []string { return []string{s.op(op, mil.Arg("x", s.tensor(s.shapeOf(1, 4)...)))} })
	}
	for _, mode := range []string{mil.GeluTanh, mil.GeluSigmoid} {
		eachOf(t, mil.Float32, "gelu_"+mode, 8, func(s *sample) []string {
			return []string{s.op("gelu", mil.Arg("x", s.tensor(s.shapeOf(1, 4)...)), mil.Lit("mode", mil.StringScalar(mode)))}
		})
	}
}

func wideLinear(s *sample) []string {
	k, n := s.between(1, 40), s.between(1, 20)
	if s.big {
		k, n = s.between(100, 200), s.between(150, 300)
	}
	args := []mil.Operand{mil.Arg("x", s.tensor(append(s.shape(s.between(0, 3), 3), k)...)), mil.Arg("weight", s.constant(n, k))}
	if s.IntN(2) == 0 {
		args = append(args, mil.Arg("bias", s.constant(n)))
	}
	return []string{s.op("linear", args...)}
}

// TestComparing compares, selects and converts.
func TestComparing(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Float32, mil.Int32} {
		for _, op := range []string{"greater_equal", "less", "equal"} {
			eachOf(t, d, op, 8, func(s *sample) []string { return s.binary(op) })
		}
		eachOf(t, d, "select", 20, func(s *sample) []string {
			shape := s.shapeOf(0, 4)
			a, b, cond := s.tensor(s.part(shape)...), s.tensor(s.part(shape)...), s.truth(s.part(shape)...)
			return []string{s.op("select", mil.Arg("cond", cond), mil.Arg("a", a), mil.Arg("b", b))}
		})
		eachOf(t, d, "cast", 24, func(s *sample) []string {
			x := s.tensor(s.shapeOf(0, 4)...)
			types := []mil.DType{mil.Float16, mil.Float32, mil.Int8, mil.UInt8, mil.Int16, mil.UInt16, mil.Int32, mil.Bool}
			first := s.to(types[s.IntN(len(types))], x)
			return []string{first, s.to(types[s.IntN(len(types))], first)}
		})
	}
}

// TestPow has exponents of every kind; 2 is a square whatever the type.
func TestPow(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Float32} {
		eachOf(t, d, "pow", 16, func(s *sample) []string { return s.binary("pow") })
		eachOf(t, d, "pow_of_constant", 16, func(s *sample) []string {
			exponents := []float32{2, 3, 0.5, -1, -2, 0, 1.5, -0.25, 7}
			y, x := float(exponents[s.IntN(len(exponents))]), s.tensor(s.shapeOf(0, 3)...)
			if d == mil.Float16 {
				y = mil.Half(half.FromFloat32(y.Floats[0]))
			}
			return []string{s.op("pow", mil.Arg("x", x), mil.Lit("y", y))}
		})
	}
}

// TestIndexing gathers, sorts and finds the largest.
func TestIndexing(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Float32, mil.Int32} {
		eachOf(t, d, "gather", 24, gather)
		eachOf(t, d, "topk", 24, topk)
		eachOf(t, d, "reduce_argmax", 20, func(s *sample) []string {
			shape := s.shapeOf(1, 4)
			axis := mil.Lit("axis", mil.Int32Scalar(s.signed([]int{s.IntN(len(shape))}, len(shape))[0]))
			args := []mil.Operand{axis, mil.Arg("x", s.tensor(shape...)), mil.Lit("keep_dims", mil.BoolScalar(s.IntN(2) == 0))}
			if s.IntN(2) == 0 {
				args = append(args, mil.Lit("output_dtype", mil.StringScalar("uint16")))
			}
			return []string{s.op("reduce_argmax", args...)}
		})
	}
}

func gather(s *sample) []string {
	shape := s.shapeOf(1, 4)
	axis := s.IntN(len(shape))
	batch := s.between(0, axis)
	if s.IntN(2) == 0 {
		batch = 0
	}
	indices := s.indices(min(shape[axis], 100), append(slices.Clone(shape[:batch]), s.shape(s.between(0, 2), 4)...)...)
	x := s.tensor(shape...)
	return []string{s.op("gather", mil.Arg("x", x), mil.Arg("indices", indices), mil.Lit("axis", mil.Int32Scalar(s.signed([]int{axis}, len(shape))[0])),
		mil.Lit("batch_dims", mil.Int32Scalar(batch)), mil.Lit("validate_indices", mil.BoolScalar(s.IntN(2) == 0)))}
}

func topk(s *sample) []string {
	shape := s.shapeOf(1, 4)
	axis := s.IntN(len(shape))
	args := []mil.Operand{
		mil.Arg("x", s.tensor(shape...)), mil.Lit("k", mil.Int32Scalar(s.between(1, min(shape[axis], 60)))),
		mil.Lit("axis", mil.Int32Scalar(s.signed([]int{axis}, len(shape))[0])), mil.Lit("ascending", mil.BoolScalar(s.IntN(2) == 0)),
		mil.Lit("sort", mil.BoolScalar(s.IntN(2) == 0)),
	}
	switch s.IntN(3) {
	case 0:
		return []string{s.op("topk", append(args, mil.Lit("return_indices", mil.BoolScalar(false)))...)}
	case 1:
		args = append(args, mil.Lit("output_indices_dtype", mil.StringScalar("uint16")))
	}
	return s.Ops("topk", []string{s.name(), s.name()}, args...)
}

// TestAttention has masks of both kinds under every way to broadcast.
func TestAttention(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Float32} {
		eachOf(t, d, "scaled_dot_product_attention", 24, func(s *sample) []string {
			batch := s.shape(s.between(1, 3), 3)
			rows, slots, size, width := s.between(1, 6), s.between(1, 40), s.between(1, 40), s.between(1, 50)
			if s.big {
				slots, width = 300, 90
			}
			of := func(dims ...int) []int { return append(slices.Clone(batch), dims...) }
			args := []mil.Operand{
				mil.Arg("query", s.tensor(of(rows, size)...)), mil.Arg("key", s.tensor(of(slots, size)...)), mil.Arg("value", s.tensor(of(slots, width)...)),
			}
			mask := append(s.part(of(rows)), slots)
			switch s.IntN(3) {
			case 0:
				args = append(args, mil.Arg("attn_mask", s.tensor(mask...)))
			case 1:
				args = append(args, mil.Arg("attn_mask", s.truth(mask...)))
			}
			return []string{s.op("scaled_dot_product_attention", args...)}
		})
	}
}

// TestConvolutions has kernels, strides, padding, dilations, groups, batches and
// weights of every kind, over one to three spatial axes.
func TestConvolutions(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Float32} {
		eachOf(t, d, "conv", 40, convolution)
	}
}

func convolution(s *sample) []string {
	axes, groups := s.between(1, 3), s.between(1, 3)
	channels, outputs := groups*s.between(1, 4), groups*s.between(1, 4)
	if s.big {
		channels, outputs = groups*s.between(40, 60), groups*s.between(30, 40)
	}
	kernel, strides, dilations := s.ints(axes, 1, 3), s.ints(axes, 1, 3), s.ints(axes, 1, 2)
	var in, pad []int
	for d := range axes {
		in, pad = append(in, 1+(kernel[d]-1)*dilations[d]+s.between(0, 3)), append(pad, s.between(0, 2), s.between(0, 2))
	}
	padType := []string{mil.PadValid, mil.PadCustom, mil.PadSame, mil.PadSameLower}[s.IntN(4)]
	args := []mil.Operand{mil.Lit("groups", mil.Int32Scalar(groups)), mil.Lit("dilations", mil.Int32s(dilations...)), mil.Lit("pad_type", mil.StringScalar(padType))}
	switch padType {
	case mil.PadCustom:
		args = append(args, mil.Lit("pad", mil.Int32s(pad...)), mil.Lit("strides", mil.Int32s(strides...)))
	case mil.PadValid:
		args = append(args, mil.Lit("strides", mil.Int32s(strides...)))
	default:
		for d := range kernel {
			kernel[d] |= 1
			in[d] = max(in[d], kernel[d])
		}
	}
	weight := s.tensor
	if s.dtype == mil.Float16 && s.IntN(2) == 0 {
		weight = s.quantized
	}
	args = append(args, mil.Arg("x", s.tensor(append([]int{s.between(1, 2), channels}, in...)...)),
		mil.Arg("weight", weight(append([]int{outputs, channels / groups}, kernel...)...)))
	if s.IntN(2) == 0 {
		args = append(args, mil.Arg("bias", s.constant(outputs)))
	}
	return []string{s.op("conv", args...)}
}

// TestRunTimeBounds slices at places that the pass computes; at times they lie
// outside, which both evaluators have to say.
func TestRunTimeBounds(t *testing.T) {
	for _, d := range []mil.DType{mil.Float16, mil.Int32} {
		eachOf(t, d, "run_time_slice_by_size", 24, func(s *sample) []string {
			shape := s.shapeOf(1, 4)
			var begin, size []int
			for _, n := range shape {
				begin = append(begin, s.IntN(min(n, 200)))
				size = append(size, s.between(1, n-begin[len(begin)-1]))
			}
			if s.IntN(8) == 0 {
				begin[s.IntN(len(begin))] += s.between(-2, 5)
			}
			return []string{s.op("slice_by_size", mil.Arg("x", s.tensor(shape...)), mil.Arg("begin", s.computed(begin)), mil.Lit("size", mil.Int32s(size...)))}
		})
		eachOf(t, d, "run_time_slice_update", 40, dynamicUpdate)
	}
}

// computed is an int32 vector that is known when the pass runs, or that lies in
// the weight file.
func (s *sample) computed(values []int) string {
	if s.IntN(4) == 0 {
		var words []uint32
		for _, v := range values {
			words = append(words, uint32(int32(v)))
		}
		return s.Const(s.name(), s.blobs.words(mil.Int32, []int{len(values)}, words))
	}
	zero := s.to(mil.Int32, s.op("mul", mil.Arg("x", s.Input(s.name(), fp16(len(values)))), mil.Lit("y", mil.Half(0))))
	return s.op("add", mil.Arg("x", zero), mil.Arg("y", s.Const(s.name(), mil.Int32s(values...))))
}

func dynamicUpdate(s *sample) []string {
	shape := s.shapeOf(1, 4)
	n := len(shape)
	begin, end, stride := make([]int, n), make([]int, n), make([]int, n)
	masks := [3][]bool{make([]bool, n), make([]bool, n), make([]bool, n)}
	var update []int
	for d, size := range shape {
		lo := s.IntN(size)
		hi := s.between(lo+1, size)
		stride[d] = s.between(1, 3)
		begin[d], end[d] = lo, hi
		masks[0][d], masks[1][d], masks[2][d] = s.IntN(6) == 0, s.IntN(6) == 0, s.IntN(6) == 0
		if masks[0][d] {
			lo = 0
		}
		if masks[1][d] {
			hi = size
		}
		count := (hi - lo + stride[d] - 1) / stride[d]
		if s.IntN(3) == 0 && !masks[0][d] && !masks[1][d] { // backwards
			stride[d] = -stride[d]
			begin[d], end[d], masks[1][d] = hi-1, lo-1, lo == 0
		}
		begin[d] = s.signed([]int{begin[d]}, size)[0]
		if !masks[2][d] {
			update = append(update, count)
		}
	}
	if s.IntN(6) == 0 {
		end[s.IntN(n)] += s.between(-3, 3)
	}
	if len(update) == 0 {
		masks[2][0], update = false, []int{1}
	}
	args := []mil.Operand{
		mil.Arg("x", s.tensor(shape...)), mil.Arg("update", s.tensor(update...)), mil.Arg("begin", s.computed(begin)), mil.Lit("stride", mil.Int32s(stride...)),
		mil.Lit("begin_mask", mil.Bools(masks[0]...)), mil.Lit("end_mask", mil.Bools(masks[1]...)), mil.Lit("squeeze_mask", mil.Bools(masks[2]...)),
	}
	if s.IntN(3) == 0 {
		return []string{s.op("slice_update", append(args, mil.Arg("end", s.Const(s.name(), mil.Int32s(end...))))...)}
	}
	return []string{s.op("slice_update", append(args, mil.Arg("end", s.computed(end)))...)}
}

// TestWeightsOfAny has scales, offsets, data and tables that are not float16, or
// the results of other constexpr ops.
func TestWeightsOfAny(t *testing.T) {
	each(t, "blockwise_of_any", 64, func(s *sample) []string {
		shape := s.shapeOf(1, 4)
		blocks := s.divisors(shape)
		number := func(shape ...int) mil.Literal {
			if s.IntN(2) == 0 {
				return s.words(mil.Float32, shape...)
			}
			return s.literal(shape...)
		}
		var data mil.Operand
		switch s.IntN(3) {
		case 0:
			data = mil.Inline("data", s.integers(t, mil.Int8, shape))
		case 1:
			data = mil.Inline("data", number(shape...))
		default:
			data = mil.Arg("data", s.table(t, mil.UInt8, shape))
		}
		args := []mil.Operand{data, mil.Inline("scale", number(blocks...))}
		if s.IntN(2) == 0 {
			args = append(args, mil.Inline("offset", number(blocks...)))
		}
		return []string{s.op("constexpr_blockwise_shift_scale", args...)}
	})
	each(t, "palette_of_any", 32, func(s *sample) []string {
		types := []mil.DType{mil.Float32, mil.Int8, mil.UInt8}
		return []string{s.table(t, types[s.IntN(len(types))], s.shapeOf(1, 4))}
	})
}

// table is a palette of a type with one table of four elements.
func (s *sample) table(t testing.TB, d mil.DType, shape []int) string {
	of := append(slices.Repeat([]int{1}, len(shape)), 4, 1)
	lut := s.words(mil.Float32, of...)
	if d != mil.Float32 {
		lut = s.integers(t, d, of)
	}
	return s.op("constexpr_lut_to_dense", mil.Inline("indices", s.integers(t, mil.UInt2, shape)), mil.Inline("lut", lut))
}

// TestLargeIds: ids beyond 2^24 keep every bit through arithmetic, moves and
// comparisons, and so do bit patterns that would be signalling NaN as float32.
func TestLargeIds(t *testing.T) {
	ids := []int{200063, 1 << 24, 1<<24 + 1, 1<<31 - 1, -1 << 31, 0x7F800001, 0x7FA00000, 0x7FFFFFFF, -0x7FFFFF, -0x400000}
	s := newSample("large ids")
	x := s.computed(ids)
	flipped := s.op("transpose", mil.Arg("x", s.op("reshape", mil.Arg("x", x), mil.Lit("shape", mil.Int32s(2, 5)))), mil.Lit("perm", mil.Int32s(1, 0)))
	twice := s.op("tile", mil.Arg("x", flipped), mil.Lit("reps", mil.Int32s(2, 1)))
	some := s.op("slice_by_index", mil.Arg("x", twice), mil.Lit("begin", mil.Int32s(1, 0)), mil.Lit("end", mil.Int32s(9, 2)), mil.Lit("stride", mil.Int32s(3, 1)))
	next := s.op("add", mil.Arg("x", x), mil.Lit("y", mil.Int32Scalar(1)))
	same := s.op("equal", mil.Arg("x", x), mil.Arg("y", s.Const("ids", mil.Int32s(ids...))))
	less := s.op("less", mil.Arg("x", x), mil.Arg("y", next)) // but where it wraps
	chosen := s.op("select", mil.Arg("cond", less), mil.Arg("a", next), mil.Arg("b", x))
	s.run(t, s.reveal(x, some, next, same, less, chosen)...)
}

// TestVocabulary looks ids of a vocabulary of 200,064 up, whose rows say which
// they are.
func TestVocabulary(t *testing.T) {
	const size = 200064
	rows := make([]uint32, size)
	for i := range rows {
		rows[i] = uint32(i)
	}
	for _, ids := range [][]int{{0, size - 1}, {65535, 65536}, {1 << 17, 1<<17 + 1}, {199999, 200063}} {
		s := newSample(fmt.Sprint("vocabulary ", ids))
		table := s.Const("table", s.blobs.words(mil.Int32, []int{size}, rows))
		found := s.op("gather", mil.Arg("x", table), mil.Arg("indices", s.computed(ids)))
		same := s.op("equal", mil.Arg("x", found), mil.Arg("y", s.Const("ids", mil.Int32s(ids...))))
		s.run(t, s.reveal(found, same)...)
	}
}
