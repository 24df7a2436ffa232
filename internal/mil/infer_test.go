package mil

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func f16(shape ...int) Type { return Tensor(Float16, shape...) }
func f32(shape ...int) Type { return Tensor(Float32, shape...) }
func i32(shape ...int) Type { return Tensor(Int32, shape...) }
func b1(shape ...int) Type  { return Tensor(Bool, shape...) }

var half = Half(float16.Fromfloat32(0.5))

func ints(param string, v ...int) Operand          { return Lit(param, Int32s(v...)) }
func integer(param string, v int) Operand          { return Lit(param, Int32Scalar(v)) }
func truth(param string, v bool) Operand           { return Lit(param, BoolScalar(v)) }
func truths(param string, v ...bool) Operand       { return Lit(param, Bools(v...)) }
func text(param, v string) Operand                 { return Lit(param, StringScalar(v)) }
func blob(param string, d DType, s ...int) Operand { return Inline(param, Blob(d, s, 64)) }

// in binds a parameter to a function input of type t; the inputs are named
// after the parameters.
type in struct {
	param string
	t     Type
}

// opCase is one op: its run-time operands, its other arguments, and either the
// types of its outputs or the fault that the op table must find.
type opCase struct {
	op    string
	in    []in
	args  []Operand
	want  []Type
	err   error
	param string // that the error must be about
}

func ok(op string, operands []in, want Type, args ...Operand) opCase {
	return opCase{op: op, in: operands, args: args, want: []Type{want}}
}

func bad(op string, operands []in, err error, param string, args ...Operand) opCase {
	return opCase{op: op, in: operands, args: args, want: []Type{{}}, err: err, param: param}
}

func x(t Type) []in     { return []in{{"x", t}} }
func xy(t, u Type) []in { return []in{{"x", t}, {"y", u}} }

func (c opCase) String() string {
	s := c.op
	for _, operand := range c.in {
		s += " " + operand.param + "=" + operand.t.String()
	}
	for _, a := range c.args {
		if a.literal != nil {
			s += " " + a.param + "=" + formatLiteral(a.literal)
		}
	}
	return s
}

// build makes a function of the one op.
func (c opCase) build() (*Builder, []string) {
	b := NewBuilder("f", opset)
	args := slices.Clone(c.args)
	for _, operand := range c.in {
		name := "in_" + operand.param
		if operand.t.State {
			b.State(name, operand.t)
		} else {
			b.Input(name, operand.t)
		}
		args = append(args, Arg(operand.param, name))
	}
	var outs []string
	for i := range c.want {
		outs = append(outs, fmt.Sprintf("out_%d", i))
	}
	b.op(c.op, "the_op", outs, args)
	return b, outs
}

func state(t Type) Type {
	t.State = true
	return t
}

// opCases has, for every op of the table, what it accepts and each way in which
// a writer can break it.
func opCases() []opCase {
	return slices.Concat(valueCases, elementwiseCases, reduceCases, layoutCases, sliceCases, linearCases, indexCases)
}

var valueCases = []opCase{
	ok("read_state", []in{{"input", state(f16(1, 2, 32, 32))}}, f16(1, 2, 32, 32)),
	bad("read_state", []in{{"input", f16(1, 2, 32, 32)}}, ErrState, "input"),
	{op: "write_state", in: []in{{"input", state(f16(4))}, {"data", f16(4)}}},
	{op: "write_state", in: []in{{"input", state(f16(4))}, {"data", f16(5)}}, err: ErrType, param: "data"},
	{op: "write_state", in: []in{{"input", state(f16(4))}, {"data", f32(4)}}, err: ErrType, param: "data"},
	{op: "write_state", in: []in{{"input", f16(4)}, {"data", f16(4)}}, err: ErrState, param: "input"},
	{op: "write_state", in: []in{{"input", state(f16(4))}}, err: ErrParam, param: "data"},
	bad("write_state", []in{{"input", state(f16(4))}, {"data", f16(4)}}, ErrType, "outputs"),

	ok("constexpr_blockwise_shift_scale", nil, f16(8, 4, 1, 1), blob("data", Int8, 8, 4, 1, 1), blob("scale", Float16, 8, 1, 1, 1)),
	ok("constexpr_blockwise_shift_scale", nil, f16(8, 4), blob("data", UInt4, 8, 4), blob("scale", Float16, 2, 2), blob("offset", UInt4, 2, 2)),
	ok("constexpr_blockwise_shift_scale", nil, f16(8, 4), blob("data", UInt4, 8, 4), blob("scale", Float16, 2, 2), blob("offset", Float16, 2, 2)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "scale", blob("data", Int8, 8, 4), blob("scale", Float16, 8)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "scale", blob("data", Int8, 8, 4), blob("scale", Float16, 3, 1)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "scale", blob("data", Int8, 8, 4), blob("scale", Int8, 8, 1)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "data", blob("data", Int32, 8, 4), blob("scale", Float16, 8, 1)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "offset", blob("data", Int8, 8, 4), blob("scale", Float16, 8, 1), blob("offset", Int8, 1, 1)),
	bad("constexpr_blockwise_shift_scale", nil, ErrType, "offset", blob("data", Int8, 8, 4), blob("scale", Float16, 8, 1), blob("offset", UInt8, 8, 1)),
	bad("constexpr_blockwise_shift_scale", []in{{"data", f16(8, 4)}}, ErrParam, "data", blob("scale", Float16, 8, 1)),

	ok("constexpr_lut_to_dense", nil, f16(8, 4), blob("indices", UInt4, 8, 4), blob("lut", Float16, 2, 1, 16, 1)),
	bad("constexpr_lut_to_dense", nil, ErrType, "lut", blob("indices", UInt4, 8, 4), blob("lut", Float16, 2, 1, 8, 1)),
	bad("constexpr_lut_to_dense", nil, ErrType, "lut", blob("indices", UInt4, 8, 4), blob("lut", Float16, 2, 1, 16, 2)),
	bad("constexpr_lut_to_dense", nil, ErrType, "lut", blob("indices", UInt4, 8, 4), blob("lut", Float16, 3, 1, 16, 1)),
	bad("constexpr_lut_to_dense", nil, ErrType, "indices", blob("indices", Int8, 8, 4), blob("lut", Float16, 1, 1, 256, 1)),
}

