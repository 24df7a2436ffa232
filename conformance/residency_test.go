package conformance

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

const (
	onANE  = coreml.DeviceNeuralEngine
	onCPU  = coreml.DeviceCPU
	onGPU  = coreml.DeviceGPU
	onNone = coreml.DeviceNone
)

// nanoTail exports nano's tail shard and returns the package directory with its
// program.
func nanoTail(t testing.TB) (string, *mil.Program) {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	defer ck.Close() // opened for reading
	rec := exporter.DefaultRecipe()
	rec.Slots = 64
	res, err := exporter.Export(context.Background(), exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "out"), Layers: exporter.Range{Start: 30, End: 32},
		Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
	})
	require.NoError(t, err)
	p, err := mlpackage.Open(res.Dir)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	return res.Dir, p.Model.Program
}

// residentPlan is a plan of f as a Mac that runs all of it on the Neural Engine
// would give: constants without a device, all else on the engine.
func residentPlan(f *mil.Function) *coreml.ComputePlan {
	plan := &coreml.ComputePlan{Function: f.Name, Devices: []coreml.Device{onCPU, onGPU, onANE}, CompiledBytes: 201_000_000}
	for _, op := range f.Ops {
		cost := 0.001
		p := coreml.PlannedOp{Op: "ios18." + op.Type, Preferred: onANE, Supported: []coreml.Device{onCPU, onANE}, Cost: &cost}
		if len(op.Outputs) > 0 {
			p.Output = op.Outputs[0].Name
		}
		if compileTime(op.Type) {
			p = coreml.PlannedOp{Op: p.Op, Output: p.Output}
		}
		plan.Ops = append(plan.Ops, p)
	}
	return plan
}

// planFixture is a plan with the outcome that it must come to.
type planFixture struct {
	name   string
	change func(*coreml.ComputePlan)
	want   manifest.Result
	reason string // part of it
}

// first changes the first op of a type.
func first(op string, change func(*coreml.PlannedOp)) func(*coreml.ComputePlan) {
	return func(p *coreml.ComputePlan) {
		change(&p.Ops[slices.IndexFunc(p.Ops, func(o coreml.PlannedOp) bool { return o.Op == "ios18."+op })])
	}
}

func move(d coreml.Device) func(*coreml.PlannedOp) {
	return func(o *coreml.PlannedOp) { o.Preferred = d }
}

func add(op, output string, d coreml.Device) func(*coreml.ComputePlan) {
	return func(p *coreml.ComputePlan) {
		p.Ops = append(p.Ops, coreml.PlannedOp{Op: op, Output: output, Preferred: d})
	}
}

func everyOp(change func(*coreml.PlannedOp)) func(*coreml.ComputePlan) {
	return func(p *coreml.ComputePlan) {
		for i := range p.Ops {
			change(&p.Ops[i])
		}
	}
}

