package mutant

import (
	"context"
	"fmt"
	"strings"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// wide lints the program of the first layers of a model of the real dimensions,
// whose weights are never made: the rules about sizes apply to nothing smaller.
func wide(layers int, fault func(*checkpoint.Config, *exporter.Range, *exporter.Recipe)) attempt {
	return func(_ context.Context, base Base, _ string, faulty bool) ([]string, error) {
		cfg, err := checkpoint.ParseConfig(checkpoint.ConfigFile, base.Wide)
		if err != nil {
			return nil, err
		}
		shard, rec := exporter.Range{End: layers}, exporter.DefaultRecipe()
		rec.Rows = []int{4} // one function says it, and is built in half the time
		if faulty {
			fault(&cfg, &shard, &rec)
		}
		m, err := exporter.Describe(cfg, shard, rec)
		if err != nil {
			return nil, err
		}
		plan, err := exporter.PlanShard(cfg, "wide", shard, rec)
		if err != nil {
			return nil, err
		}
		for _, f := range plan.Files {
			if f.Path == mlpackage.WeightsPath {
				return failedKinds(conformance.LintModel(m, cfg.HiddenSize, f.Bytes).Cases), nil
			}
		}
		return nil, fmt.Errorf("the plan has no %s", mlpackage.WeightsPath)
	}
}

// oddWidth makes a head one dimension wider: its states end in 129.
func oddWidth(cfg *checkpoint.Config, _ *exporter.Range, _ *exporter.Recipe) {
	cfg.HiddenSize += cfg.Heads
}

// oddHeight has a number of slots that is no multiple of 32.
func oddHeight(_ *checkpoint.Config, _ *exporter.Range, rec *exporter.Recipe) { rec.Slots-- }

// largestShard is the default layout's; what is sound is close to the limit.
const largestShard = 20

// shardTooLarge has one layer more.
func shardTooLarge(_ *checkpoint.Config, shard *exporter.Range, _ *exporter.Recipe) { shard.End++ }

// placed judges the large export on a plane whose compute plan has every op on
// the Neural Engine and constants on no device, or what the fault makes of it.
func placed(fault func(function string, ops []coreml.PlannedOp)) attempt {
	return func(ctx context.Context, base Base, _ string, faulty bool) ([]string, error) {
		p := planned{Plane: base.Plane}
		if faulty {
			p.fault = fault
		}
		s, err := conformance.NewSuite(conformance.Options{
			Dir: base.Large.Dir, Layers: base.Large.Layers, Plane: p, Require: []string{conformance.CheckResidency},
		})
		if err != nil {
			return nil, err
		}
		var cases []manifest.Case
		for _, c := range s.Cases() {
			if c.Check == conformance.CheckPackage || c.Check == conformance.CheckResidency {
				out := s.RunCase(ctx, c)
				cases = append(cases, manifest.Case{Name: c.Name, Result: out.Result, Reason: out.Reason})
			}
		}
		return failedKinds(cases), s.Close()
	}
}

// planned is a plane that has a compute plan, as Core ML has.
type planned struct {
	coreml.Plane
	fault func(function string, ops []coreml.PlannedOp)
}

func (p planned) Open(ctx context.Context, dir string) (coreml.Package, error) {
	files, err := mlpackage.Open(dir)
	if err != nil {
		return nil, err
	}
	program := files.Model.Program
	if err := files.Close(); err != nil {
		return nil, err
	}
	pkg, err := p.Plane.Open(ctx, dir)
	return plannedPackage{pkg, program, p.fault}, err
}

type plannedPackage struct {
	coreml.Package
	program *mil.Program
	fault   func(string, []coreml.PlannedOp)
}

func (p plannedPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil {
		return nil, err
	}
	plan := &coreml.ComputePlan{
		Function: name, CompiledBytes: 100e6,
		Devices: []coreml.Device{coreml.DeviceCPU, coreml.DeviceNeuralEngine},
	}
	for _, o := range p.program.Function(name).Ops {
		op := coreml.PlannedOp{Op: "ios18." + o.Type, Preferred: coreml.DeviceNeuralEngine}
		if len(o.Outputs) > 0 {
			op.Output = o.Outputs[0].Name
		}
		if constant(o.Type) {
			op.Preferred = coreml.DeviceNone
		}
		plan.Ops = append(plan.Ops, op)
	}
	if p.fault != nil {
		p.fault(name, plan.Ops)
	}
	return plannedFunction{f, plan}, nil
}

type plannedFunction struct {
	coreml.Function
	plan *coreml.ComputePlan
}

func (f plannedFunction) ComputePlan(context.Context) (*coreml.ComputePlan, error) {
	return f.plan, nil
}

// constant reports an op type that needs no device.
func constant(typ string) bool { return typ == "const" || strings.HasPrefix(typ, "constexpr_") }

// opOnCPU moves one op, the first conv of every function.
func opOnCPU(_ string, ops []coreml.PlannedOp) { moveFirst(ops, "conv", coreml.DeviceCPU) }

// nilDeviceUsage leaves one op without device, which says nothing good of it.
func nilDeviceUsage(_ string, ops []coreml.PlannedOp) { moveFirst(ops, "softmax", coreml.DeviceNone) }

// otherFunctionOnCPU has only the default function on the Neural Engine.
func otherFunctionOnCPU(function string, ops []coreml.PlannedOp) {
	for i := range ops {
		if function == "t4" && ops[i].Preferred != coreml.DeviceNone {
			ops[i].Preferred = coreml.DeviceCPU
		}
	}
}

// moveFirst gives the first op of a type to a device.
func moveFirst(ops []coreml.PlannedOp, typ string, to coreml.Device) {
	for i := range ops {
		if ops[i].Op == "ios18."+typ {
			ops[i].Preferred = to
			return
		}
	}
}