var elementwiseCases = slices.Concat(
	binaryCases("add", "sub", "mul", "real_div", "maximum", "minimum"),
	unaryCases("silu", "sigmoid", "relu", "tanh", "exp", "sqrt", "rsqrt", "gelu", "square", "abs"),
	[]opCase{
		ok("pow", xy(f16(1, 3, 4, 1), f16(3, 1, 2)), f16(1, 3, 4, 2)),
		ok("pow", x(f16(2, 3)), f16(2, 3), Lit("y", half)),
		bad("pow", x(f16(2)), ErrParam, "y"),
		bad("pow", xy(f16(2), f32(2)), ErrType, "y"),
		bad("pow", xy(f16(2), f16(3)), ErrType, "y"),
		bad("pow", xy(i32(2), i32(2)), ErrType, "x"),
		ok("identity", x(f16(1, 64, 4, 1)), f16(1, 64, 4, 1)),
		ok("identity", x(b1(3)), b1(3)),
		bad("identity", x(state(f16(2))), ErrState, "x"),
		bad("identity", nil, ErrParam, "x"),
		ok("square", x(i32(3)), i32(3)),
		ok("abs", x(i32(3)), i32(3)),
		bad("exp", x(i32(3)), ErrType, "x"),
		bad("silu", x(b1(3)), ErrType, "x"),
		ok("rsqrt", x(f16(3)), f16(3), Lit("epsilon", half)),
		bad("rsqrt", x(f16(3)), ErrType, "epsilon", integer("epsilon", 1)),
		bad("rsqrt", x(f16(3)), ErrType, "epsilon", Lit("epsilon", Halfs([]int{1}, []float16.Float16{0}))),
		bad("rsqrt", append(x(f16(3)), in{"epsilon", f16()}), ErrParam, "epsilon"),
		bad("rsqrt", x(f16(3)), ErrParam, "epsilon", blob("epsilon", Float16)),
		ok("gelu", x(f16(3)), f16(3), text("mode", GeluTanh)),
		bad("gelu", x(f16(3)), ErrParam, "mode", text("mode", "exact")),
		ok("greater_equal", xy(f16(2, 1), f16(3)), b1(2, 3)),
		ok("less", xy(f16(2, 1), f16(3)), b1(2, 3)),
		ok("equal", xy(i32(2, 1), i32(3)), b1(2, 3)),
		bad("greater_equal", xy(b1(2), b1(2)), ErrType, "x"),
		bad("less", xy(f16(2), f16(3)), ErrType, "y"),
		bad("equal", xy(i32(2), f16(2)), ErrType, "y"),
		ok("select", []in{{"cond", b1(2, 1)}, {"a", f16(3)}, {"b", f16()}}, f16(2, 3)),
		bad("select", []in{{"cond", f16(2)}, {"a", f16(2)}, {"b", f16(2)}}, ErrType, "cond"),
		bad("select", []in{{"cond", b1(2)}, {"a", f16(2)}, {"b", f32(2)}}, ErrType, "b"),
		bad("select", []in{{"cond", b1(2)}, {"a", f16(3)}, {"b", f16(3)}}, ErrType, "cond"),
		bad("select", []in{{"cond", b1(2)}, {"a", f16(2)}, {"b", f16(3)}}, ErrType, "b"),
		ok("cast", x(f16(3)), i32(3), text("dtype", "int32")),
		ok("cast", x(i32(3)), b1(3), text("dtype", "bool")),
		bad("cast", x(f16(3)), ErrParam, "dtype", text("dtype", "float16")),
		bad("cast", x(f16(3)), ErrParam, "dtype", text("dtype", "string")),
	},
)

