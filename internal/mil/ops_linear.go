package mil

import (
	"fmt"
	"slices"
)

// linearOps are the contractions.
var linearOps = map[string]opRule{
	"conv": {[]param{
		value("x", floats), value("weight", floats), constant("bias", floats).opt(),
		vector("strides", Int32).opt(), scalar("pad_type", String).opt(), vector("pad", Int32).opt(),
		vector("dilations", Int32).opt(), scalar("groups", Int32).opt(),
	}, inferConv},
	"matmul": {[]param{
		value("x", numbers), value("y", numbers), scalar("transpose_x", Bool).opt(), scalar("transpose_y", Bool).opt(),
	}, inferMatmul},
	"linear": {[]param{value("x", numbers), constant("weight", numbers), constant("bias", numbers).opt()}, inferLinear},
	"scaled_dot_product_attention": {[]param{
		value("query", floats), value("key", floats), value("value", floats), value("attn_mask", floats|bools).opt(),
	}, inferAttention},
}

// inferConv: x is [N, C, spatial...], weight [O, C/groups, kernel...].
func inferConv(c *call) ([]Type, error) {
	x, w := c.shape("x"), c.shape("weight")
	if len(x) < 3 || len(x) > 5 {
		return nil, c.fail(ErrType, "x", "rank 3, 4 or 5", c.Type("x").String())
	}
	if err := c.sameDType("x", "weight"); err != nil {
		return nil, err
	}
	if err := c.convChannels(x, w); err != nil {
		return nil, err
	}
	shape := []int{x[0], w[0]}
	spatial, err := c.convSpatial(x[2:], w[2:])
	if err != nil {
		return nil, err
	}
	return one(c.Type("x").DType, append(shape, spatial...))
}

func (c *call) convChannels(x, w []int) error {
	groups := c.Int("groups", 1)
	if groups < 1 || x[1]%groups != 0 {
		return c.fail(ErrParam, "groups", fmt.Sprintf("a divisor of %d channels", x[1]), fmt.Sprint(groups))
	}
	if len(w) != len(x) || w[1] != x[1]/groups || w[0] < 1 || w[0]%groups != 0 {
		wanted := fmt.Sprintf("[O,%d,kernel...] of rank %d, O a multiple of %d", x[1]/groups, len(x), groups)
		return c.fail(ErrType, "weight", wanted, formatShape(w))
	}
	return c.length("bias", w[0])
}

// convSpatial is the output's spatial dimensions.
func (c *call) convSpatial(x, kernel []int) ([]int, error) {
	n := len(x)
	for _, p := range []struct {
		name   string
		length int
	}{{"strides", n}, {"dilations", n}, {"pad", 2 * n}} {
		if err := c.length(p.name, p.length); err != nil {
			return nil, err
		}
	}
	pad, err := c.convPad(n)
	if err != nil {
		return nil, err
	}
	strides, dilations := c.intsOr("strides", n, 1), c.intsOr("dilations", n, 1)
	same := c.PadType() == PadSame || c.PadType() == PadSameLower
	out := make([]int, n)
	for i := range out {
		if strides[i] < 1 {
			return nil, c.fail(ErrParam, "strides", "at least 1", fmt.Sprint(strides))
		}
		if dilations[i] < 1 {
			return nil, c.fail(ErrParam, "dilations", "at least 1", fmt.Sprint(dilations))
		}
		if same {
			out[i] = (x[i] + strides[i] - 1) / strides[i]
			continue
		}
		reach, err := c.multiply("dilations", kernel[i]-1, dilations[i])
		if err != nil {
			return nil, err
		}
		room := x[i] + pad[2*i] + pad[2*i+1] - reach
		if room < 1 {
			return nil, c.fail(ErrType, "weight", fmt.Sprintf("a kernel that fits in spatial axis %d", i),
				fmt.Sprintf("kernel %d, dilation %d for %d elements", kernel[i], dilations[i], x[i]+pad[2*i]+pad[2*i+1]))
		}
		out[i] = (room + strides[i] - 1) / strides[i]
	}
	return out, nil
}

// The values of conv's pad_type; the first is the default.
const (
	PadValid     = "valid"
	PadSame      = "same"
	PadSameLower = "same_lower"
	PadCustom    = "custom"
)

// PadType is conv's pad_type.
func (p Params) PadType() string { return p.String("pad_type", PadValid) }

