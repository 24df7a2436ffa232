package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/memory"
)

// ErrAbandoned means that the other end went away while the plane was at work.
var ErrAbandoned = errors.New("the other end went away")

// Serve answers requests on in by replies on out until in ends, which is no
// error, or ctx does. open opens the plane that the first request names; shared
// is the file in which tensors lie.
//
// Serve waits for nothing once in has ended, neither for the plane at work nor
// for a package to close: the caller is expected to end the process.
func Serve(ctx context.Context, in io.Reader, out io.Writer, shared *os.File, open func(plane string) (coreml.Plane, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{
		open: open, region: region{file: shared}, partial: make(chan *reply), next: make(chan *request),
		functions: map[string]coreml.Function{}, states: map[uint64]coreml.State{},
	}
	incoming := receive(ctx, in)
	for {
		var next received
		select {
		case next = <-incoming:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case errors.Is(next.err, io.EOF):
			return s.region.unmap()
		case next.err != nil:
			return next.err
		}
		if err := s.serve(ctx, &next.request, incoming, out); err != nil {
			return err
		}
	}
}

// serve answers one request, and those that go on with a trace that it began.
func (s *server) serve(ctx context.Context, req *request, incoming <-chan received, out io.Writer) error {
	answer := make(chan *reply, 1)
	go func() { answer <- s.answer(ctx, req) }()
	asked := false // for the next part of a trace
	for {
		select {
		case r := <-answer:
			return send(out, r)
		case r := <-s.partial:
			if err := send(out, r); err != nil {
				return err
			}
			asked = true
		case early := <-incoming:
			if !asked || early.err != nil || early.request.Op != opNext {
				return fmt.Errorf("%w during %s: %w", ErrAbandoned, req.Op, early.cause())
			}
			asked = false
			s.next <- &early.request // the trace waits for it
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func send(out io.Writer, r *reply) error {
	frame, err := appendFrame(nil, r, maxReply)
	if err != nil {
		return err
	}
	_, err = out.Write(frame)
	return err
}

// received is a request, or what came in place of one.
type received struct {
	request request
	err     error
}

// cause is why a request may not come while another is being answered.
func (r received) cause() error {
	if r.err != nil {
		return r.err
	}
	return fmt.Errorf("%w: want one request at a time, found %q", ErrProtocol, r.request.Op)
}

// receive reads requests, whether or not one is being answered: only so is the
// end of the stream noticed while the plane hangs.
func receive(ctx context.Context, in io.Reader) <-chan received {
	incoming := make(chan received)
	go func() {
		buffered := bufio.NewReader(in)
		for {
			var r received
			r.err = readFrame(buffered, &r.request, maxRequest)
			select {
			case incoming <- r:
			case <-ctx.Done():
				return
			}
			if r.err != nil {
				return
			}
		}
	}()
	return incoming
}

// server is what the worker holds between requests.
type server struct {
	open      func(plane string) (coreml.Plane, error)
	plane     coreml.Plane
	pkg       coreml.Package
	functions map[string]coreml.Function
	states    map[uint64]coreml.State
	region    region
	seq       uint64 // of the last request
	last      uint64 // state made

	partial chan *reply   // parts of a trace
	next    chan *request // what asks for each next part
}

// answer does what a request asks for; a trace has taken others since.
func (s *server) answer(ctx context.Context, req *request) *reply {
	r := &reply{}
	if err := s.do(ctx, req, r); err != nil {
		r = &reply{Error: failureOf(err)}
	}
	r.Seq = s.seq
	if slices.Contains(heavy, req.Op) {
		r.Peak, _ = memory.Peak() // 0 where it is not known
	}
	return r
}

// heavy are the operations that take memory.
var heavy = []operation{opLoad, opPredict, opTrace}

// admit takes a request's number, and lets go of the states that it names.
func (s *server) admit(req *request) error {
	want := s.seq + 1
	if s.seq = req.Seq; req.Seq != want {
		return fmt.Errorf("%w: want request %d, found %d", ErrProtocol, want, req.Seq)
	}
	for _, id := range req.Drop {
		delete(s.states, id)
	}
	return nil
}

func (s *server) do(ctx context.Context, req *request, r *reply) error {
	if err := s.admit(req); err != nil {
		return err
	}
	if err := s.ready(req.Op); err != nil {
		return err
	}
	switch req.Op {
	case opHello:
		return s.hello(req, r)
	case opOpen:
		return s.openPackage(ctx, req, r)
	case opLoad:
		return s.load(ctx, req, r)
	case opPlan:
		return s.computePlan(ctx, req, r)
	case opState:
		return s.newState(r)
	case opMap:
		return s.region.remap(req.Bytes)
	case opRead, opWrite:
		return s.access(req)
	case opPredict, opTrace:
		return s.pass(ctx, req)
	case opClose:
		return s.closePackage()
	}
	return fmt.Errorf("%w: want an operation, found %q", ErrProtocol, req.Op)
}

// ready reports an operation before the one that it stands on.
func (s *server) ready(op operation) error {
	switch {
	case op == opHello:
		if s.plane != nil {
			return fmt.Errorf("%w: want one hello, found another", ErrProtocol)
		}
	case s.plane == nil:
		return fmt.Errorf("%w: want %q first, found %q", ErrProtocol, opHello, op)
	case op == opOpen:
		if s.pkg != nil {
			return fmt.Errorf("%w: want one package, found another", ErrProtocol)
		}
	case s.pkg == nil && op != opMap:
		return fmt.Errorf("%w: want %q first, found %q", ErrProtocol, opOpen, op)
	}
	return nil
}

func (s *server) hello(req *request, r *reply) (err error) {
	if s.plane, err = s.open(req.Plane); err != nil {
		s.plane = nil
		return err
	}
	r.Plane = s.plane.Name()
	return nil
}

func (s *server) openPackage(ctx context.Context, req *request, r *reply) (err error) {
	if s.pkg, err = s.plane.Open(ctx, req.Dir); err != nil {
		s.pkg = nil
		return err
	}
	r.Functions = s.pkg.FunctionNames()
	if c, ok := s.pkg.(coreml.Compiler); ok {
		compiled := c.Compiled()
		r.Compiled = &compiled
	}
	return nil
}

// load prepares a function once.
func (s *server) load(ctx context.Context, req *request, r *reply) error {
	fn, ok := s.functions[req.Function]
	if !ok {
		var err error
		if fn, err = s.pkg.Function(ctx, req.Function); err != nil {
			return err
		}
		s.functions[req.Function] = fn
	}
	sig := fn.Signature()
	r.Signature = &sig
	_, r.Traces = fn.(coreml.Tracer)
	return nil
}

func (s *server) function(name string) (coreml.Function, error) {
	fn, ok := s.functions[name]
	if !ok {
		return nil, fmt.Errorf("%w: function %q was not loaded", ErrProtocol, name)
	}
	return fn, nil
}

func (s *server) computePlan(ctx context.Context, req *request, r *reply) error {
	fn, err := s.function(req.Function)
	if err != nil {
		return err
	}
	r.Plan, err = fn.ComputePlan(ctx)
	return err
}

func (s *server) newState(r *reply) error {
	st, err := s.pkg.NewState()
	if err != nil {
		return err
	}
	s.last++
	s.states[s.last] = st
	r.State = s.last
	return nil
}

func (s *server) state(id uint64) (coreml.State, error) {
	st, ok := s.states[id]
	if !ok {
		return nil, fmt.Errorf("%w: there is no state %d", ErrProtocol, id)
	}
	return st, nil
}

// access reads or writes a state.
func (s *server) access(req *request) error {
	st, err := s.state(req.State)
	if err != nil {
		return err
	}
	if req.Values == nil {
		return fmt.Errorf("%w: want a span of values, found none", ErrProtocol)
	}
	values, err := s.region.values(*req.Values)
	if err != nil {
		return err
	}
	if req.Op == opRead {
		return st.Read(req.Name, values)
	}
	return st.Write(req.Name, values)
}

// pass runs a pass on tensors that lie in the shared file.
func (s *server) pass(ctx context.Context, req *request) error {
	fn, err := s.function(req.Function)
	if err != nil {
		return err
	}
	var st coreml.State
	if req.State != 0 {
		if st, err = s.state(req.State); err != nil {
			return err
		}
	}
	inputs, err := s.region.tensors(req.Inputs)
	if err != nil {
		return err
	}
	outputs, err := s.region.tensors(req.Outputs)
	if err != nil {
		return err
	}
	if req.Op == opPredict {
		return fn.Predict(ctx, inputs, st, outputs)
	}
	tracer, ok := fn.(coreml.Tracer)
	if !ok {
		return fmt.Errorf("%w: function %q shows outputs only", ErrProtocol, req.Function)
	}
	window, err := s.window(req)
	if err != nil {
		return err
	}
	return tracer.Trace(ctx, inputs, st, outputs, func(o coreml.Observed) error { return s.show(ctx, o, window) })
}

// window is where the values of a traced pass go.
func (s *server) window(req *request) ([]float16.Float16, error) {
	if req.Values == nil || req.Values.Count == 0 {
		return nil, fmt.Errorf("%w: want a span for values, found none", ErrProtocol)
	}
	return s.region.values(*req.Values)
}

// show hands a value over, part by part.
func (s *server) show(ctx context.Context, o coreml.Observed, window []float16.Float16) error {
	for rest, more := o.Tensor.Data, true; more; {
		n := copy(window, rest)
		rest = rest[n:]
		more = len(rest) > 0
		part := &observed{Op: o.Op, Name: o.Name, Shape: o.Tensor.Shape, Count: int64(n), More: more}
		select {
		case s.partial <- &reply{Seq: s.seq, Observed: part}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case next := <-s.next:
			if err := s.admit(next); err != nil {
				return err
			}
			if next.Stop != "" {
				return errors.New(next.Stop)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *server) closePackage() error {
	pkg := s.pkg
	s.pkg = nil
	clear(s.functions)
	clear(s.states)
	return pkg.Close()
}