func binaryCases(ops ...string) (cases []opCase) {
	for _, op := range ops {
		cases = append(cases,
			ok(op, xy(f16(1, 3, 4, 1), f16(3, 1, 2)), f16(1, 3, 4, 2)),
			ok(op, xy(f16(), f16(2, 3)), f16(2, 3)),
			ok(op, xy(i32(2), i32()), i32(2)),
			ok(op, x(f16(2, 3)), f16(2, 3), Lit("y", half)),
			bad(op, xy(f16(2), f32(2)), ErrType, "y"),
			bad(op, xy(b1(2), b1(2)), ErrType, "x"),
			bad(op, xy(f16(2, 3), f16(2)), ErrType, "y"),
			bad(op, x(f16(2)), ErrParam, "y"),
			bad(op, append(xy(f16(2), f16(2)), in{"z", f16(2)}), ErrParam, "z"),
			bad(op, xy(state(f16(2)), f16(2)), ErrState, "x"),
		)
	}
	return cases
}

func unaryCases(ops ...string) (cases []opCase) {
	for _, op := range ops {
		cases = append(cases,
			ok(op, x(f16(1, 64, 4, 1)), f16(1, 64, 4, 1)),
			ok(op, x(f32()), f32()),
			bad(op, x(Tensor(Int8, 3)), ErrType, "x"),
			bad(op, nil, ErrParam, "x"),
			bad(op, x(f16(2)), ErrParam, "alpha", Lit("alpha", half)),
		)
	}
	return cases
}

var reduceCases = slices.Concat(
	reductions("reduce_mean", "reduce_sum", "reduce_max", "reduce_l2_norm", "reduce_sum_square"),
	[]opCase{
		ok("reduce_argmax", x(f16(2, 3)), i32(2)),
		ok("reduce_argmax", x(f16(2, 3)), Tensor(UInt16, 1, 3), integer("axis", 0), truth("keep_dims", true), text("output_dtype", "uint16")),
		bad("reduce_argmax", x(f16(2, 3)), ErrParam, "axis", integer("axis", 2)),
		bad("reduce_argmax", x(f16(2, 3)), ErrParam, "output_dtype", text("output_dtype", "fp16")),
		ok("softmax", x(f16(2, 3)), f16(2, 3)),
		ok("softmax", x(f16(2, 3)), f16(2, 3), integer("axis", -2)),
		bad("softmax", x(f16(2, 3)), ErrParam, "axis", integer("axis", 2)),
		bad("softmax", x(f16(2, 3)), ErrParam, "axis", integer("axis", -3)),
		bad("softmax", x(f16()), ErrParam, "axis"),
		bad("softmax", x(f16(2, 3)), ErrType, "axis", ints("axis", 1)),
		bad("softmax", append(x(f16(2, 3)), in{"axis", i32()}), ErrParam, "axis"),
		bad("softmax", x(i32(2, 3)), ErrType, "x"),

		ok("layer_norm", x(f16(1, 8, 4, 1)), f16(1, 8, 4, 1), ints("axes", 1), Lit("epsilon", half)),
		ok("layer_norm", x(f16(1, 8, 4, 1)), f16(1, 8, 4, 1), ints("axes", 1, -1), blob("gamma", Float16, 8, 1), blob("beta", Float16, 8, 1)),
		ok("layer_norm", x(f16(2, 3)), f16(2, 3), blob("gamma", Float16, 2, 3)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrType, "gamma", ints("axes", 1), blob("gamma", Float16, 4)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrType, "gamma", ints("axes", 1), blob("gamma", Float16, 1, 8, 1, 1)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrType, "beta", ints("axes", 1), blob("beta", Float16, 4)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrType, "beta", ints("axes", 1), blob("gamma", Float16, 8), blob("beta", Float32, 8)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrType, "epsilon", ints("axes", 1), blob("gamma", Float32, 8), Lit("epsilon", half)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrParam, "axes", ints("axes", 2, 1)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrParam, "axes", ints("axes", 1, -3)),
		bad("layer_norm", x(f16(1, 8, 4, 1)), ErrParam, "axes", ints("axes", 4)),
		bad("layer_norm", append(x(f16(8)), in{"gamma", f16(8)}), ErrParam, "gamma"),
	},
)