// convPad is the custom padding, zeros for the other types. Core ML ignores
// pad unless the type is custom; a pad that would be ignored is refused.
func (c *call) convPad(n int) ([]int, error) {
	padType, pad := c.PadType(), c.intsOr("pad", 2*n, 0)
	if !slices.Contains([]string{PadValid, PadSame, PadSameLower, PadCustom}, padType) {
		return nil, c.fail(ErrParam, "pad_type", "valid, same, same_lower or custom", quote(padType))
	}
	for _, v := range pad {
		if v < 0 {
			return nil, c.fail(ErrParam, "pad", "at least 0", fmt.Sprint(pad))
		}
		if v > 0 && padType != PadCustom {
			return nil, c.fail(ErrParam, "pad", "zeros, as pad_type is "+padType, fmt.Sprint(pad))
		}
	}
	return pad, nil
}

// inferMatmul: the last two axes multiply, the ones before broadcast. Both
// operands have at least rank 2: how MIL promotes a vector is not on record.
func inferMatmul(c *call) ([]Type, error) {
	if err := c.sameDType("x", "y"); err != nil {
		return nil, err
	}
	x, err := c.matrix("x")
	if err != nil {
		return nil, err
	}
	y, err := c.matrix("y")
	if err != nil {
		return nil, err
	}
	k := x[len(x)-1]
	if y[len(y)-2] != k {
		return nil, c.fail(ErrType, "y", fmt.Sprintf("inner dimension %d as x has", k), fmt.Sprintf("%d of %s", y[len(y)-2], c.Type("y")))
	}
	batch, ok := broadcast(x[:len(x)-2], y[:len(y)-2])
	if !ok {
		return nil, c.fail(ErrType, "y", "batch dimensions that broadcast with "+formatShape(c.shape("x"))+" of x", formatShape(c.shape("y")))
	}
	return one(c.Type("x").DType, append(batch, x[len(x)-2], y[len(y)-1]))
}

// matrix is the shape of a matmul operand as it enters the product.
func (c *call) matrix(param string) ([]int, error) {
	shape := slices.Clone(c.shape(param))
	n := len(shape)
	if n < 2 {
		return nil, c.fail(ErrType, param, "at least rank 2", c.Type(param).String())
	}
	if c.Bool("transpose_"+param, false) {
		shape[n-1], shape[n-2] = shape[n-2], shape[n-1]
	}
	return shape, nil
}

// inferLinear: x [..., I] by weight [O, I].
func inferLinear(c *call) ([]Type, error) {
	x, w := c.Type("x"), c.shape("weight")
	if len(x.Shape) == 0 || len(w) != 2 || w[1] != x.Shape[len(x.Shape)-1] {
		return nil, c.fail(ErrType, "weight", "[O,I] with I the last dimension of "+x.String(), formatShape(w))
	}
	for _, param := range []string{"weight", "bias"} {
		if !c.Has(param) {
			continue
		}
		if err := c.sameDType("x", param); err != nil {
			return nil, err
		}
	}
	if err := c.length("bias", w[0]); err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	shape[len(shape)-1] = w[0]
	return one(x.DType, shape)
}

// inferAttention: query [B..., L, E], key [B..., S, E], value [B..., S, V].
// Batch dimensions are equal, not broadcast: grouped heads are repeated first.
func inferAttention(c *call) ([]Type, error) {
	q, k, v := c.shape("query"), c.shape("key"), c.shape("value")
	n := len(q)
	if n < 3 {
		return nil, c.fail(ErrType, "query", "at least rank 3", c.Type("query").String())
	}
	if err := c.sameDType("query", "key"); err != nil {
		return nil, err
	}
	if err := c.sameDType("query", "value"); err != nil {
		return nil, err
	}
	if len(k) != n || !slices.Equal(k[:n-2], q[:n-2]) || k[n-1] != q[n-1] {
		return nil, c.fail(ErrType, "key", "batch and last dimensions of query "+formatShape(q), formatShape(k))
	}
	if len(v) != n || !slices.Equal(v[:n-1], k[:n-1]) {
		return nil, c.fail(ErrType, "value", "all but the last dimension of key "+formatShape(k), formatShape(v))
	}
	if err := c.attentionMask(append(slices.Clone(q[:n-1]), k[n-2])); err != nil {
		return nil, err
	}
	return one(c.Type("query").DType, append(slices.Clone(q[:n-1]), v[n-1]))
}

// attentionMask: broadcast to the scores [B..., L, S], with S itself last.
func (c *call) attentionMask(scores []int) error {
	if !c.Has("attn_mask") {
		return nil
	}
	mask := c.Type("attn_mask")
	if mask.DType != Bool {
		if err := c.sameDType("query", "attn_mask"); err != nil {
			return err
		}
	}
	out, ok := broadcast(scores, mask.Shape)
	last := len(mask.Shape) - 1
	if !ok || !slices.Equal(out, scores) || last < 0 || mask.Shape[last] != scores[len(scores)-1] {
		return c.fail(ErrType, "attn_mask", "a shape that broadcasts to "+formatShape(scores)+" with the same last dimension", mask.String())
	}
	return nil
}
