package reference

import (
	"encoding/binary"
	"fmt"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// operand is the value bound to a parameter.
func (c *compiler) operand(param string) (int, error) {
	v, err := c.operandOf(param)
	if err != nil {
		return 0, fmt.Errorf("parameter %s: %w", param, err)
	}
	return v, nil
}

func (c *compiler) operandOf(param string) (int, error) {
	if name, ok := c.params.Value(param); ok {
		return c.valueOf(name)
	}
	return c.constant("", c.params.Literal(param))
}

// binding is the value of one binding of a variadic parameter.
func (c *compiler) binding(b mil.Binding) (int, error) {
	if b.Literal != nil {
		return c.constant("", b.Literal)
	}
	return c.valueOf(b.Name)
}

// valueOf resolves a name: run-time value, const, or constexpr result.
func (c *compiler) valueOf(name string) (int, error) {
	if v, ok := c.index[name]; ok {
		return v, nil
	}
	var v int
	var err error
	if w, ok := c.weights[name]; ok {
		v, err = c.dequantized(name, w)
	} else {
		v, err = c.constant(name, c.scope.Literal(name))
	}
	if err != nil {
		return 0, fmt.Errorf("value %q: %w", name, err)
	}
	c.index[name] = v
	return v, nil
}

// constant decodes a literal.
func (c *compiler) constant(name string, lit *mil.Literal) (int, error) {
	if lit == nil {
		return 0, fmt.Errorf("%w: want a tensor or a constant", ErrProgram)
	}
	if lit.Type.DType != mil.Float16 {
		return c.words(name, lit)
	}
	data, err := c.halfs(lit)
	if err != nil {
		return 0, err
	}
	v, values, err := c.addConstant(name, lit.Type)
	if err != nil {
		return 0, err
	}
	half.Decode(values, data)
	return v, nil
}

// words decodes a literal of another type than float16.
func (c *compiler) words(name string, lit *mil.Literal) (int, error) {
	if lit.Type.DType == mil.String {
		return 0, fmt.Errorf("%w: want numbers or bools, found %s", ErrProgram, lit.Type)
	}
	v, values, err := c.addConstant(name, lit.Type)
	if err != nil {
		return 0, err
	}
	if bits := lit.Type.DType.Bits(); bits < 8 || integer(lit.Type.DType) {
		q, err := c.integers(lit)
		if err != nil {
			return 0, err
		}
		for i := range values {
			kernel.Ints(values)[i] = int32(q.at(i))
		}
		return v, nil
	}
	raw, err := c.fn.pkg.files.Bytes(lit)
	if err != nil {
		return 0, err
	}
	decodeWords(kernel.Ints(values), raw, lit.Type.DType)
	if lit.Type.DType == mil.Float32 {
		kernel.Canonicalize(values)
	}
	return v, nil
}

// decodeWords reads little-endian elements of 8, 16 or 32 bits.
func decodeWords(dst []int32, raw []byte, d mil.DType) {
	for i := range dst {
		switch d {
		case mil.Bool:
			dst[i] = int32(min(raw[i], 1))
		case mil.Int16:
			dst[i] = int32(int16(binary.LittleEndian.Uint16(raw[2*i:])))
		case mil.UInt16:
			dst[i] = int32(binary.LittleEndian.Uint16(raw[2*i:]))
		default:
			dst[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
}

// addConstant makes a constant of this type and returns its elements, to be
// filled in.
func (c *compiler) addConstant(name string, t mil.Type) (v int, values []float32, err error) {
	n := mil.NumElements(t.Shape)
	if err := c.room.take(floatBytes(n)); err != nil {
		return 0, nil, err
	}
	v = c.addValue(name, t)
	c.values[v].kind = ofConstant
	c.fn.values[v] = make([]float32, n)
	return v, c.fn.values[v], nil
}
