package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// noCoreML is why residency cannot be measured on a plane without a compute
// plan.
const noCoreML = "no Core ML"

// residencyCases want every run-time op of each function on the Neural Engine.
func residencyCases(rec exporter.Recipe) []Case {
	var cases []Case
	for _, t := range rec.Rows {
		cases = append(cases, Case{
			Check: CheckResidency, Name: fmt.Sprintf("function=t%d", t),
			Description: "MLComputePlan, made for this function, has every op of its program and prefers the Neural Engine for each: zero CPU, zero GPU, zero unknown",
			run:         func(ctx context.Context, s *Suite) Outcome { return s.resident(ctx, t) },
		})
	}
	return cases
}

func (s *Suite) resident(ctx context.Context, t int) Outcome {
	fn, err := s.function(ctx, t)
	if err != nil {
		return broken(err)
	}
	plan, err := fn.ComputePlan(ctx)
	if errors.Is(err, coreml.ErrNoComputePlan) {
		return notMeasured(noCoreML)
	}
	if err != nil {
		return broken(err)
	}
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		return JudgePlan(plan, p.Model.Program.Function(s.functionName(t)))
	})
}

// smallestJudged is the size of a compiled model below which Core ML may place
// a whole graph on the CPU because it is small; what it prefers then says
// nothing.
const smallestJudged = 14_000_000

// JudgePlan holds a plan against the function that it was made for: the
// function's every run-time op must be there, and every op of the plan on the
// Neural Engine, but for const and constexpr ops, which alone may have no
// device. A plan of a machine without a real Neural Engine, or of a model too
// small to be placed there, measures nothing.
func JudgePlan(plan *coreml.ComputePlan, program *mil.Function) Outcome {
	switch {
	case program == nil || plan.Function != program.Name:
		return failf("want a plan of one of the package's functions, found a plan of %q", plan.Function)
	case !slices.Contains(plan.Devices, coreml.DeviceNeuralEngine):
		return notMeasured("this machine has no Neural Engine")
	case plan.VirtualMachine:
		return notMeasured("this machine is virtual: its Neural Engine is no real one")
	}
	c := countPlan(plan, program)
	if plan.CompiledBytes < smallestJudged {
		return notMeasured(fmt.Sprintf("subject too small: %d bytes compiled, judged from %d up", plan.CompiledBytes, smallestJudged), c.evidence()...)
	}
	return c.judge(plan.Function)
}

// planCounts is what a plan has, by device and op.
type planCounts struct {
	ops       int // that run
	supported int // that could run on the Neural Engine
	costs     int // that have an estimated cost
	byDevice  map[coreml.Device]map[string]int
	stray     []string // ops off the Neural Engine
	missing   []string // ops of the program that the plan lacks
	extra     []string // ops of the plan that the program lacks
}

// planned identifies an op on both sides: by its first output, where it has
// one.
type planned struct{ op, output string }

