package mil

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

// sample is a program of two functions with a state, an inline literal, a
// variadic op, a split and const ops: one of each thing that Check looks at.
func sample(t testing.TB) *Program {
	t.Helper()
	p := &Program{}
	for name, rows := range map[string]int{"t1": 1, "t4": 4} {
		b := NewBuilder(name, "CoreML8")
		x := b.Input("x", f16(1, 8, rows, 1))
		b.State("k", f16(1, 2, 32, 32))
		w := b.Op("constexpr_blockwise_shift_scale", "w",
			Inline("data", Blob(Int8, []int{8, 8, 1, 1}, 64)), Inline("scale", Blob(Float16, []int{8, 1, 1, 1}, 192)))
		b.Op("conv", "proj", Arg("x", x), Arg("weight", w), Lit("strides", Int32s(1, 1)), Lit("pad_type", StringScalar("valid")))
		parts := b.Ops("split", []string{"a", "b"}, Arg("x", "proj"), Lit("num_splits", Int32Scalar(2)), Lit("axis", Int32Scalar(1)))
		b.Op("concat", "ba", Arg("values", parts[1], parts[0]), Lit("axis", Int32Scalar(1)))
		old := b.Op("read_state", "old", Arg("input", "k"))
		b.Op("mul", "blend", Arg("x", old), Lit("y", Half(float16.Fromfloat32(0.5))))
		b.Write("k", "blend")
		b.Op("read_state", "new", Arg("input", "k"))
		f, err := b.Finish("ba", "new")
		require.NoError(t, err)
		p.Functions = append(p.Functions, f)
	}
	if p.Functions[0].Name != "t1" {
		p.Functions[0], p.Functions[1] = p.Functions[1], p.Functions[0]
	}
	require.NoError(t, p.Check())
	return p
}

func opNamed(f *Function, name string) *Op {
	for _, op := range f.Ops {
		if op.Name == name {
			return op
		}
	}
	panic("no op " + name)
}

func argOf(op *Op, param string) *Binding {
	for i := range op.Args {
		if op.Args[i].Param == param {
			return &op.Args[i].Bindings[0]
		}
	}
	panic("no parameter " + param)
}

