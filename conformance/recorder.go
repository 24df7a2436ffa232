package conformance

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
)

// recorder is a plane that keeps what each layer shard's last pass left in
// hidden, by the base name of its package. It shows the hidden states between
// shards as the chain hands them on.
type recorder struct {
	coreml.Plane
	hidden map[string][]float16.Float16 // [hidden, T]; nil while nobody listens
}

func (r *recorder) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := r.Plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	return recordedPackage{pkg, r, filepath.Base(dir)}, nil
}

type recordedPackage struct {
	coreml.Package
	to   *recorder
	name string
}

func (p recordedPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil {
		return nil, err
	}
	return recordedFunction{f, p}, nil
}

type recordedFunction struct {
	coreml.Function
	pkg recordedPackage
}

func (f recordedFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	err := f.Function.Predict(ctx, inputs, st, outputs)
	out, ok := outputs[contract.Hidden]
	if err == nil && ok && f.pkg.to.hidden != nil {
		f.pkg.to.hidden[f.pkg.name] = slices.Clone(out.Data)
	}
	return err
}
