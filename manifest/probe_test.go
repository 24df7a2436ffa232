package manifest_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// sampleProbe has a variant with everything, and one that was not begun.
func sampleProbe() manifest.Probe {
	return manifest.Probe{
		Schema: manifest.ProbeSchema,
		Setup: manifest.ProbeSetup{
			Plane: manifest.PlaneCoreML, Dimensions: "real", Seed: "probe", Catalogue: hexOf("c"),
			Model: manifest.ProbeDims{
				Hidden: 3072, Intermediate: 8192, Heads: 24, KVHeads: 8, HeadDim: 128, RotaryDim: 96, Slots: 2048, BlockRows: 4,
			},
			Machine:  manifest.Machine{GOOS: "darwin", GOARCH: "arm64", Chip: "some chip", OSBuild: "24A000"},
			Versions: manifest.Versions{Lockstep: "(devel)", Go: "go1.26"},
		},
		Variants: []manifest.ProbeVariant{
			{
				Name: "baseline", About: "what export writes",
				Package: &manifest.VerdictPackage{Path: "packages/baseline/x.mlpackage", Digest: hexOf("a")},
				Steps: []manifest.ProbeStep{
					{Name: "latency", Result: manifest.ProbeDone, Seconds: 1.5, Figures: []manifest.Evidence{
						{Name: "t1_p50", Value: manifest.NewFigure(2.5), Unit: "ms"}, {Name: "method", Text: "by the clock"},
					}},
					{Name: "plan", Result: manifest.ProbeError, Reason: "killed", Seconds: 0},
				},
			},
			{Name: "norm=clamped", About: "another form"},
		},
	}
}

func probeDocument(t testing.TB) document {
	t.Helper()
	text, err := manifest.EncodeProbe(sampleProbe())
	require.NoError(t, err)
	return document{
		text:   text,
		decode: func(b []byte) error { _, err := manifest.DecodeProbe(b); return err },
		schema: compile(t, manifest.ProbeJSONSchema()),
	}
}

func TestProbeRoundTrip(t *testing.T) {
	d := probeDocument(t)
	require.NoError(t, d.validate(t, d.text))
	decoded, err := manifest.DecodeProbe(d.text)
	require.NoError(t, err)
	again, err := manifest.EncodeProbe(*decoded)
	require.NoError(t, err)
	assert.Equal(t, string(d.text), string(again))

	step := decoded.Variant("baseline").Step("latency")
	require.NotNil(t, step)
	assert.InDelta(t, 2.5, float64(*step.Figure("t1_p50")), 0)
	assert.Equal(t, "by the clock", step.Text("method"))
	assert.Nil(t, step.Figure("method"), "a text is no figure")
	assert.Nil(t, step.Figure("t4_p50"))
	assert.Empty(t, step.Text("t4_p50"))
	assert.Nil(t, decoded.Variant("baseline").Step("load"))
	assert.Nil(t, decoded.Variant("norm=other"))
}

func TestBrokenProbe(t *testing.T) {
	const step = "variants.0.steps.0."
	judge(t, probeDocument(t), []broken{
		{"version", set("schema", "lockstep.plans/1"), manifest.ErrSchemaVersion, "$.schema", false},
		{"plane", set("setup.plane", "gpu"), manifest.ErrInvalid, "$.setup.plane", false},
		{"dimensions in words", set("setup.dimensions", "very small"), manifest.ErrInvalid, "$.setup.dimensions", false},
		{"no slots", set("setup.model.slots", 0), manifest.ErrInvalid, "$.setup.model.slots", false},
		{"no seed", set("setup.seed", ""), manifest.ErrInvalid, "$.setup.seed", false},
		{"no catalogue", set("setup.catalogue", "x"), manifest.ErrInvalid, "$.setup.catalogue", false},
		{"goos", set("setup.machine.goos", ""), manifest.ErrInvalid, "$.setup.machine.goos", false},
		{"no version", set("setup.versions.lockstep", ""), manifest.ErrInvalid, "$.setup.versions.lockstep", false},
		{"variant twice", twice("variants"), manifest.ErrInvalid, "$.variants[1]", true},
		{"variant without a name", set("variants.1.name", ""), manifest.ErrInvalid, "$.variants[1].name", false},
		{"variant that is nothing", set("variants.1.about", ""), manifest.ErrInvalid, "$.variants[1].about", false},
		{"absolute path", set("variants.0.package.path", "/tmp/x"), manifest.ErrInvalid, "$.variants[0].package.path", false},
		{"digest", set("variants.0.package.digest", "x"), manifest.ErrInvalid, "$.variants[0].package.digest", false},
		{"step twice", twice("variants.0.steps"), manifest.ErrInvalid, "$.variants[0].steps[1]", true},
		{"step name", set(step+"name", "Latency"), manifest.ErrInvalid, "$.variants[0].steps[0].name", false},
		{"result of a check", set(step+"result", "pass"), manifest.ErrInvalid, "$.variants[0].steps[0].result", false},
		{"done with a reason", set(step+"reason", "why"), manifest.ErrInvalid, "$.variants[0].steps[0].reason", false},
		{"error without a reason", set(step+"result", "error"), manifest.ErrInvalid, "$.variants[0].steps[0].reason", false},
		{"before its start", set(step+"seconds", -1), manifest.ErrInvalid, "$.variants[0].steps[0].seconds", false},
		{"no time", set(step+"seconds", "NaN"), manifest.ErrInvalid, "$.variants[0].steps[0].seconds", false},
		{"unit of two lines", set(step+"figures.0.unit", "a\nb"), manifest.ErrInvalid, "$.variants[0].steps[0].figures[0].unit", false},
		{"figure twice", twice(step + "figures"), manifest.ErrInvalid, "$.variants[0].steps[0].figures[1]", true},
		{"field that nobody knows", set(step+"verdict", "good"), manifest.ErrUnknownField, "$.variants[0].steps[0].verdict", false},
	})
}

func FuzzDecodeProbe(f *testing.F) {
	text, err := manifest.EncodeProbe(sampleProbe())
	require.NoError(f, err)
	seed(f, text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := manifest.DecodeProbe(text)
		if err != nil {
			return
		}
		first, err := manifest.EncodeProbe(*p)
		require.NoError(t, err, "accepted, but has no text")
		again, err := manifest.DecodeProbe(first)
		require.NoError(t, err, "refuses its own text")
		second, err := manifest.EncodeProbe(*again)
		require.NoError(t, err)
		if !bytes.Equal(first, second) {
			t.Fatalf("two canonical texts:\n%s\n%s", first, second)
		}
	})
}
