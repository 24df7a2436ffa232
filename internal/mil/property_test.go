package mil

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var genShape = rapid.SliceOfN(rapid.IntRange(1, 4), 0, 4)

// run infers the first output of one op over the given inputs.
func run(t *rapid.T, op string, operands []in, args ...Operand) (Type, error) {
	c := opCase{op: op, in: operands, args: args, want: []Type{{}}}
	b, outs := c.build()
	if b.Err() == nil {
		f, err := b.Finish(outs...)
		require.NoError(t, err)
		require.NoError(t, f.Check(), "what the builder finishes must pass Check")
	}
	return b.Type("out_0"), b.Err()
}

// Brute force: an index of the output maps to an index of each operand; the
// output is as large as it can be with every operand index in range.
func TestBroadcastProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genShape.Draw(t, "a"), genShape.Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") { // random shapes rarely fit
			b = slices.Clone(a)
			for i := range b {
				if rapid.Bool().Draw(t, "one") {
					b[i] = 1
				}
			}
			b = b[rapid.IntRange(0, len(b)).Draw(t, "drop"):]
		}
		n := max(len(a), len(b))
		want, fits := make([]int, n), true
		for i := range n { // from the last dimension
			da, db := 1, 1
			if i < len(a) {
				da = a[len(a)-1-i]
			}
			if i < len(b) {
				db = b[len(b)-1-i]
			}
			fits = fits && (da == db || min(da, db) == 1)
			want[n-1-i] = max(da, db)
		}
		got, err := run(t, "add", xy(f16(a...), f16(b...)))
		if !fits {
			require.ErrorIs(t, err, ErrType)
			return
		}
		require.NoError(t, err)
		require.True(t, f16(want...).Equal(got), "%v + %v = %v", a, b, got)

		m, err := run(t, "matmul", xy(f16(append(slices.Clone(a), 2, 3)...), f16(append(slices.Clone(b), 3, 5)...)))
		require.NoError(t, err)
		require.True(t, f16(append(want, 2, 5)...).Equal(m), "matmul %v, %v = %v", a, b, m)
	})
}

// Brute force: a slice of an axis is what a loop from begin to end visits.
func TestSliceProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 6).Draw(t, "dim")
		begin := rapid.IntRange(-8, 8).Draw(t, "begin")
		end := rapid.IntRange(-8, 8).Draw(t, "end")
		stride := rapid.IntRange(-3, 3).Draw(t, "stride")
		beginMask, endMask := rapid.Bool().Draw(t, "begin mask"), rapid.Bool().Draw(t, "end mask")

		first, bound := begin, end
		if first < 0 {
			first += dim
		}
		if bound < 0 {
			bound += dim
		}
		forward := stride > 0
		if beginMask && forward {
			first = 0
		} else if beginMask {
			first = dim - 1
		}
		visited, inRange := 0, stride != 0 && first >= 0 && first < dim
		if inRange {
			if endMask {
				for i := first; i >= 0 && i < dim; i += stride {
					visited++
				}
			} else {
				inRange = bound >= 0 && bound <= dim
				for i := first; forward && i < bound || !forward && i > bound; i += stride {
					visited++
				}
			}
		}
		got, err := run(t, "slice_by_index", x(f16(dim)), ints("begin", begin), ints("end", end), ints("stride", stride),
			truths("begin_mask", beginMask), truths("end_mask", endMask))
		if !inRange || visited == 0 {
			require.ErrorIs(t, err, ErrParam)
			return
		}
		require.NoError(t, err)
		require.True(t, f16(visited).Equal(got), "%d elements, found %v", visited, got)
	})
}

