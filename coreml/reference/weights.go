package reference

import (
	"fmt"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// convWeight is a stored weight, in place in the mapping: float16 values, or
// int8 values with one float16 scale per output channel (or one for all).
type convWeight struct {
	halfs  []float16.Float16
	quants []int8
	scales []float16.Float16
}

// weight resolves a parameter to a stored weight.
func (c *compiler) weight(param string) (convWeight, error) {
	if name, ok := c.params.Value(param); ok {
		if op, ok := c.weights[name]; ok {
			return c.blockwise(op)
		}
	}
	lit := c.params.Literal(param)
	if lit == nil {
		return convWeight{}, fmt.Errorf("%w: parameter %s: want a constant", ErrProgram, param)
	}
	halfs, err := c.halfs(lit)
	return convWeight{halfs: halfs}, err
}

// blockwise resolves a constexpr_blockwise_shift_scale of int8 data with a
// scale per tensor or per row and no offset.
func (c *compiler) blockwise(op *mil.Op) (convWeight, error) {
	p := c.scope.Params(op)
	data, scale := p.Literal("data"), p.Literal("scale")
	fail := func(what string) (convWeight, error) {
		return convWeight{}, fmt.Errorf("%w: weight %q: %s", ErrProgram, op.Outputs[0].Name, what)
	}
	switch {
	case data == nil || scale == nil || data.Type.DType != mil.Int8 || scale.Type.DType != mil.Float16:
		return fail("want int8 data and float16 scale")
	case p.Has("offset"):
		return fail("an offset is not executed")
	}
	for d, n := range scale.Type.Shape {
		if n != 1 && (d != 0 || n != data.Type.Shape[0]) {
			return fail(fmt.Sprintf("want one scale, or one per row, found scale shape %v for data %v", scale.Type.Shape, data.Type.Shape))
		}
	}
	raw, err := c.fn.pkg.files.Bytes(data)
	if err != nil {
		return convWeight{}, err
	}
	scales, err := c.halfs(scale)
	if err != nil || len(raw) == 0 {
		return convWeight{}, err
	}
	return convWeight{quants: unsafe.Slice((*int8)(unsafe.Pointer(&raw[0])), len(raw)), scales: scales}, nil
}

// dequantised materialises a constexpr that something else than a conv uses.
func (c *compiler) dequantised(op *mil.Op) (int, error) {
	w, err := c.blockwise(op)
	if err != nil {
		return 0, err
	}
	v := c.addValue(op.Outputs[0].Type, true)
	data := make([]float32, len(w.quants))
	row := len(data) / max(1, len(w.scales))
	for i, q := range w.quants {
		data[i] = half.ToFloat32(w.scales[i/row]) * float32(q)
	}
	half.Round(data)
	c.fn.values[v] = data
	return v, nil
}

// halfs returns a float16 literal's values: in place where it is a blob on a
// little-endian machine, which every blob's 64-byte alignment allows.
func (c *compiler) halfs(lit *mil.Literal) ([]float16.Float16, error) {
	if lit.Type.DType != mil.Float16 {
		return nil, fmt.Errorf("%w: want a float16 constant, found %s", ErrProgram, lit.Type)
	}
	raw, err := c.fn.pkg.files.Bytes(lit)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	if aligned := uintptr(unsafe.Pointer(&raw[0]))%2 == 0; aligned && littleEndian() {
		return unsafe.Slice((*float16.Float16)(unsafe.Pointer(&raw[0])), len(raw)/2), nil
	}
	out := make([]float16.Float16, len(raw)/2)
	half.FromBytes(out, raw)
	return out, nil
}

func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}
