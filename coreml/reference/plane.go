package reference

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"lockstep/coreml"
	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mlpackage"
)

// Errors of the plane; each is wrapped with the function, the op and the value
// concerned, as far as they apply.
var (
	// ErrProgram is wrapped by errors about what the plane does not execute.
	ErrProgram = errors.New("program cannot be executed")
	// ErrMemory is wrapped by errors about programs beyond Plane.MaxBytes.
	ErrMemory = errors.New("program needs too much memory")
	// ErrTensor is wrapped by errors about inputs, outputs and states that do
	// not fit the signature.
	ErrTensor = errors.New("tensor does not fit the signature")
	// ErrIndex is wrapped by errors about run-time indices and bounds that lie
	// outside the axis that they are for.
	ErrIndex = errors.New("index outside its axis")
	// ErrFunction is wrapped by errors about names of functions.
	ErrFunction = errors.New("no such function")
	// ErrClosed is returned by a package after Close, and by its functions and
	// states.
	ErrClosed = errors.New("package is closed")
)

// DefaultMaxBytes is Plane.MaxBytes where that is not positive. The state of 20
// layers of Phi-4-mini with 4096 slots takes 0.7 GB.
const DefaultMaxBytes = 16 << 30

// Plane executes packages by interpretation. The zero value is ready.
type Plane struct {
	// MaxBytes bounds what one function may allocate for its values, constants
	// and tables, and apart from that what one state may: a program of a few
	// bytes can declare a tensor of any size. 0 stands for DefaultMaxBytes.
	MaxBytes int64
}

var _ coreml.Plane = Plane{}

// Name implements coreml.Plane.
func (Plane) Name() string { return "reference" }

// Open reads and checks the package directory dir and maps its weights. Errors
// are those of mlpackage.Open, mil.Program.Check and mlpackage.Check.
func (p Plane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files, err := mlpackage.Open(dir)
	if err != nil {
		return nil, err
	}
	opened, err := p.newPackage(files)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", filepath.Base(dir), errors.Join(err, files.Close()))
	}
	return opened, nil
}

func (p Plane) newPackage(files *mlpackage.Package) (*pkg, error) {
	if err := files.Model.Program.Check(); err != nil {
		return nil, err
	}
	if err := mlpackage.Check(files); err != nil {
		return nil, err
	}
	limit := p.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	return &pkg{files: files, limit: limit, pool: newPool(), tables: map[tableKey]*kernel.Table{}}, nil
}

// pkg is an opened package.
type pkg struct {
	files *mlpackage.Package
	limit int64 // bytes of a function, and of a state
	pool  *pool

	tablesMu sync.Mutex
	tables   map[tableKey]*kernel.Table

	mu       sync.Mutex // guards closed, and users against Close
	closed   bool
	users    sync.WaitGroup // calls that need the mapping or the pool
	closing  sync.Once
	closeErr error
}

// FunctionNames implements coreml.Package.
func (p *pkg) FunctionNames() []string {
	names := make([]string, len(p.files.Model.Program.Functions))
	for i, f := range p.files.Model.Program.Functions {
		names[i] = f.Name
	}
	return names
}

// Function compiles a function to steps over preallocated buffers. Errors wrap
// ErrFunction, ErrProgram or ErrMemory.
func (p *pkg) Function(ctx context.Context, name string) (coreml.Function, error) {
	if err := p.acquire(); err != nil {
		return nil, err
	}
	defer p.release()
	f := p.files.Model.Program.Function(name)
	if f == nil {
		return nil, fmt.Errorf("%w: %q; the package has %q", ErrFunction, name, p.FunctionNames())
	}
	fn, err := compile(ctx, p, f)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	return fn, nil
}

// Close implements coreml.Package. It waits for the calls that are under way,
// then ends the workers and the mapping. Closing again returns the first
// outcome.
func (p *pkg) Close() error {
	p.closing.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.users.Wait()
		p.pool.close()
		p.closeErr = p.files.Close()
	})
	return p.closeErr
}

// acquire keeps Close waiting until release.
func (p *pkg) acquire() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.users.Add(1)
	return nil
}

func (p *pkg) release() { p.users.Done() }
