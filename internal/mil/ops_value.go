package mil

import (
	"fmt"
	"slices"
)

// valueOps bring values into the graph: constants, compressed constants and
// states.
var valueOps = map[string]opRule{
	"const":                           {nil, inferConst},
	"read_state":                      {[]param{{name: "input", kind: stateParam, dtypes: anyValue}}, inferReadState},
	"write_state":                     {[]param{{name: "input", kind: stateParam, dtypes: anyValue}, value("data", anyValue)}, inferWriteState},
	"constexpr_blockwise_shift_scale": {[]param{constant("data", blockData), constant("scale", floats), constant("offset", blockData).opt()}, inferBlockwise},
	"constexpr_lut_to_dense":          {[]param{constant("indices", lutIndices), constant("lut", floats|setOf(Int8, UInt8)), scalar("vector_axis", Int32).opt()}, inferLUT},
}

var (
	blockData  = floats | setOf(Int4, UInt4, Int8, UInt8)
	lutIndices = setOf(UInt1, UInt2, UInt3, UInt4, UInt6, UInt8)
)

func inferConst(c *call) ([]Type, error) {
	lit := c.op.Val
	if lit == nil {
		return nil, c.fail(ErrLiteral, "val", "a value", "none")
	}
	if err := lit.Check(); err != nil {
		return nil, c.scope.locate(err, c.op, "val")
	}
	return []Type{cloneType(lit.Type)}, nil
}

func inferReadState(c *call) ([]Type, error) {
	t := cloneType(c.Type("input"))
	t.State = false
	return []Type{t}, nil
}

// inferWriteState: the op has no output on disk.
func inferWriteState(c *call) ([]Type, error) {
	t := c.Type("input")
	t.State = false
	if data := c.Type("data"); !data.Equal(t) {
		return nil, c.fail(ErrType, "data", t.String()+" as the state wraps", data.String())
	}
	return nil, nil
}

// inferBlockwise: scale*(data-offset), one scale per block. scale has data's
// rank, and its dimensions divide data's.
func inferBlockwise(c *call) ([]Type, error) {
	data, scale := c.Type("data"), c.Type("scale")
	if err := c.divides("scale", scale.Shape, data.Shape); err != nil {
		return nil, err
	}
	if c.Has("offset") {
		offset := c.Type("offset")
		if formatShape(offset.Shape) != formatShape(scale.Shape) {
			return nil, c.fail(ErrType, "offset", "the shape of scale, "+formatShape(scale.Shape), offset.String())
		}
		if offset.DType != data.DType && !floats.has(offset.DType) {
			return nil, c.fail(ErrType, "offset", data.DType.String()+" as data has, or a float", offset.String())
		}
	}
	return one(scale.DType, slices.Clone(data.Shape))
}

// divides checks that blocks tile data: same rank, each dimension a divisor.
func (c *call) divides(param string, blocks, data []int) error {
	wanted := "one dimension for each of " + formatShape(data) + " that divides it"
	if len(blocks) != len(data) {
		return c.fail(ErrType, param, wanted, formatShape(blocks))
	}
	for i, b := range blocks {
		if b <= 0 || data[i]%b != 0 {
			return c.fail(ErrType, param, wanted, formatShape(blocks))
		}
	}
	return nil
}

// inferLUT: lut is [groups..., 2^bits, vector]; palettes of vectors are not in
// the table, so vector is 1.
func inferLUT(c *call) ([]Type, error) {
	indices, lut := c.Type("indices"), c.Type("lut")
	n := len(indices.Shape)
	if len(lut.Shape) != n+2 || lut.Shape[n] != 1<<indices.DType.Bits() || lut.Shape[n+1] != 1 {
		return nil, c.fail(ErrType, "lut", fmt.Sprintf("[groups of %s..., %d, 1]", formatShape(indices.Shape), 1<<indices.DType.Bits()), lut.String())
	}
	if err := c.divides("lut", lut.Shape[:n], indices.Shape); err != nil {
		return nil, err
	}
	return one(lut.DType, slices.Clone(indices.Shape))
}