// planFixtures are the plans that a reader of plans must tell apart.
func planFixtures() []planFixture {
	dialect := func(from, to string) func(*coreml.ComputePlan) {
		return everyOp(func(o *coreml.PlannedOp) { o.Op = strings.Replace(o.Op, from, to, 1) })
	}
	return []planFixture{
		{"all on the engine", func(*coreml.ComputePlan) {}, manifest.Pass, ""},
		{"costs missing", everyOp(func(o *coreml.PlannedOp) { o.Cost = nil }), manifest.Pass, ""},
		{"another dialect", dialect("ios18.", "ios17."), manifest.Pass, ""},
		{"a dialect of two parts", dialect("ios18.", "mb.ios18."), manifest.Pass, ""},
		{"no dialect", dialect("ios18.", ""), manifest.Pass, ""},
		{"supported on the CPU alone, said to prefer the engine", everyOp(func(o *coreml.PlannedOp) { o.Supported = nil }), manifest.Pass, ""},
		{"one op on the CPU", first("conv", move(onCPU)), manifest.Fail, `ios18.conv`},
		{"one op on the GPU", first("matmul", move(onGPU)), manifest.Fail, `on gpu`},
		{"one op on an unknown device", first("conv", move(coreml.DeviceUnknown)), manifest.Fail, "on unknown"},
		{"the last op on the CPU", func(p *coreml.ComputePlan) { p.Ops[len(p.Ops)-1].Preferred = onCPU }, manifest.Fail, "on cpu"},
		{"an op without an output on the CPU", first("write_state", move(onCPU)), manifest.Fail, "ios18.write_state on cpu"},
		{"nil on an op", first("conv", move(onNone)), manifest.Fail, "on no device"},
		{"nil on an op called like a constant", add("ios18.const_like", "c", onNone), manifest.Fail, "const_like"},
		{"nil on constants", func(*coreml.ComputePlan) {}, manifest.Pass, ""},
		{"a constant on the engine", first("const", move(onANE)), manifest.Pass, ""},
		{"a constant on the CPU", first("const", move(onCPU)), manifest.Fail, "on cpu"},
		{"the default function only", everyOp(move(onNone)), manifest.Fail, "as if it were made for another function"},
		{"the plan of another function", func(p *coreml.ComputePlan) { p.Function = "t1" }, manifest.Fail, `found a plan of "t1"`},
		{"all on the CPU", everyOp(func(o *coreml.PlannedOp) {
			if o.Preferred != onNone {
				o.Preferred = onCPU
			}
		}), manifest.Fail, "on cpu"},
		{"tiny, all on the CPU", func(p *coreml.ComputePlan) {
			p.CompiledBytes = smallestJudged - 1
			everyOp(func(o *coreml.PlannedOp) {
				if o.Preferred != onNone {
					o.Preferred = onCPU
				}
			})(p)
		}, manifest.NotMeasured, "subject too small"},
		{"tiny, all on the engine", func(p *coreml.ComputePlan) { p.CompiledBytes = smallestJudged - 1 }, manifest.NotMeasured, "subject too small"},
		{"as small as is judged", func(p *coreml.ComputePlan) { p.CompiledBytes = smallestJudged }, manifest.Pass, ""},
		{"a virtual machine", func(p *coreml.ComputePlan) { p.VirtualMachine = true }, manifest.NotMeasured, "virtual"},
		{"no engine", func(p *coreml.ComputePlan) { p.Devices = []coreml.Device{onCPU, onGPU} }, manifest.NotMeasured, "no Neural Engine"},
		{"an op missing", func(p *coreml.ComputePlan) {
			p.Ops = slices.DeleteFunc(p.Ops, func(o coreml.PlannedOp) bool { return o.Op == "ios18.softmax" })
		}, manifest.Fail, "lacks"},
		{"one of two writes missing", func(p *coreml.ComputePlan) {
			i := slices.IndexFunc(p.Ops, func(o coreml.PlannedOp) bool { return o.Op == "ios18.write_state" })
			p.Ops = slices.Delete(p.Ops, i, i+1)
		}, manifest.Fail, "the plan lacks 1 ops of the program, first write_state"},
		{"an op that became another", first("silu", func(o *coreml.PlannedOp) { o.Op = "ios18.sigmoid" }), manifest.Fail, "lacks 1 ops"},
		{"an extra op on the engine", add("ios18.cast", "cast_0", onANE), manifest.Pass, ""},
		{"an extra op on the CPU", add("ios18.cast", "cast_0", onCPU), manifest.Fail, `ios18.cast "cast_0" on cpu`},
		{"an empty plan", func(p *coreml.ComputePlan) { p.Ops = nil }, manifest.Fail, "lacks"},
	}
}

