package manifest_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// samplePlans are plans of two functions; t1's has everything that may be
// absent, absent.
func samplePlans() manifest.Plans {
	cost := manifest.Figure(0.25)
	return manifest.Plans{
		Schema:  manifest.PlansSchema,
		Package: manifest.VerdictPackage{Path: "nano_layers30_32_int8.mlpackage", Digest: hexOf("a")},
		Plane:   manifest.PlaneCoreML, Machine: manifest.Machine{GOOS: "darwin", GOARCH: "arm64"},
		Devices: []string{manifest.DeviceCPU, manifest.DeviceNeuralEngine}, CompiledBytes: 200_000_000,
		Functions: []manifest.FunctionPlan{
			{Function: "t1", Ops: []manifest.PlanOp{{Op: "ios18.write_state"}}},
			{Function: "t4", Ops: []manifest.PlanOp{{
				Op: "ios18.conv", Output: "qkv", Preferred: manifest.DeviceNeuralEngine,
				Supported: []string{manifest.DeviceCPU, manifest.DeviceNeuralEngine}, Cost: &cost,
			}}},
		},
		Versions: manifest.Versions{Lockstep: "(devel)", Go: "go1.26"},
	}
}

func plansDocument(t testing.TB) document {
	t.Helper()
	text, err := manifest.EncodePlans(samplePlans())
	require.NoError(t, err)
	return document{
		text:   text,
		decode: func(b []byte) error { _, err := manifest.DecodePlans(b); return err },
		schema: compile(t, manifest.PlansJSONSchema()),
	}
}

func TestPlansRoundTrip(t *testing.T) {
	d := plansDocument(t)
	require.NoError(t, d.validate(t, d.text))
	decoded, err := manifest.DecodePlans(d.text)
	require.NoError(t, err)
	again, err := manifest.EncodePlans(*decoded)
	require.NoError(t, err)
	assert.Equal(t, string(d.text), string(again))
	assert.Nil(t, decoded.Functions[0].Ops[0].Cost)
	assert.InDelta(t, 0.25, float64(*decoded.Functions[1].Ops[0].Cost), 0)
	assert.NotContains(t, string(d.text), `"preferred": ""`, "no device is no field")
}

func TestBrokenPlans(t *testing.T) {
	const op = "functions.1.ops.0."
	judge(t, plansDocument(t), []broken{
		{"version", set("schema", "lockstep.verdict/1"), manifest.ErrSchemaVersion, "$.schema", false},
		{"absolute path", set("package.path", "/tmp/x.mlpackage"), manifest.ErrInvalid, "$.package.path", false},
		{"digest", set("package.digest", "x"), manifest.ErrInvalid, "$.package.digest", false},
		{"plane without plans", set("plane", "reference"), manifest.ErrInvalid, "$.plane", false},
		{"goos", set("machine.goos", ""), manifest.ErrInvalid, "$.machine.goos", false},
		{"unknown device of the machine", set("devices.0", "tpu"), manifest.ErrInvalid, "$.devices[0]", false},
		{"negative size", set("compiled_bytes", -1), manifest.ErrInvalid, "$.compiled_bytes", false},
		{"virtual machine in words", set("virtual_machine", "no"), manifest.ErrType, "$.virtual_machine", false},
		{"no functions", set("functions", []any{}), manifest.ErrInvalid, "$.functions", false},
		{"functions not sorted", swap("functions"), manifest.ErrInvalid, "$.functions[1]", true},
		{"function twice", twice("functions"), manifest.ErrInvalid, "$.functions[1]", true},
		{"op without a name", set(op+"op", ""), manifest.ErrInvalid, "$.functions[1].ops[0].op", false},
		{"output of two lines", set(op+"output", "a\nb"), manifest.ErrInvalid, "$.functions[1].ops[0].output", false},
		{"empty preferred device", set(op+"preferred", ""), manifest.ErrType, "$.functions[1].ops[0].preferred", false},
		{"unknown preferred device", set(op+"preferred", "npu"), manifest.ErrInvalid, "$.functions[1].ops[0].preferred", false},
		{"null preferred device", set(op+"preferred", nil), manifest.ErrType, "$.functions[1].ops[0].preferred", false},
		{"unknown supported device", set(op+"supported.0", "npu"), manifest.ErrInvalid, "$.functions[1].ops[0].supported[0]", false},
		{"negative cost", set(op+"cost", -0.5), manifest.ErrInvalid, "$.functions[1].ops[0].cost", false},
		{"cost without end", set(op+"cost", "+Inf"), manifest.ErrInvalid, "$.functions[1].ops[0].cost", false},
		{"field that nobody knows", set(op+"device", "ane"), manifest.ErrUnknownField, "$.functions[1].ops[0].device", false},
		{"go version", set("versions.go", ""), manifest.ErrInvalid, "$.versions.go", false},
	})
}

func FuzzDecodePlans(f *testing.F) {
	text, err := manifest.EncodePlans(samplePlans())
	require.NoError(f, err)
	seed(f, text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := manifest.DecodePlans(text)
		if err != nil {
			return
		}
		first, err := manifest.EncodePlans(*p)
		require.NoError(t, err, "accepted, but has no text")
		again, err := manifest.DecodePlans(first)
		require.NoError(t, err, "refuses its own text")
		second, err := manifest.EncodePlans(*again)
		require.NoError(t, err)
		if !bytes.Equal(first, second) {
			t.Fatalf("two canonical texts:\n%s\n%s", first, second)
		}
	})
}