// Brute force: a valid convolution has as many outputs as there are kernel
// positions inside the padded axis.
func TestConvProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 8).Draw(t, "dim")
		kernel := rapid.IntRange(1, 4).Draw(t, "kernel")
		stride := rapid.IntRange(1, 3).Draw(t, "stride")
		dilation := rapid.IntRange(1, 3).Draw(t, "dilation")
		before, after := rapid.IntRange(0, 2).Draw(t, "before"), rapid.IntRange(0, 2).Draw(t, "after")
		groups := rapid.IntRange(1, 3).Draw(t, "groups")
		positions := 0
		for start := -before; start+(kernel-1)*dilation < dim+after; start += stride {
			positions++
		}
		got, err := run(t, "conv", x(f16(1, 2*groups, dim)), blob("weight", Float16, 3*groups, 2, kernel), ints("strides", stride),
			ints("dilations", dilation), text("pad_type", "custom"), ints("pad", before, after), integer("groups", groups))
		if positions == 0 {
			require.ErrorIs(t, err, ErrType)
			return
		}
		require.NoError(t, err)
		require.True(t, f16(1, 3*groups, positions).Equal(got), "%d positions, found %v", positions, got)
	})
}

// Layout ops keep the number of elements, and their inverses undo them.
func TestLayoutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "shape")
		n := len(shape)
		perm := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "perm")
		inverse, signed := make([]int, n), slices.Clone(perm)
		for i, p := range perm {
			inverse[p] = i
			if rapid.Bool().Draw(t, "negative") {
				signed[i] = p - n
			}
		}
		turned, err := run(t, "transpose", x(f16(shape...)), ints("perm", signed...))
		require.NoError(t, err)
		back, err := run(t, "transpose", x(turned), ints("perm", inverse...))
		require.NoError(t, err)
		require.True(t, f16(shape...).Equal(back))

		axis := rapid.IntRange(-n-1, n).Draw(t, "axis")
		wide, err := run(t, "expand_dims", x(f16(shape...)), ints("axes", axis))
		require.NoError(t, err)
		narrow, err := run(t, "squeeze", x(wide), ints("axes", axis))
		require.NoError(t, err)
		require.True(t, f16(shape...).Equal(narrow))

		flat, err := run(t, "reshape", x(f16(shape...)), ints("shape", -1))
		require.NoError(t, err)
		require.Equal(t, NumElements(shape), flat.Shape[0])
		same, err := run(t, "reshape", x(flat), ints("shape", shape...))
		require.NoError(t, err)
		require.True(t, f16(shape...).Equal(same))
	})
}

// Any chain of ops that the builder accepts passes Check, also after Clone, and
// fails it as soon as one declared dimension is changed.
func TestBuilderProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder("f", opset)
		names := []string{b.Input("x", f16(1, 4, 2, 6)), b.Input("y", f16(1, 4, 2, 6))}
		pick := func() string { return rapid.SampledFrom(names).Draw(t, "value") }
		for i := range rapid.IntRange(1, 12).Draw(t, "ops") {
			out := fmt.Sprintf("v%d", i)
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				b.Op("silu", out, Arg("x", pick()))
			case 1:
				a := pick()
				b.Op("mul", out, Arg("x", a), Arg("y", a))
			case 2:
				b.Op("reduce_mean", out, Arg("x", pick()), Lit("keep_dims", BoolScalar(true)))
			case 3:
				a := pick()
				b.Op("concat", out, Arg("values", a, a), Lit("axis", Int32Scalar(rapid.IntRange(-4, 3).Draw(t, "axis"))))
			case 4:
				b.Op("transpose", out, Arg("x", pick()), Lit("perm", Int32s(3, 2, 1, 0)))
			}
			names = append(names, out)
		}
		f, err := b.Finish(names[len(names)-1])
		require.NoError(t, err)
		require.NoError(t, f.Check())
		c := f.Clone()
		op := c.Ops[rapid.IntRange(0, len(c.Ops)-1).Draw(t, "spoilt")]
		op.Outputs[0].Type.Shape = append(op.Outputs[0].Type.Shape, 2)
		require.ErrorIs(t, c.Check(), ErrType)
		require.NoError(t, f.Check())
	})
}
