package conformance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"lockstep/coreml"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// ErrPlans means that recorded plans are not of the package that they are to
// be judged with.
var ErrPlans = errors.New("plans of another package")

// RecordPlans has a plane make the compute plan of each function of the package
// dir. version is lockstep's. The error wraps coreml.ErrNoComputePlan for a
// plane that makes none.
func RecordPlans(ctx context.Context, plane coreml.Plane, dir, version string) (plans *manifest.Plans, err error) {
	out := manifest.Plans{
		Schema: manifest.PlansSchema, Plane: plane.Name(), Machine: manifest.Machine{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH},
		Versions: manifest.Versions{Lockstep: version, Go: runtime.Version()},
	}
	if out.Package, err = Identify(dir); err != nil {
		return nil, err
	}
	pkg, err := plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pkg.Close()) }()
	for _, name := range slices.Sorted(slices.Values(pkg.FunctionNames())) {
		fn, err := pkg.Function(ctx, name)
		if err != nil {
			return nil, err
		}
		plan, err := fn.ComputePlan(ctx)
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", name, err)
		}
		out.Devices, out.VirtualMachine, out.CompiledBytes = deviceTexts(plan.Devices), plan.VirtualMachine, plan.CompiledBytes
		out.Functions = append(out.Functions, recordedPlan(plan))
	}
	return &out, nil
}

// Identify is the package's name and digest.
func Identify(dir string) (manifest.VerdictPackage, error) {
	shard, err := foreignShard(Options{Package: dir})
	return manifest.VerdictPackage{Path: shard.Package.Path, Digest: shard.Package.Digest}, err
}

func recordedPlan(plan *coreml.ComputePlan) manifest.FunctionPlan {
	f := manifest.FunctionPlan{Function: plan.Function}
	for _, op := range plan.Ops {
		recorded := manifest.PlanOp{Op: op.Op, Output: op.Output, Preferred: string(op.Preferred), Supported: deviceTexts(op.Supported)}
		if op.Cost != nil {
			recorded.Cost = manifest.NewFigure(*op.Cost)
		}
		f.Ops = append(f.Ops, recorded)
	}
	return f
}

// computePlan is the inverse of recordedPlan.
func computePlan(p *manifest.Plans, f manifest.FunctionPlan) *coreml.ComputePlan {
	plan := &coreml.ComputePlan{
		Function: f.Function, Devices: devicesOf(p.Devices), VirtualMachine: p.VirtualMachine, CompiledBytes: p.CompiledBytes,
	}
	for _, op := range f.Ops {
		planned := coreml.PlannedOp{Op: op.Op, Output: op.Output, Preferred: coreml.Device(op.Preferred), Supported: devicesOf(op.Supported)}
		if op.Cost != nil {
			cost := float64(*op.Cost)
			planned.Cost = &cost
		}
		plan.Ops = append(plan.Ops, planned)
	}
	return plan
}

func deviceTexts(devices []coreml.Device) []string {
	texts := make([]string, len(devices))
	for i, d := range devices {
		texts[i] = string(d)
	}
	return texts
}

func devicesOf(texts []string) []coreml.Device {
	devices := make([]coreml.Device, len(texts))
	for i, t := range texts {
		devices[i] = coreml.Device(t)
	}
	return devices
}

// JudgePlans judges recorded plans as the residency check judges those of a
// run, with the package dir, whose bytes they must be of; else the error wraps
// ErrPlans. Every function of the package needs a plan. The check depends on no
// other here, and nothing tells that the plans are what Core ML said: it is no
// verdict.
func JudgePlans(plans *manifest.Plans, dir string) (check manifest.Check, err error) {
	found, err := Identify(dir)
	if err != nil {
		return check, err
	}
	if found.Digest != plans.Package.Digest {
		return check, fmt.Errorf("%w: %s has the digest %s, the plans are of %s, %s", ErrPlans, filepath.Base(dir), found.Digest, plans.Package.Path, plans.Package.Digest)
	}
	p, err := mlpackage.Open(dir)
	if err != nil {
		return check, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	check = manifest.Check{Name: CheckResidency}
	var results []manifest.Result
	for _, f := range p.Model.Program.Functions {
		out := failf("there is no plan of the function %s", f.Name)
		i := slices.IndexFunc(plans.Functions, func(r manifest.FunctionPlan) bool { return r.Function == f.Name })
		if i >= 0 {
			out = JudgePlan(computePlan(plans, plans.Functions[i]), f)
			if out.Result == manifest.Pass && plans.Plane != manifest.PlaneCoreML {
				out = notMeasured(fmt.Sprintf("the plans are of plane %s, not of Core ML", plans.Plane), out.Evidence...)
			}
		}
		results = append(results, out.Result)
		check.Cases = append(check.Cases, manifest.Case{Name: "function=" + f.Name, Result: out.Result, Reason: out.Reason, Evidence: out.Evidence})
	}
	check.Result = manifest.Combine(results...)
	if i := slices.IndexFunc(check.Cases, func(c manifest.Case) bool { return c.Result == check.Result }); check.Result != manifest.Pass {
		check.Reason = fmt.Sprintf("%s: %s", check.Cases[i].Name, check.Cases[i].Reason)
	}
	return check, nil
}
