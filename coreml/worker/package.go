package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"lockstep/coreml"
)

// Errors of packages, functions and states.
var (
	// ErrClosed is returned by a package after Close, and by its functions and
	// states.
	ErrClosed = errors.New("package is closed")
	// ErrStateLost means that a state was in a worker that ended; it is wrapped
	// beside coreml.ErrBroken.
	ErrStateLost = errors.New("the state went with its worker")
	// ErrState means that a state is not one of the package.
	ErrState = errors.New("a state of another package")
	// ErrChanged means that a new worker found another package than the one
	// before it; it is wrapped beside coreml.ErrBroken.
	ErrChanged = errors.New("the package is another one now")
)

// pkg is a package in a worker, which is started when it is needed.
type pkg struct {
	plane *Plane
	dir   string
	turn  chan struct{} // holds one token; who has it may use what follows

	opened    bool  // functions are known
	exclusive bool  // a worker holds one function at a time
	compiled  *bool // by the first worker that opened it; nil: not told
	closed    bool
	proc      *process // nil where none runs
	functions []string
	known     map[string]known // functions that were loaded once
	recent    string           // function that was placed last
	retiring  bool             // the worker keeps its states until they are saved

	mu    sync.Mutex          // guards what follows, which the collector's cleanups use
	live  map[*place]struct{} // of states that somebody holds
	loose []*place            // of states that nobody holds any more
}

// known is what is known of a function.
type known struct {
	sig    *coreml.Signature
	traces bool
}

func newPackage(p *Plane, dir string) *pkg {
	opened := &pkg{
		plane: p, dir: dir, turn: make(chan struct{}, 1),
		known: map[string]known{}, live: map[*place]struct{}{},
	}
	opened.turn <- struct{}{}
	return opened
}

// compiler is a package of a plane that compiles.
type compiler struct{ *pkg }

// Compiled implements coreml.Compiler: it tells of the first worker. A later
// one finds what that one made.
func (p compiler) Compiled() bool { return *p.compiled }

// acquire waits for the package's turn; release ends it.
func (p *pkg) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.closed {
		p.release()
		return ErrClosed
	}
	return nil
}

func (p *pkg) release() { p.turn <- struct{}{} }

// begin opens the package for the first time.
func (p *pkg) begin(ctx context.Context) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer p.release()
	return p.running(ctx)
}

// FunctionNames implements coreml.Package.
func (p *pkg) FunctionNames() []string { return slices.Clone(p.functions) }

// Function implements coreml.Package. A function is loaded once in a worker,
// and again in each new one that needs it.
func (p *pkg) Function(ctx context.Context, name string) (coreml.Function, error) {
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer p.release()
	if _, ok := p.known[name]; !ok {
		if err := p.place(ctx, name); err != nil {
			return nil, err
		}
	}
	k := p.known[name]
	fn := &function{pkg: p, name: name, sig: *k.sig}
	if k.traces {
		return tracer{fn}, nil
	}
	return fn, nil
}

// Close implements coreml.Package: it closes the package in the worker, and
// ends it. A worker that broke has nothing to close.
func (p *pkg) Close() error {
	<-p.turn
	defer p.release()
	if p.closed {
		return nil
	}
	p.closed = true
	proc := p.proc
	if proc == nil || proc.gone() {
		p.drop()
		return nil
	}
	r, err := proc.call(context.Background(), "closing", p.plane.opt.Stop, p.plane.opt.Stop, &request{Op: opClose})
	proc.stop(p.plane.opt.Stop)
	p.proc = nil
	if err == nil && r.Error != nil {
		err = r.Error.err()
	}
	return err
}

// drop frees what belonged to a worker that is of no use any more.
func (p *pkg) drop() {
	if p.proc != nil {
		p.proc.kill(p.plane.opt.Stop)
		p.proc = nil
	}
}

// ask makes a call of the running worker. An error that is not the plane's own
// has ended the worker.
func (p *pkg) ask(ctx context.Context, doing string, timeout time.Duration, req *request) (*reply, error) {
	if err := p.admit(ctx, doing); err != nil {
		return nil, err
	}
	if !p.retiring {
		req.Drop = p.looseStates()
	}
	r, err := p.proc.call(ctx, doing, timeout, p.plane.opt.Stop, req)
	if err == nil {
		p.plane.peak.note(r.Peak)
	}
	if err == nil && r.Error != nil {
		err = r.Error.err()
		if errors.Is(err, ErrProtocol) {
			p.proc.kill(p.plane.opt.Stop)
			err = p.proc.broken(doing, err)
		} else {
			return nil, p.note(doing, err)
		}
	}
	if err != nil { // the process is gone
		p.proc = nil
		return nil, p.note(doing, err)
	}
	return r, p.note(doing, nil)
}

// admit refuses a call that has been given up, or that is not wanted any more.
func (p *pkg) admit(ctx context.Context, doing string) error {
	if err := p.plane.costs.admit(p.dir, doing); err != nil {
		return err
	}
	return ctx.Err()
}

