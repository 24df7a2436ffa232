package conformance

import (
	"context"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
)

// names pairs a contract name with what a package calls the same feature.
type names map[string]string

// renamedPackage shows a package by the contract's names, so that drivers and
// checks need not know that there are others.
type renamedPackage struct {
	coreml.Package
	names names
}

// Function implements coreml.Package.
func (p renamedPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	fn, err := p.Package.Function(ctx, name)
	if err != nil {
		return nil, err
	}
	renamed := renamedFunction{fn, p.names}
	if tracer, ok := fn.(coreml.Tracer); ok {
		return renamedTracer{renamed, tracer}, nil
	}
	return renamed, nil
}

// NewState implements coreml.Package.
func (p renamedPackage) NewState() (coreml.State, error) {
	st, err := p.Package.NewState()
	if err != nil {
		return nil, err
	}
	return renamedState{st, p.names}, nil
}

type renamedFunction struct {
	coreml.Function
	names names
}

// Signature implements coreml.Function.
func (f renamedFunction) Signature() coreml.Signature {
	sig := f.Function.Signature()
	return coreml.Signature{
		Inputs: f.names.features(sig.Inputs), Outputs: f.names.features(sig.Outputs), States: f.names.features(sig.States),
	}
}

// Predict implements coreml.Function. st is one of the package's NewState.
func (f renamedFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	own, err := ownState(st)
	if err != nil {
		return err
	}
	return f.Function.Predict(ctx, f.names.tensors(inputs), own, f.names.tensors(outputs))
}

// renamedTracer is a renamedFunction whose values can be seen, under the
// package's own names.
type renamedTracer struct {
	renamedFunction
	tracer coreml.Tracer
}

// Trace implements coreml.Tracer. st is one of the package's NewState.
func (f renamedTracer) Trace(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, observe func(coreml.Observed) error) error {
	own, err := ownState(st)
	if err != nil {
		return err
	}
	return f.tracer.Trace(ctx, f.names.tensors(inputs), own, f.names.tensors(outputs), observe)
}

// ownState is what NewState wrapped.
func ownState(st coreml.State) (coreml.State, error) {
	own, ok := st.(renamedState)
	if !ok {
		return nil, fmt.Errorf("%w: a state of another package", errHarness)
	}
	return own.State, nil
}

type renamedState struct {
	coreml.State
	names names
}

// Read implements coreml.State.
func (s renamedState) Read(name string, dst []float16.Float16) error {
	return s.State.Read(s.names.of(name), dst)
}

// Write implements coreml.State.
func (s renamedState) Write(name string, src []float16.Float16) error {
	return s.State.Write(s.names.of(name), src)
}

// of is the package's name for a contract name.
func (n names) of(name string) string {
	if own, ok := n[name]; ok {
		return own
	}
	return name
}

// contractName is the contract's name for what a package calls own.
func (n names) contractName(own string) string {
	for name, o := range n {
		if o == own {
			return name
		}
	}
	return own
}

func (n names) tensors(byContract map[string]coreml.Tensor) map[string]coreml.Tensor {
	out := make(map[string]coreml.Tensor, len(byContract))
	for name, t := range byContract {
		out[n.of(name)] = t
	}
	return out
}

// features gives a package's features their contract names.
func (n names) features(own []coreml.Feature) []coreml.Feature {
	contract := map[string]string{}
	for name, o := range n {
		contract[o] = name
	}
	out := make([]coreml.Feature, len(own))
	for i, f := range own {
		out[i] = f
		if name, ok := contract[f.Name]; ok {
			out[i].Name = name
		}
	}
	return out
}