// breakages are the ways to break a good program, each with the fault that
// Check must find and words that its message must have.
var breakages = []struct {
	name  string
	spoil func(p *Program)
	err   error
	words []string
}{
	{"no function", func(p *Program) { p.Functions = nil }, ErrFunction, nil},
	{"nil function", func(p *Program) { p.Functions[1] = nil }, ErrFunction, nil},
	{"same function twice", func(p *Program) { p.Functions[1] = p.Functions[0] }, ErrDuplicate, []string{"t1"}},
	{"functions unsorted", func(p *Program) { p.Functions[0], p.Functions[1] = p.Functions[1], p.Functions[0] }, ErrFunction, []string{"t1", "t4"}},
	{"function name", func(p *Program) { p.Functions[0].Name = "1t" }, ErrIdentifier, []string{"1t"}},
	{"no function name", func(p *Program) { p.Functions[0].Name = "" }, ErrIdentifier, nil},
	{"opset", func(p *Program) { p.Functions[0].Opset = "CoreML7" }, ErrOpset, []string{"CoreML8", "CoreML7"}},
	{"no opset", func(p *Program) { p.Functions[0].Opset = "" }, ErrOpset, nil},

	{"state missing", func(p *Program) {
		f := p.Functions[1]
		f.Inputs, f.Outputs = f.Inputs[:1], []string{"ba"}
		f.Ops = f.Ops[:9]
	}, ErrState, []string{"t4", "t1", `"k"`, "none"}},
	{"state added", func(p *Program) {
		p.Functions[1].Inputs = append(p.Functions[1].Inputs, Value{"v", state(f16(4))})
	}, ErrState, []string{"t4", "none", `"v"`}},
	{"states differ in shape", func(p *Program) { restate(p.Functions[1], f16(1, 2, 64, 32)) }, ErrState, []string{"t4", "[1,2,32,32]", "[1,2,64,32]"}},
	{"states differ in element type", func(p *Program) {
		f := p.Functions[1]
		restate(f, f32(1, 2, 32, 32))
		argOf(opNamed(f, "blend"), "y").Name = ""
		argOf(opNamed(f, "blend"), "y").Literal = &Literal{Type: f32(), Floats: []float32{1}}
	}, ErrState, []string{"fp16", "fp32"}},
	{"states differ in order", func(p *Program) {
		for i, f := range p.Functions {
			v := Value{"v", state(f16(1, 2, 32, 32))}
			if i == 0 {
				f.Inputs = append(f.Inputs, v)
			} else {
				f.Inputs = []Value{f.Inputs[0], v, f.Inputs[1]}
			}
		}
	}, ErrState, []string{`"k"`, `"v"`}},

	{"input name", func(p *Program) { p.Functions[0].Inputs[0].Name = "x.1" }, ErrIdentifier, []string{"x.1"}},
	{"input twice", func(p *Program) { p.Functions[0].Inputs[1].Name = "x" }, ErrDuplicate, []string{`"x"`}},
	{"input of strings", func(p *Program) { p.Functions[0].Inputs[0].Type.DType = String }, ErrType, []string{`"x"`, "string"}},
	{"input of unknown type", func(p *Program) { p.Functions[0].Inputs[0].Type.DType = 200 }, ErrType, []string{"dtype(200)"}},
	{"input of zero size", func(p *Program) { p.Functions[0].Inputs[0].Type.Shape[2] = 0 }, ErrShape, []string{"[1,8,0,1]"}},
	{"input of negative size", func(p *Program) { p.Functions[0].Inputs[0].Type.Shape[2] = -4 }, ErrShape, []string{"-4"}},
	{"input of overflowing size", func(p *Program) { p.Functions[0].Inputs[0].Type.Shape = []int{1 << 31, 1 << 31, 1 << 31} }, ErrShape, nil},
	{"input of the largest dimension", func(p *Program) { p.Functions[0].Inputs[0].Type.Shape = []int{math.MaxInt, 2} }, ErrShape, nil},
	{"input of huge rank", func(p *Program) { p.Functions[0].Inputs[0].Type.Shape = make([]int, 1000) }, ErrShape, []string{"rank 1000"}},

	{"nil op", func(p *Program) { p.Functions[0].Ops[3] = nil }, ErrOp, []string{"t1"}},
	{"unknown op", func(p *Program) { opNamed(p.Functions[0], "blend").Type = "multiply" }, ErrOp, []string{"blend", "multiply"}},
	{"dialect in the op type", func(p *Program) { opNamed(p.Functions[0], "blend").Type = "ios18.mul" }, ErrOp, []string{"ios18.mul"}},
	{"op name", func(p *Program) { opNamed(p.Functions[0], "blend").Name = "ble nd" }, ErrIdentifier, []string{"ble nd"}},
	{"op without a name", func(p *Program) { opNamed(p.Functions[0], "blend").Name = "" }, ErrIdentifier, nil},
	{"op name twice", func(p *Program) { opNamed(p.Functions[0], "blend").Name = "old" }, ErrDuplicate, []string{`"old"`}},
	{"value twice", func(p *Program) { opNamed(p.Functions[0], "new").Outputs[0].Name = "old" }, ErrDuplicate, []string{`"old"`}},
	{"value named as an input", func(p *Program) { opNamed(p.Functions[0], "proj").Outputs[0].Name = "x" }, ErrDuplicate, []string{`"x"`}},
	{"value name", func(p *Program) { opNamed(p.Functions[0], "new").Outputs[0].Name = "né" }, ErrIdentifier, nil},
	{"value of an op that is not const", func(p *Program) { opNamed(p.Functions[0], "blend").Val = &Literal{Type: f16(), Bytes: []byte{0, 0}} }, ErrOp, []string{"blend", "val"}},

	{"use before definition", func(p *Program) {
		ops := p.Functions[0].Ops
		ops[len(ops)-1], ops[len(ops)-4] = ops[len(ops)-4], ops[len(ops)-1]
	}, ErrUndefined, nil},
	{"use of the other function's value", func(p *Program) {
		p.Functions[0].Ops[0].Outputs[0].Name, p.Functions[0].Ops[0].Name = "w1", "w1"
	}, ErrUndefined, []string{"t1", "proj", "weight", `"w"`}},
	{"op uses itself", func(p *Program) { argOf(opNamed(p.Functions[0], "blend"), "x").Name = "blend" }, ErrUndefined, []string{`"blend"`}},

	{"parameter missing", func(p *Program) { dropArg(opNamed(p.Functions[0], "proj"), "weight") }, ErrParam, []string{"proj", "conv", "weight"}},
	{"parameter unknown", func(p *Program) { renameArg(opNamed(p.Functions[0], "proj"), "strides", "stride") }, ErrParam, []string{"stride", "strides"}},
	{"parameter twice", func(p *Program) {
		op := opNamed(p.Functions[0], "blend")
		op.Args = append(op.Args, op.Args[1])
	}, ErrParam, []string{"blend"}},
	{"parameters unsorted", func(p *Program) {
		op := opNamed(p.Functions[0], "blend")
		op.Args[0], op.Args[1] = op.Args[1], op.Args[0]
	}, ErrParam, []string{"sorted"}},
	{"parameter without a binding", func(p *Program) { opNamed(p.Functions[0], "proj").Args[1].Bindings = nil }, ErrParam, nil},
	{"optional parameter without a binding", func(p *Program) {
		op := opNamed(p.Functions[0], "proj")
		for i := range op.Args {
			if op.Args[i].Param == "strides" {
				op.Args[i].Bindings = nil
			}
		}
	}, ErrParam, []string{"strides", "one binding"}},
	{"parameter bound twice", func(p *Program) {
		a := &opNamed(p.Functions[0], "blend").Args[0]
		a.Bindings = append(a.Bindings, a.Bindings[0])
	}, ErrParam, []string{"one binding", "2"}},
	{"binding of nothing", func(p *Program) { *argOf(opNamed(p.Functions[0], "blend"), "x") = Binding{} }, ErrParam, []string{"both or neither"}},
	{"binding of both", func(p *Program) {
		argOf(opNamed(p.Functions[0], "blend"), "x").Literal = &Literal{Type: f16(), Bytes: []byte{0, 0}}
	}, ErrParam, []string{"both or neither"}},
	{"run-time value for a compile-time parameter", func(p *Program) {
		f := p.Functions[0]
		f.Inputs = append(f.Inputs, Value{"n", i32()})
		argOf(opNamed(f, "a"), "axis").Name = "n"
	}, ErrParam, []string{"axis", "run time"}},
	{"inline literal of the wrong length", func(p *Program) {
		*argOf(opNamed(p.Functions[0], "blend"), "y") = Binding{Literal: &Literal{Type: f16(2), Bytes: []byte{0, 0}}}
	}, ErrLiteral, []string{"blend", "y", "4 bytes"}},

	{"declared shape", func(p *Program) { opNamed(p.Functions[0], "proj").Outputs[0].Type.Shape[1] = 16 }, ErrType, []string{"t1", "proj", "fp16[1,8,1,1]", "fp16[1,16,1,1]"}},
	{"declared rank", func(p *Program) { opNamed(p.Functions[0], "proj").Outputs[0].Type.Shape = []int{1, 8, 1} }, ErrType, nil},
	{"declared element type", func(p *Program) { opNamed(p.Functions[0], "proj").Outputs[0].Type.DType = Float32 }, ErrType, []string{"fp32"}},
	{"declared as a state", func(p *Program) { opNamed(p.Functions[0], "old").Outputs[0].Type.State = true }, ErrType, []string{"state<"}},
	{"output dropped", func(p *Program) { op := opNamed(p.Functions[0], "a"); op.Outputs = op.Outputs[:1] }, ErrParam, []string{"num_splits"}},
	{"output added", func(p *Program) {
		op := opNamed(p.Functions[0], "ba")
		op.Outputs = append(op.Outputs, Value{"more", f16(1)})
	}, ErrType, []string{"outputs"}},
	{"write_state with an output", func(p *Program) {
		opNamed(p.Functions[0], "k_write_blend").Outputs = []Value{{"written", f16(1, 2, 32, 32)}}
	}, ErrType, []string{"wanted 0, found 1"}},

	{"state as an operand", func(p *Program) { argOf(opNamed(p.Functions[0], "blend"), "x").Name = "k" }, ErrState, []string{`"k"`}},
	{"read of a tensor", func(p *Program) { argOf(opNamed(p.Functions[0], "old"), "input").Name = "x" }, ErrState, []string{`"x"`}},
	{"write of another shape", func(p *Program) { argOf(opNamed(p.Functions[0], "k_write_blend"), "data").Name = "x" }, ErrType, []string{"data"}},

	{"no output", func(p *Program) { p.Functions[0].Outputs = nil }, ErrFunction, []string{"outputs"}},
	{"output undefined", func(p *Program) { p.Functions[0].Outputs[0] = "hidden" }, ErrUndefined, []string{"hidden"}},
	{"output empty", func(p *Program) { p.Functions[0].Outputs[0] = "" }, ErrUndefined, nil},
	{"output twice", func(p *Program) { p.Functions[0].Outputs[0] = "new" }, ErrDuplicate, []string{"new"}},
	{"output is a state", func(p *Program) { p.Functions[0].Outputs[0] = "k" }, ErrState, []string{`"k"`}},
	{"output is a string", func(p *Program) { p.Functions[0].Outputs[0] = "proj_pad_type" }, ErrType, []string{"proj_pad_type"}},

	{"const without a value", func(p *Program) { opNamed(p.Functions[0], "blend_y").Val = nil }, ErrLiteral, []string{"blend_y", "val"}},
	{"const with a parameter", func(p *Program) {
		opNamed(p.Functions[0], "blend_y").Args = []Argument{{Param: "x", Bindings: []Binding{{Name: "x"}}}}
	}, ErrParam, []string{"blend_y", "no parameters"}},
	{"const of another declared type", func(p *Program) { opNamed(p.Functions[0], "blend_y").Outputs[0].Type = f16(1) }, ErrType, []string{"blend_y"}},
}