func reductions(ops ...string) (cases []opCase) {
	for _, op := range ops {
		cases = append(cases,
			ok(op, x(f16(1, 8, 4, 1)), f16(1, 1, 4, 1), ints("axes", 1), truth("keep_dims", true)),
			ok(op, x(f16(1, 8, 4, 1)), f16(1, 4, 1), ints("axes", 1)),
			ok(op, x(i32(2, 3, 4)), i32(3), ints("axes", -1, 0)),
			ok(op, x(f16(2, 3)), f16()),
			ok(op, x(f16(2, 3)), f16(1, 1), truth("keep_dims", true)),
			bad(op, x(f16(2, 3)), ErrParam, "axes", ints("axes", 2)),
			bad(op, x(f16(2, 3)), ErrParam, "axes", ints("axes", -3)),
			bad(op, x(f16(2, 3)), ErrParam, "axes", ints("axes", 1, -1)),
			bad(op, x(f16(2, 3)), ErrParam, "axes", ints("axes")),
			bad(op, x(f16(2, 3)), ErrType, "axes", integer("axes", 1)),
			bad(op, x(f16(2, 3)), ErrType, "keep_dims", integer("keep_dims", 1)),
			bad(op, x(b1(2, 3)), ErrType, "x"),
		)
	}
	return cases
}

var layoutCases = []opCase{
	ok("reshape", x(f16(1, 8, 4, 1)), f16(1, 2, 4, 4), ints("shape", 1, 2, 4, 4)),
	ok("reshape", x(f16(1, 8, 4, 1)), f16(2, 16), ints("shape", 2, -1)),
	ok("reshape", x(f16(1, 8, 4)), f16(1, 4, 8), ints("shape", 0, 4, -1)),
	ok("reshape", x(f16(1, 1)), f16(), ints("shape")),
	ok("reshape", x(b1(4)), b1(2, 2), ints("shape", 2, 2)),
	bad("reshape", x(f16(1, 8)), ErrParam, "shape", ints("shape", 3, 3)),
	bad("reshape", x(f16(1, 8)), ErrParam, "shape", ints("shape", 3, -1)),
	bad("reshape", x(f16(1, 8)), ErrParam, "shape", ints("shape", -1, -1)),
	bad("reshape", x(f16(1, 8)), ErrParam, "shape", ints("shape", -2, -4)),
	bad("reshape", x(f16(1, 8)), ErrParam, "shape", ints("shape", 1, 0, 8)),
	bad("reshape", x(f16(1, 8)), ErrShape, "shape", ints("shape", 1<<30, 1<<30)),
	bad("reshape", append(x(f16(1, 8)), in{"shape", i32(2)}), ErrParam, "shape"),
	bad("reshape", x(f16(1, 8)), ErrType, "shape", Lit("shape", Halfs([]int{1}, []float16.Float16{0}))),

	ok("transpose", x(f16(1, 2, 3, 4)), f16(1, 2, 4, 3), ints("perm", 0, 1, 3, 2)),
	ok("transpose", x(f16(1, 2, 3)), f16(3, 1, 2), ints("perm", -1, 0, -2)),
	bad("transpose", x(f16(1, 2, 3)), ErrType, "perm", ints("perm", 0, 1)),
	bad("transpose", x(f16(1, 2, 3)), ErrParam, "perm", ints("perm", 0, 1, 1)),
	bad("transpose", x(f16(1, 2, 3)), ErrParam, "perm", ints("perm", 0, 2, -1)),
	bad("transpose", x(f16(1, 2, 3)), ErrParam, "perm", ints("perm", 0, 1, 3)),

	ok("expand_dims", x(f16(4, 5)), f16(1, 1, 4, 5), ints("axes", 0, 1)),
	ok("expand_dims", x(f16(4, 5)), f16(4, 1, 5, 1), ints("axes", -1, 1)),
	ok("expand_dims", x(f16()), f16(1), ints("axes", 0)),
	bad("expand_dims", x(f16(4, 5)), ErrParam, "axes", ints("axes", 3)),
	bad("expand_dims", x(f16(4, 5)), ErrParam, "axes", ints("axes", 0, -4)),
	bad("expand_dims", x(f16(4, 5)), ErrParam, "axes", ints("axes")),

	ok("squeeze", x(f16(1, 4, 1)), f16(4, 1), ints("axes", 0)),
	ok("squeeze", x(f16(1, 4, 1)), f16(1, 4), ints("axes", -1)),
	ok("squeeze", x(f16(1, 4, 1)), f16(4)),
	bad("squeeze", x(f16(1, 4, 1)), ErrParam, "axes", ints("axes", 1)),
	bad("squeeze", x(f16(1, 4, 1)), ErrParam, "axes", ints("axes", 3)),

	{op: "concat", in: []in{{"values", f16(1, 8)}}, args: []Operand{integer("axis", 1)}, want: []Type{f16(1, 8)}},
	bad("concat", []in{{"values", f16(1, 8)}}, ErrParam, "axis"),
	bad("concat", []in{{"values", f16(1, 8)}}, ErrParam, "axis", integer("axis", 2)),
	bad("concat", nil, ErrParam, "values", integer("axis", 2)),

	ok("tile", x(f16(1, 2)), f16(3, 4), ints("reps", 3, 2)),
	bad("tile", x(f16(1, 2)), ErrType, "reps", ints("reps", 3)),
	bad("tile", x(f16(1, 2)), ErrShape, "reps", ints("reps", -1, 1)),
	bad("tile", x(f16(1, 2)), ErrShape, "output", ints("reps", 0, 1)),
	bad("tile", x(f16(1<<40)), ErrShape, "reps", ints("reps", 1<<20)),
	ok("tile", x(f16(maxElements/31)), f16(maxElements), ints("reps", 31)),
	bad("tile", x(f16(maxElements/31+1)), ErrShape, "reps", ints("reps", 31)),
}