// TestJudgePlan: every fixture comes to its outcome, also after it was written
// to a file and read again.
func TestJudgePlan(t *testing.T) {
	_, program := nanoTail(t)
	f := program.Function("t4")
	for _, c := range planFixtures() {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			plan := residentPlan(f)
			c.change(plan)
			for how, plan := range map[string]*coreml.ComputePlan{"live": plan, "recorded": throughFile(t, plan)} {
				out := JudgePlan(plan, f)
				assert.Equal(t, c.want, out.Result, "%s: %s", how, out.Reason)
				assert.Contains(t, out.Reason, c.reason, how)
				assert.Equal(t, c.want != manifest.Pass, out.Reason != "", how)
			}
		})
	}
}

// throughFile writes a plan as lockstep plan-dump does, and reads it.
func throughFile(t *testing.T, plan *coreml.ComputePlan) *coreml.ComputePlan {
	t.Helper()
	text, err := manifest.EncodePlans(manifest.Plans{
		Schema: manifest.PlansSchema, Package: manifest.VerdictPackage{Path: "p.mlpackage", Digest: strings.Repeat("0", 64)},
		Plane: manifest.PlaneCoreML, Machine: manifest.Machine{GOOS: "darwin", GOARCH: "arm64"},
		VirtualMachine: plan.VirtualMachine, Devices: deviceTexts(plan.Devices), CompiledBytes: plan.CompiledBytes,
		Functions: []manifest.FunctionPlan{recordedPlan(plan)}, Versions: manifest.Versions{Lockstep: "(devel)", Go: "go"},
	})
	require.NoError(t, err)
	read, err := manifest.DecodePlans(text)
	require.NoError(t, err)
	return computePlan(read, read.Functions[0])
}

// TestMisreadPlans: each way to read plans wrongly gives a fixture another
// outcome.
func TestMisreadPlans(t *testing.T) {
	_, program := nanoTail(t)
	f := program.Function("t4")
	each := func(wrong func(o *coreml.PlannedOp)) func(*coreml.ComputePlan) {
		return everyOp(wrong)
	}
	for _, c := range []struct {
		name  string
		wrong func(*coreml.ComputePlan) // what the misreader takes a plan for
	}{
		{"nil is fine", each(func(o *coreml.PlannedOp) {
			if o.Preferred == onNone {
				o.Preferred = onANE
			}
		})},
		{"constants without a device are on the CPU", each(func(o *coreml.PlannedOp) {
			if o.Preferred == onNone && strings.Contains(o.Op, "const") {
				o.Preferred = onCPU
			}
		})},
		{"constants are never looked at", each(func(o *coreml.PlannedOp) {
			if compileTime(bareName(o.Op)) {
				o.Preferred = onNone
			}
		})},
		{"constants are told by their beginning", each(func(o *coreml.PlannedOp) {
			if strings.HasPrefix(bareName(o.Op), "const") {
				o.Op = "const"
			}
		})},
		{"supported is preferred", each(func(o *coreml.PlannedOp) {
			if slices.Contains(o.Supported, onANE) && o.Preferred != onNone {
				o.Preferred = onANE
			}
		})},
		{"preferred needs supported", each(func(o *coreml.PlannedOp) {
			if !slices.Contains(o.Supported, onANE) && o.Preferred == onANE {
				o.Preferred = onCPU
			}
		})},
		{"a cost is needed", each(func(o *coreml.PlannedOp) {
			if o.Cost == nil && o.Preferred == onANE {
				o.Preferred = onNone
			}
		})},
		{"the GPU will do", each(func(o *coreml.PlannedOp) {
			if o.Preferred == onGPU {
				o.Preferred = onANE
			}
		})},
		{"an unknown device will do", each(func(o *coreml.PlannedOp) {
			if o.Preferred == coreml.DeviceUnknown {
				o.Preferred = onANE
			}
		})},
		{"the dialect is part of the name", each(func(o *coreml.PlannedOp) { o.Op = strings.ReplaceAll(o.Op, ".", "_") })},
		{"one dialect is known", each(func(o *coreml.PlannedOp) {
			if strings.HasPrefix(o.Op, "ios17.") {
				o.Op = strings.ReplaceAll(o.Op, ".", "_")
			}
		})},
		{"the dialect ends at the first dot", each(func(o *coreml.PlannedOp) {
			if _, rest, ok := strings.Cut(o.Op, "."); ok {
				o.Op = strings.ReplaceAll(rest, ".", "_")
			}
		})},
		{"the first op is left out", func(p *coreml.ComputePlan) {
			if len(p.Ops) > 0 {
				p.Ops = p.Ops[1:]
			}
		}},
		{"nested blocks are left out", func(p *coreml.ComputePlan) { p.Ops = p.Ops[:len(p.Ops)/2] }},
		{"ops without an output are left out", func(p *coreml.ComputePlan) {
			p.Ops = slices.DeleteFunc(p.Ops, func(o coreml.PlannedOp) bool { return o.Output == "" })
		}},
		{"ops of another program are left out", func(p *coreml.ComputePlan) {
			p.Ops = slices.DeleteFunc(p.Ops, func(o coreml.PlannedOp) bool { return o.Output == "cast_0" })
		}},
		{"any function will do", func(p *coreml.ComputePlan) { p.Function = f.Name }},
		{"size does not matter", func(p *coreml.ComputePlan) { p.CompiledBytes = 1 << 30 }},
		{"every subject is too small", func(p *coreml.ComputePlan) { p.CompiledBytes = 0 }},
		{"an engine is taken for granted", func(p *coreml.ComputePlan) { p.Devices = append(p.Devices, onANE) }},
		{"virtual machines are machines", func(p *coreml.ComputePlan) { p.VirtualMachine = false }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			var killers []string
			for _, fixture := range planFixtures() {
				plan := residentPlan(f)
				fixture.change(plan)
				c.wrong(plan)
				if JudgePlan(plan, f).Result != fixture.want {
					killers = append(killers, fixture.name)
				}
			}
			require.NotEmpty(t, killers, "no fixture tells")
			t.Log(strings.Join(killers, "; "))
		})
	}
}

