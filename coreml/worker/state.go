package worker

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
)

// state is a state of a package. When nobody holds it any more the worker is
// told with the next request, since states have no Close.
type state struct {
	pkg *pkg
	at  *place
}

// place is where the content of a state is: in a worker, or saved here. Who has
// the package's turn may use it.
type place struct {
	proc  *process // nil where it is saved
	id    uint64   // in proc
	saved map[string][]float16.Float16
}

// NewState implements coreml.Package. Where a worker holds one function at a
// time one is loaded first, the one used last or else the first: a plane may
// load one of its own choice otherwise.
func (p *pkg) NewState() (coreml.State, error) {
	ctx := context.Background()
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer p.release()
	at := &place{}
	if err := p.make(ctx, at); err != nil {
		return nil, err
	}
	st := &state{pkg: p, at: at}
	p.mu.Lock()
	p.live[at] = struct{}{}
	p.mu.Unlock()
	runtime.AddCleanup(st, p.letGo, at)
	return st, nil
}

// make makes a zeroed state in the worker.
func (p *pkg) make(ctx context.Context, at *place) error {
	if err := p.ready(ctx); err != nil {
		return err
	}
	const doing = "making a state"
	r, err := p.ask(ctx, doing, p.plane.opt.Load, &request{Op: opState})
	if err != nil {
		return err
	}
	if r.State == 0 {
		return p.nonsense(doing, "a state", "none")
	}
	at.proc, at.id = p.proc, r.State
	return nil
}

// ready has a worker run that can hold states.
func (p *pkg) ready(ctx context.Context) error {
	if err := p.running(ctx); err != nil || !p.exclusive || len(p.proc.loaded) > 0 || len(p.functions) == 0 {
		return err
	}
	if p.recent != "" {
		return p.place(ctx, p.recent)
	}
	return p.place(ctx, p.functions[0])
}

// letGo is told of a state that nobody holds any more.
func (p *pkg) letGo(at *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, at)
	p.loose = append(p.loose, at)
}

// looseStates are the states in the worker that nobody holds any more.
func (p *pkg) looseStates() []uint64 {
	p.mu.Lock()
	loose := p.loose
	p.loose = nil
	p.mu.Unlock()
	var ids []uint64
	for _, at := range loose {
		if at.proc == p.proc {
			ids = append(ids, at.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// livePlaces are the places of the states that somebody holds.
func (p *pkg) livePlaces() []*place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Keys(p.live), func(a, b *place) int { return int(a.id) - int(b.id) })
}

// settle has the content of a state lie in the running worker.
func (p *pkg) settle(ctx context.Context, at *place) error {
	if at.saved == nil {
		if p.proc == nil || at.proc != p.proc {
			return fmt.Errorf("%w: worker: %w", coreml.ErrBroken, ErrStateLost)
		}
		return nil
	}
	if err := p.make(ctx, at); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(at.saved)) {
		if err := p.transfer(ctx, opWrite, at, name, at.saved[name]); err != nil {
			return fmt.Errorf("restore a state: %w", err)
		}
	}
	at.saved = nil
	return nil
}

// save copies the content of a state out of the worker.
func (p *pkg) save(ctx context.Context, at *place) error {
	saved := map[string][]float16.Float16{}
	for _, f := range p.known[p.recent].sig.States {
		n, _ := elements(f.Shape) // checked when it was learnt
		saved[f.Name] = make([]float16.Float16, n)
		if err := p.transfer(ctx, opRead, at, f.Name, saved[f.Name]); err != nil {
			return err
		}
	}
	at.saved, at.proc, at.id = saved, nil, 0
	return nil
}

// transfer reads or writes one state of the running worker.
func (p *pkg) transfer(ctx context.Context, op operation, at *place, name string, data []float16.Float16) error {
	var l layout
	s := l.add(len(data))
	if err := p.share(ctx, l); err != nil {
		return err
	}
	shared, err := p.proc.region.values(s)
	if err != nil {
		return err
	}
	if op == opWrite {
		copy(shared, data)
	}
	doing := map[operation]string{opRead: "reading ", opWrite: "writing "}[op] + name
	if _, err := p.ask(ctx, doing, p.plane.opt.Pass, &request{Op: op, State: at.id, Name: name, Values: &s}); err != nil {
		return err
	}
	if op == opRead {
		copy(data, shared)
	}
	return nil
}

// Read implements coreml.State.
func (s *state) Read(name string, dst []float16.Float16) error {
	return s.access(opRead, name, dst)
}

// Write implements coreml.State.
func (s *state) Write(name string, src []float16.Float16) error {
	return s.access(opWrite, name, src)
}

func (s *state) access(op operation, name string, data []float16.Float16) error {
	defer runtime.KeepAlive(s)
	ctx := context.Background()
	if err := s.pkg.acquire(ctx); err != nil {
		return err
	}
	defer s.pkg.release()
	if saved, ok := s.at.saved[name]; ok && op == opRead && len(saved) == len(data) {
		copy(data, saved)
		return nil
	}
	if err := s.pkg.settle(ctx, s.at); err != nil {
		return err
	}
	return s.pkg.transfer(ctx, op, s.at, name, data)
}
