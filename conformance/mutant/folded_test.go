package mutant_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/exporter"
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
	var kills []*mutant.Kill
	for _, m := range mutant.FoldedCatalogue() {
		kills = append(kills, killed(t, m.Name, m.KilledBy, func(dir string) (*mutant.Kill, error) {
			return mutant.Run(context.Background(), b, m, dir)
		}))
	}
	leaveTally(t, tallyOf("folded", kills))
	if slices.Contains(kills, nil) {
		return // a filter, or a failure above
	}
	goldenMatrix(t, "kill_matrix_folded", mutant.Matrix{Columns: conformance.Checks(), Kills: append([]*mutant.Kill{sound}, kills...)})
}
