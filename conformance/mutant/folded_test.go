package mutant_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/exporter"
	"lockstep/manifest"
)

// TestFoldedMutantsAreKilled runs every mutant of a shard whose weights carry
// RoPE's attention factor through the gate; each must be killed by the passes,
// whose oracle knows nothing of folding, and the matrix is golden.
func TestFoldedMutantsAreKilled(t *testing.T) {
	b := base(t)
	b.Export.Dir, b.Export.Recipe.FoldRope = filepath.Join(t.TempDir(), "folded"), true
	_, err := exporter.Export(context.Background(), b.Export)
	require.NoError(t, err)
	sound, err := mutant.Sound(context.Background(), b)
	require.NoError(t, err)
	catalogue := mutant.FoldedCatalogue()
	kills := make([]*mutant.Kill, len(catalogue))
	for i, m := range catalogue {
		t.Run(m.Name, func(t *testing.T) {
			kill, err := mutant.Run(context.Background(), b, m, filepath.Join(t.TempDir(), "mutant"))
			require.NoError(t, err)
			kills[i] = kill
			assert.True(t, kill.KilledBy(m.KilledBy), "%s must be killed by %s, not by %v: %v", m.Name, m.KilledBy, kill.Killers(), kill.Failed)
			assert.Equal(t, manifest.Fail, kill.Verdict.Result)
		})
	}
	if slices.Contains(kills, nil) {
		return // a filter, or a failure above
	}
	goldenMatrix(t, "kill_matrix_folded", mutant.Matrix{Columns: conformance.Checks(), Kills: append([]*mutant.Kill{sound}, kills...)})
}
