package terms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockstep/internal/mil"
)

// ErrUncovered means that terms cannot be told for an operation of the program.
// Nothing is proven then, and nothing refuted.
var ErrUncovered = errors.New("not covered by terms")

// machine executes one pass of one function.
type machine struct {
	alg    algebra
	fn     *mil.Function
	scope  *mil.Scope
	stages []stage

	values   map[string]*tensor
	lastUse  map[string]int
	states   *memory // shared by the passes of a session
	next     int     // index of the op to come
	keep     bool    // values are kept beyond their last use
	executed int     // run-time operations so far
	position int     // of the first row
}

// newMachine prepares a pass of f over inputs, by their names in f.
func newMachine(alg algebra, f *mil.Function, inputs map[string]*tensor, states *memory) (*machine, error) {
	scope, err := mil.NewScope(f)
	if err != nil {
		return nil, err
	}
	m := &machine{
		alg: alg, fn: f, scope: scope, stages: stagesOf(f),
		values: map[string]*tensor{}, lastUse: lastUses(f), states: states,
	}
	for name, t := range inputs {
		m.values[name] = t
	}
	return m, nil
}

// lastUses gives the index of the last op that reads a value; outputs are read
// after all of them.
func lastUses(f *mil.Function) map[string]int {
	last := map[string]int{}
	for i, op := range f.Ops {
		for _, arg := range op.Args {
			for _, b := range arg.Bindings {
				last[b.Name] = i
			}
		}
	}
	for _, name := range f.Outputs {
		last[name] = len(f.Ops)
	}
	return last
}

// stage is a run of operations, from where the last stage ends up to end, that
// has states of its own: once it is over, nothing touches them.
type stage struct {
	end    int
	states []string // in declared order
}

// stagesOf cuts a function where no state is between its first and its last
// use. Sessions then go through the layers of a shard one by one, and never
// hold more than one layer's caches.
func stagesOf(f *mil.Function) []stage {
	first, last := map[string]int{}, map[string]int{}
	for i, op := range f.Ops {
		for _, arg := range op.Args {
			if (op.Type == "read_state" || op.Type == "write_state") && arg.Param == "input" {
				name := arg.Bindings[0].Name
				if _, seen := first[name]; !seen {
					first[name] = i
				}
				last[name] = i
			}
		}
	}
	var declared []string
	for _, in := range f.Inputs {
		if _, used := first[in.Name]; used && in.Type.State {
			declared = append(declared, in.Name)
		}
	}
	order := slices.Clone(declared)
	slices.SortFunc(order, func(a, b string) int { return first[a] - first[b] })
	var out []stage
	for _, name := range order {
		if n := len(out); n > 0 && first[name] < out[n-1].end {
			out[n-1].states = append(out[n-1].states, name)
			out[n-1].end = max(out[n-1].end, last[name]+1)
			continue
		}
		out = append(out, stage{end: last[name] + 1, states: []string{name}})
	}
	for _, s := range out {
		slices.SortFunc(s.states, func(a, b string) int { return slices.Index(declared, a) - slices.Index(declared, b) })
	}
	return out
}

// memory is the states of a session: what was written last, or else any earlier
// content.
type memory struct {
	earlier func(name string) *tensor
	now     map[string]*tensor
}

func (m *memory) read(name string) *tensor {
	if m.now[name] == nil {
		m.now[name] = m.earlier(name)
	}
	return m.now[name]
}

// runTo executes the operations before index end.
func (m *machine) runTo(ctx context.Context, end int) error {
	for ; m.next < end; m.next++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		op := m.fn.Ops[m.next]
		if err := m.execute(op); err != nil {
			return fmt.Errorf("function %s: op %s %q: %w", m.fn.Name, op.Type, op.Name, err)
		}
		if !m.keep {
			m.forget(op)
		}
	}
	return nil
}

