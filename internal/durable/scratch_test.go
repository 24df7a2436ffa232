package durable_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/durable"
)

// TestScratchHasNoName: it can be written and read, and nobody finds it.
func TestScratchHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := durable.Scratch()
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
	_, err = f.WriteAt([]byte("tensor"), 4096)
	require.NoError(t, err)
	got := make([]byte, 6)
	_, err = f.ReadAt(got, 4096)
	require.NoError(t, err)
	assert.Equal(t, "tensor", string(got))
	require.NoError(t, f.Close())

	t.Setenv("TMPDIR", dir+"/missing")
	_, err = durable.Scratch()
	assert.ErrorIs(t, err, os.ErrNotExist)
}
