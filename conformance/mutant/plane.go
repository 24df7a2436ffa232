package mutant

import (
	"context"
	"maps"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
)

// hostFault is a plane between the gate and the real one, which spoils what
// the host hands over. It stands for a runtime that builds its inputs wrongly.
type hostFault struct {
	coreml.Plane
	// edit changes the inputs of a pass of the given rows in place and reports
	// whether it did.
	edit   func(rows int, inputs map[string]coreml.Tensor, st coreml.State) bool
	edited *bool
	// after, if not nil, changes what a pass has left in the same way.
	after func(rows int, outputs map[string]coreml.Tensor, st coreml.State) (bool, error)
	// newState, if not nil, stands in for the package's.
	newState func(coreml.Package) (coreml.State, error)
}

func (p hostFault) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	return faultyPackage{pkg, p}, nil
}

type faultyPackage struct {
	coreml.Package
	fault hostFault
}

func (p faultyPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil {
		return nil, err
	}
	return faultyFunction{f, p.fault}, nil
}

func (p faultyPackage) NewState() (coreml.State, error) {
	if p.fault.newState != nil {
		return p.fault.newState(p.Package)
	}
	return p.Package.NewState()
}

type faultyFunction struct {
	coreml.Function
	fault hostFault
}

func (f faultyFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	own := maps.Clone(inputs)
	for name, t := range own {
		own[name] = coreml.Tensor{Shape: t.Shape, Data: slices.Clone(t.Data)}
	}
	if f.fault.edit(own[contract.X].Shape[2], own, st) {
		*f.fault.edited = true
	}
	if err := f.Function.Predict(ctx, own, st, outputs); err != nil || f.fault.after == nil {
		return err
	}
	changed, err := f.fault.after(own[contract.X].Shape[2], outputs, st)
	*f.fault.edited = *f.fault.edited || changed
	return err
}

// spoilHost wraps the specimen's plane.
func (s *specimen) spoilHost(edit func(rows int, inputs map[string]coreml.Tensor, st coreml.State) bool) {
	edited := false
	s.plane = hostFault{Plane: s.plane, edit: edit, edited: &edited}
	s.touched = func() bool { return edited }
}

// spoilResults wraps the specimen's plane so that its passes end wrongly.
func (s *specimen) spoilResults(after func(rows int, outputs map[string]coreml.Tensor, st coreml.State) (bool, error)) {
	s.spoilHost(func(int, map[string]coreml.Tensor, coreml.State) bool { return false })
	p := s.plane.(hostFault) // just made
	p.after = after
	s.plane = p
}

// stateKept hands out one state for every session, with what the last one left
// in it.
func stateKept(_ context.Context, s *specimen) error {
	var kept coreml.State
	again := false
	s.plane = hostFault{
		Plane: s.plane, edited: &again,
		edit: func(int, map[string]coreml.Tensor, coreml.State) bool { return false },
		newState: func(p coreml.Package) (st coreml.State, err error) {
			if kept == nil {
				kept, err = p.NewState()
				return kept, err
			}
			again = true
			return kept, nil
		},
	}
	s.touched = func() bool { return again }
	return nil
}

// row is the r-th of equal runs of a tensor's data.
func row(t coreml.Tensor, r, n int) []float16.Float16 { return t.Data[r*n : (r+1)*n] }
