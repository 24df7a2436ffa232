package mil

import (
	"fmt"
	"slices"
)

// sliceOps take or replace parts of a tensor.
var sliceOps = map[string]opRule{
	"split": {[]param{
		value("x", anyValue), scalar("num_splits", Int32).opt(), vector("split_sizes", Int32).opt(), scalar("axis", Int32),
	}, inferSplit},
	"slice_by_index": {append([]param{
		value("x", anyValue), vector("begin", Int32), vector("end", Int32),
	}, sliceMasks...), inferSliceByIndex},
	"slice_by_size": {[]param{
		value("x", anyValue), value("begin", setOf(Int32)), vector("size", Int32),
	}, inferSliceBySize},
	"slice_update": {append([]param{
		value("x", anyValue), value("update", anyValue), value("begin", setOf(Int32)), value("end", setOf(Int32)),
	}, sliceMasks...), inferSliceUpdate},
}

var sliceMasks = []param{
	vector("stride", Int32).opt(), vector("begin_mask", Bool).opt(), vector("end_mask", Bool).opt(), vector("squeeze_mask", Bool).opt(),
}

// inferSplit: into equal parts, or into parts of given sizes.
func inferSplit(c *call) ([]Type, error) {
	x := c.Type("x")
	axis, err := c.axis("axis", 0, len(x.Shape))
	if err != nil {
		return nil, err
	}
	sizes, err := c.splitSizes(x.Shape[axis])
	if err != nil {
		return nil, err
	}
	types := make([]Type, len(sizes))
	for i, size := range sizes {
		types[i] = cloneType(x)
		types[i].Shape[axis] = size
	}
	return types, nil
}

// splitSizes allocates only after the number of parts is known to be that of
// the op's outputs: num_splits may be any number in a hostile program.
func (c *call) splitSizes(dim int) ([]int, error) {
	n := c.Int("num_splits", c.outputs)
	if n != c.outputs || n == 0 {
		return nil, c.fail(ErrParam, "num_splits", fmt.Sprintf("%d, the number of outputs", c.outputs), fmt.Sprint(n))
	}
	if !c.Has("split_sizes") {
		if !c.Has("num_splits") {
			return nil, c.fail(ErrParam, "num_splits", "a value, or split_sizes", "neither")
		}
		if dim%n != 0 {
			return nil, c.fail(ErrParam, "num_splits", fmt.Sprintf("a divisor of %d", dim), fmt.Sprint(n))
		}
		return slices.Repeat([]int{dim / n}, n), nil
	}
	sizes := c.Ints("split_sizes")
	if err := c.length("split_sizes", n); err != nil {
		return nil, err
	}
	sum := 0
	for _, size := range sizes { // at most 2^31 each: the sum of a slice of them fits
		if size < 1 {
			return nil, c.fail(ErrParam, "split_sizes", "sizes of at least 1", fmt.Sprint(sizes))
		}
		sum += size
	}
	if sum != dim {
		return nil, c.fail(ErrParam, "split_sizes", fmt.Sprintf("sizes that sum to %d", dim), fmt.Sprint(sizes))
	}
	return sizes, nil
}

// SliceAxis is the part of one axis that a slice takes: elements Begin,
// Begin+Stride, ... Count of them. A squeezed axis has Count 1 and is not in
// the result's shape.
type SliceAxis struct {
	Begin, Stride, Count int
	Squeeze              bool
}

