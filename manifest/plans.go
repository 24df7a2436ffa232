package manifest

import (
	"fmt"
	"math"
)

// PlansSchema is the schema version that this package writes and reads.
const PlansSchema = "lockstep.plans/1"

// Plans is what Core ML's compute plans said about one package on one machine:
// a plan for each function, each made for that function alone. It can be judged
// anywhere.
type Plans struct {
	Schema  string         `json:"schema"` // PlansSchema
	Package VerdictPackage `json:"package"`
	Plane   string         `json:"plane"` // PlaneCoreML or PlaneFake
	Machine Machine        `json:"machine"`
	// VirtualMachine tells that the machine is one, whose Neural Engine is no
	// real one.
	VirtualMachine bool `json:"virtual_machine"`
	// Devices are the machine's compute devices.
	Devices []string `json:"devices"`
	// CompiledBytes is the size of the compiled model.
	CompiledBytes int64          `json:"compiled_bytes"`
	Functions     []FunctionPlan `json:"functions"` // sorted by name
	Versions      Versions       `json:"versions"`
}

// FunctionPlan is one function's plan.
type FunctionPlan struct {
	Function string   `json:"function"`
	Ops      []PlanOp `json:"ops"` // in program order, an op before those of its blocks
}

// PlanOp is one op of a plan.
type PlanOp struct {
	Op string `json:"op"` // as Core ML names it, with its dialect
	// Output is the op's first output; absent if it has none.
	Output string `json:"output,omitempty"`
	// Preferred is the device that Core ML anticipates; absent if there is no
	// device usage.
	Preferred string   `json:"preferred,omitempty"`
	Supported []string `json:"supported"`
	// Cost is the op's estimated share of the whole, 0 to 1, if there is one.
	Cost *Figure `json:"cost,omitempty"`
}

// The devices of a plan.
const (
	DeviceNeuralEngine = "ane"
	DeviceCPU          = "cpu"
	DeviceGPU          = "gpu"
	DeviceUnknown      = "unknown"
)

// DecodePlans reads plans as strictly as DecodeRecord.
func DecodePlans(text []byte) (*Plans, error) {
	var p Plans
	if err := decode(text, PlansSchema, &p); err != nil {
		return nil, err
	}
	if err := p.Verify(); err != nil {
		return nil, err
	}
	return &p, nil
}

// EncodePlans returns the canonical JSON of plans. Plans that Verify refuses
// have none.
func EncodePlans(p Plans) ([]byte, error) {
	if err := p.Verify(); err != nil {
		return nil, err
	}
	return encode(p)
}

// Verify checks the form of plans. What they mean is judged elsewhere: a plan
// without ops, devices or costs is a plan. The error is ErrInvalid with the
// JSON path of the first fault, or ErrSchemaVersion.
func (p Plans) Verify() error {
	if p.Schema != PlansSchema {
		return fmt.Errorf("$.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, PlansSchema, p.Schema)
	}
	v := &verifier{}
	v.check(isRelative(p.Package.Path), "$.package.path", "wanted a relative path with slashes, found %.80q", p.Package.Path)
	v.digest("$.package.digest", p.Package.Digest)
	v.oneOf("$.plane", p.Plane, PlaneCoreML, PlaneFake)
	v.line("$.machine.goos", p.Machine.GOOS)
	v.line("$.machine.goarch", p.Machine.GOARCH)
	v.optionalLine("$.machine.chip", p.Machine.Chip)
	v.optionalLine("$.machine.os_build", p.Machine.OSBuild)
	v.devices("$.devices", p.Devices)
	v.check(p.CompiledBytes >= 0, "$.compiled_bytes", "wanted at least 0, found %d", p.CompiledBytes)
	v.check(len(p.Functions) > 0, "$.functions", "has no function")
	for i, f := range p.Functions {
		v.function(fmt.Sprintf("$.functions[%d]", i), f)
	}
	v.ascending("$.functions", keysOf(p.Functions, func(f FunctionPlan) string { return f.Function }))
	v.line("$.versions.lockstep", p.Versions.Lockstep)
	v.line("$.versions.go", p.Versions.Go)
	return v.err
}

func (v *verifier) devices(at string, devices []string) {
	for i, d := range devices {
		v.oneOf(fmt.Sprintf("%s[%d]", at, i), d, DeviceNeuralEngine, DeviceCPU, DeviceGPU, DeviceUnknown)
	}
}

func (v *verifier) function(at string, f FunctionPlan) {
	v.line(at+".function", f.Function)
	for i, op := range f.Ops {
		path := fmt.Sprintf("%s.ops[%d]", at, i)
		v.line(path+".op", op.Op)
		v.optionalLine(path+".output", op.Output)
		if op.Preferred != "" {
			v.oneOf(path+".preferred", op.Preferred, DeviceNeuralEngine, DeviceCPU, DeviceGPU, DeviceUnknown)
		}
		v.devices(path+".supported", op.Supported)
		if op.Cost != nil {
			cost := float64(*op.Cost)
			v.check(cost >= 0 && !math.IsInf(cost, 0), path+".cost", "wanted a finite number of at least 0, found %v", cost)
		}
	}
}