var sliceCases = []opCase{
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 3), integer("axis", 1)}, want: []Type{f16(1, 2), f16(1, 2), f16(1, 2)}},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 1, 5), integer("axis", -1)}, want: []Type{f16(1, 1), f16(1, 5)}},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 1, 5), integer("num_splits", 2), integer("axis", 1)}, want: []Type{f16(1, 1), f16(1, 5)}},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 1, 5), integer("num_splits", 3), integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 1, 4), integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "split_sizes"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 7, -1), integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "split_sizes"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{ints("split_sizes", 2, 2, 2), integer("axis", 1)}, want: make([]Type, 2), err: ErrType, param: "split_sizes"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 4), integer("axis", 1)}, want: make([]Type, 4), err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 3), integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 1<<30), integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 0), integer("axis", 1)}, err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("axis", 1)}, want: make([]Type, 2), err: ErrParam, param: "num_splits"},
	{op: "split", in: x(f16(1, 6)), args: []Operand{integer("num_splits", 2), integer("axis", 2)}, want: make([]Type, 2), err: ErrParam, param: "axis"},

	ok("slice_by_index", x(f16(1, 8, 4)), f16(1, 4, 4), ints("begin", 0, 0, 0), ints("end", 1, 4, 4)),
	ok("slice_by_index", x(f16(1, 8, 4)), f16(1, 3, 4), ints("begin", 0, 1, 0), ints("end", 1, 7, 4), ints("stride", 1, 2, 1)),
	ok("slice_by_index", x(f16(1, 8, 4)), f16(1, 3, 2), ints("begin", 0, -3, 0), ints("end", 0, 0, -2), truths("end_mask", true, true, false)),
	ok("slice_by_index", x(f16(1, 8, 4)), f16(1, 2, 4), ints("begin", 9, 9, 9), ints("end", 1, 2, 4), truths("begin_mask", true, true, true)),
	ok("slice_by_index", x(f16(8)), f16(8), ints("begin", 0), ints("end", 0), ints("stride", -1), truths("begin_mask", true), truths("end_mask", true)),
	ok("slice_by_index", x(f16(8)), f16(3), ints("begin", 7), ints("end", 2), ints("stride", -2)),
	ok("slice_by_index", x(f16(1, 8)), f16(8), ints("begin", 0, 0), ints("end", 0, 8), truths("squeeze_mask", true, false)),
	ok("slice_by_index", x(f16(8)), f16(), ints("begin", -1), ints("end", 0), truths("squeeze_mask", true)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 0), ints("end", 9)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 4), ints("end", 4)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 4), ints("end", 2)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 4), ints("end", -30), ints("stride", -1)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 4), ints("end", -9), ints("stride", -1)),
	bad("slice_by_index", x(f16(8)), ErrParam, "end", ints("begin", 4), ints("end", 6), ints("stride", -1)),
	bad("slice_by_index", x(f16(8)), ErrParam, "begin", ints("begin", 8), ints("end", 8)),
	bad("slice_by_index", x(f16(8)), ErrParam, "begin", ints("begin", -9), ints("end", 8)),
	bad("slice_by_index", x(f16(8)), ErrParam, "begin", ints("begin", 8), ints("end", 8), truths("squeeze_mask", true)),
	bad("slice_by_index", x(f16(8)), ErrParam, "stride", ints("begin", 0), ints("end", 8), ints("stride", 0)),
	bad("slice_by_index", x(f16(8)), ErrType, "begin", ints("begin", 0, 0), ints("end", 8)),
	bad("slice_by_index", x(f16(8)), ErrType, "end", ints("begin", 0), ints("end")),
	bad("slice_by_index", x(f16(8)), ErrType, "begin_mask", ints("begin", 0), ints("end", 8), truths("begin_mask", true, true)),
	bad("slice_by_index", append(x(f16(8)), in{"begin", i32(1)}), ErrParam, "begin", ints("end", 8)),

	ok("slice_by_size", x(f16(8, 2)), f16(3, 2), ints("begin", 1, 0), ints("size", 3, -1)),
	ok("slice_by_size", append(x(f16(8, 2)), in{"begin", i32(2)}), f16(3, 2), ints("size", 3, 2)),
	bad("slice_by_size", append(x(f16(8, 2)), in{"begin", i32(2)}), ErrParam, "size", ints("size", 3, -1)),
	bad("slice_by_size", append(x(f16(8, 2)), in{"begin", i32(1)}), ErrType, "begin", ints("size", 3, 2)),
	bad("slice_by_size", x(f16(8)), ErrParam, "size", ints("begin", 6), ints("size", 3)),
	bad("slice_by_size", x(f16(8)), ErrParam, "begin", ints("begin", 8), ints("size", 1)),

	ok("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(3, 2)}}, f16(8, 2), ints("begin", 1, 0), ints("end", 4, 2)),
	ok("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(3, 2)}, {"begin", i32(2)}, {"end", i32(2)}}, f16(8, 2)),
	ok("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(2)}, {"begin", i32(2)}, {"end", i32(2)}}, f16(8, 2), truths("squeeze_mask", true, false)),
	bad("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(4, 2)}}, ErrType, "update", ints("begin", 1, 0), ints("end", 4, 2)),
	bad("slice_update", []in{{"x", f16(8, 2)}, {"update", f32(3, 2)}}, ErrType, "update", ints("begin", 1, 0), ints("end", 4, 2)),
	bad("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(3, 3)}, {"begin", i32(2)}, {"end", i32(2)}}, ErrType, "update"),
	bad("slice_update", []in{{"x", f16(8, 2)}, {"update", f16(3)}, {"begin", i32(2)}, {"end", i32(2)}}, ErrType, "update"),
	bad("slice_update", []in{{"x", f16()}, {"update", f16()}}, ErrType, "update", ints("begin"), ints("end")),
}

var linearCases = []opCase{
	ok("conv", x(f16(1, 64, 4, 1)), f16(1, 96, 4, 1), blob("weight", Float16, 96, 64, 1, 1)),
	ok("conv", x(f16(1, 64, 4, 1)), f16(1, 96, 4, 1), blob("weight", Float16, 96, 64, 1, 1), blob("bias", Float16, 96), ints("strides", 1, 1),
		text("pad_type", "valid"), ints("pad", 0, 0, 0, 0), ints("dilations", 1, 1), integer("groups", 1)),
	ok("conv", x(f16(2, 4, 9)), f16(2, 6, 4), blob("weight", Float16, 6, 2, 3), ints("strides", 2), integer("groups", 2)),
	ok("conv", x(f16(1, 1, 9)), f16(1, 1, 5), blob("weight", Float16, 1, 1, 3), ints("dilations", 2)),
	ok("conv", x(f16(1, 1, 9)), f16(1, 1, 10), blob("weight", Float16, 1, 1, 3), text("pad_type", "custom"), ints("pad", 1, 2)),
	ok("conv", x(f16(1, 1, 9, 9, 9)), f16(1, 1, 3, 5, 9), blob("weight", Float16, 1, 1, 4, 4, 4), text("pad_type", "same"), ints("strides", 3, 2, 1)),
	ok("conv", x(f16(1, 1, 9)), f16(1, 1, 5), blob("weight", Float16, 1, 1, 4), text("pad_type", "same_lower"), ints("strides", 2)),
	ok("conv", append(x(f16(1, 4, 2)), in{"weight", f16(8, 4, 1)}), f16(1, 8, 2)),
	bad("conv", x(f16(1, 4)), ErrType, "x", blob("weight", Float16, 4, 4)),
	bad("conv", x(f16(1, 1, 1, 1, 1, 1)), ErrType, "x", blob("weight", Float16, 1, 1, 1, 1, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Float16, 4, 5, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Float16, 4, 4, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Float32, 4, 4, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Int8, 4, 4, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Float16, 4, 4, 5, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "weight", blob("weight", Float16, 3, 2, 1, 1), integer("groups", 2)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "groups", blob("weight", Float16, 3, 2, 1, 1), integer("groups", 3)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "groups", blob("weight", Float16, 3, 2, 1, 1), integer("groups", 0)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "bias", blob("weight", Float16, 8, 4, 1, 1), blob("bias", Float16, 4)),
	bad("conv", append(x(f16(1, 4, 4, 1)), in{"bias", f16(8)}), ErrParam, "bias", blob("weight", Float16, 8, 4, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "strides", blob("weight", Float16, 8, 4, 1, 1), ints("strides", 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "strides", blob("weight", Float16, 8, 4, 1, 1), ints("strides", 1, 0)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "dilations", blob("weight", Float16, 8, 4, 1, 1), ints("dilations", 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "dilations", blob("weight", Float16, 8, 4, 1, 1), ints("dilations", 1, -1)),
	bad("conv", x(f16(1, 1, 4)), ErrShape, "dilations", blob("weight", Float16, 1, 1, 1<<40), ints("dilations", 1<<30)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrType, "pad", blob("weight", Float16, 8, 4, 1, 1), ints("pad", 0, 0)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "pad", blob("weight", Float16, 8, 4, 1, 1), ints("pad", 0, 0, 1, 1)),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "pad", blob("weight", Float16, 8, 4, 1, 1), ints("pad", 0, 0, 0, -1), text("pad_type", "custom")),
	bad("conv", x(f16(1, 4, 4, 1)), ErrParam, "pad_type", blob("weight", Float16, 8, 4, 1, 1), text("pad_type", "VALID")),

	ok("matmul", xy(f16(1, 8, 4, 16), f16(1, 8, 16, 32)), f16(1, 8, 4, 32)),
	ok("matmul", xy(f16(1, 1, 64, 4), f16(1, 2, 4, 8)), f16(1, 2, 64, 8)),
	ok("matmul", xy(f16(3, 1, 2, 5), f16(7, 5, 2)), f16(3, 7, 2, 2)),
	ok("matmul", xy(f16(4, 16), f16(32, 16)), f16(4, 32), truth("transpose_y", true)),
	ok("matmul", xy(i32(16, 4), i32(16, 32)), i32(4, 32), truth("transpose_x", true), truth("transpose_y", false)),
	bad("matmul", xy(f16(4, 16), f16(32, 16)), ErrType, "y"),
	bad("matmul", xy(f16(16, 4), f16(16, 32)), ErrType, "y"),
	bad("matmul", xy(f16(2, 4, 16), f16(3, 16, 2)), ErrType, "y"),
	bad("matmul", xy(f16(4, 16), f32(16, 32)), ErrType, "y"),
	bad("matmul", xy(f16(16), f16(16, 32)), ErrType, "x"),
	bad("matmul", xy(f16(4, 16), f16(16)), ErrType, "y"),
	bad("matmul", xy(f16(4, 16), f16(16, 32)), ErrType, "transpose_x", integer("transpose_x", 1)),
	bad("matmul", xy(f16(1<<27, 1), f16(1, 1<<30)), ErrShape, "output"),

	ok("linear", x(f16(2, 3, 8)), f16(2, 3, 5), blob("weight", Float16, 5, 8), blob("bias", Float16, 5)),
	bad("linear", x(f16(2, 8)), ErrType, "weight", blob("weight", Float16, 8, 5)),
	bad("linear", x(f16(2, 8)), ErrType, "weight", blob("weight", Float32, 5, 8)),
	bad("linear", x(f16(2, 8)), ErrType, "bias", blob("weight", Float16, 5, 8), blob("bias", Float16, 8)),
	bad("linear", x(f16(2, 8)), ErrType, "bias", blob("weight", Float16, 5, 8), blob("bias", Float32, 5)),
	bad("linear", append(x(f16(2, 8)), in{"weight", f16(5, 8)}), ErrParam, "weight"),

	ok("scaled_dot_product_attention", attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), f16(2, 4, 5)),
	ok("scaled_dot_product_attention", append(attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), in{"attn_mask", b1(4, 6)}), f16(2, 4, 5)),
	bad("scaled_dot_product_attention", append(attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), in{"attn_mask", f16(4, 1)}), ErrType, "attn_mask"),
	bad("scaled_dot_product_attention", append(attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), in{"attn_mask", f16(3, 1, 1, 6)}), ErrType, "attn_mask"),
	bad("scaled_dot_product_attention", append(attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), in{"attn_mask", f32(4, 6)}), ErrType, "attn_mask"),
	bad("scaled_dot_product_attention", append(attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 6, 5)), in{"attn_mask", f16()}), ErrType, "attn_mask"),
	bad("scaled_dot_product_attention", attention(f16(2, 4, 8), f16(1, 6, 8), f16(2, 6, 5)), ErrType, "key"),
	bad("scaled_dot_product_attention", attention(f16(2, 4, 8), f16(2, 6, 7), f16(2, 6, 5)), ErrType, "key"),
	bad("scaled_dot_product_attention", attention(f16(2, 4, 8), f16(2, 6, 8), f16(2, 7, 5)), ErrType, "value"),
	bad("scaled_dot_product_attention", attention(f16(2, 4, 8), f32(2, 6, 8), f16(2, 6, 5)), ErrType, "key"),
	bad("scaled_dot_product_attention", attention(f16(2, 4, 8), f16(2, 6, 8), f32(2, 6, 5)), ErrType, "value"),
	bad("scaled_dot_product_attention", attention(f16(4, 8), f16(6, 8), f16(6, 5)), ErrType, "query"),
}

