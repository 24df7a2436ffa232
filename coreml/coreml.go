package coreml

import (
	"context"
	"errors"

	"github.com/x448/float16"
)

// ErrNoComputePlan is returned by planes that cannot tell where an operation
// would run; residency is then "not measured", never passed.
var ErrNoComputePlan = errors.New("this plane has no compute plan")

// ErrBroken is wrapped by errors about the plane itself: its process hung,
// crashed or answered nonsense. It says nothing about the package.
var ErrBroken = errors.New("the plane broke")

// ErrNonFinite is wrapped by errors about a NaN or an infinity in a pass's
// inputs, states or outputs. One such value would poison the KV cache blend
// for good, so it ends the session.
var ErrNonFinite = errors.New("non-finite value")

// Plane executes packages. Implementations are safe for concurrent use.
type Plane interface {
	// Name is the plane's name in verdicts: "reference", "coreml", "fake".
	Name() string
	// Open reads the package directory dir (X.mlpackage).
	Open(ctx context.Context, dir string) (Package, error)
}

// Package is an opened package. It holds one mapping of the weights, shared by
// its functions.
type Package interface {
	// FunctionNames lists the functions, sorted.
	FunctionNames() []string
	// Function prepares a function for execution.
	Function(ctx context.Context, name string) (Function, error)
	// NewState returns a zeroed state; one State serves every function of the
	// package.
	NewState() (State, error)
	// Close releases the mapping. Functions and states are invalid afterwards.
	Close() error
}

// Compiler is a Package of a plane that compiles packages and keeps what it
// made, as Core ML does.
type Compiler interface {
	Package
	// Compiled reports whether Open compiled the package, and did not find what
	// an earlier run had compiled.
	Compiled() bool
}

// MemoryMeter is a Plane that executes packages in other processes than the
// caller's, whose memory says nothing of theirs.
type MemoryMeter interface {
	Plane
	// PeakMemory is the largest resident memory in bytes that one of these
	// processes has had so far.
	PeakMemory() (int64, error)
}

// Feature is a named tensor of a function's signature. All are float16.
type Feature struct {
	Name  string
	Shape []int
}

// Signature is a function's contract: features in declared order, or by name
// where the plane cannot tell that order, as Core ML cannot.
type Signature struct {
	Inputs  []Feature
	Outputs []Feature
	States  []Feature
}

// Tensor is a dense row-major float16 tensor.
type Tensor struct {
	Shape []int
	Data  []float16.Float16
}

// Function is one executable function. A Function runs one prediction at a
// time; open another for concurrent use.
type Function interface {
	Name() string
	Signature() Signature
	// Predict runs one pass: it reads inputs by name, reads and writes state,
	// and fills outputs, whose tensors the caller allocates with the
	// signature's shapes. Missing, extra or misshapen tensors are errors.
	Predict(ctx context.Context, inputs map[string]Tensor, state State, outputs map[string]Tensor) error
	// ComputePlan says where Core ML would run each operation, or
	// ErrNoComputePlan.
	ComputePlan(ctx context.Context) (*ComputePlan, error)
}

// Tracer is a Function of a plane that can show every value of a pass, not its
// outputs alone. Core ML cannot.
type Tracer interface {
	Function
	// Trace is Predict that hands observe every run-time value, in program
	// order, as the operation that gives it left it. An error of observe ends
	// the pass, which has then written to the state.
	Trace(ctx context.Context, inputs map[string]Tensor, state State, outputs map[string]Tensor, observe func(Observed) error) error
}

// Observed is a value of a pass, rounded to float16 if it is of another type.
// Its tensor must not be kept or written to after observe returns.
type Observed struct {
	Op     string // operator type, for example "conv"
	Name   string // of the value in the program
	Tensor Tensor
}

// State holds the KV caches of one session.
type State interface {
	// Read copies the named state's values, row-major, into dst.
	Read(name string, dst []float16.Float16) error
	// Write replaces the named state's values by src.
	Write(name string, src []float16.Float16) error
}

// Device is where a compute plan places an operation.
type Device string

// The devices of MLComputePlan. DeviceNone means that no device usage was
// given, which only const and constexpr operations may have.
const (
	DeviceNeuralEngine Device = "ane"
	DeviceCPU          Device = "cpu"
	DeviceGPU          Device = "gpu"
	DeviceUnknown      Device = "unknown"
	DeviceNone         Device = ""
)

// ComputePlan is one function's MLComputePlan, flattened over nested blocks. It
// says what Core ML anticipates, not where a prediction ran.
type ComputePlan struct {
	Function string
	Devices  []Device // all compute devices of the machine
	// VirtualMachine tells that the machine is one: its Neural Engine is not
	// a real one.
	VirtualMachine bool
	// CompiledBytes is the size of the compiled model.
	CompiledBytes int64
	Ops           []PlannedOp
}

// PlannedOp is one operation of a compute plan.
type PlannedOp struct {
	Op        string // operator name as Core ML gives it, for example "ios18.conv"
	Output    string // name of its first output, which joins it to the program
	Preferred Device
	Supported []Device
	// Cost is the op's estimated share of the whole, 0 to 1, or nil: Core ML
	// may give none although it gives devices.
	Cost *float64
}
