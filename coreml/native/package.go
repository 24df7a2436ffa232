package native

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
)

// mainFunction is what a package's only function is called that is not named.
const mainFunction = "main"

// pkg is an opened package: a compiled model and what was loaded of it.
type pkg struct {
	plane     *Plane
	name      string // of the package directory
	compiled  string // path of the .mlmodelc
	bytes     int64  // of its files
	anew      bool   // Open compiled it
	functions []string

	life   sync.RWMutex // calls hold it for reading, Close for writing
	closed bool
	mu     sync.Mutex // guards what follows
	models map[string]*model
	states map[*held]bool // of states that something refers to
	memory []*buffer      // that arrays lie in
}

// model is a function as Core ML loaded it.
type model struct {
	name string
	id   objc.ID
	sig  coreml.Signature
}

var _ coreml.Compiler = (*pkg)(nil)

// Compiled implements coreml.Compiler.
func (p *pkg) Compiled() bool { return p.anew }

// acquire keeps Close waiting until release.
func (p *pkg) acquire() error {
	p.life.RLock()
	if p.closed {
		p.life.RUnlock()
		return fmt.Errorf("package %s: %w", p.name, ErrClosed)
	}
	return nil
}

func (p *pkg) release() { p.life.RUnlock() }

// FunctionNames implements coreml.Package.
func (p *pkg) FunctionNames() []string {
	if len(p.functions) == 0 { // a model without named functions has one
		return []string{mainFunction}
	}
	return slices.Clone(p.functions)
}

// Function implements coreml.Package. It loads the function for the plane's
// compute units, which for the Neural Engine the first time, on a machine, compiles it for the engine:
// seconds to minutes, which ctx does not end. Errors wrap ErrFunction,
// ErrDescription or ErrCoreML.
func (p *pkg) Function(ctx context.Context, name string) (coreml.Function, error) {
	if err := p.acquire(); err != nil {
		return nil, err
	}
	defer p.release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := p.model(name)
	if err != nil {
		return nil, fmt.Errorf("package %s: function %s: %w", p.name, name, err)
	}
	f := &function{pkg: p, model: m}
	if err := f.allocate(); err != nil {
		return nil, fmt.Errorf("package %s: function %s: %w", p.name, name, err)
	}
	return f, nil
}

// model loads a function once.
func (p *pkg) model(name string) (*model, error) {
	if !slices.Contains(p.FunctionNames(), name) {
		return nil, fmt.Errorf("%w: the package has %q", ErrFunction, p.FunctionNames())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.models[name]; ok {
		return m, nil
	}
	m := &model{name: name}
	err := p.plane.b.pool(func(s *scope) error {
		id := s.checked("load", s.class("MLModel"), "MLModel modelWithContentsOfURL:configuration:error:",
			objc.Of(s.url(p.compiled)), objc.Of(s.configuration(p.plane.units(), p.configured(name))))
		m.sig = s.signature(id)
		m.id = s.retain(id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.models[name] = m
	return m, nil
}

// configured is the function name that a configuration needs for name: none for
// the one function of a package, which may have no names at all.
func (p *pkg) configured(name string) string {
	if len(p.functions) < 2 {
		return ""
	}
	return name
}

// configuration makes an MLModelConfiguration for compute units, and for a
// function unless that is "".
func (s *scope) configuration(units int, function string) objc.ID {
	c := s.own(s.object(s.alloc("MLModelConfiguration"), "MLModelConfiguration init"))
	s.do(c, "MLModelConfiguration setComputeUnits:", objc.Integer(units))
	if function != "" {
		s.do(c, "MLModelConfiguration setFunctionName:", objc.Of(s.text(function)))
	}
	return c
}

// Close implements coreml.Package. It waits for the calls that are under way.
func (p *pkg) Close() error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var ids []objc.ID
	for h := range p.states {
		ids = slices.AppendSeq(ids, maps.Values(h.per))
	}
	for _, name := range p.FunctionNames() {
		if m, ok := p.models[name]; ok {
			ids = append(ids, m.id)
		}
	}
	errs := []error{p.plane.b.release(ids...)}
	for _, m := range p.memory { // nothing refers to it any more
		errs = append(errs, m.free())
	}
	return errors.Join(errs...)
}

// buffer has Close free memory.
func (p *pkg) buffer(elements int) (*buffer, error) {
	m, err := newBuffer(elements)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory = append(p.memory, m)
	return m, nil
}
