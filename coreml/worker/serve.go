package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"lockstep/coreml"
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
		open: open, region: region{file: shared},
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
		answer := make(chan *reply, 1)
		go func() { answer <- s.answer(ctx, &next.request) }()
		select {
		case r := <-answer:
			frame, err := appendFrame(nil, r, maxReply)
			if err != nil {
				return err
			}
			if _, err := out.Write(frame); err != nil {
				return err
			}
		case early := <-incoming:
			return fmt.Errorf("%w during %s: %w", ErrAbandoned, next.request.Op, early.cause())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
}

// answer does what a request asks for.
func (s *server) answer(ctx context.Context, req *request) *reply {
	r := &reply{Seq: req.Seq}
	if err := s.do(ctx, req, r); err != nil {
		return &reply{Seq: req.Seq, Error: failureOf(err)}
	}
	return r
}

func (s *server) do(ctx context.Context, req *request, r *reply) error {
	if s.seq++; req.Seq != s.seq {
		return fmt.Errorf("%w: want request %d, found %d", ErrProtocol, s.seq, req.Seq)
	}
	for _, id := range req.Drop {
		delete(s.states, id)
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
	case opPredict:
		return s.predict(ctx, req)
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

// predict runs a pass on tensors that lie in the shared file.
func (s *server) predict(ctx context.Context, req *request) error {
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
	return fn.Predict(ctx, inputs, st, outputs)
}

func (s *server) closePackage() error {
	pkg := s.pkg
	s.pkg = nil
	clear(s.functions)
	clear(s.states)
	return pkg.Close()
}