// note counts the workers that a call costs, and returns its error.
func (p *pkg) note(doing string, err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		p.plane.costs.note(p.dir, doing, err)
	}
	return err
}

// running starts a worker that has opened the package, if none runs.
func (p *pkg) running(ctx context.Context) error {
	if p.proc != nil && p.proc.gone() { // between two calls
		p.drop()
	}
	if p.proc != nil {
		return nil
	}
	const starting = "starting"
	if err := p.admit(ctx, starting); err != nil {
		return err
	}
	proc, err := p.plane.spawn(ctx)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, coreml.ErrBroken) {
			err = fmt.Errorf("%w: %w", coreml.ErrBroken, err)
		}
		return p.note(starting, err)
	}
	p.proc = proc
	if err := p.open(ctx); err != nil {
		p.drop()
		return err
	}
	return p.note(starting, nil)
}

// open opens the package in a new worker.
func (p *pkg) open(ctx context.Context) error {
	r, err := p.ask(ctx, "opening "+filepath.Base(p.dir), p.plane.opt.Load, &request{Op: opOpen, Dir: p.dir})
	switch {
	case err != nil:
		return err
	case !p.opened:
		p.exclusive, err = p.tooLarge(len(r.Functions))
		p.functions, p.compiled, p.opened = r.Functions, r.Compiled, err == nil
		return err
	case !slices.Equal(r.Functions, p.functions):
		return fmt.Errorf("%w: worker: %w: want the functions %q, found %q", coreml.ErrBroken, ErrChanged, p.functions, r.Functions)
	}
	return nil
}

// tooLarge reports a package that one worker is not to hold with all of its
// functions.
func (p *pkg) tooLarge(functions int) (bool, error) {
	opt := p.plane.opt
	if opt.Exclusive || opt.Memory <= 0 {
		return opt.Exclusive, nil
	}
	var bytes int64
	err := filepath.WalkDir(p.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("worker: %w", err)
	}
	return bytes*int64(functions) > opt.Memory, nil
}

// place has a worker run that has loaded the function.
func (p *pkg) place(ctx context.Context, name string) error {
	loading := "loading " + name
	if err := p.admit(ctx, loading); err != nil {
		return err
	}
	if p.proc != nil && p.exclusive && len(p.proc.loaded) > 0 && !p.proc.loaded[name] {
		if err := p.retire(ctx); err != nil {
			return fmt.Errorf("before %s: %w", name, err)
		}
	}
	if err := p.running(ctx); err != nil {
		return err
	}
	if p.proc.loaded[name] {
		return nil
	}
	r, err := p.ask(ctx, loading, p.plane.opt.Load, &request{Op: opLoad, Function: name})
	if err != nil {
		return err
	}
	if err := p.learn(name, known{r.Signature, r.Traces}); err != nil {
		p.drop()
		return fmt.Errorf("%w: worker: %s: %w", coreml.ErrBroken, loading, err)
	}
	p.proc.loaded[name], p.recent = true, name
	return nil
}

// learn keeps what a worker says of a function, which no later one may change.
func (p *pkg) learn(name string, k known) error {
	if err := checkSignature(k.sig); err != nil {
		return err
	}
	if before, ok := p.known[name]; ok && !reflect.DeepEqual(before, k) {
		return fmt.Errorf("%w: want the signature %v, found %v", ErrChanged, *before.sig, *k.sig)
	}
	p.known[name] = k
	return nil
}

// retire saves all states that lie in the worker and ends it.
func (p *pkg) retire(ctx context.Context) error {
	if p.proc.gone() { // with its states
		p.drop()
		return nil
	}
	p.retiring = true
	defer func() { p.retiring = false }()
	for _, at := range p.livePlaces() {
		if at.proc != p.proc {
			continue
		}
		if err := p.save(ctx, at); err != nil {
			return fmt.Errorf("save a state: %w", err)
		}
	}
	p.proc.stop(p.plane.opt.Stop)
	p.proc = nil
	return nil
}

// share makes room for what l has laid out, and tells the worker.
func (p *pkg) share(ctx context.Context, l layout) error {
	if err := p.proc.region.grow(l.end); err != nil {
		return fmt.Errorf("%w: worker: %w", coreml.ErrBroken, err)
	}
	size := len(p.proc.region.data)
	if size == p.proc.mapped {
		return nil
	}
	const mapping = "mapping the tensors' file"
	if _, err := p.ask(ctx, mapping, p.plane.opt.Pass, &request{Op: opMap, Bytes: int64(size)}); err != nil {
		var own *planeError
		if p.proc != nil && errors.As(err, &own) { // it may have no mapping now
			p.drop()
			return fmt.Errorf("%w: worker: %s: %w", coreml.ErrBroken, mapping, err)
		}
		return err
	}
	p.proc.mapped = size
	return nil
}