// restate gives state k another type, and all values made from it.
func restate(f *Function, t Type) {
	f.Inputs[1].Type = state(t)
	for _, name := range []string{"old", "blend", "new"} {
		opNamed(f, name).Outputs[0].Type = t
	}
}

func dropArg(op *Op, param string) { renameArg(op, param, "") }

func renameArg(op *Op, param, to string) {
	for i := range op.Args {
		if op.Args[i].Param == param {
			if to == "" {
				op.Args = append(op.Args[:i:i], op.Args[i+1:]...)
				return
			}
			op.Args[i].Param = to
		}
	}
}

func TestCheckFindsEachBreakage(t *testing.T) {
	good := sample(t)
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			p := good.Clone()
			b.spoil(p)
			err := p.Check()
			var e *Error
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, b.err)
			assert.True(t, strings.HasPrefix(err.Error(), "mil: "), err.Error())
			for _, w := range b.words {
				assert.Contains(t, err.Error(), w)
			}
		})
	}
	require.NoError(t, good.Check(), "a breakage reached the original through its clone")
}

func TestCheckNil(t *testing.T) {
	var p *Program
	require.ErrorIs(t, p.Check(), ErrFunction)
	var f *Function
	require.ErrorIs(t, f.Check(), ErrFunction)
	_, err := NewScope(nil)
	require.ErrorIs(t, err, ErrFunction)
}

// A message names function, op, its type, parameter, wanted and found, and stays
// short whatever a hostile program calls its values.
func TestErrorMessage(t *testing.T) {
	p := sample(t)
	argOf(opNamed(p.Functions[1], "blend"), "x").Name = "nothing"
	err := p.Check()
	assert.EqualError(t, err, `mil: function "t4": op "blend" (mul): x: undefined value: wanted a value defined before this op, found "nothing"`)

	argOf(opNamed(p.Functions[1], "blend"), "x").Name = strings.Repeat("n", 1<<20)
	assert.Less(t, len(p.Check().Error()), 1000)
}

func TestIdentifier(t *testing.T) {
	for _, s := range []string{"a", "z", "_", "A9", "Zz", "x@1", "layers_0_q"} {
		assert.True(t, isIdentifier(s), s)
	}
	for _, s := range []string{"", "9a", "@a", "a-b", "a b", "a.b", "é", "a\x00"} {
		assert.False(t, isIdentifier(s), s)
	}
}

func TestProgramFunction(t *testing.T) {
	p := sample(t)
	assert.Same(t, p.Functions[1], p.Function("t4"))
	assert.Nil(t, p.Function("t2"))
}
