package exporter_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// nanoRecipe is what nano is exported with: its contexts are meaningful up to
// 256 tokens.
func nanoRecipe(p exporter.Precision, n exporter.Norm) exporter.Recipe {
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Precision, rec.Norm = 256, p, n
	return rec
}

func nanoOptions(t *testing.T, dir string) exporter.Options {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	return exporter.Options{
		Checkpoint: ck, Dir: dir, Layers: exporter.Range{Start: 30, End: 32}, Layout: exporter.DefaultLayout(),
		Recipe: nanoRecipe(exporter.Int8, exporter.LayerNormConcat), Name: "nano", Reserve: 0,
	}
}

func TestExportThenUpToDate(t *testing.T) {
	opt := nanoOptions(t, filepath.Join(t.TempDir(), "out"))
	first, err := exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	assert.False(t, first.UpToDate)
	assert.DirExists(t, first.Dir)
	assert.FileExists(t, first.Record)
	second, err := exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	assert.True(t, second.UpToDate)
	assert.Equal(t, first.Shard.Package, second.Shard.Package)
}
