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
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// headBase exports nano's LM head in four shards; the second is judged.
func headBase(t *testing.T) mutant.Base {
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
			Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "base"), Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
		},
	}
	for i := range 4 {
		b.Export.Head = exporter.Head{Shard: i, Of: 4}
		_, err = exporter.Export(context.Background(), b.Export)
		require.NoError(t, err)
	}
	b.Export.Head.Shard = 1
	return b
}

// TestHeadMutantsAreKilled runs every mutant of an LM head shard through the
// gate; each must be killed by what it names, and the matrix is golden.
func TestHeadMutantsAreKilled(t *testing.T) {
	b := headBase(t)
	sound, err := mutant.SoundHead(context.Background(), b)
	require.NoError(t, err)
	var kills []*mutant.Kill
	for _, m := range mutant.HeadCatalogue() {
		kills = append(kills, killed(t, m.Name, m.KilledBy, func(dir string) (*mutant.Kill, error) {
			return mutant.RunHead(context.Background(), b, m, dir)
		}))
	}
	leaveTally(t, tallyOf("head", kills))
	if slices.Contains(kills, nil) {
		return // a filter, or a failure above
	}
	matrix := mutant.Matrix{Columns: conformance.Checks(), Kills: append([]*mutant.Kill{sound}, kills...)}
	goldenMatrix(t, "kill_matrix_head", matrix)
}