func attention(q, k, v Type) []in { return []in{{"query", q}, {"key", k}, {"value", v}} }

var indexCases = []opCase{
	ok("gather", []in{{"x", f16(10, 4)}, {"indices", i32(2, 3)}}, f16(2, 3, 4)),
	ok("gather", []in{{"x", f16(10, 4)}, {"indices", i32()}}, f16(10), integer("axis", -1)),
	ok("gather", []in{{"x", f16(2, 10, 4)}, {"indices", i32(2, 3)}}, f16(2, 3, 4), integer("axis", 1), integer("batch_dims", 1)),
	bad("gather", []in{{"x", f16(2, 10, 4)}, {"indices", i32(3, 3)}}, ErrParam, "batch_dims", integer("axis", 1), integer("batch_dims", 1)),
	bad("gather", []in{{"x", f16(2, 10, 4)}, {"indices", i32(2, 3)}}, ErrParam, "batch_dims", integer("batch_dims", 1)),
	bad("gather", []in{{"x", f16(2, 10, 4)}, {"indices", i32(2, 3)}}, ErrParam, "batch_dims", integer("batch_dims", -1)),
	bad("gather", []in{{"x", f16(10)}, {"indices", i32(2)}}, ErrParam, "axis", integer("axis", 1)),
	bad("gather", []in{{"x", f16(10)}, {"indices", f16(2)}}, ErrType, "indices"),
	bad("gather", []in{{"x", b1(10)}, {"indices", i32(2)}}, ErrType, "x"),
	{op: "topk", in: x(f16(2, 10)), args: []Operand{integer("k", 3)}, want: []Type{f16(2, 3), i32(2, 3)}},
	{op: "topk", in: x(f16(2, 10)), args: []Operand{integer("axis", 0), text("output_indices_dtype", "uint16")}, want: []Type{f16(1, 10), Tensor(UInt16, 1, 10)}},
	ok("topk", x(f16(2, 10)), f16(2, 1), truth("return_indices", false)),
	{op: "topk", in: x(f16(2, 10)), args: []Operand{integer("k", 10)}, want: []Type{f16(2, 10), i32(2, 10)}},
	bad("topk", x(f16(2, 10)), ErrType, "outputs"),
	bad("topk", x(f16(2, 10)), ErrParam, "k", integer("k", 11)),
	bad("topk", x(f16(2, 10)), ErrParam, "k", integer("k", 0)),
	bad("topk", x(f16(2, 10)), ErrParam, "axis", integer("axis", 2)),
	bad("topk", x(f16(2, 10)), ErrParam, "output_indices_dtype", text("output_indices_dtype", "int64")),
}

