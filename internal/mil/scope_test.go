package mil

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func TestScope(t *testing.T) {
	f := sample(t).Function("t4")
	s, err := NewScope(f)
	require.NoError(t, err)

	assert.Equal(t, "fp16[1,8,4,1]", s.Type("x").String())
	assert.Equal(t, "state<fp16[1,2,32,32]>", s.Type("k").String())
	assert.Equal(t, "fp16[1,4,4,1]", s.Type("b").String())
	_, ok := s.Lookup("k_write_blend") // an op without outputs defines no value
	assert.False(t, ok)

	assert.True(t, s.Constant("w"))
	assert.Nil(t, s.Literal("w"))
	assert.True(t, s.Constant("blend_y"))
	assert.Equal(t, []byte{0x00, 0x38}, s.Literal("blend_y").Bytes)
	assert.False(t, s.Constant("x"))
	assert.Same(t, opNamed(f, "a"), s.Producer("b"))
	assert.Nil(t, s.Producer("x"))
}

func TestParams(t *testing.T) {
	f := sample(t).Function("t4")
	s, err := NewScope(f)
	require.NoError(t, err)

	conv := s.Params(opNamed(f, "proj"))
	name, ok := conv.Value("weight")
	assert.Equal(t, "w", name)
	assert.True(t, ok)
	assert.Equal(t, []int{1, 1}, conv.Ints("strides"))
	assert.Equal(t, "valid", conv.String("pad_type", "custom"))
	assert.Equal(t, "custom", conv.String("bias", "custom"))
	assert.False(t, conv.Has("bias"))
	assert.Nil(t, conv.Ints("dilations"))
	assert.Equal(t, 7, conv.Int("groups", 7))

	concat := s.Params(opNamed(f, "ba"))
	assert.Equal(t, []string{"b", "a"}, concat.Values("values"))
	assert.Equal(t, 1, concat.Axis("axis", 0, 4))
	assert.True(t, concat.Bool("interleave", true))
	assert.Len(t, concat.Types("values"), 2)

	inline := s.Params(opNamed(f, "w"))
	_, ok = inline.Value("data")
	assert.False(t, ok)
	assert.Equal(t, uint64(64), inline.Literal("data").Blob.Offset)
	assert.Equal(t, "int8[8,8,1,1]", inline.Type("data").String())
}

func TestParamsValues(t *testing.T) {
	b := NewBuilder("f", opset)
	b.Input("x", f16(2, 3, 4))
	b.Op("layer_norm", "ln", Arg("x", "x"), Lit("axes", Int32s(-2, -1)), Lit("epsilon", Half(float16.Fromfloat32(0.25))))
	b.Op("rsqrt", "r", Arg("x", "ln"), Inline("epsilon", Literal{Type: f32(), Floats: []float32{1e-12}}))
	b.Op("slice_by_index", "s", Arg("x", "r"), Lit("begin", Int32s(1, -2, 3)), Lit("end", Int32s(2, 3, 0)),
		Lit("stride", Int32s(1, 1, -2)), Lit("end_mask", Bools(false, false, true)), Lit("squeeze_mask", Bools(true, false, false)))
	b.Op("reduce_sum", "sum", Arg("x", "s"))
	f, err := b.Finish("sum")
	require.NoError(t, err)
	s, err := NewScope(f)
	require.NoError(t, err)

	ln := s.Params(opNamed(f, "ln"))
	assert.Equal(t, []int{1, 2}, ln.Axes("axes", 3))
	assert.Equal(t, float32(0.25), ln.Half("epsilon", 1e-5))
	assert.Equal(t, float32(9), ln.Half("gamma", 9))
	assert.Equal(t, float32(1e-12), s.Params(opNamed(f, "r")).Half("epsilon", 0))
	assert.Equal(t, []int{0, 1}, s.Params(opNamed(f, "sum")).Axes("axes", 2))

	axes, err := s.Params(opNamed(f, "s")).Slice([]int{2, 3, 4})
	require.NoError(t, err)
	assert.Equal(t, []SliceAxis{{Begin: 1, Stride: 1, Count: 1, Squeeze: true}, {Begin: 1, Stride: 1, Count: 2}, {Begin: 3, Stride: -2, Count: 2}}, axes)
	assert.Equal(t, []bool{false, false, true}, s.Params(opNamed(f, "s")).BoolSlice("end_mask"))
}

