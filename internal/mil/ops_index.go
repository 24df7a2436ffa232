package mil

import (
	"fmt"
	"slices"
)

// indexOps take or make indices. None of them runs on the ANE.
var indexOps = map[string]opRule{
	"gather": {[]param{
		value("x", anyValue&^bools), value("indices", integers&^setOf(UInt32)), scalar("axis", Int32).opt(),
		scalar("batch_dims", Int32).opt(), scalar("validate_indices", Bool).opt(),
	}, inferGather},
	"topk": {[]param{
		value("x", numbers), scalar("k", Int32).opt(), scalar("axis", Int32).opt(), scalar("ascending", Bool).opt(),
		scalar("sort", Bool).opt(), scalar("return_indices", Bool).opt(), scalar("output_indices_dtype", String).opt(),
	}, inferTopK},
}

// inferGather: x's axis is replaced by the dimensions of indices; the first
// batch_dims dimensions of both go together.
func inferGather(c *call) ([]Type, error) {
	x, indices := c.Type("x"), c.shape("indices")
	axis, err := c.axis("axis", 0, len(x.Shape))
	if err != nil {
		return nil, err
	}
	batch := c.Int("batch_dims", 0)
	if batch < 0 || batch > min(axis, len(indices)) || !slices.Equal(x.Shape[:batch], indices[:batch]) {
		return nil, c.fail(ErrParam, "batch_dims", fmt.Sprintf("leading dimensions that %s and indices %s share, before axis %d", x, formatShape(indices), axis), fmt.Sprint(batch))
	}
	shape := slices.Clone(x.Shape[:axis])
	shape = append(shape, indices[batch:]...)
	return one(x.DType, append(shape, x.Shape[axis+1:]...))
}

// inferTopK: values and, unless return_indices is false, their indices.
func inferTopK(c *call) ([]Type, error) {
	x := c.Type("x")
	axis, err := c.axis("axis", -1, len(x.Shape))
	if err != nil {
		return nil, err
	}
	k := c.Int("k", 1)
	if k < 1 || k > x.Shape[axis] {
		return nil, c.fail(ErrParam, "k", fmt.Sprintf("in 1..%d", x.Shape[axis]), fmt.Sprint(k))
	}
	d, err := c.indexDType("output_indices_dtype")
	if err != nil {
		return nil, err
	}
	values := cloneType(x)
	values.Shape[axis] = k
	if !c.Bool("return_indices", true) {
		return []Type{values}, nil
	}
	indices := cloneType(values)
	indices.DType = d
	return []Type{values, indices}, nil
}