func TestInfer(t *testing.T) {
	for i, c := range opCases() {
		t.Run(fmt.Sprintf("%03d %s", i, c), func(t *testing.T) {
			b, outs := c.build()
			if c.err != nil {
				var e *Error
				require.ErrorAs(t, b.Err(), &e)
				require.ErrorIs(t, e, c.err)
				assert.Equal(t, []string{"f", "the_op", c.op, c.param}, []string{e.Function, e.Op, e.OpType, e.Param})
				assert.NotEmpty(t, e.Wanted)
				assert.NotEmpty(t, e.Found)
				return
			}
			require.NoError(t, b.Err())
			for j, name := range outs {
				assert.Equal(t, c.want[j].String(), b.Type(name).String())
			}
		})
	}
}

// Every row of the op table is accepted once and refused once by TestInfer;
// const is TestLiteralCheck's.
func TestInferCoversTheTable(t *testing.T) {
	accepted, refused := map[string]bool{"const": true}, map[string]bool{"const": true}
	for _, c := range opCases() {
		if c.err == nil {
			accepted[c.op] = true
		} else {
			refused[c.op] = true
		}
	}
	for _, op := range OpTypes() {
		assert.True(t, accepted[op], "%s is never accepted", op)
		assert.True(t, refused[op], "%s is never refused", op)
	}
}

