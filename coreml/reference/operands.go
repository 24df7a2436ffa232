package reference

import (
	"fmt"

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

// constant decodes a float16 literal.
func (c *compiler) constant(name string, lit *mil.Literal) (int, error) {
	if lit == nil {
		return 0, fmt.Errorf("%w: want a tensor or a constant", ErrProgram)
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
