package reference

import (
	"context"
	"fmt"
	"slices"

	"lockstep/coreml"
	"lockstep/internal/mil"
)

// compiler turns one MIL function into steps.
type compiler struct {
	fn     *function
	src    *mil.Function
	scope  *mil.Scope
	op     *mil.Op    // the op at hand
	params mil.Params // of the op at hand
	at     int        // its index in src.Ops
	text   string     // its name in errors

	values  []value
	index   map[string]int        // of run-time values, and of constants once they are used
	states  map[string]int        // the values that stand for the states' content
	weights map[string]convWeight // results of constexpr ops
	tables  map[tableKey]bool     // that the function uses

	lastUse map[string]int   // index of the last op that uses a value, see findLastUses
	writes  map[string][]int // indices of the ops that write a state, ascending

	steps    []usage     // what fn.steps[i] reads and writes
	accessed map[int]int // last step that reads or writes a state's content

	room    budget
	scratch int // elements that each worker needs beside the values
	shared  int // elements that a step needs beside the values
}

// compile prepares f for execution: every op bound to buffers, every constant
// decoded, everything that Predict needs allocated.
func compile(ctx context.Context, p *pkg, f *mil.Function) (*function, error) {
	scope, err := mil.NewScope(f)
	if err != nil {
		return nil, err
	}
	c := &compiler{
		fn:  &function{pkg: p, name: f.Name},
		src: f, scope: scope,
		index: map[string]int{}, states: map[string]int{}, weights: map[string]convWeight{},
		tables: map[tableKey]bool{}, accessed: map[int]int{},
		room: budget{left: p.limit, limit: p.limit},
	}
	c.lastUse, c.writes = findLastUses(f)
	if err := c.signature(); err != nil {
		return nil, err
	}
	for i, op := range f.Ops {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.op, c.params, c.at, c.text = op, scope.Params(op), i, opText(op)
		if err := c.compileOp(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.text, err)
		}
		c.show()
	}
	if err := c.outputs(); err != nil {
		return nil, err
	}
	if err := c.allocate(); err != nil {
		return nil, err
	}
	return c.fn, nil
}

// opText names an op and what it defines.
func opText(op *mil.Op) string {
	text := fmt.Sprintf("op %s %q", op.Type, op.Name)
	switch {
	case len(op.Outputs) > 1:
		text += fmt.Sprintf(", values %q and on", op.Outputs[0].Name)
	case len(op.Outputs) == 1 && op.Outputs[0].Name != op.Name:
		text += fmt.Sprintf(", value %q", op.Outputs[0].Name)
	}
	return text
}

// signature declares inputs and states.
func (c *compiler) signature() error {
	for _, in := range c.src.Inputs {
		if in.Type.DType != mil.Float16 {
			return fmt.Errorf("%w: input %q: want float16, found %s", ErrProgram, in.Name, in.Type)
		}
		feature := coreml.Feature{Name: in.Name, Shape: slices.Clone(in.Type.Shape)}
		if in.Type.State {
			v := c.addValue(in.Name, mil.Tensor(mil.Float16, in.Type.Shape...))
			c.values[v].kind = ofState
			c.states[in.Name] = v
			c.fn.sig.States = append(c.fn.sig.States, feature)
			c.fn.states = append(c.fn.states, v)
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
			return fmt.Errorf("output: %w", err)
		}
		if t := c.values[v].typ; t.DType != mil.Float16 {
			return fmt.Errorf("%w: output %q: want float16, found %s", ErrProgram, name, t)
		}
		feature := coreml.Feature{Name: name, Shape: slices.Clone(c.values[v].typ.Shape)}
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
		return c.blockwise()
	case "constexpr_lut_to_dense":
		return c.palette()
	case "read_state":
		return c.readState()
	case "write_state":
		return c.writeState()
	case "reshape", "expand_dims", "squeeze", "identity":
		return c.reshape()
	case "transpose":
		return c.transpose()
	case "split":
		return c.split()
	case "slice_by_index":
		return c.slice()
	case "slice_by_size":
		return c.sliceBySize()
	case "slice_update":
		return c.sliceUpdate()
	case "tile":
		return c.tile()
	case "concat":
		return c.concat()
	case "conv":
		return c.conv()
	case "linear":
		return c.linear()
	case "matmul":
		return c.matmul()
	case "scaled_dot_product_attention":
		return c.attention()
	case "add", "sub", "mul", "real_div", "maximum", "minimum":
		return c.binary()
	case "greater_equal", "less", "equal":
		return c.binary()
	case "select":
		return c.selection()
	case "cast":
		return c.cast()
	case "silu", "sigmoid", "relu", "tanh", "exp", "sqrt", "square", "abs", "gelu", "rsqrt":
		return c.unary()
	case "pow":
		return c.pow()
	case "softmax":
		return c.softmax()
	case "layer_norm":
		return c.layerNorm()
	case "reduce_sum", "reduce_mean", "reduce_max", "reduce_sum_square", "reduce_l2_norm":
		return c.reduce()
	case "reduce_argmax":
		return c.argmax()
	case "topk":
		return c.topk()
	case "gather":
		return c.gatherAxis()
	}
	return fmt.Errorf("%w: the reference plane does not execute this op", ErrProgram)
}

// mayShare reports whether the result of an op may lie in its operand's buffer.
func mayShare(op string) bool {
	switch op {
	case "reshape", "expand_dims", "squeeze", "identity", "split", "slice_by_index", "slice_by_size":
		return true
	}
	return false
}

// findLastUses returns, for each value, the index of the last op that uses it
// or a value that may share its buffer, and len(f.Ops) if that is an output;
// and, for each state, the ops that write it.
func findLastUses(f *mil.Function) (lastUse map[string]int, writes map[string][]int) {
	lastUse, writes = map[string]int{}, map[string][]int{}
	for _, name := range f.Outputs {
		lastUse[name] = len(f.Ops)
	}
	for i, op := range slices.Backward(f.Ops) {
		last := i
		if mayShare(op.Type) {
			for _, out := range op.Outputs {
				last = max(last, lastUse[out.Name])
			}
		}
		for _, arg := range op.Args {
			for _, b := range arg.Bindings {
				if b.Name != "" {
					lastUse[b.Name] = max(last, lastUse[b.Name])
				}
			}
		}
	}
	for i, op := range f.Ops {
		if op.Type != "write_state" {
			continue
		}
		for _, arg := range op.Args {
			if arg.Param == "input" {
				writes[arg.Bindings[0].Name] = append(writes[arg.Bindings[0].Name], i)
			}
		}
	}
	return lastUse, writes
}
