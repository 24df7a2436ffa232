package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"lockstep/manifest"
)

func TestVerdictNames(t *testing.T) {
	n, ok := manifest.ParseVerdictName("layers30_32.reference.0001.json")
	assert.True(t, ok)
	assert.Equal(t, manifest.VerdictName{Piece: manifest.Piece{Kind: manifest.PieceLayers, Start: 30, End: 32}, Plane: manifest.PlaneReference, Number: 1}, n)
	n, ok = manifest.ParseVerdictName("head0_50016.coreml.0012.json")
	assert.True(t, ok)
	assert.Equal(t, "head 0:50016", n.Piece.String())
	for _, wrong := range []string{
		"", "lockstep.json", "layers30_32.reference.new.json.0123.partial", "layers30_32.reference.1.json", "layers30_32.reference.00001.json",
		"layers30_32.reference.0000.json", "layers030_32.reference.0001.json", "layers30_32.gpu.0001.json", "layers30.reference.0001.json",
		"layers30_99999999999999999999.reference.0001.json", "x/layers30_32.reference.0001.json", "layers30_32.reference.0001.json\n",
	} {
		_, ok := manifest.ParseVerdictName(wrong)
		assert.False(t, ok, "%q", wrong)
	}
}

// TestVerdictNamesReadBack: every name that is written is read.
func TestVerdictNamesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := manifest.VerdictName{
			Piece: manifest.Piece{
				Kind:  rapid.SampledFrom([]string{manifest.PieceLayers, manifest.PieceHead}).Draw(t, "kind"),
				Start: rapid.IntRange(0, 1000).Draw(t, "start"), End: rapid.IntRange(0, 1000).Draw(t, "end"),
			},
			Plane:  rapid.SampledFrom([]string{manifest.PlaneReference, manifest.PlaneCoreML, manifest.PlaneFake}).Draw(t, "plane"),
			Number: rapid.IntRange(1, 1_000_000).Draw(t, "number"),
		}
		got, ok := manifest.ParseVerdictName(want.String())
		if !ok || got != want {
			t.Fatalf("%s reads as %+v, %v", want, got, ok)
		}
	})
}
