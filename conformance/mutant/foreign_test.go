package mutant_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

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
	var all []mutant.Foreign // each fixture, then its mutants
	at := map[string]int{}   // of the fixtures
	for _, m := range catalogue {
		sound := m.Sound()
		if _, ok := at[sound.Name]; !ok {
			at[sound.Name] = len(all)
			all = append(all, sound)
		}
		all = append(all, m)
	}
	kills := make([]*mutant.Kill, len(all))
	t.Run("each", func(t *testing.T) {
		for i, m := range all {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				var err error
				kills[i], err = mutant.RunForeign(context.Background(), b, packages, m, filepath.Join(t.TempDir(), m.Package+".mlpackage"))
				require.NoError(t, err)
			})
		}
	})
	leaveTally(t, tallyOf("foreign", mutantsOnly(all, kills)))
	require.False(t, slices.Contains(kills, nil), "the matrix needs every mutant: run without a filter, and without failures")
	for i, m := range all {
		if m.KilledBy == "" { // a fixture
			continue
		}
		assert.True(t, kills[i].KilledBy(m.KilledBy), "%s must be killed by %s, not by %v", m.Name, m.KilledBy, kills[i].Killers())
		assert.False(t, kills[at[m.Sound().Name]].KilledBy(m.KilledBy), "%s fails %s without a fault", m.Package, m.KilledBy)
		assert.Equal(t, manifest.Fail, kills[i].Verdict.Result, m.Name)
	}
	matrix := mutant.Matrix{Columns: append(conformance.Checks(), mutant.GuardReader), Kills: kills}
	assert.Empty(t, matrix.Totals().Survived)
	goldenMatrix(t, "kill_matrix_foreign", matrix)
}

// mutantsOnly leaves out the rows of the fixtures.
func mutantsOnly(all []mutant.Foreign, kills []*mutant.Kill) []*mutant.Kill {
	var out []*mutant.Kill
	for i, m := range all {
		if m.KilledBy != "" {
			out = append(out, kills[i])
		}
	}
	return out
}
