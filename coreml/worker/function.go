package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/x448/float16"

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
		return nil, p.nonsense(doing, "a compute plan", "none")
	}
	return r.Plan, nil
}

// Predict implements coreml.Function. Passes of all functions of the package
// wait for each other. Where ctx ends it or it takes too long, the worker is
// killed, and all states that lie in it are lost. The first pass in a worker
// may take as long as loading, since Core ML may put that off until then.
func (f *function) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	return f.pass(ctx, inputs, st, outputs, nil)
}

// tracer is a function of a plane that can show every value.
type tracer struct{ *function }

// Trace implements coreml.Tracer. What holds for Predict holds here, with the
// time of a pass for each value; observe must not use the package.
func (f tracer) Trace(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, observe func(coreml.Observed) error) error {
	return f.pass(ctx, inputs, st, outputs, observe)
}

// pass is Predict, or Trace where observe is not nil.
func (f *function) pass(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, observe func(coreml.Observed) error) error {
	defer runtime.KeepAlive(st) // the worker would be told to let go of it
	p, doing := f.pkg, "a pass of "+f.name
	if observe != nil {
		doing = "a trace of " + f.name
	}
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
	if observe != nil {
		s := l.add(windowValues)
		req.Op, req.Values = opTrace, &s
	}
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
	r, err := p.ask(ctx, doing, timeout, req)
	if observe != nil && err == nil {
		err = p.follow(ctx, doing, *req.Values, r, observe)
	}
	if p.proc == nil {
		return err
	}
	p.proc.warm[f.name] = true
	return errors.Join(err, p.proc.get(side{req.Outputs, outputs}))
}

// windowValues is how many elements of a value go through the shared file at a
// time.
const windowValues = 1 << 19

// follow hands the values of a trace to observe, from the first part on. The
// error of observe ends the pass, and comes back as the plane has wrapped it.
func (p *pkg) follow(ctx context.Context, doing string, window span, r *reply, observe func(coreml.Observed) error) error {
	var value []float16.Float16
	var stopped error
	done := false
	defer func() {
		if !done { // the worker waits in the middle of a pass
			p.drop()
		}
	}()
	for r.Observed != nil {
		part := r.Observed
		shared, err := p.proc.region.values(span{window.At, part.Count})
		n, ok := elements(part.Shape)
		whole := len(value) + len(shared)
		fits := err == nil && ok && part.Count <= window.Count && whole <= n && (part.More && len(shared) > 0 || whole == n)
		if !fits || stopped != nil {
			return p.nonsense(doing, "the next part of a value", fmt.Sprintf("%+v", *part))
		}
		value = append(value, shared...)
		next := &request{Op: opNext}
		if !part.More {
			stopped = observe(coreml.Observed{Op: part.Op, Name: part.Name, Tensor: coreml.Tensor{Shape: part.Shape, Data: value}})
			value = value[:0]
		}
		if stopped != nil {
			next.Stop = cmp.Or(stopped.Error(), "stopped")
		}
		if r, err = p.ask(ctx, doing, p.plane.opt.Pass, next); err != nil {
			var own *planeError
			if done = errors.As(err, &own); done && stopped != nil {
				own.is = append(own.is, stopped)
			}
			return err
		}
	}
	done = true
	return nil
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
func (p *pkg) nonsense(doing, want, found string) error {
	err := p.proc.broken(doing, fmt.Errorf("%w: want %s, found %s", ErrProtocol, want, found))
	p.drop()
	return p.note(doing, err)
}
