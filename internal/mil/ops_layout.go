package mil

import (
	"fmt"
	"slices"
)

// layoutOps move elements without changing them.
var layoutOps = map[string]opRule{
	"reshape":     {[]param{value("x", anyValue), vector("shape", Int32)}, inferReshape},
	"transpose":   {[]param{value("x", anyValue), vector("perm", Int32)}, inferTranspose},
	"expand_dims": {[]param{value("x", anyValue), vector("axes", Int32)}, inferExpandDims},
	"squeeze":     {[]param{value("x", anyValue), vector("axes", Int32).opt()}, inferSqueeze},
	"concat": {[]param{
		{name: "values", dtypes: anyValue, variadic: true}, scalar("axis", Int32), scalar("interleave", Bool).opt(),
	}, inferConcat},
	"tile": {[]param{value("x", anyValue), vector("reps", Int32)}, inferTile},
}

// inferReshape: one -1 is what is left; 0 copies x's dimension, if the ranks
// are equal. The shape may be a run-time value in MIL, but then the output has
// no static shape, so here it is an immediate.
func inferReshape(c *call) ([]Type, error) {
	x, wanted := c.Type("x"), c.Ints("shape")
	rest, known := -1, 1
	shape := slices.Clone(wanted)
	for i, d := range wanted {
		switch {
		case d == -1 && rest < 0:
			rest = i
			continue
		case d == 0 && len(wanted) == len(x.Shape):
			shape[i] = x.Shape[i]
		case d <= 0:
			return nil, c.fail(ErrParam, "shape", "positive dimensions, one -1 at most, 0 only at equal rank", fmt.Sprint(wanted))
		}
		var err error
		if known, err = c.multiply("shape", known, shape[i]); err != nil {
			return nil, err
		}
	}
	n := NumElements(x.Shape)
	if rest >= 0 && known > 0 && n%known == 0 {
		shape[rest] = n / known
		known = n
	}
	if known != n {
		return nil, c.fail(ErrParam, "shape", fmt.Sprintf("%d elements as x has", n), fmt.Sprint(wanted))
	}
	return one(x.DType, shape)
}

func inferTranspose(c *call) ([]Type, error) {
	x, perm := c.Type("x"), c.Ints("perm")
	n := len(x.Shape)
	if err := c.length("perm", n); err != nil {
		return nil, err
	}
	shape, seen := make([]int, n), make([]bool, n)
	for i, p := range perm {
		if p < 0 {
			p += n
		}
		if p < 0 || p >= n || seen[p] {
			return nil, c.fail(ErrParam, "perm", fmt.Sprintf("a permutation of 0..%d", n-1), fmt.Sprint(perm))
		}
		seen[p] = true
		shape[i] = x.Shape[p]
	}
	return one(x.DType, shape)
}

// inferExpandDims: axes are positions in the output.
func inferExpandDims(c *call) ([]Type, error) {
	x := c.Type("x")
	axes, err := c.axes("axes", len(x.Shape)+c.shape("axes")[0])
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	for _, axis := range axes { // ascending, so each position is final
		shape = slices.Insert(shape, axis, 1)
	}
	return one(x.DType, shape)
}

// inferSqueeze: without axes, every dimension of 1 goes.
func inferSqueeze(c *call) ([]Type, error) {
	x := c.Type("x")
	if !c.Has("axes") {
		return one(x.DType, slices.DeleteFunc(slices.Clone(x.Shape), func(d int) bool { return d == 1 }))
	}
	axes, err := c.axes("axes", len(x.Shape))
	if err != nil {
		return nil, err
	}
	for _, axis := range axes {
		if x.Shape[axis] != 1 {
			return nil, c.fail(ErrParam, "axes", "axes of dimension 1 of "+formatShape(x.Shape), fmt.Sprint(c.Ints("axes")))
		}
	}
	return one(x.DType, reduced(x.Shape, axes, false))
}

// inferConcat: all but the axis must agree; interleaved values agree there too.
func inferConcat(c *call) ([]Type, error) {
	types := c.Types("values")
	first := types[0]
	axis, err := c.axis("axis", 0, len(first.Shape))
	if err != nil {
		return nil, err
	}
	interleave := c.Bool("interleave", false)
	shape := slices.Clone(first.Shape)
	for i, t := range types[1:] {
		param := fmt.Sprintf("values[%d]", i+1)
		if t.DType != first.DType || len(t.Shape) != len(shape) {
			return nil, c.fail(ErrType, param, "the element type and rank of "+first.String(), t.String())
		}
		for j, d := range t.Shape {
			if d != first.Shape[j] && (j != axis || interleave) {
				return nil, c.fail(ErrType, param, fmt.Sprintf("%s but for axis %d", first, axis), t.String())
			}
		}
		if shape[axis] += t.Shape[axis]; shape[axis] > maxElements {
			return nil, c.fail(ErrShape, param, fmt.Sprintf("a dimension of at most %d", maxElements), fmt.Sprint(shape[axis]))
		}
	}
	return one(first.DType, shape)
}

func inferTile(c *call) ([]Type, error) {
	x, reps := c.Type("x"), c.Ints("reps")
	if err := c.length("reps", len(x.Shape)); err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	for i, r := range reps {
		var err error
		if shape[i], err = c.multiply("reps", shape[i], r); err != nil {
			return nil, err
		}
	}
	return one(x.DType, shape)
}
