package reference

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"lockstep/coreml"
	"lockstep/internal/half"
)

// function is a compiled function: steps over values. A value of floats is one
// slice of float32 that its type can represent; one of integers or bools is
// what kernel.Ints says. Buffers are allocated once, by liveness.
type function struct {
	pkg    *pkg
	name   string
	sig    coreml.Signature
	values [][]float32 // by value index; what lies in a state is bound per pass
	steps  []step

	inputs  []port
	outputs []port
	states  []int // values that stand for the states, in declared order
	views   []view
	shown   []shown // by Trace, in program order

	scratch [][]float32 // for each worker
	shared  []float32   // for the step that runs
	fault   error       // of the step that runs
	job     job         // of the step that runs
	running sync.Mutex
}

// step is one operation, bound to its values.
type step struct {
	op  string // for errors
	run func()
}

// view is a value that lies in a state.
type view struct{ value, state, lo, hi int }

// port is an input or output and its value.
type port struct {
	feature coreml.Feature
	value   int
}

// each runs work of the step at hand on the package's workers.
func (f *function) each(n, grain int, run func(worker, lo, hi int)) {
	f.pkg.pool.each(&f.job, n, grain, run)
}

// Name implements coreml.Function.
func (f *function) Name() string { return f.name }

// Signature implements coreml.Function. Its slices must not be written to.
func (f *function) Signature() coreml.Signature { return f.sig }

// ComputePlan implements coreml.Function: the reference plane has none.
func (f *function) ComputePlan(context.Context) (*coreml.ComputePlan, error) {
	return nil, coreml.ErrNoComputePlan
}

// Predict implements coreml.Function. What does not fit the signature and
// non-finite inputs are refused before the state is touched. Where ctx ends the
// pass between two operations, an index that the pass computed is outside its
// axis (ErrIndex), or an output is not finite, the pass has written to the state
// and must not be counted on; the outputs are then filled in the last case only.
// Passes of one function, and passes on one state, wait for each other.
func (f *function) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	return f.pass(ctx, inputs, st, outputs, nil)
}

// pass is Predict, whose values t shows if it is not nil.
func (f *function) pass(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, t *tracer) error {
	f.running.Lock()
	defer f.running.Unlock()
	if err := f.pkg.acquire(); err != nil {
		return err
	}
	defer f.pkg.release()
	if err := f.predict(ctx, inputs, st, outputs, t); err != nil {
		return fmt.Errorf("function %s: %w", f.name, err)
	}
	return nil
}

func (f *function) predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, t *tracer) error {
	if err := checkPorts("input", f.inputs, inputs); err != nil {
		return err
	}
	if err := checkPorts("output", f.outputs, outputs); err != nil {
		return err
	}
	if err := f.load(inputs); err != nil {
		return err
	}
	if len(f.states) > 0 {
		s, ok := st.(*state)
		if !ok || s == nil || s.pkg != f.pkg {
			return fmt.Errorf("%w: want a state made by this package, found another", ErrTensor)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		f.bind(s)
		defer f.unbind()
	}
	if err := f.run(ctx, t); err != nil {
		return err
	}
	return f.store(outputs)
}

// run executes the steps; what stands before the first is shown before it.
func (f *function) run(ctx context.Context, t *tracer) error {
	for i := range f.steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before %s: %w", f.steps[i].op, err)
		}
		if t != nil {
			if err := t.ran(i); err != nil {
				return err
			}
		}
		if err := f.runStep(i); err != nil {
			return err
		}
	}
	if t == nil {
		return nil
	}
	return t.ran(len(f.steps))
}

// runStep runs a step. One that depends on indices computed by the pass may find
// that they are outside their axis; it then leaves its result as it was.
func (f *function) runStep(i int) error {
	f.fault = nil
	if f.steps[i].run(); f.fault != nil {
		return fmt.Errorf("%s: %w", f.steps[i].op, f.fault)
	}
	return nil
}

// load checks the inputs' values and copies them in.
func (f *function) load(inputs map[string]coreml.Tensor) error {
	for _, p := range f.inputs {
		if err := checkFinite("input", p, inputs); err != nil {
			return err
		}
	}
	for _, p := range f.inputs {
		half.Decode(f.values[p.value], inputs[p.feature.Name].Data)
	}
	return nil
}

// store copies all outputs out and reports the first non-finite value.
func (f *function) store(outputs map[string]coreml.Tensor) error {
	for _, p := range f.outputs {
		half.Encode(outputs[p.feature.Name].Data, f.values[p.value])
	}
	for _, p := range f.outputs {
		if err := checkFinite("output", p, outputs); err != nil {
			return err
		}
	}
	return nil
}

// bind points the values that lie in states at the caller's.
func (f *function) bind(s *state) {
	for _, v := range f.views {
		f.values[v.value] = s.caches[v.state][v.lo:v.hi]
	}
}

// unbind lets go of the caller's state.
func (f *function) unbind() {
	for _, v := range f.views {
		f.values[v.value] = nil
	}
}

// checkPorts compares the caller's tensors with the signature.
func checkPorts(kind string, ports []port, got map[string]coreml.Tensor) error {
	for _, p := range ports {
		t, ok := got[p.feature.Name]
		if !ok {
			return fmt.Errorf("%w: %s %q: missing", ErrTensor, kind, p.feature.Name)
		}
		if !slices.Equal(t.Shape, p.feature.Shape) || len(t.Data) != p.elements() {
			return fmt.Errorf("%w: %s %q: want shape %v, found %v with %d values",
				ErrTensor, kind, p.feature.Name, p.feature.Shape, t.Shape, len(t.Data))
		}
	}
	if len(got) == len(ports) {
		return nil
	}
	return fmt.Errorf("%w: %s %q: the function has none of that name", ErrTensor, kind, extra(ports, got))
}

// extra is the first name, in order, that no port has.
func extra(ports []port, got map[string]coreml.Tensor) string {
	var names []string
	for name := range got {
		if !slices.ContainsFunc(ports, func(p port) bool { return p.feature.Name == name }) {
			names = append(names, name)
		}
	}
	return slices.Min(names)
}

func (p port) elements() int {
	n := 1
	for _, d := range p.feature.Shape {
		n *= d
	}
	return n
}

func checkFinite(kind string, p port, tensors map[string]coreml.Tensor) error {
	i := half.FirstNonFinite(tensors[p.feature.Name].Data)
	if i < 0 {
		return nil
	}
	return fmt.Errorf("%s %q at %v: %w", kind, p.feature.Name, position(i, p.feature.Shape), coreml.ErrNonFinite)
}

// position turns a row-major index into coordinates.
func position(index int, shape []int) []int {
	at := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d] = index % shape[d]
		index /= shape[d]
	}
	return at
}
