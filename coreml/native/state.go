package native

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/half"
)

// ErrStates means that the package's functions declare other states than each
// other, so that one State cannot serve them.
var ErrStates = errors.New("functions declare different states")

// state is one MLState, or one for each function that used it. An MLState of
// real size takes tens of megabytes that Go's collector does not see, and a
// State has no end in the interface: what a state holds is therefore given up
// once nothing refers to the state, at the latest when the package is closed.
type state struct {
	pkg      *pkg
	features []coreml.Feature

	mu     sync.Mutex
	held   *held
	latest *model // the one whose MLState has the content
}

// held are the references of a state.
type held struct {
	per map[*model]objc.ID // SharedState has one, of the model that made it
}

// NewState implements coreml.Package. The state is made by the first loaded
// function in the order of names; where none is loaded the first of the package
// is, which can take as long as Function.
func (p *pkg) NewState() (coreml.State, error) {
	if err := p.acquire(); err != nil {
		return nil, err
	}
	defer p.release()
	m, err := p.stateMaker()
	if err == nil {
		var st *state
		if st, err = p.newState(m); err == nil {
			return st, nil
		}
	}
	return nil, fmt.Errorf("package %s: state: %w", p.name, err)
}

// stateMaker is the model that makes states.
func (p *pkg) stateMaker() (*model, error) {
	names := p.FunctionNames()
	p.mu.Lock()
	for _, name := range names {
		if m, ok := p.models[name]; ok {
			p.mu.Unlock()
			return m, nil
		}
	}
	p.mu.Unlock()
	return p.model(names[0])
}

func (p *pkg) newState(m *model) (*state, error) {
	st := &state{pkg: p, features: m.sig.States, held: &held{per: map[*model]objc.ID{}}, latest: m}
	if len(st.features) == 0 {
		return st, nil
	}
	if err := st.make(m); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.states[st.held] = true
	p.mu.Unlock()
	runtime.AddCleanup(st, p.drop, st.held)
	return st, nil
}

// drop gives up what a state held that nothing refers to any more.
func (p *pkg) drop(h *held) {
	if p.acquire() != nil {
		return // Close has given it up
	}
	defer p.release()
	p.mu.Lock()
	delete(p.states, h)
	p.mu.Unlock()
	// There is nobody to tell of an error: what is left over is left over.
	_ = p.plane.b.release(slices.Collect(maps.Values(h.per))...)
}

// make makes m's own MLState, all zero.
func (st *state) make(m *model) error {
	var id objc.ID
	err := st.pkg.plane.b.pool(func(s *scope) error {
		id = s.object(m.id, "MLModel newState") // it has a reference already
		return nil
	})
	if err == nil && id == 0 {
		err = &Error{Doing: "make a state"}
	}
	if err != nil {
		return err
	}
	st.held.per[m] = id
	return nil
}

// of is the MLState to run m with. The caller holds mu, and has Core ML run m
// with it next.
func (st *state) of(m *model) (objc.ID, error) {
	if !sameFeatures(m.sig.States, st.features) {
		return 0, fmt.Errorf("%w: %s declares %v, the state was made for %v", ErrStates, m.name, m.sig.States, st.features)
	}
	if m == st.latest || st.pkg.plane.opt.States == SharedState {
		return st.held.per[st.latest], nil
	}
	if st.held.per[m] == 0 {
		if err := st.make(m); err != nil {
			return 0, err
		}
	}
	for _, f := range st.features {
		values := make([]float16.Float16, elements(f.Shape))
		err := st.pkg.plane.b.pool(func(s *scope) error {
			s.inState(st.held.per[st.latest], f, func(array objc.ID) { s.read(array, f.Shape, values) })
			s.inState(st.held.per[m], f, func(array objc.ID) { s.write(array, f.Shape, values) })
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("copy state %q from %s to %s: %w", f.Name, st.latest.name, m.name, err)
		}
	}
	st.latest = m
	return st.held.per[m], nil
}

func sameFeatures(a, b []coreml.Feature) bool {
	return slices.EqualFunc(a, b, func(a, b coreml.Feature) bool {
		return a.Name == b.Name && slices.Equal(a.Shape, b.Shape)
	})
}

// inState runs do on the array of a state. The array is good inside alone.
func (s *scope) inState(ml objc.ID, f coreml.Feature, do func(array objc.ID)) {
	name := []objc.Value{objc.Of(s.text(f.Name))}
	s.within("reach into a state", ml, "MLState getMultiArrayForStateNamed:handler:", name, func(args []objc.Value) error {
		return s.b.pool(func(inner *scope) error {
			if len(args) != 1 || args[0].ID() == 0 {
				return fmt.Errorf("%w: Core ML gave no array", ErrTensor)
			}
			do(args[0].ID())
			return s.err
		})
	})
}

// Read implements coreml.State.
func (st *state) Read(name string, dst []float16.Float16) error {
	return st.access(name, len(dst), func(s *scope, array objc.ID, f coreml.Feature) { s.read(array, f.Shape, dst) })
}

// Write implements coreml.State. A NaN or an infinity in src, which would
// reach every later pass, wraps coreml.ErrNonFinite, and nothing is changed.
func (st *state) Write(name string, src []float16.Float16) error {
	if i := half.FirstNonFinite(src); i >= 0 {
		return fmt.Errorf("package %s: state %q at element %d: %w", st.pkg.name, name, i, coreml.ErrNonFinite)
	}
	return st.access(name, len(src), func(s *scope, array objc.ID, f coreml.Feature) { s.write(array, f.Shape, src) })
}

// access checks the name first: Core ML raises an exception for a wrong one,
// which ends the process.
func (st *state) access(name string, n int, do func(s *scope, array objc.ID, f coreml.Feature)) error {
	if err := st.pkg.acquire(); err != nil {
		return err
	}
	defer st.pkg.release()
	st.mu.Lock()
	defer st.mu.Unlock()
	i := slices.IndexFunc(st.features, func(f coreml.Feature) bool { return f.Name == name })
	if i < 0 {
		return fmt.Errorf("package %s: %w: state %q: the package has no such state", st.pkg.name, ErrTensor, name)
	}
	f := st.features[i]
	if want := elements(f.Shape); n != want {
		return fmt.Errorf("package %s: %w: state %q: want %d values, found %d", st.pkg.name, ErrTensor, name, want, n)
	}
	err := st.pkg.plane.b.pool(func(s *scope) error {
		s.inState(st.held.per[st.latest], f, func(array objc.ID) { do(s, array, f) })
		return nil
	})
	if err != nil {
		return fmt.Errorf("package %s: state %q: %w", st.pkg.name, name, err)
	}
	return nil
}
