package reference

import (
	"fmt"
	"slices"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// compiler turns one MIL function into steps.
type compiler struct {
	fn      *function
	src     *mil.Function
	scope   *mil.Scope
	params  mil.Params // of the op at hand
	op      *mil.Op    // the op at hand
	at      int        // its index in src.Ops
	index   map[string]int
	values  []value
	uses    []usage // by step
	weights map[string]*mil.Op
}

// value is what the compiler knows of one value.
type value struct {
	typ   mil.Type
	root  int  // the value whose buffer it shares; itself if it has its own
	fixed bool // constant or state: never given a buffer
}

// usage is what a step reads and writes, for liveness.
type usage struct{ reads, writes []int }

// compile prepares f for execution: every op bound to buffers, every constant
// decoded, everything that Predict needs allocated.
func compile(p *pkg, f *mil.Function) (*function, error) {
	scope, err := mil.NewScope(f)
	if err != nil {
		return nil, err
	}
	c := &compiler{
		fn:  &function{pkg: p, name: f.Name, bound: map[string]int{}},
		src: f, scope: scope, index: map[string]int{}, weights: map[string]*mil.Op{},
	}
	if err := c.signature(); err != nil {
		return nil, err
	}
	for i, op := range f.Ops {
		c.op, c.params, c.at = op, scope.Params(op), i
		if err := c.compileOp(); err != nil {
			return nil, fmt.Errorf("function %s: op %s %q: %w", f.Name, op.Type, op.Name, err)
		}
	}
	if err := c.outputs(); err != nil {
		return nil, err
	}
	c.allocate()
	return c.fn, nil
}

// signature declares inputs and states.
func (c *compiler) signature() error {
	for _, in := range c.src.Inputs {
		if in.Type.DType != mil.Float16 {
			return fmt.Errorf("%w: function %s: input %q: want float16, found %s", ErrProgram, c.src.Name, in.Name, in.Type)
		}
		feature := coreml.Feature{Name: in.Name, Shape: in.Type.Shape}
		if in.Type.State {
			c.fn.sig.States = append(c.fn.sig.States, feature)
			v := c.addValue(mil.Type{DType: mil.Float16, Shape: in.Type.Shape}, true)
			c.fn.bound[in.Name] = v
			continue
		}
		v := c.define(in.Name, in.Type)
		c.fn.sig.Inputs = append(c.fn.sig.Inputs, feature)
		c.fn.inputs = append(c.fn.inputs, port{feature, v})
	}
	return nil
}

func (c *compiler) outputs() error {
	for _, name := range c.src.Outputs {
		v, err := c.valueOf(name)
		if err != nil {
			return fmt.Errorf("function %s: output: %w", c.src.Name, err)
		}
		feature := coreml.Feature{Name: name, Shape: c.values[v].typ.Shape}
		c.fn.sig.Outputs = append(c.fn.sig.Outputs, feature)
		c.fn.outputs = append(c.fn.outputs, port{feature, v})
	}
	return nil
}

// compileOp dispatches on the op type.
func (c *compiler) compileOp() error {
	switch c.op.Type {
	case "const":
		return nil // decoded where it is used
	case "constexpr_blockwise_shift_scale":
		c.weights[c.op.Outputs[0].Name] = c.op
		return nil
	case "read_state":
		return c.readState()
	case "write_state":
		return c.writeState()
	case "reshape", "expand_dims", "squeeze":
		return c.alias()
	case "transpose":
		return c.transpose()
	case "split":
		return c.split()
	case "slice_by_index":
		return c.slice()
	case "concat":
		return c.concat()
	case "conv":
		return c.conv()
	case "matmul":
		return c.matmul()
	case "add", "sub", "mul", "real_div", "maximum", "minimum":
		return c.binary()
	case "silu", "sigmoid", "relu", "tanh", "exp", "sqrt", "square", "abs", "gelu", "rsqrt":
		return c.unary()
	case "softmax":
		return c.softmax()
	case "layer_norm":
		return c.layerNorm()
	case "reduce_sum", "reduce_mean", "reduce_max":
		return c.reduce()
	}
	return fmt.Errorf("%w: the reference plane does not execute this op", ErrProgram)
}

func (c *compiler) addValue(t mil.Type, fixed bool) int {
	v := len(c.values)
	c.values = append(c.values, value{typ: t, root: v, fixed: fixed})
	c.fn.values = append(c.fn.values, nil)
	return v
}

// define adds a value with a buffer of its own.
func (c *compiler) define(name string, t mil.Type) int {
	v := c.addValue(t, false)
	c.index[name] = v
	return v
}

// result defines the op's i-th output, which must be float16.
func (c *compiler) result(i int) (int, error) {
	out := c.op.Outputs[i]
	if out.Type.DType != mil.Float16 {
		return 0, fmt.Errorf("%w: output %q: want float16, found %s", ErrProgram, out.Name, out.Type)
	}
	return c.define(out.Name, out.Type), nil
}

// share defines the op's output as a second name of v's buffer.
func (c *compiler) share(v int) {
	out := c.define(c.op.Outputs[0].Name, c.op.Outputs[0].Type)
	c.values[out].root = c.values[v].root
}

// operand is the value bound to a parameter.
func (c *compiler) operand(param string) (int, error) {
	if name, ok := c.params.Value(param); ok {
		v, err := c.valueOf(name)
		if err != nil {
			return 0, fmt.Errorf("parameter %s: %w", param, err)
		}
		return v, nil
	}
	lit := c.params.Literal(param)
	if lit == nil {
		return 0, fmt.Errorf("%w: parameter %s: missing", ErrProgram, param)
	}
	return c.constant(lit)
}

// valueOf resolves a name: run-time value, const, or constexpr result.
func (c *compiler) valueOf(name string) (int, error) {
	if v, ok := c.index[name]; ok {
		return v, nil
	}
	var v int
	var err error
	if op, ok := c.weights[name]; ok {
		v, err = c.dequantised(op)
	} else if lit := c.scope.Literal(name); lit != nil {
		v, err = c.constant(lit)
	} else {
		err = fmt.Errorf("%w: value %q is neither a tensor nor a constant", ErrProgram, name)
	}
	if err != nil {
		return 0, fmt.Errorf("value %q: %w", name, err)
	}
	c.index[name] = v
	return v, nil
}

// constant decodes a float16 literal.
func (c *compiler) constant(lit *mil.Literal) (int, error) {
	if lit.Type.DType != mil.Float16 {
		return 0, fmt.Errorf("%w: want a float16 constant, found %s", ErrProgram, lit.Type)
	}
	data, err := c.halfs(lit)
	if err != nil {
		return 0, err
	}
	v := c.addValue(lit.Type, true)
	c.fn.values[v] = make([]float32, len(data))
	half.Decode(c.fn.values[v], data)
	return v, nil
}

// add appends a step for the op at hand.
func (c *compiler) add(reads, writes []int, run func()) {
	c.fn.steps = append(c.fn.steps, step{op: fmt.Sprintf("op %s %q", c.op.Type, c.op.Name), run: run})
	c.uses = append(c.uses, usage{reads, writes})
}

// allocate gives each value a buffer and reuses it once the value is dead.
func (c *compiler) allocate() {
	last := make([]int, len(c.values)) // last step that reads the root
	for s, u := range c.uses {
		for _, v := range u.reads {
			last[c.values[v].root] = s
		}
	}
	for _, p := range c.fn.outputs {
		last[c.values[p.value].root] = len(c.uses)
	}
	pools := map[int][][]float32{} // free buffers by length
	take := func(v int) {
		n := mil.NumElements(c.values[v].typ.Shape)
		if free := pools[n]; len(free) > 0 {
			c.fn.values[v], pools[n] = free[len(free)-1], free[:len(free)-1]
			return
		}
		c.fn.values[v] = make([]float32, n)
	}
	for _, p := range c.fn.inputs {
		take(p.value)
	}
	freed := make([]bool, len(c.values))
	for s, u := range c.uses {
		for _, v := range u.writes {
			take(v)
		}
		for _, v := range slices.Concat(u.reads, u.writes) {
			root := c.values[v].root
			if last[root] <= s && !freed[root] && !c.values[root].fixed {
				freed[root] = true
				buf := c.fn.values[root]
				pools[len(buf)] = append(pools[len(buf)], buf)
			}
		}
	}
	c.resolveShared()
}

// resolveShared points every alias at its root's buffer. States are bound anew
// on each pass, so their aliases are listed for bind.
func (c *compiler) resolveShared() {
	stateOf := map[int]string{}
	for name, v := range c.fn.bound {
		stateOf[v] = name
	}
	for v, info := range c.values {
		if info.root == v {
			continue
		}
		if name, ok := stateOf[info.root]; ok {
			c.fn.aliases = append(c.fn.aliases, alias{state: name, value: v})
			continue
		}
		c.fn.values[v] = c.fn.values[info.root]
	}
}