// The first error sticks and surfaces at Finish, which gives no function.
func TestBuilderErrorSticks(t *testing.T) {
	b := NewBuilder("f", opset)
	x := b.Input("x", f16(1, 8))
	y := b.Op("reshape", "y", Arg("x", x), Lit("shape", Int32s(3, 3)))
	z := b.Op("add", "z", Arg("x", y), Arg("y", "undefined"))
	parts := b.Ops("split", []string{"p", "q"}, Arg("x", z))
	b.Write("no_state", z)
	f, err := b.Finish(parts...)
	assert.Nil(t, f)
	require.ErrorIs(t, err, ErrParam)
	assert.EqualError(t, err, `mil: function "f": op "y" (reshape): shape: bad parameter: wanted 8 elements as x has, found [3 3]`)

	_, err = NewBuilder("f", "CoreML1").Finish("x")
	require.ErrorIs(t, err, ErrOpset)
	_, err = NewBuilder("f", opset).Finish()
	require.ErrorIs(t, err, ErrFunction)
	b = NewBuilder("f", opset)
	b.Input("x", f16(0))
	_, err = b.Finish("x")
	require.ErrorIs(t, err, ErrShape)
}

// The builder keeps no reference to what it was given.
func TestBuilderCopies(t *testing.T) {
	shape, lit := []int{2, 3}, Int32s(3, 2)
	b := NewBuilder("f", opset)
	b.Input("x", Tensor(Float16, shape...))
	b.Op("reshape", "y", Arg("x", "x"), Lit("shape", lit))
	shape[0], lit.Ints[0] = 7, 7
	f, err := b.Finish("y")
	require.NoError(t, err)
	require.NoError(t, f.Check())
}

func TestClone(t *testing.T) {
	p := sample(t)
	c := p.Clone()
	require.Equal(t, p, c)
	for _, f := range c.Functions {
		WalkLiterals(f, func(_ *Op, _ string, lit *Literal) {
			if lit.Blob != nil {
				lit.Blob.Offset++
			}
			for i := range lit.Ints {
				lit.Ints[i]++
			}
			for i := range lit.Bytes {
				lit.Bytes[i]++
			}
			for i := range lit.Strings {
				lit.Strings[i] += "x"
			}
		})
		for i := range f.Inputs {
			f.Inputs[i].Type.Shape[0]++
		}
		for _, op := range f.Ops {
			for i := range op.Args {
				op.Args[i].Bindings[0].Name += "x"
			}
			for i := range op.Outputs {
				op.Outputs[i].Name += "x"
				if shape := op.Outputs[i].Type.Shape; len(shape) > 0 {
					shape[0]++
				}
			}
		}
		f.Outputs[0] = "x"
	}
	assert.Equal(t, sample(t), p)
	assert.Nil(t, (*Program)(nil).Clone())
}

func TestWalkLiterals(t *testing.T) {
	var got []string
	WalkLiterals(sample(t).Function("t1"), func(op *Op, param string, lit *Literal) {
		got = append(got, op.Name+"."+param+" "+lit.Type.String())
	})
	assert.Equal(t, []string{
		"w.data int8[8,8,1,1]", "w.scale fp16[8,1,1,1]", "proj_strides.val int32[2]", "proj_pad_type.val string",
		"a_num_splits.val int32", "a_axis.val int32", "ba_axis.val int32", "blend_y.val fp16",
	}, got)
}
