package reference

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"lockstep/coreml"
	"lockstep/internal/half"
)

// function is a compiled function: steps over values, each value one slice of
// float16-representable float32. Buffers are allocated once, by liveness.
type function struct {
	pkg    *pkg
	name   string
	sig    coreml.Signature
	values [][]float32 // by value index; states are bound per pass
	steps  []step

	// bound and aliases are the values that show a state's content: they point
	// at the caller's state during a pass.
	bound   map[string]int
	aliases []alias

	inputs  []port
	outputs []port
	work    sync.WaitGroup // of the step that runs
	running sync.Mutex
}

// step is one operation, bound to its values.
type step struct {
	op  string // for errors
	run func()
}

// alias is a value that shares a state's buffer.
type alias struct {
	state string
	value int
}

// port is an input or output and its value.
type port struct {
	feature coreml.Feature
	value   int
}

// Name implements coreml.Function.
func (f *function) Name() string { return f.name }

// Signature implements coreml.Function.
func (f *function) Signature() coreml.Signature { return f.sig }

// ComputePlan implements coreml.Function: the reference plane has none.
func (f *function) ComputePlan(context.Context) (*coreml.ComputePlan, error) {
	return nil, coreml.ErrNoComputePlan
}

// Predict implements coreml.Function. It refuses non-finite inputs before the
// state is touched, and reports non-finite outputs after the pass; the state
// is then not to be trusted.
func (f *function) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	f.running.Lock()
	defer f.running.Unlock()
	if err := f.pkg.usable(ctx); err != nil {
		return err
	}
	if err := f.load(inputs); err != nil {
		return err
	}
	if err := checkPorts(f, "output", f.outputs, outputs); err != nil {
		return err
	}
	if err := f.bind(st); err != nil {
		return err
	}
	for i := range f.steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("function %s: stopped before %s: %w", f.name, f.steps[i].op, err)
		}
		f.steps[i].run()
	}
	return f.store(outputs)
}

// load checks the inputs and copies them in.
func (f *function) load(inputs map[string]coreml.Tensor) error {
	if err := checkPorts(f, "input", f.inputs, inputs); err != nil {
		return err
	}
	for _, p := range f.inputs {
		data := inputs[p.feature.Name].Data
		if i := half.FirstNonFinite(data); i >= 0 {
			return fmt.Errorf("function %s: input %q at %v: %w", f.name, p.feature.Name, position(i, p.feature.Shape), coreml.ErrNonFinite)
		}
	}
	for _, p := range f.inputs {
		half.Decode(f.values[p.value], inputs[p.feature.Name].Data)
	}
	return nil
}

// store copies the outputs out and reports the first non-finite value.
func (f *function) store(outputs map[string]coreml.Tensor) error {
	for _, p := range f.outputs {
		data := outputs[p.feature.Name].Data
		half.Encode(data, f.values[p.value])
		if i := half.FirstNonFinite(data); i >= 0 {
			return fmt.Errorf("function %s: output %q at %v: %w", f.name, p.feature.Name, position(i, p.feature.Shape), coreml.ErrNonFinite)
		}
	}
	return nil
}

// bind points the state values at the caller's state.
func (f *function) bind(st coreml.State) error {
	if len(f.bound) == 0 {
		return nil
	}
	s, ok := st.(*state)
	if !ok || s.pkg != f.pkg {
		return fmt.Errorf("%w: function %s: the state was not made by this package", ErrTensor, f.name)
	}
	for name, v := range f.bound {
		f.values[v] = s.caches[name]
	}
	for _, a := range f.aliases {
		f.values[a.value] = s.caches[a.state]
	}
	return nil
}

// checkPorts compares the caller's tensors with the signature.
func checkPorts(f *function, kind string, ports []port, got map[string]coreml.Tensor) error {
	for _, p := range ports {
		t, ok := got[p.feature.Name]
		if !ok {
			return fmt.Errorf("%w: function %s: %s %q: missing", ErrTensor, f.name, kind, p.feature.Name)
		}
		if !slices.Equal(t.Shape, p.feature.Shape) || len(t.Data) != len(f.values[p.value]) {
			return fmt.Errorf("%w: function %s: %s %q: want shape %v, found %v with %d values",
				ErrTensor, f.name, kind, p.feature.Name, p.feature.Shape, t.Shape, len(t.Data))
		}
	}
	if len(got) != len(ports) {
		for name := range got {
			if !slices.ContainsFunc(ports, func(p port) bool { return p.feature.Name == name }) {
				return fmt.Errorf("%w: function %s: %s %q: the function has none of that name", ErrTensor, f.name, kind, name)
			}
		}
	}
	return nil
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
