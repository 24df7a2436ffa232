package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockstep/coreml"
	"lockstep/exporter"
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
			Description: "MLComputePlan prefers the Neural Engine for every op: zero CPU, zero GPU, zero unknown",
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
	return judgePlan(plan, s.shard.Package.Bytes)
}

// smallestJudged is the package size below which Core ML may place a whole
// graph on the CPU because it is small; what it prefers then says nothing.
const smallestJudged = 14_000_000

// judgePlan counts the ops of a plan by device. Only const and constexpr ops
// may have none.
func judgePlan(plan *coreml.ComputePlan, packageBytes int64) Outcome {
	if !slices.Contains(plan.Devices, coreml.DeviceNeuralEngine) {
		return notMeasured("this machine has no Neural Engine")
	}
	if packageBytes < smallestJudged {
		return notMeasured(fmt.Sprintf("subject too small: %d bytes, judged from %d up", packageBytes, smallestJudged),
			figure("ops", float64(len(plan.Ops)), "1"), figure("ops_supported_on_ane", float64(supported(plan)), "1"))
	}
	counts := map[coreml.Device]int{}
	var stray []string
	for _, op := range plan.Ops {
		name := op.Op[strings.LastIndexByte(op.Op, '.')+1:] // without the dialect
		compileTime := name == "const" || strings.HasPrefix(name, "constexpr_")
		if op.Preferred == coreml.DeviceNone && compileTime {
			continue
		}
		counts[op.Preferred]++
		if op.Preferred != coreml.DeviceNeuralEngine {
			device := string(op.Preferred)
			if op.Preferred == coreml.DeviceNone {
				device = "no device"
			}
			stray = append(stray, fmt.Sprintf("%s %q on %s", op.Op, op.Output, device))
		}
	}
	evidence := []manifest.Evidence{
		figure("ops_ane", float64(counts[coreml.DeviceNeuralEngine]), "1"),
		figure("ops_cpu", float64(counts[coreml.DeviceCPU]), "1"),
		figure("ops_gpu", float64(counts[coreml.DeviceGPU]), "1"),
		figure("ops_unknown", float64(counts[coreml.DeviceUnknown]+counts[coreml.DeviceNone]), "1"),
	}
	switch {
	case len(stray) > 0:
		return fail(fmt.Sprintf("%d ops are not on the Neural Engine, first %s", len(stray), stray[0]), evidence...)
	case counts[coreml.DeviceNeuralEngine] == 0:
		return fail("the plan has no op on the Neural Engine", evidence...)
	}
	return pass(evidence...)
}

// supported counts the ops that could run on the Neural Engine.
func supported(plan *coreml.ComputePlan) int {
	n := 0
	for _, op := range plan.Ops {
		if slices.Contains(op.Supported, coreml.DeviceNeuralEngine) {
			n++
		}
	}
	return n
}
