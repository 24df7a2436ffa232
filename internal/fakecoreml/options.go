package fakecoreml

import (
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/mil"
)

// Options say what system the fake is, and how it misbehaves. The zero value
// is a Mac with macOS 15.0 and all devices, which prefers the Neural Engine for
// every op.
type Options struct {
	// TempDir is where packages are compiled to; wanted.
	TempDir string
	// MacOS is the system's release; 0 stands for 15.0.
	MacOS objc.MacOS
	// Devices are the machine's; nil stands for CPU, GPU and Neural Engine.
	Devices []coreml.Device
	// Virtual makes the machine a virtual one.
	Virtual bool
	// Dense leaves rows unpadded; else they fill a multiple of 64 bytes.
	Dense bool
	// Place says what the plan has for an op; nil stands for the Neural Engine
	// for every op but constants.
	Place func(function string, op *mil.Op) Placement
	// Nest puts the last half of each function's ops into a nested block.
	Nest bool
	// CPUOnly wants models loaded for the CPU alone; else for the CPU and the
	// Neural Engine. Anything else is a fault.
	CPUOnly bool
	// Took is told of each compile, load and prediction before it is answered,
	// and what function it was of, so that a test's clock can go on. The whole
	// package is compiled: its function is "".
	Took func(doing Doing, function string)
	// OwnStates has a function refuse the MLState that another one made.
	OwnStates bool
	// BlocksElsewhere runs blocks that return before their message does on
	// another thread.
	BlocksElsewhere bool
	// Output changes a function's outputs before they are handed out.
	Output func(function, name string, data []float16.Float16)
	// Describe changes what a function's description says.
	Describe func(function string, sig *coreml.Signature)
	// DataTypes are what descriptions say in place of float16, by feature.
	DataTypes map[string]int
	// Behave says how messages misbehave, by the name of their row.
	Behave map[string]Behaviour
}

// Placement is what a compute plan has for an op. An empty Preferred means
// that there is no device usage.
type Placement struct {
	Preferred coreml.Device
	Supported []coreml.Device
	NoCost    bool
}

// Behaviour is a way to misbehave.
type Behaviour struct {
	// Silent never calls the handler.
	Silent bool
	// After calls the handler once the channel is closed.
	After <-chan struct{}
	// Twice calls the handler a second time.
	Twice bool
	// Empty answers nil without an error.
	Empty bool
	// Failure is answered in place of a result.
	Failure *Failure
}

// Failure becomes an NSError.
type Failure struct {
	Domain, Description string
	Code                int
	Underlying          *Failure
}

// units are the MLComputeUnits that models must be loaded for.
func (o Options) units() int {
	if o.CPUOnly {
		return 0 // MLComputeUnitsCPUOnly
	}
	return 3 // MLComputeUnitsCPUAndNeuralEngine
}

// Doing is what takes time.
type Doing string

// What Options.Took is told of.
const (
	Compiling  Doing = "compile"
	Loading    Doing = "load"
	Predicting Doing = "predict"
)

// took tells the test that something took its time.
func (o Options) took(doing Doing, function string) {
	if o.Took != nil {
		o.Took(doing, function)
	}
}
