package worker

import (
	"errors"
	"fmt"
	"math"

	"lockstep/coreml"
)

// operation is what a request asks for.
type operation string

const (
	opHello   operation = "hello"   // Plane → Plane
	opOpen    operation = "open"    // Dir → Functions, Compiled
	opLoad    operation = "load"    // Function → Signature, Traces, Peak
	opPlan    operation = "plan"    // Function → Plan
	opState   operation = "state"   // → State
	opMap     operation = "map"     // Bytes: the shared file has grown
	opRead    operation = "read"    // State, Name → the span Values
	opWrite   operation = "write"   // State, Name, the span Values
	opPredict operation = "predict" // Function, State, Inputs → Outputs, Peak
	opTrace   operation = "trace"   // opPredict, whose values go through the span Values → Observed
	opNext    operation = "next"    // Stop → Observed, or the end of opTrace
	opClose   operation = "close"
)

// request asks the worker for one thing. Only the fields that its operation
// names are set, and Drop.
type request struct {
	Seq      uint64    `json:"seq"` // from 1 on, without a gap
	Op       operation `json:"op"`
	Plane    string    `json:"plane,omitempty"`
	Dir      string    `json:"dir,omitempty"`
	Function string    `json:"function,omitempty"`
	State    uint64    `json:"state,omitempty"` // 0 is none
	Name     string    `json:"name,omitempty"`
	Values   *span     `json:"values,omitempty"`
	Inputs   []port    `json:"inputs,omitempty"`
	Outputs  []port    `json:"outputs,omitempty"`
	Stop     string    `json:"stop,omitempty"` // the error of who observes
	Bytes    int64     `json:"bytes,omitempty"`
	Drop     []uint64  `json:"drop,omitempty"` // states that nobody holds any more
}

// span is where float16 values lie in the shared file.
type span struct {
	At    int64 `json:"at"`    // byte offset, a multiple of spanAlign
	Count int64 `json:"count"` // values
}

// port is an input or output by name.
type port struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Span  span   `json:"span"`
}

// reply answers the request of the same number.
type reply struct {
	Seq       uint64              `json:"seq"`
	Error     *failure            `json:"error,omitempty"`
	Plane     string              `json:"plane,omitempty"`
	Functions []string            `json:"functions,omitempty"`
	Signature *coreml.Signature   `json:"signature,omitempty"`
	Plan      *coreml.ComputePlan `json:"plan,omitempty"`
	State     uint64              `json:"state,omitempty"`
	Traces    bool                `json:"traces,omitempty"` // the function is a coreml.Tracer
	Observed  *observed           `json:"observed,omitempty"`
	Compiled  *bool               `json:"compiled,omitempty"` // by Open; absent if the plane does not compile
	Peak      int64               `json:"peak,omitempty"`     // of the worker's resident memory, in bytes; 0 is not known
}

// observed is a value of a traced pass, or a part of one: its elements come in
// order, as many at a time as the span has room for.
type observed struct {
	Op    string `json:"op"`
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Count int64  `json:"count"` // elements in the span now
	More  bool   `json:"more,omitempty"`
}

// failure is an error of the plane.
type failure struct {
	Text string   `json:"text"`
	Is   []string `json:"is,omitempty"` // names in sentinels
}

// sentinels are the errors that callers of any plane tell apart.
var sentinels = []struct {
	name string
	err  error
}{
	{"no_compute_plan", coreml.ErrNoComputePlan},
	{"non_finite", coreml.ErrNonFinite},
	{"protocol", ErrProtocol},
}

func failureOf(err error) *failure {
	f := &failure{Text: err.Error()}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			f.Is = append(f.Is, s.name)
		}
	}
	return f
}

// planeError is an error of the plane in the worker: its text, and which of
// sentinels it is.
type planeError struct {
	text string
	is   []error
}

func (e *planeError) Error() string   { return e.text }
func (e *planeError) Unwrap() []error { return e.is }

// err is the failure as the plane's caller would have got it in one process.
func (f *failure) err() error {
	e := &planeError{text: f.Text}
	for _, s := range sentinels {
		for _, name := range f.Is {
			if name == s.name {
				e.is = append(e.is, s.err)
			}
		}
	}
	return e
}

// maxElements bounds a tensor that a worker may declare. The largest there are
// have some hundred million.
const maxElements = 1 << 32

// checkSignature refuses shapes that nobody could allocate.
func checkSignature(sig *coreml.Signature) error {
	if sig == nil {
		return fmt.Errorf("%w: want a signature, found none", ErrProtocol)
	}
	for _, features := range [][]coreml.Feature{sig.Inputs, sig.Outputs, sig.States} {
		for _, f := range features {
			if _, ok := elements(f.Shape); !ok {
				return fmt.Errorf("%w: feature %q: want a shape of at most %d values, found %v", ErrProtocol, f.Name, int64(maxElements), f.Shape)
			}
		}
	}
	return nil
}

// elements is the product of a shape, if that is within bounds.
func elements(shape []int) (int, bool) {
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > min(maxElements, math.MaxInt)/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
