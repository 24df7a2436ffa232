package reference

import (
	"fmt"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// convWeight is a stored weight, in place in the mapping: float16 values, or
// int8 values with one float16 scale per row of the first axis, or one for all.
type convWeight struct {
	typ    mil.Type
	halfs  []float16.Float16
	quants []int8
	scales []float16.Float16
}

// weight resolves a parameter to a stored weight.
func (c *compiler) weight(param string) (convWeight, error) {
	name, _ := c.params.Value(param)
	if w, ok := c.weights[name]; ok {
		return w, nil
	}
	lit := c.params.Literal(param)
	if lit == nil {
		return convWeight{}, fmt.Errorf("parameter %s: value %q: %w: want a constant, found a run-time value", param, name, ErrProgram)
	}
	halfs, err := c.halfs(lit)
	if err != nil {
		return convWeight{}, fmt.Errorf("parameter %s: %w", param, err)
	}
	return convWeight{typ: lit.Type, halfs: halfs}, nil
}

// dequantized makes a constant of a weight that something else than a conv
// uses.
func (c *compiler) dequantized(name string, w convWeight) (int, error) {
	v, values, err := c.addConstant(name, w.typ)
	if err != nil {
		return 0, err
	}
	if w.quants == nil {
		half.Decode(values, w.halfs)
		return v, nil
	}
	row := len(values) / len(w.scales)
	for i, scale := range w.scales {
		kernel.DequantizeInt8(values[i*row:(i+1)*row], w.quants[i*row:(i+1)*row], scale)
	}
	return v, nil
}

// halfs returns a float16 literal's values: in place where it is a blob on a
// little-endian machine, which every blob's 64-byte alignment allows.
func (c *compiler) halfs(lit *mil.Literal) ([]float16.Float16, error) {
	if lit.Type.DType != mil.Float16 {
		return nil, fmt.Errorf("%w: want float16, found %s", ErrProgram, lit.Type)
	}
	raw, err := c.fn.pkg.files.Bytes(lit)
	if err != nil {
		return nil, err
	}
	first := unsafe.Pointer(unsafe.SliceData(raw))
	if littleEndian() && uintptr(first)%unsafe.Alignof(float16.Float16(0)) == 0 {
		return unsafe.Slice((*float16.Float16)(first), len(raw)/2), nil
	}
	if err := c.room.take(int64(len(raw))); err != nil {
		return nil, err
	}
	out := make([]float16.Float16, len(raw)/2)
	half.FromBytes(out, raw)
	return out, nil
}

func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}
