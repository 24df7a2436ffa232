package fakecoreml

import (
	"slices"
	"strings"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/mil"
)

// computePlan is the payload of an MLComputePlan and of its MLModelStructure.
type computePlan struct {
	program  *mil.Program
	function string // the configured one, which alone has devices
}

// plannedBlock is the payload of a block, plannedOp that of an op.
type plannedBlock struct {
	function string
	ops      []plannedOp
}

type plannedOp struct {
	function string
	op       *mil.Op
	nested   *plannedBlock
}

// plans answers the messages about compute plans.
func plans() map[string]method {
	return map[string]method{
		"MLComputePlan loadContentsOfURL:configuration:completionHandler:": func(c *call) objc.Value {
			path, cfg := c.text(0), *c.configuration(c.arg(1)) // copied, as Core ML does
			return c.complete(func() (objc.ID, *Failure) { return c.loadPlan(path, &cfg) })
		},
		"MLComputePlan modelStructure": func(c *call) objc.Value { return c.answer(c.make("MLModelStructure", c.self.payload)) },
		"MLModelStructure program": func(c *call) objc.Value {
			if c.behaviour().Empty {
				return objc.Of(0)
			}
			return c.answer(c.make("MLModelStructureProgram", c.self.payload))
		},
		"MLModelStructureProgram functions": func(c *call) objc.Value {
			byName := map[string]*mil.Function{}
			var names []string
			for _, f := range c.self.payload.(*computePlan).program.Functions {
				byName[f.Name] = f
				names = append(names, f.Name)
			}
			return c.answer(c.dictionaryOf(names, func(name string) objc.ID { return c.make("MLModelStructureProgramFunction", byName[name]) }))
		},
		"MLModelStructureProgramFunction block": func(c *call) objc.Value {
			return c.answer(c.make("MLModelStructureProgramBlock", c.block(c.self.payload.(*mil.Function))))
		},
		"MLModelStructureProgramBlock operations": func(c *call) objc.Value {
			ops := c.self.payload.(*plannedBlock).ops
			return c.answer(c.arrayOf(len(ops), func(i int) objc.ID { return c.make("MLModelStructureProgramOperation", ops[i]) }))
		},
		"MLModelStructureProgramOperation operatorName": func(c *call) objc.Value {
			return c.answer(c.nsString(OperatorName(c.self.payload.(plannedOp).op.Type)))
		},
		"MLModelStructureProgramOperation outputs": func(c *call) objc.Value {
			outputs := c.self.payload.(plannedOp).op.Outputs
			return c.answer(c.arrayOf(len(outputs), func(i int) objc.ID { return c.make("MLModelStructureProgramNamedValueType", outputs[i].Name) }))
		},
		"MLModelStructureProgramNamedValueType name": func(c *call) objc.Value { return c.answer(c.nsString(c.self.payload.(string))) },
		"MLModelStructureProgramOperation blocks": func(c *call) objc.Value {
			nested := c.self.payload.(plannedOp).nested
			if nested == nil {
				return c.answer(c.array(nil))
			}
			return c.answer(c.arrayOf(1, func(int) objc.ID { return c.make("MLModelStructureProgramBlock", nested) }))
		},
		"MLComputePlan computeDeviceUsageForMLProgramOperation:": func(c *call) objc.Value {
			p, ok := c.placement()
			if !ok || p.Preferred == coreml.DeviceNone {
				return objc.Of(0)
			}
			return c.answer(c.make("MLComputePlanDeviceUsage", p))
		},
		"MLComputePlanDeviceUsage preferredComputeDevice": func(c *call) objc.Value {
			return objc.Of(c.device(c.self.payload.(Placement).Preferred))
		},
		"MLComputePlanDeviceUsage supportedComputeDevices": func(c *call) objc.Value {
			var ids []objc.ID
			for _, d := range c.self.payload.(Placement).Supported {
				ids = append(ids, c.device(d))
			}
			return c.answer(c.array(ids))
		},
		"MLComputePlan estimatedCostOfMLProgramOperation:": func(c *call) objc.Value {
			if p, ok := c.placement(); !ok || p.NoCost {
				return objc.Of(0)
			}
			return c.answer(c.make("MLComputePlanCost", nil))
		},
		"MLComputePlanCost weight": func(*call) objc.Value { return objc.Value{Float: 0.25} },
	}
}

// OperatorName is what a plan calls an op: with the dialect, but for const.
func OperatorName(op string) string {
	if op == "const" {
		return op
	}
	return "ios18." + op
}

func (c *call) loadPlan(path string, cfg *configuration) (objc.ID, *Failure) {
	m, failure := describe(path)
	if failure != nil {
		return 0, failure
	}
	if cfg.units != 3 {
		c.fault("a plan is made for the compute units %d, not for the CPU and the Neural Engine", cfg.units)
	}
	name, failure := configured(m, cfg)
	if failure != nil {
		return 0, failure
	}
	return c.make("MLComputePlan", &computePlan{m.Program, name}), nil
}

// block is a function's block; with Options.Nest the last half of its ops lies
// in a block of an op of its own.
func (c *call) block(f *mil.Function) *plannedBlock {
	b := &plannedBlock{function: f.Name}
	for _, op := range f.Ops {
		b.ops = append(b.ops, plannedOp{function: f.Name, op: op})
	}
	if !c.opt.Nest {
		return b
	}
	half := len(b.ops) / 2
	nested := &plannedBlock{f.Name, slices.Clone(b.ops[half:])}
	b.ops = append(b.ops[:half:half], plannedOp{f.Name, &mil.Op{Type: "cond", Outputs: []mil.Value{{Name: "nested"}}}, nested})
	return b
}

// placement is what the plan has for the op asked about; false for an op of
// another function than the configured one.
func (c *call) placement() (Placement, bool) {
	op, ok := c.arg(0).payload.(plannedOp)
	if !ok {
		c.fault("%s: want an operation, found %s", c.row.Name(), c.arg(0).class)
		return Placement{}, false
	}
	if op.function != c.self.payload.(*computePlan).function {
		return Placement{}, false
	}
	if c.opt.Place != nil {
		return c.opt.Place(op.function, op.op), true
	}
	if op.op.Type == "const" || strings.HasPrefix(op.op.Type, "constexpr_") {
		return Placement{NoCost: true}, true
	}
	return OnEngine(), true
}

// OnEngine prefers the Neural Engine.
func OnEngine() Placement {
	return Placement{
		Preferred: coreml.DeviceNeuralEngine,
		Supported: []coreml.Device{coreml.DeviceCPU, coreml.DeviceGPU, coreml.DeviceNeuralEngine},
	}
}
