package mutant_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/manifest"
)

// TestForeignMutantsAreKilled plants faults into packages that coremltools
// built. Each must be killed by what it names, which its fixture passes; the
// matrix, with the fixtures' own rows, is golden.
func TestForeignMutantsAreKilled(t *testing.T) {
	b := base(t)
	packages := os.DirFS("../../fixtures/foreign/packages")
	catalogue := mutant.ForeignCatalogue()
	sound, kills := make([]*mutant.Kill, len(catalogue)), make([]*mutant.Kill, len(catalogue))
	t.Run("each", func(t *testing.T) {
		for i, m := range catalogue {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				var err error
				sound[i], err = mutant.SoundForeign(context.Background(), b, packages, m, filepath.Join(dir, "sound"))
				require.NoError(t, err)
				kills[i], err = mutant.RunForeign(context.Background(), b, packages, m, filepath.Join(dir, "mutant"))
				require.NoError(t, err)
				assert.True(t, kills[i].KilledBy(m.KilledBy), "%s must be killed by %s, not by %v", m.Name, m.KilledBy, kills[i].Killers())
				assert.Equal(t, manifest.Fail, kills[i].Verdict.Result)
			})
		}
	})
	require.False(t, slices.Contains(kills, nil), "the matrix needs every mutant: run without a filter, and without failures")
	matrix := mutant.Matrix{Columns: append(conformance.Checks(), mutant.GuardReader)}
	shown := map[string]bool{}
	for i, k := range kills {
		if s := sound[i]; !shown[s.Mutant.Name] {
			shown[s.Mutant.Name] = true
			matrix.Kills = append(matrix.Kills, s)
		}
		matrix.Kills = append(matrix.Kills, k)
	}
	assert.Empty(t, matrix.Totals().Survived)
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).
		Assert(t, "kill_matrix_foreign", []byte(matrix.Text()))
}