// Concat is the only variadic op.
func TestInferConcat(t *testing.T) {
	for _, c := range []struct {
		name       string
		values     []Type
		axis       int
		interleave bool
		want       Type
		err        error
		param      string
	}{
		{"channels", []Type{f16(1, 8, 4), f16(1, 2, 4), f16(1, 1, 4)}, 1, false, f16(1, 11, 4), nil, ""},
		{"negative axis", []Type{f16(1, 8), f16(1, 2)}, -1, false, f16(1, 10), nil, ""},
		{"interleaved", []Type{f16(1, 8), f16(1, 8)}, 1, true, f16(1, 16), nil, ""},
		{"interleaved unequal", []Type{f16(1, 8), f16(1, 7)}, 1, true, Type{}, ErrType, "values[1]"},
		{"other axis differs", []Type{f16(1, 8), f16(2, 8)}, 1, false, Type{}, ErrType, "values[1]"},
		{"rank differs", []Type{f16(1, 8), f16(1, 8), f16(1, 8, 1)}, 1, false, Type{}, ErrType, "values[2]"},
		{"element type differs", []Type{f16(1, 8), f32(1, 8)}, 1, false, Type{}, ErrType, "values[1]"},
		{"overflow", slices.Repeat([]Type{f16(1 << 54)}, 8), 0, false, Type{}, ErrShape, "values[1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBuilder("f", opset)
			var names []string
			for i, v := range c.values {
				names = append(names, b.Input(fmt.Sprintf("v%d", i), v))
			}
			b.Op("concat", "y", Arg("values", names...), integer("axis", c.axis), truth("interleave", c.interleave))
			if c.err == nil {
				require.NoError(t, b.Err())
				assert.Equal(t, c.want.String(), b.Type("y").String())
				return
			}
			var e *Error
			require.ErrorAs(t, b.Err(), &e)
			require.ErrorIs(t, e, c.err)
			assert.Equal(t, c.param, e.Param)
		})
	}
}