// Slice reads begin, end, stride and the masks of slice_by_index, or of
// slice_update with compile-time bounds, against x's shape. Negative bounds
// count from the end; bounds outside the axis and empty slices are errors, as
// nothing a writer means has them.
func (p Params) Slice(x []int) ([]SliceAxis, error) {
	c := &call{Params: p}
	n := len(x)
	for _, param := range []string{"begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"} {
		if err := c.length(param, n); err != nil {
			return nil, err
		}
	}
	begin, end := c.intsOr("begin", n, 0), c.intsOr("end", n, 0)
	stride := c.intsOr("stride", n, 1)
	out := make([]SliceAxis, n)
	for i, dim := range x {
		a, err := c.sliceAxis(i, dim, begin[i], end[i], stride[i])
		if err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, nil
}

func (c *call) sliceAxis(i, dim, begin, end, stride int) (SliceAxis, error) {
	if stride == 0 {
		return SliceAxis{}, c.fail(ErrParam, "stride", "not 0", fmt.Sprintf("0 on axis %d", i))
	}
	if begin < 0 {
		begin += dim
	}
	if end < 0 {
		end += dim
	}
	low, high := 0, dim
	if stride < 0 {
		low, high = dim-1, -1
	}
	if c.mask("begin_mask", i) {
		begin = low
	}
	if c.mask("end_mask", i) {
		end = high
	}
	if begin < 0 || begin >= dim {
		return SliceAxis{}, c.fail(ErrParam, "begin", fmt.Sprintf("in %d..%d on axis %d", -dim, dim-1, i), fmt.Sprint(c.Ints("begin")))
	}
	if c.mask("squeeze_mask", i) {
		return SliceAxis{Begin: begin, Stride: 1, Count: 1, Squeeze: true}, nil
	}
	length, step := end-begin, stride
	if stride < 0 {
		length, step = -length, -step
	}
	if length < 1 || end > dim || (end < 0 && !c.mask("end_mask", i)) {
		return SliceAxis{}, c.fail(ErrParam, "end", fmt.Sprintf("a bound within %d and past begin %d on axis %d", dim, begin, i), fmt.Sprint(c.Ints("end")))
	}
	return SliceAxis{Begin: begin, Stride: stride, Count: (length + step - 1) / step}, nil
}

func (c *call) mask(param string, i int) bool {
	m := c.BoolSlice(param)
	return i < len(m) && m[i]
}

func sliceShape(axes []SliceAxis) []int {
	var shape []int
	for _, a := range axes {
		if !a.Squeeze {
			shape = append(shape, a.Count)
		}
	}
	return shape
}

// inferSliceByIndex: MIL allows run-time bounds, but then the output has no
// static shape, so here they are immediates.
func inferSliceByIndex(c *call) ([]Type, error) {
	axes, err := c.Slice(c.shape("x"))
	if err != nil {
		return nil, err
	}
	return one(c.Type("x").DType, sliceShape(axes))
}

// inferSliceBySize: begin may be a run-time value; -1 is "the rest" and needs a
// begin that is known.
func inferSliceBySize(c *call) ([]Type, error) {
	x, size := c.Type("x"), c.Ints("size")
	n := len(x.Shape)
	for _, param := range []string{"begin", "size"} {
		if err := c.length(param, n); err != nil {
			return nil, err
		}
	}
	begin := c.Ints("begin")
	shape := slices.Clone(size)
	for i, dim := range x.Shape {
		first := 0
		if begin != nil {
			first = begin[i]
		}
		if first < 0 || first >= dim {
			return nil, c.fail(ErrParam, "begin", fmt.Sprintf("in 0..%d on axis %d", dim-1, i), fmt.Sprint(begin))
		}
		if size[i] == -1 && begin != nil {
			shape[i] = dim - first
		}
		if shape[i] < 1 || shape[i] > dim-first {
			return nil, c.fail(ErrParam, "size", fmt.Sprintf("in 1..%d on axis %d, or -1 with a compile-time begin", dim-first, i), fmt.Sprint(size))
		}
	}
	return one(x.DType, shape)
}

// inferSliceUpdate: with run-time bounds only update's fit inside x is known.
func inferSliceUpdate(c *call) ([]Type, error) {
	if err := c.sameDType("x", "update"); err != nil {
		return nil, err
	}
	x, update := c.shape("x"), c.shape("update")
	if c.Ints("begin") != nil && c.Ints("end") != nil {
		axes, err := c.Slice(x)
		if err != nil {
			return nil, err
		}
		if shape := sliceShape(axes); !slices.Equal(shape, update) {
			return nil, c.fail(ErrType, "update", "shape "+formatShape(shape)+" of the slice", formatShape(update))
		}
		return inferSame(c)
	}
	for _, param := range []string{"begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"} {
		if err := c.length(param, len(x)); err != nil {
			return nil, err
		}
	}
	var kept []int
	for i, d := range x {
		if !c.mask("squeeze_mask", i) {
			kept = append(kept, d)
		}
	}
	fits := len(kept) == len(update)
	for i := range update {
		fits = fits && update[i] <= kept[i]
	}
	if len(x) == 0 || !fits {
		return nil, c.fail(ErrType, "update", "at least rank 1, within "+formatShape(kept), formatShape(update))
	}
	return inferSame(c)
}