func countPlan(plan *coreml.ComputePlan, program *mil.Function) *planCounts {
	c := &planCounts{byDevice: map[coreml.Device]map[string]int{}}
	wanted := runtimeOps(program)
	for _, op := range plan.Ops {
		name := bareName(op.Op)
		if compileTime(name) && op.Preferred == coreml.DeviceNone {
			continue
		}
		c.count(op, name)
		key := planned{name, op.Output}
		switch {
		case wanted[key] > 0:
			wanted[key]--
		case !compileTime(name):
			c.extra = append(c.extra, describeOp(op.Op, op.Output))
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(wanted), func(a, b planned) int {
		return strings.Compare(a.output+" "+a.op, b.output+" "+b.op)
	}) {
		for range wanted[key] {
			c.missing = append(c.missing, describeOp(key.op, key.output))
		}
	}
	return c
}

// count adds an op that runs, or that has a device although it does not.
func (c *planCounts) count(op coreml.PlannedOp, name string) {
	c.ops++
	if slices.Contains(op.Supported, coreml.DeviceNeuralEngine) {
		c.supported++
	}
	if op.Cost != nil {
		c.costs++
	}
	if c.byDevice[op.Preferred] == nil {
		c.byDevice[op.Preferred] = map[string]int{}
	}
	c.byDevice[op.Preferred][name]++
	if op.Preferred != coreml.DeviceNeuralEngine {
		c.stray = append(c.stray, describeOp(op.Op, op.Output)+" on "+deviceName(op.Preferred))
	}
}

// runtimeOps counts the ops of a program that must be in its plan.
func runtimeOps(program *mil.Function) map[planned]int {
	ops := map[planned]int{}
	for _, op := range program.Ops {
		if compileTime(op.Type) {
			continue
		}
		key := planned{op: op.Type}
		if len(op.Outputs) > 0 {
			key.output = op.Outputs[0].Name
		}
		ops[key]++
	}
	return ops
}

// bareName is an operator's name without its dialect: "conv" for "ios18.conv".
func bareName(op string) string { return op[strings.LastIndexByte(op, '.')+1:] }

// compileTime reports whether an op is evaluated before the model runs.
func compileTime(name string) bool { return name == "const" || strings.HasPrefix(name, "constexpr_") }

func describeOp(op, output string) string {
	if output == "" {
		return op
	}
	return fmt.Sprintf("%s %q", op, output)
}

func deviceName(d coreml.Device) string {
	if d == coreml.DeviceNone {
		return "no device"
	}
	return string(d)
}

// on is how many ops are on a device.
func (c *planCounts) on(d coreml.Device) int {
	n := 0
	for _, count := range c.byDevice[d] {
		n += count
	}
	return n
}

// judge is the outcome of a plan that measures something.
func (c *planCounts) judge(function string) Outcome {
	evidence := c.evidence()
	switch {
	case c.ops > 0 && c.on(coreml.DeviceNone) == c.ops:
		return fail(fmt.Sprintf("the plan has no device for any op of %s, as if it were made for another function", function), evidence...)
	case len(c.stray) > 0:
		return fail(fmt.Sprintf("%d ops are not on the Neural Engine, first %s", len(c.stray), c.stray[0]), evidence...)
	case len(c.missing) > 0:
		return fail(fmt.Sprintf("the plan lacks %d ops of the program, first %s", len(c.missing), c.missing[0]), evidence...)
	case c.ops == 0:
		return fail("the plan has no op on the Neural Engine", evidence...)
	}
	return pass(evidence...)
}

// listed is how many names a list in the evidence has at most.
const listed = 20

// evidence gives the counts by device, then which ops are on each, and what
// does not agree with the program.
func (c *planCounts) evidence() []manifest.Evidence {
	list := []manifest.Evidence{
		figure("ops", float64(c.ops), "1"),
		figure("ops_ane", float64(c.on(coreml.DeviceNeuralEngine)), "1"),
		figure("ops_cpu", float64(c.on(coreml.DeviceCPU)), "1"),
		figure("ops_gpu", float64(c.on(coreml.DeviceGPU)), "1"),
		figure("ops_unknown", float64(c.on(coreml.DeviceUnknown)+c.on(coreml.DeviceNone)), "1"),
		figure("ops_supported_on_ane", float64(c.supported), "1"),
		figure("ops_with_a_cost", float64(c.costs), "1"),
		figure("ops_missing", float64(len(c.missing)), "1"),
		figure("ops_extra", float64(len(c.extra)), "1"),
	}
	for _, d := range slices.Sorted(maps.Keys(c.byDevice)) {
		var counts []string
		for _, name := range slices.Sorted(maps.Keys(c.byDevice[d])) {
			counts = append(counts, fmt.Sprintf("%s %d", name, c.byDevice[d][name]))
		}
		list = append(list, note("on_"+strings.ReplaceAll(deviceName(d), " ", "_"), strings.Join(counts, ", ")))
	}
	for _, names := range []struct {
		name string
		ops  []string
	}{{"stray", c.stray}, {"missing", c.missing}, {"extra", c.extra}} {
		if len(names.ops) > 0 {
			list = append(list, note(names.name, shortList(names.ops)))
		}
	}
	return list
}

// shortList joins the first names of a list.
func shortList(names []string) string {
	text := strings.Join(names[:min(len(names), listed)], ", ")
	if more := len(names) - listed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
