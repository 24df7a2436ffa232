package mutant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/manifest"
)

// ErrNoFault means that a mutant changed nothing: the harness is broken, and
// its survival would say nothing.
var ErrNoFault = errors.New("the mutant changed nothing")

// Base is the sound export that mutants start from.
type Base struct {
	Source fs.FS            // the checkpoint's files
	Export exporter.Options // how it was exported; Dir holds the package
	Golden conformance.Golden
	Plane  coreml.Plane
}

// Mutant is one seeded fault.
type Mutant struct {
	Name     string
	Models   string // the failure in practice that it stands for
	KilledBy string // a check that must be among its killers
	seed     func(context.Context, *specimen) error
}

// Kill is what the gate made of a mutant.
type Kill struct {
	Mutant  Mutant
	Verdict *manifest.Verdict
}

// Killers are the checks that failed.
func (k Kill) Killers() []string {
	var names []string
	for _, c := range k.Verdict.Checks {
		if c.Result == manifest.Fail {
			names = append(names, c.Name)
		}
	}
	return names
}

// Run makes the mutant in dir, which must not exist, and judges it.
func Run(ctx context.Context, base Base, m Mutant, dir string) (*Kill, error) {
	s, err := newSpecimen(base, dir)
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	if err := m.seed(ctx, s); err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	if err := s.write(); err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	verdict, err := conformance.Run(ctx, conformance.Options{
		Dir: dir, Layers: base.Export.Layers, Plane: s.plane, Checkpoint: base.Export.Checkpoint, Golden: base.Golden,
		Subject: "nano", Lockstep: "(devel)", Command: "go test ./conformance/mutant -count=1",
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	if !s.changed() {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, ErrNoFault)
	}
	return &Kill{Mutant: m, Verdict: verdict}, nil
}