// forget lets go of values that op was the last to read, or that nothing reads.
func (m *machine) forget(op *mil.Op) {
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Name != "" && m.lastUse[b.Name] <= m.next {
				delete(m.values, b.Name)
			}
		}
	}
	for _, out := range op.Outputs {
		if m.lastUse[out.Name] <= m.next {
			delete(m.values, out.Name)
		}
	}
}

func (m *machine) execute(op *mil.Op) error {
	p := m.scope.Params(op)
	switch op.Type {
	case "const":
		t, err := m.literal(op.Val)
		m.values[op.Outputs[0].Name] = t
		return err
	case "read_state":
		name, _ := p.Value("input")
		m.executed++
		m.values[op.Outputs[0].Name] = m.states.read(name)
		return nil
	case "write_state":
		name, _ := p.Value("input")
		data, _ := p.Value("data")
		m.executed++
		_, err := m.values[data].terms(m.alg)
		m.states.now[name] = m.values[data]
		return err
	}
	o, err := m.bind(op)
	if err != nil {
		return err
	}
	if m.scope.Constant(op.Outputs[0].Name) {
		m.values[op.Outputs[0].Name] = o.weight()
		return nil
	}
	m.executed++
	k, ok := kinds[op.Type]
	if !ok {
		return ErrUncovered
	}
	r, err := k(o)
	if err != nil {
		return err
	}
	for i, out := range op.Outputs {
		if r.alias {
			m.values[out.Name] = &tensor{shape: out.Type.Shape, data: o.in[0].data, base: o.in[0].base}
			continue
		}
		t := &tensor{shape: out.Type.Shape, data: make([]Term, elements(out.Type.Shape))}
		if err := r.run(i, t.data); err != nil {
			return err
		}
		m.values[out.Name] = t
	}
	return nil
}

// operation is an op with its operands.
type operation struct {
	*machine
	mil.Params
	op    *mil.Op
	names []string  // of the operands, "" for one written in place
	in    []*tensor // the tensors that the op's elements are made of, in the op table's order
}

// rule is what an op does with its operands.
type rule struct {
	// alias says that the only output is the first operand in another shape.
	alias bool
	// run fills one output.
	run func(output int, dst []Term) error
	// reads lists what an element of an output is made of, in order; see read.
	reads func(output, index int) []read
}

// read is an element of an operand that an element depends on. A dead one does
// not matter: the column is masked, or the factor beside it is 0.
type read struct {
	operand, index int
	dead           bool
}

// tensors are the parameters whose elements an op computes with; what else an
// op has is read off the program.
var tensorParams = []string{"x", "y", "a", "b", "cond", "values", "update", "weight", "bias", "gamma", "beta", "query", "key", "value", "attn_mask"}

// bind collects the operands of an op.
func (m *machine) bind(op *mil.Op) (*operation, error) {
	o := &operation{machine: m, Params: m.scope.Params(op), op: op}
	for _, param := range tensorParams {
		for _, arg := range op.Args {
			if arg.Param != param {
				continue
			}
			for _, b := range arg.Bindings {
				t := m.values[b.Name]
				if b.Literal != nil {
					var err error
					if t, err = m.literal(b.Literal); err != nil {
						return nil, err
					}
				}
				o.names, o.in = append(o.names, b.Name), append(o.in, t)
			}
		}
	}
	return o, nil
}

// operand is the index of a parameter's tensor among the operands, or -1.
func (o *operation) operand(param string) int {
	if !o.Has(param) {
		return -1
	}
	at := 0
	for _, p := range tensorParams {
		if p == param {
			return at
		}
		at += len(o.Types(p))
	}
	return -1
}

// terms are the elements of a parameter's tensor.
func (o *operation) terms(param string) ([]Term, error) {
	return o.in[o.operand(param)].terms(o.alg)
}

func (o *operation) shape(param string) []int { return o.Type(param).Shape }

// seed begins the terms of the op: its type and what else decides its values.
func (o *operation) seedOf(attributes ...any) Term {
	return o.alg.seed(fmt.Sprint(append([]any{o.op.Type}, attributes...)...))
}
