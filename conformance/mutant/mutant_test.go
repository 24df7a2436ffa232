package mutant_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/mutant"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// base exports nano's tail by the default recipe.
func base(t *testing.T) mutant.Base {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	rec := exporter.DefaultRecipe()
	rec.Slots = 256
	b := mutant.Base{
		Source: fixtures.Nano(), Golden: golden, Plane: reference.Plane{},
		Export: exporter.Options{
			Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "base"), Layers: exporter.Range{Start: 30, End: 32},
			Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
		},
	}
	_, err = exporter.Export(context.Background(), b.Export)
	require.NoError(t, err)
	return b
}

// large exports one synthetic layer of 14 MB and more.
func large(t *testing.T) exporter.Options {
	t.Helper()
	cfg := synth.Presets()[0].Spec.Config
	cfg.Layers, cfg.HiddenSize, cfg.IntermediateSize = 1, 512, 4096
	cfg = synth.LongRope(cfg)
	dir := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(context.Background(), dir, synth.Spec{Seed: "large", Config: cfg, End: 1}))
	ck, err := checkpoint.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	opt := exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "large"), Layers: exporter.Range{End: 1}, Layout: exporter.Layout{1},
		Recipe: exporter.DefaultRecipe(), Name: "large",
	}
	opt.Recipe.Slots, opt.Recipe.Precision = 64, exporter.FP16
	_, err = exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	return opt
}

// TestMutantsAreKilled runs every mutant through the whole gate, or past the
// guard that it is for; each must be killed by what it names, or be shown to
// change no result, and the matrix is golden.
func TestMutantsAreKilled(t *testing.T) {
	b := base(t)
	sound, err := mutant.Sound(context.Background(), b)
	require.NoError(t, err)
	b.Verdict, b.Large, b.Wide = sound.Verdict, large(t), fixtures.Phi4MiniConfig()
	catalogue := mutant.Catalogue()
	kills := make([]*mutant.Kill, len(catalogue))
	t.Run("each", func(t *testing.T) {
		for i, m := range catalogue {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				kill, err := mutant.Run(context.Background(), b, m, filepath.Join(t.TempDir(), "mutant"))
				require.NoError(t, err)
				kills[i] = kill
				if m.KilledBy == "" {
					assert.Empty(t, kill.Killers())
					assert.True(t, kill.Equal)
					return
				}
				assert.True(t, kill.KilledBy(m.KilledBy), "%s must be killed by %s, not by %v", m.Name, m.KilledBy, kill.Killers())
				if kill.Verdict != nil {
					assert.Equal(t, manifest.Fail, kill.Verdict.Result)
				}
			})
		}
	})
	leaveTally(t, tallyOf("named", kills))
	require.False(t, slices.Contains(kills, nil), "the matrix needs every mutant: run without a filter, and without failures")
	matrix := mutant.Matrix{Columns: mutant.Columns(), Kills: append([]*mutant.Kill{sound}, kills...)}
	assert.Empty(t, matrix.Totals().Survived)
	for _, c := range matrix.Columns {
		assert.Positive(t, matrix.Totals().By[c], "%s catches nothing", c)
	}
	goldenMatrix(t, "kill_matrix", matrix)
}

// goldenMatrix compares a matrix with its golden file, and its totals with what
// docs/gate.md says of them.
func goldenMatrix(t *testing.T, name string, m mutant.Matrix) {
	t.Helper()
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).Assert(t, name, []byte(m.Text()))
	totals := m.Totals()
	statedInDoc(t, name, totals.Killed, totals.Equal, len(totals.Survived))
}

// statedInDoc holds docs/gate.md to totals.
func statedInDoc(t *testing.T, name string, killed, equal, survived int) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/gate.md")
	require.NoError(t, err)
	assert.Contains(t, string(doc), fmt.Sprintf("| %d of %d | %d | %d | ", killed, killed+equal+survived, equal, survived), name)
}
