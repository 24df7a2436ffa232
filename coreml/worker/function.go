package worker

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"lockstep/coreml"
)

// function is a function of a package, loaded in whichever worker runs.
type function struct {
	pkg  *pkg
	name string
	sig  coreml.Signature
}

// Name implements coreml.Function.
func (f *function) Name() string { return f.name }

// Signature implements coreml.Function. Its slices must not be written to.
func (f *function) Signature() coreml.Signature { return f.sig }

// ComputePlan implements coreml.Function.
func (f *function) ComputePlan(ctx context.Context) (*coreml.ComputePlan, error) {
	p := f.pkg
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer p.release()
	if err := p.place(ctx, f.name); err != nil {
		return nil, err
	}
	doing := "planning " + f.name
	r, err := p.ask(ctx, doing, p.plane.opt.Load, &request{Op: opPlan, Function: f.name})
	if err != nil {
		return nil, err
	}
	if r.Plan == nil {
		return nil, p.nonsense(doing, "a compute plan")
	}
	return r.Plan, nil
}

// Predict implements coreml.Function. Passes of all functions of the package
// wait for each other. Where ctx ends it or it takes too long, the worker is
// killed, and all states that lie in it are lost. The first pass in a worker
// may take as long as loading, since Core ML may put that off until then.
func (f *function) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	defer runtime.KeepAlive(st) // the worker would be told to let go of it
	p, doing := f.pkg, "a pass of "+f.name
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer p.release()
	if err := p.admit(ctx, doing); err != nil { // before the worker loads it
		return err
	}
	if err := p.place(ctx, f.name); err != nil {
		return err
	}
	req := &request{Op: opPredict, Function: f.name}
	if err := f.bind(ctx, req, st); err != nil {
		return err
	}
	var l layout
	req.Inputs, req.Outputs = l.ports(inputs), l.ports(outputs)
	if err := p.share(ctx, l); err != nil {
		return err
	}
	// Outputs travel both ways: what a pass that fails leaves alone stays.
	for _, s := range []side{{req.Inputs, inputs}, {req.Outputs, outputs}} {
		if err := p.proc.put(s); err != nil {
			return err
		}
	}
	timeout := p.plane.opt.Pass
	if !p.proc.warm[f.name] {
		timeout = max(timeout, p.plane.opt.Load)
	}
	proc := p.proc
	_, err := p.ask(ctx, doing, timeout, req)
	if p.proc == nil {
		return err
	}
	proc.warm[f.name] = true
	if got := proc.get(side{req.Outputs, outputs}); got != nil {
		return got
	}
	return err
}

// bind names the state of a pass in the worker.
func (f *function) bind(ctx context.Context, req *request, st coreml.State) error {
	if len(f.sig.States) == 0 || st == nil {
		return nil // the plane says what it thinks of it
	}
	own, ok := st.(*state)
	if !ok || own == nil || own.pkg != f.pkg {
		return fmt.Errorf("function %s: %w", f.name, ErrState)
	}
	if err := f.pkg.settle(ctx, own.at); err != nil {
		return fmt.Errorf("function %s: %w", f.name, err)
	}
	req.State = own.at.id
	return nil
}

// side is the ports and tensors of one side of a pass.
type side struct {
	ports   []port
	tensors map[string]coreml.Tensor
}

// put copies tensors to where their ports lie.
func (w *process) put(s side) error {
	for _, p := range s.ports {
		shared, err := w.region.values(p.Span)
		if err != nil {
			return err
		}
		copy(shared, s.tensors[p.Name].Data)
	}
	return nil
}

// get copies tensors from where their ports lie.
func (w *process) get(s side) error {
	for _, p := range s.ports {
		shared, err := w.region.values(p.Span)
		if err != nil {
			return err
		}
		copy(s.tensors[p.Name].Data, shared)
	}
	return nil
}

// ports lays tensors out in the order of their names.
func (l *layout) ports(tensors map[string]coreml.Tensor) []port {
	var out []port
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		out = append(out, port{Name: name, Shape: t.Shape, Span: l.add(len(t.Data))})
	}
	return out
}

// nonsense is the error of a reply that lacks what it is for; it ends the
// worker.
func (p *pkg) nonsense(doing, want string) error {
	err := p.proc.broken(doing, fmt.Errorf("%w: want %s, found none", ErrProtocol, want))
	p.drop()
	return err
}
