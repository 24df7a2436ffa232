package reference

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lockstep/coreml"
	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// Errors of the plane; each is wrapped with the function, the op and the value
// concerned.
var (
	ErrProgram  = errors.New("program cannot be executed")
	ErrTensor   = errors.New("tensor does not fit the signature")
	ErrFunction = errors.New("no such function")
	ErrClosed   = errors.New("package is closed")
)

// Plane executes packages by interpretation. The zero value is ready.
type Plane struct{}

// Name implements coreml.Plane.
func (Plane) Name() string { return "reference" }

// Open reads and checks the package directory dir and maps its weights.
func (Plane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files, err := mlpackage.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := mlpackage.Check(files); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return &pkg{files: files, pool: newPool(), tables: map[tableKey]*kernel.Table{}}, nil
}

// pkg is an opened package.
type pkg struct {
	files *mlpackage.Package
	pool  *pool

	mu     sync.Mutex // guards what follows
	closed bool
	tables map[tableKey]*kernel.Table
}

// FunctionNames implements coreml.Package.
func (p *pkg) FunctionNames() []string {
	names := make([]string, len(p.files.Model.Program.Functions))
	for i, f := range p.files.Model.Program.Functions {
		names[i] = f.Name
	}
	return names
}

// Function compiles a function to steps over preallocated buffers.
func (p *pkg) Function(ctx context.Context, name string) (coreml.Function, error) {
	if err := p.usable(ctx); err != nil {
		return nil, err
	}
	f := p.files.Model.Program.Function(name)
	if f == nil {
		return nil, fmt.Errorf("%w: %q; the package has %q", ErrFunction, name, p.FunctionNames())
	}
	return compile(p, f)
}

// NewState allocates the states that the functions declare, all zero.
func (p *pkg) NewState() (coreml.State, error) {
	if err := p.usable(context.Background()); err != nil {
		return nil, err
	}
	s := &state{pkg: p, caches: map[string][]float32{}}
	for _, in := range p.files.Model.Program.Functions[0].Inputs {
		if in.Type.State {
			s.caches[in.Name] = make([]float32, mil.NumElements(in.Type.Shape))
		}
	}
	return s, nil
}

// Close implements coreml.Package. Closing twice is harmless.
func (p *pkg) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.pool.close()
	return p.files.Close()
}

func (p *pkg) usable(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return ctx.Err()
}
