package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// made is a directory that somebody else wrote for a run, and did not sync.
var made = map[string]string{
	"model.mil":          "program",
	"coremldata.bin":     "",
	"weights/weight.bin": weightText,
}

// The file system in memory renames inside one directory alone, so what was
// made lies there.
const (
	madeDir   = "/out/made.mlmodelc"
	adoptedAs = "/out/p.0123.mlmodelc"
)

// withMade puts the directory beside the earlier files.
func withMade(t *testing.T) *faultfs.Mem {
	t.Helper()
	m := prepared(t)
	for name, text := range made {
		name = filepath.Join(madeDir, name)
		require.NoError(t, durable.MkdirAll(m, filepath.Dir(name)))
		f, err := m.OpenKeep(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte(text), 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return m
}

// volumes are the ways to adopt: by a rename, and by a copy to another volume.
var volumes = map[string]func(durable.FS) durable.FS{
	"one_volume": func(fsys durable.FS) durable.FS { return fsys },
	"another_volume": func(fsys durable.FS) durable.FS {
		return acrossVolumes{fsys}
	},
}

// acrossVolumes refuses to rename what was made, as if it lay on another volume.
type acrossVolumes struct{ durable.FS }

func (a acrossVolumes) RenameNoReplace(from, to string) error {
	if from == madeDir {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
	}
	return a.FS.RenameNoReplace(from, to)
}

// mustStandWhole checks that what is adopted stands whole or not at all, and
// that nothing earlier is lost.
func mustStandWhole(t *testing.T, m *faultfs.Mem, when string) (stands bool) {
	t.Helper()
	scenario{}.mustHold(t, m, when)
	if _, err := m.Stat(adoptedAs); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for name, text := range made {
		require.Equal(t, text, m.Content()[filepath.Join(adoptedAs, name)], "%s: %s", when, name)
	}
	return true
}

func TestAdopt(t *testing.T) {
	for volume, across := range volumes {
		t.Run(volume, func(t *testing.T) {
			m := withMade(t)
			require.NoError(t, durable.Adopt(context.Background(), across(m), madeDir, adoptedAs))
			m = m.Crash(faultfs.Nothing())
			assert.True(t, mustStandWhole(t, m, "after a power loss"), "what was said to be done is durable")
			m = withMade(t)
			require.NoError(t, durable.Adopt(context.Background(), across(m), madeDir, adoptedAs))
			_, err := m.Stat(madeDir)
			assert.Equal(t, volume == "another_volume", err == nil, "a copy leaves what was made")

			again := withMade(t)
			put(t, again, adoptedAs, []byte("mine"))
			require.ErrorIs(t, durable.Adopt(context.Background(), across(again), madeDir, adoptedAs), durable.ErrExists)
			assert.Equal(t, "mine", again.Content()[adoptedAs])

			cancelled, cancel := context.WithCancel(context.Background())
			cancel()
			m = withMade(t)
			require.ErrorIs(t, durable.Adopt(cancelled, across(m), madeDir, adoptedAs), context.Canceled)
			require.False(t, mustStandWhole(t, m, "cancelled"))
			require.ErrorIs(t, durable.Adopt(context.Background(), across(m), "/out/missing", adoptedAs), fs.ErrNotExist)
		})
	}
}

// TestAdoptFaults: each call failing, the death of the process and a power loss
// at each, and a full disk: the name never stands for less than everything, and
// the next run succeeds.
func TestAdoptFaults(t *testing.T) {
	for volume, across := range volumes {
		t.Run(volume, func(t *testing.T) {
			recorder := faultfs.Wrap(withMade(t), nil)
			require.NoError(t, durable.Adopt(context.Background(), across(recorder), madeDir, adoptedAs))
			calls := recorder.Calls()
			require.Greater(t, len(calls), 10)
			for _, c := range calls {
				for how, inject := range map[string]faultfs.Injector{
					"fails": faultfs.FailAt(c.Index, syscall.EIO), "is the last": faultfs.DieAt(c.Index), "finds the disk full": faultfs.FailAt(c.Index, syscall.ENOSPC),
				} {
					when := fmt.Sprintf("call %d (%s %s) %s", c.Index, c.Op, c.Path, how)
					m := withMade(t)
					err := durable.Adopt(context.Background(), across(faultfs.Wrap(m, inject)), madeDir, adoptedAs)
					if err == nil {
						require.Equal(t, faultfs.OpClose, c.Op, when)
					}
					mustStandWhole(t, m.Crash(faultfs.NamesOnly()), when+", then power loss")
					if !mustStandWhole(t, m, when) {
						require.NoError(t, durable.Adopt(context.Background(), across(m), madeDir, adoptedAs), when)
					}
					require.True(t, mustStandWhole(t, m, when+", next run"))
				}
			}
		})
	}
}

// TestAdoptRefusesLinks: a link would be published as what it points to.
func TestAdoptRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "made"), filepath.Join(dir, "final")
	require.NoError(t, os.Mkdir(from, 0o755))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(from, "weight.bin")))
	require.ErrorIs(t, durable.Adopt(context.Background(), durable.OS{}, from, to), durable.ErrNotOurs)
	assert.NoDirExists(t, to)
}