// TestPlanEvidence: the counts are by device and op, and a subject too small is
// told with what could run on the engine.
func TestPlanEvidence(t *testing.T) {
	_, program := nanoTail(t)
	f := program.Function("t4")
	plan := residentPlan(f)
	first("conv", move(onCPU))(plan)
	add("ios18.cast", "cast_0", onANE)(plan)
	values, texts := evidenceOf(JudgePlan(plan, f))
	run := 0
	for _, op := range f.Ops {
		if !compileTime(op.Type) {
			run++
		}
	}
	counts := f.OpCounts()
	assert.Equal(t, run+1, values["ops"])
	assert.Equal(t, run, values["ops_ane"])
	assert.Equal(t, 1, values["ops_cpu"])
	assert.Equal(t, 0, values["ops_gpu"])
	assert.Equal(t, 0, values["ops_missing"])
	assert.Equal(t, 1, values["ops_extra"])
	assert.Equal(t, run, values["ops_with_a_cost"])
	assert.Equal(t, "conv 1", texts["on_cpu"])
	assert.Contains(t, texts["on_ane"], "cast 1, ")
	assert.Positive(t, counts["softmax"])
	assert.Equal(t, `ios18.cast "cast_0"`, texts["extra"])

	plan = residentPlan(f)
	plan.CompiledBytes = 1
	everyOp(func(o *coreml.PlannedOp) { o.Preferred = onCPU })(plan)
	out := JudgePlan(plan, f)
	require.Equal(t, manifest.NotMeasured, out.Result)
	values, _ = evidenceOf(out)
	assert.Equal(t, run, values["ops_supported_on_ane"])
}

func evidenceOf(out Outcome) (values map[string]int, texts map[string]string) {
	values, texts = map[string]int{}, map[string]string{}
	for _, e := range out.Evidence {
		if e.Value != nil {
			values[e.Name] = int(*e.Value)
		} else {
			texts[e.Name] = e.Text
		}
	}
	return values, texts
}
