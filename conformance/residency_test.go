package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"lockstep/coreml"
	"lockstep/manifest"
)

// TestJudgePlan: each way of reading a compute plan wrongly has a plan that
// tells.
func TestJudgePlan(t *testing.T) {
	const ane, cpu, gpu, none = coreml.DeviceNeuralEngine, coreml.DeviceCPU, coreml.DeviceGPU, coreml.DeviceNone
	op := func(name string, d coreml.Device) coreml.PlannedOp {
		return coreml.PlannedOp{Op: name, Output: "v", Preferred: d}
	}
	all := []coreml.Device{cpu, gpu, ane}
	for _, c := range []struct {
		name    string
		devices []coreml.Device
		ops     []coreml.PlannedOp
		want    manifest.Result
	}{
		{"all on the engine", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.add", ane)}, manifest.Pass},
		{"constants have no device", all, []coreml.PlannedOp{op("const", none), op("ios18.constexpr_blockwise_shift_scale", none), op("ios18.conv", ane)}, manifest.Pass},
		{"one on the CPU", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.topk", cpu)}, manifest.Fail},
		{"one on the GPU", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.conv", gpu)}, manifest.Fail},
		{"one on an unknown device", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.conv", coreml.DeviceUnknown)}, manifest.Fail},
		{"no device on a run-time op", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.conv", none)}, manifest.Fail},
		{"a constant on the CPU", all, []coreml.PlannedOp{op("const", cpu), op("ios18.conv", ane)}, manifest.Fail},
		{"an op called like a constant", all, []coreml.PlannedOp{op("ios18.conv", ane), op("ios18.const_like", none)}, manifest.Fail},
		{"all on the CPU", all, []coreml.PlannedOp{op("ios18.conv", cpu)}, manifest.Fail},
		{"nothing but constants", all, []coreml.PlannedOp{op("const", none)}, manifest.Fail},
		{"an empty plan", all, nil, manifest.Fail},
		{"no Neural Engine", []coreml.Device{cpu, gpu}, []coreml.PlannedOp{op("ios18.conv", cpu)}, manifest.NotMeasured},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := judgePlan(&coreml.ComputePlan{Function: "t4", Devices: c.devices, Ops: c.ops}, smallestJudged)
			assert.Equal(t, c.want, out.Result, out.Reason)
			assert.Equal(t, c.want != manifest.Pass, out.Reason != "")
		})
	}
}

// TestJudgePlanOfSmallSubject: a tiny graph is told as such, whatever the plan
// prefers, with what the engine supports as evidence.
func TestJudgePlanOfSmallSubject(t *testing.T) {
	plan := &coreml.ComputePlan{
		Function: "t1", Devices: []coreml.Device{coreml.DeviceCPU, coreml.DeviceNeuralEngine},
		Ops: []coreml.PlannedOp{{Op: "ios18.conv", Preferred: coreml.DeviceCPU, Supported: []coreml.Device{coreml.DeviceCPU, coreml.DeviceNeuralEngine}}},
	}
	out := judgePlan(plan, smallestJudged-1)
	assert.Equal(t, manifest.NotMeasured, out.Result)
	assert.InDelta(t, 1, float64(*out.Evidence[1].Value), 0)
	assert.Equal(t, manifest.Fail, judgePlan(plan, smallestJudged).Result)
}
