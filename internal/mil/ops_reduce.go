package mil

import (
	"fmt"
	"slices"
)

// reduceOps combine the elements along axes.
var reduceOps = map[string]opRule{
	"reduce_mean":       {reduceParams, inferReduce},
	"reduce_sum":        {reduceParams, inferReduce},
	"reduce_max":        {reduceParams, inferReduce},
	"reduce_l2_norm":    {reduceParams, inferReduce},
	"reduce_sum_square": {reduceParams, inferReduce},
	"reduce_argmax": {[]param{
		value("x", numbers), scalar("axis", Int32).opt(), scalar("keep_dims", Bool).opt(), scalar("output_dtype", String).opt(),
	}, inferArgmax},
	"softmax": {[]param{value("x", floats), scalar("axis", Int32).opt()}, inferSoftmax},
	"layer_norm": {[]param{
		value("x", floats), vector("axes", Int32).opt(),
		constant("gamma", floats).opt(), constant("beta", floats).opt(), scalar("epsilon", Float16, Float32).opt(),
	}, inferLayerNorm},
}

var reduceParams = []param{value("x", numbers), vector("axes", Int32).opt(), scalar("keep_dims", Bool).opt()}

func inferReduce(c *call) ([]Type, error) {
	x := c.Type("x")
	axes, err := c.axes("axes", len(x.Shape))
	if err != nil {
		return nil, err
	}
	return one(x.DType, reduced(x.Shape, axes, c.Bool("keep_dims", false)))
}

// reduced is a shape without its axes, or with 1 in their place.
func reduced(shape, axes []int, keep bool) []int {
	var out []int
	for i, d := range shape {
		switch {
		case !slices.Contains(axes, i):
			out = append(out, d)
		case keep:
			out = append(out, 1)
		}
	}
	return out
}

func inferArgmax(c *call) ([]Type, error) {
	x := c.shape("x")
	axis, err := c.axis("axis", -1, len(x))
	if err != nil {
		return nil, err
	}
	d, err := c.indexDType("output_dtype")
	if err != nil {
		return nil, err
	}
	return one(d, reduced(x, []int{axis}, c.Bool("keep_dims", false)))
}

// indexDType is the element type that an op gives its indices.
func (c *call) indexDType(param string) (DType, error) {
	switch name := c.String(param, "int32"); name {
	case "int32":
		return Int32, nil
	case "uint16":
		return UInt16, nil
	default:
		return 0, c.fail(ErrParam, param, `"int32" or "uint16"`, quote(name))
	}
}

func inferSoftmax(c *call) ([]Type, error) {
	if _, err := c.axis("axis", -1, len(c.shape("x"))); err != nil {
		return nil, err
	}
	return inferSame(c)
}

// inferLayerNorm: gamma and beta have the shape of the normalized axes. Axes
// must ascend, so that this shape has one reading. gamma, beta and epsilon
// share an element type, which need not be x's.
func inferLayerNorm(c *call) ([]Type, error) {
	x := c.shape("x")
	axes, err := c.axes("axes", len(x))
	if err != nil {
		return nil, err
	}
	if given := c.Ints("axes"); !slices.IsSortedFunc(given, func(a, b int) int {
		return (a+len(x))%len(x) - (b+len(x))%len(x)
	}) {
		return nil, c.fail(ErrParam, "axes", "ascending axes", fmt.Sprint(given))
	}
	var shape []int
	for _, axis := range axes {
		shape = append(shape, x[axis])
	}
	var first string
	for _, param := range []string{"gamma", "beta", "epsilon"} {
		if !c.Has(param) {
			continue
		}
		if param != "epsilon" && !slices.Equal(c.shape(param), shape) {
			return nil, c.fail(ErrType, param, "shape "+formatShape(shape)+" of the normalized axes", c.Type(param).String())
		}
		if first == "" {
			first = param
		}
		if err := c.sameDType(first, param); err != nil {
			return nil, err
		}
	}
	return inferSame(c)
}
