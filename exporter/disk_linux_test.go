package exporter_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"lockstep/exporter"
	"lockstep/internal/durable"
)

// optimist is the operating system's file system with a wrong figure for what
// is free, as if another program took the room after it was asked for.
type optimist struct{ durable.OS }

func (optimist) Free(string) (int64, error) { return math.MaxInt64 / 2, nil }

// TestFullVolume fills a real volume of 256 KiB, which holds the model but not
// the weights, then makes the volume larger and goes on; at last it is made
// read-only.
func TestFullVolume(t *testing.T) {
	volume := t.TempDir()
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no small volume: mounting tmpfs: %v (needs root)", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(volume, 0)) })
	whole := export(t, nanoOptions(t, t.TempDir()))

	opt := nanoOptions(t, filepath.Join(volume, "out"))
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, durable.ErrNoSpace)
	assert.ErrorContains(t, err, "bytes missing")
	assert.Empty(t, entries(t, volume), "the shortage is found before anything is made")

	opt.FS = optimist{}
	_, err = exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, durable.ErrNoSpace)
	require.ErrorIs(t, err, unix.ENOSPC)
	assert.ErrorContains(t, err, "weight.bin")
	assert.NotContains(t, entries(t, opt.Dir), whole.Plan.Package)

	require.NoError(t, unix.Mount("tmpfs", volume, "tmpfs", unix.MS_REMOUNT, "size=4m"))
	opt.FS = nil
	res := export(t, opt)
	assert.Equal(t, whole.Shard, res.Shard)
	assert.Greater(t, res.Resumed, int64(150_000), "what fitted is kept")

	require.NoError(t, unix.Mount("tmpfs", volume, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=4m"))
	before := filesOf(t, volume)
	for _, dir := range []string{opt.Dir, filepath.Join(volume, "other")} {
		again := opt
		again.Dir = dir
		_, err := exporter.Export(context.Background(), again)
		require.ErrorIs(t, err, unix.EROFS)
		assert.ErrorContains(t, err, dir)
	}
	assert.Equal(t, before, filesOf(t, volume))
	_, err = os.Stat(filepath.Join(volume, "other"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
