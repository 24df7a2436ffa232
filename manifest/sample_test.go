package manifest_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// hexOf returns a well-formed digest made of one hex digit.
func hexOf(digit string) string { return strings.Repeat(digit, 64) }

// sampleRecord is a record of a small model with two shards, one of them off
// the ladder.
func sampleRecord(t testing.TB) manifest.Record {
	t.Helper()
	r := manifest.Record{
		Schema: manifest.RecordSchema,
		Model: manifest.Model{
			Name:         "nano",
			ConfigSHA256: hexOf("a"),
			Dims: manifest.Dims{
				Layers: 32, Hidden: 64, Intermediate: 128, Heads: 4, KVHeads: 2, HeadDim: 16, RotaryDim: 12, Vocab: 256,
			},
			RMSNormEps: 1e-5,
			Rope: manifest.Rope{
				Theta: 10000, Dim: 12, Table: manifest.RopeShort, Factors: []float64{1, 1, 1, 1.25, 1.5, 2},
				AttentionFactor: 1.19, OriginalMax: 4096, Max: 131072,
			},
			Tied: true,
			Tensors: []manifest.TensorDigest{
				{Name: "model.layers.30.input_layernorm.weight", SHA256: hexOf("1")},
				{Name: "model.layers.30.mlp.down_proj.weight", SHA256: hexOf("2")},
			},
		},
		Anchors: []manifest.Anchor{{Tag: "spec-2026-04-29", Commit: "b366672"}},
		Layout:  []int{20, 4, 6, 2},
		Recipe: manifest.Recipe{
			Slots: 128, Functions: []string{"t1", "t4"}, Precision: manifest.PrecisionInt8,
			Norm: manifest.NormLayerNormConcat, Writer: "1",
		},
		Shards: []manifest.Shard{
			sampleShard(t, 28, 32, "nano_layers28_32_int8.mlpackage", true),
			sampleShard(t, 30, 32, "nano_layers30_32_int8.mlpackage", false),
		},
	}
	var err error
	r.RecipeSHA256, err = r.Recipe.Digest()
	require.NoError(t, err)
	return r
}

func sampleShard(t testing.TB, start, end int, path string, offLadder bool) manifest.Shard {
	t.Helper()
	files := []manifest.File{
		{Path: "Data/com.apple.CoreML/model.mlmodel", Bytes: 100, SHA256: hexOf("3")},
		{Path: "Data/com.apple.CoreML/weights/weight.bin", Bytes: 2000, SHA256: hexOf("4")},
		{Path: "Manifest.json", Bytes: 30, SHA256: hexOf("5")},
	}
	digest, err := manifest.PackageDigest(files)
	require.NoError(t, err)
	states := []manifest.Feature{
		{Name: "layers_0_k_state", Shape: []int{1, 2, 128, 16}},
		{Name: "layers_0_v_state", Shape: []int{1, 2, 128, 16}},
	}
	fn := func(name string, rows int) manifest.Function {
		return manifest.Function{
			Name: name, T: rows,
			Inputs:   []manifest.Feature{{Name: "x", Shape: []int{1, 64, rows, 1}}},
			Outputs:  []manifest.Feature{{Name: "hidden", Shape: []int{1, 64, rows, 1}}},
			States:   states,
			OpCounts: map[string]int{"conv": 8, "add": 4, "read_state": 8},
		}
	}
	s := manifest.Shard{
		Start: start, End: end, OffLadder: offLadder,
		Package:   manifest.Package{Path: path, Bytes: 2130, Digest: digest, Files: files},
		Functions: []manifest.Function{fn("t1", 1), fn("t4", 4)},
		Notes:     map[string]int64{"weights_underflowed": 0, "int8_scales_raised": 3},
	}
	if !offLadder {
		s.AcceptedPartial = []string{"residency"}
	}
	return s
}

// sampleVerdict is a partial verdict: residency alone is not measured.
func sampleVerdict() manifest.Verdict {
	return manifest.Verdict{
		Schema:  manifest.VerdictSchema,
		Package: manifest.VerdictPackage{Path: "nano_layers30_32_int8.mlpackage", Digest: hexOf("c")},
		Shard:   manifest.LayerRange{Start: 30, End: 32},
		Subject: "nano",
		Plane:   manifest.PlaneReference,
		Result:  manifest.Partial,
		Checks: []manifest.Check{
			{Name: "package", Result: manifest.Pass, Cases: []manifest.Case{{Name: "decodes", Result: manifest.Pass}}},
			{
				Name: "parity", Result: manifest.Pass, DependsOn: []string{"package"},
				Cases: []manifest.Case{{
					Name: "t4_vs_4xt1/pos=124", Result: manifest.Pass,
					Evidence: []manifest.Evidence{
						{Name: "differing_bits", Value: manifest.NewFigure(0), Unit: "1"},
						{Name: "max_ulp", Value: manifest.NewFigure(math.NaN()), Unit: "ulp"},
					},
				}},
			},
			{
				Name: "residency", Result: manifest.NotMeasured, Reason: "no Core ML", DependsOn: []string{"package"},
				Cases: []manifest.Case{{
					Name: "t4", Result: manifest.NotMeasured, Reason: "no Core ML",
					Evidence: []manifest.Evidence{{Name: "devices", Text: "cpu <none> & more"}},
				}},
			},
		},
		Metrics: []manifest.Metric{
			{Name: "t1_pass", Value: manifest.NewFigure(1.5), Unit: "ms", Method: "median of 9"},
			{Name: "energy", Unit: "J", Method: "powermetrics", NotMeasured: "no Core ML"},
		},
		Ranges:    sampleRanges(),
		Catalogue: manifest.Catalogue{Digest: hexOf("d"), Cases: 3, Ran: 3},
		Machine:   manifest.Machine{GOOS: "linux", GOARCH: "amd64"},
		Versions:  manifest.Versions{Lockstep: "0.1.0", Go: "go1.26.8"},
		Command:   "go test ./conformance -run Tail -count=1",
	}
}

// sampleRanges have a value of no layer that is zero throughout, and one of
// little headroom.
func sampleRanges() *manifest.Ranges {
	row := func(op, value string, top float64, position int, subnormal float64) manifest.ValueRange {
		return manifest.ValueRange{
			Op: op, Value: value, MaxAbs: manifest.Figure(top), Position: position,
			Headroom: manifest.HeadroomOf(manifest.Figure(top), 0), SubnormalShare: manifest.Figure(subnormal),
		}
	}
	layer := 30
	return &manifest.Ranges{
		Function: "t1", Inputs: "golden vectors", LayersBy: "name", Passes: 3, Positions: []int{0, 1, 127},
		Layers: []manifest.LayerRanges{
			{MaxByPosition: []manifest.Figure{1, 1, 1}, Values: []manifest.ValueRange{row("sub", "kv_keep", 1, 0, 0), row("reduce_sum", "kv_written", 0, 0, 0)}},
			{
				Layer: &layer, MaxByPosition: []manifest.Figure{2.5, 32752, 12},
				Values: []manifest.ValueRange{row("conv", "qkv", 32752, 1, 0.25), row("mul", "attn_norm", 2.5, 0, 0)},
			},
		},
		Warnings: []string{"layer 30: qkv (conv) reaches 32752"},
	}
}
