package native

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
)

// ComputePlan implements coreml.Function. The plan is made for this function
// alone: a plan lists every function of a package, and has devices for the
// configured one. A plane that keeps to the CPU has none: it would say nothing
// of the Neural Engine.
func (f *function) ComputePlan(ctx context.Context) (*coreml.ComputePlan, error) {
	if f.pkg.plane.opt.CPUOnly {
		return nil, coreml.ErrNoComputePlan
	}
	if err := f.pkg.acquire(); err != nil {
		return nil, err
	}
	defer f.pkg.release()
	plan, err := f.pkg.computePlan(ctx, f.model.name)
	if err != nil {
		return nil, fmt.Errorf("package %s: function %s: compute plan: %w", f.pkg.name, f.model.name, err)
	}
	return plan, nil
}

func (p *pkg) computePlan(ctx context.Context, name string) (*coreml.ComputePlan, error) {
	b := p.plane.b
	plan := &coreml.ComputePlan{Function: name, CompiledBytes: p.bytes}
	var err error
	if plan.VirtualMachine, err = b.rt.VirtualMachine(); err != nil {
		return nil, err
	}
	if plan.Devices, err = b.devices(); err != nil {
		return nil, err
	}
	err = b.await(ctx, "load", "MLComputePlan loadContentsOfURL:configuration:completionHandler:",
		func(s *scope) (objc.ID, []objc.Value) {
			return s.class("MLComputePlan"), []objc.Value{objc.Of(s.url(p.compiled)), objc.Of(s.configuration(p.plane.units(), p.configured(name)))}
		},
		func(s *scope, id objc.ID) error {
			walk := planWalk{plan: id, out: plan}
			return walk.function(s, name)
		})
	return plan, err
}

// devices lists the machine's compute devices.
func (b *binding) devices() ([]coreml.Device, error) {
	var devices []coreml.Device
	err := b.pool(func(s *scope) error {
		all, err := b.rt.Call("MLAllComputeDevices")
		if err != nil {
			return err
		}
		for _, id := range s.elements(all) {
			devices = append(devices, s.device(id))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compute devices: %w", err)
	}
	return devices, nil
}

// deviceClasses are the classes of compute devices.
var deviceClasses = []struct {
	class  string
	device coreml.Device
}{
	{"MLNeuralEngineComputeDevice", coreml.DeviceNeuralEngine},
	{"MLCPUComputeDevice", coreml.DeviceCPU},
	{"MLGPUComputeDevice", coreml.DeviceGPU},
}

// device tells a compute device by its class.
func (s *scope) device(id objc.ID) coreml.Device {
	if id == 0 {
		return coreml.DeviceUnknown
	}
	for _, c := range deviceClasses {
		if s.isKind(id, c.class) {
			return c.device
		}
	}
	return coreml.DeviceUnknown
}

// planWalk flattens one function of an MLComputePlan.
type planWalk struct {
	plan objc.ID
	out  *coreml.ComputePlan
}

// maxBlockDepth bounds the nesting of blocks.
const maxBlockDepth = 64

func (w *planWalk) function(s *scope, name string) error {
	structure := s.object(w.plan, "MLComputePlan modelStructure")
	program := s.object(structure, "MLModelStructure program")
	if s.err == nil && program == 0 {
		return fmt.Errorf("%w: want an ML program, found another kind of model", ErrDescription)
	}
	functions := s.entries(s.object(program, "MLModelStructureProgram functions"))
	function, ok := functions[name]
	if s.err == nil && !ok {
		return fmt.Errorf("%w: the plan has %q", ErrFunction, slices.Sorted(maps.Keys(functions)))
	}
	return w.block(s, s.object(function, "MLModelStructureProgramFunction block"), 0)
}

func (w *planWalk) block(s *scope, block objc.ID, depth int) error {
	if depth > maxBlockDepth {
		return fmt.Errorf("%w: blocks nest deeper than %d", ErrDescription, maxBlockDepth)
	}
	for _, op := range s.elements(s.object(block, "MLModelStructureProgramBlock operations")) {
		// A pool for each op keeps the memory of a plan of thousands flat.
		if err := s.b.pool(func(s *scope) error { return w.op(s, op, depth) }); err != nil {
			return err
		}
	}
	return s.err
}

func (w *planWalk) op(s *scope, id objc.ID, depth int) error {
	op := coreml.PlannedOp{Op: s.goText(s.object(id, "MLModelStructureProgramOperation operatorName"))}
	if outputs := s.elements(s.object(id, "MLModelStructureProgramOperation outputs")); len(outputs) > 0 {
		op.Output = s.goText(s.object(outputs[0], "MLModelStructureProgramNamedValueType name"))
	}
	usage := s.object(w.plan, "MLComputePlan computeDeviceUsageForMLProgramOperation:", objc.Of(id))
	if usage != 0 {
		op.Preferred = s.device(s.object(usage, "MLComputePlanDeviceUsage preferredComputeDevice"))
		for _, d := range s.elements(s.object(usage, "MLComputePlanDeviceUsage supportedComputeDevices")) {
			op.Supported = append(op.Supported, s.device(d))
		}
	}
	if cost := s.object(w.plan, "MLComputePlan estimatedCostOfMLProgramOperation:", objc.Of(id)); cost != 0 {
		weight := s.send(cost, "MLComputePlanCost weight", objc.Double).Float
		op.Cost = &weight
	}
	w.out.Ops = append(w.out.Ops, op)
	for _, nested := range s.elements(s.object(id, "MLModelStructureProgramOperation blocks")) {
		if err := w.block(s, nested, depth+1); err != nil {
			return err
		}
	}
	return s.err
}
