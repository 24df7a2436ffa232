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
			out := judgePlan(&coreml.ComputePlan{Function: "t4", Devices: c.devices, Ops: c.ops})
			assert.Equal(t, c.want, out.Result, out.Reason)
			assert.Equal(t, c.want != manifest.Pass, out.Reason != "")
		})
	}
}
