//go:build linux || darwin

package durable_test

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// TestOSMatchesMem runs the scenarios on the real file system, without faults
// and with a death at every call.
func TestOSMatchesMem(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range append(s.callsOf(t), faultfs.Call{Index: math.MaxInt}) {
				dir := t.TempDir()
				for name, text := range earlier {
					path := filepath.Join(dir, filepath.FromSlash(name))
					require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
					require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
				}
				err := s.run(faultfs.Wrap(durable.OS{}, faultfs.DieAt(c.Index)), dir)
				if err != nil {
					err = s.run(durable.OS{}, dir)
				}
				if err != nil {
					require.ErrorIs(t, err, durable.ErrExists)
				}
				for name, text := range s.finished {
					assert.Equal(t, text, string(get(t, durable.OS{}, filepath.Join(dir, name))))
				}
				for name, text := range earlier {
					if _, replaced := s.finished[name]; !replaced {
						assert.Equal(t, text, string(get(t, durable.OS{}, filepath.Join(dir, name))))
					}
				}
			}
		})
	}
}

func TestOSRenameNoReplace(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		require.NoError(t, os.Mkdir(d, 0o755))
	}
	// An empty directory is what an ordinary rename would replace.
	require.ErrorIs(t, durable.OS{}.RenameNoReplace(a, b), fs.ErrExist)
	require.NoError(t, durable.OS{}.RenameNoReplace(a, filepath.Join(dir, "c")))
	require.ErrorIs(t, durable.OS{}.RenameNoReplace(a, filepath.Join(dir, "d")), fs.ErrNotExist)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "g"), []byte("g"), 0o644))
	require.ErrorIs(t, durable.OS{}.RenameNoReplace(filepath.Join(dir, "f"), filepath.Join(dir, "g")), fs.ErrExist)
	assert.Equal(t, "g", string(get(t, durable.OS{}, filepath.Join(dir, "g"))))
}

func TestOSWriteNewRefusesWhatStands(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out.safetensors")
	require.NoError(t, durable.WriteNew(durable.OS{}, name, []byte("first")))
	err := durable.WriteNew(durable.OS{}, name, []byte("second"))
	require.ErrorIs(t, err, durable.ErrExists)
	require.ErrorContains(t, err, name)
	assert.Equal(t, "first", string(get(t, durable.OS{}, name)))
	left, err := durable.Leftovers(durable.OS{}, name)
	require.NoError(t, err)
	assert.Empty(t, left, "nothing was begun")

	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), dangling))
	require.ErrorIs(t, durable.WriteNew(durable.OS{}, dangling, []byte("x")), durable.ErrExists)

	err = durable.WriteNew(durable.OS{}, filepath.Join(dir, "absent", "x"), []byte("x"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, filepath.Join(dir, "absent"))
}

func TestOSPartialThatIsALink(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	require.NoError(t, os.WriteFile(precious, []byte("12"), 0o644))
	final := filepath.Join(dir, "w")

	require.NoError(t, os.Symlink(precious, durable.PartialName(final, "symbolic")))
	_, err := durable.OpenFile(durable.OS{}, final, "symbolic", 4)
	require.ErrorIs(t, err, durable.ErrNotOurs)

	require.NoError(t, os.Link(precious, durable.PartialName(final, "hard")))
	_, err = durable.OpenFile(durable.OS{}, final, "hard", 4)
	require.ErrorIs(t, err, durable.ErrNotOurs)

	require.NoError(t, os.Mkdir(durable.PartialName(final, "directory"), 0o755))
	_, err = durable.OpenFile(durable.OS{}, final, "directory", 4)
	require.ErrorContains(t, err, durable.PartialName(final, "directory"))

	assert.Equal(t, "12", string(get(t, durable.OS{}, precious)))
}

func TestOSPipesAreRefused(t *testing.T) {
	dir := t.TempDir()
	final := filepath.Join(dir, "w")
	require.NoError(t, unix.Mkfifo(durable.PartialName(final, "key"), 0o644))
	_, err := durable.OpenFile(durable.OS{}, final, "key", 4)
	require.ErrorIs(t, err, durable.ErrNotOurs)

	require.NoError(t, unix.Mkfifo(filepath.Join(dir, durable.LockName), 0o644))
	_, err = durable.AcquireLock(durable.OS{}, dir)
	require.ErrorIs(t, err, durable.ErrNotOurs)
}

func TestOSLock(t *testing.T) {
	dir := t.TempDir()
	first, err := durable.AcquireLock(durable.OS{}, dir)
	require.NoError(t, err)
	assert.Equal(t, dir, first.Dir())

	_, err = durable.AcquireLock(durable.OS{}, dir)
	require.ErrorIs(t, err, durable.ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d)", os.Getpid()))
	require.ErrorContains(t, err, filepath.Join(dir, durable.LockName))

	require.NoError(t, first.Unlock())
	again, err := durable.AcquireLock(durable.OS{}, dir)
	require.NoError(t, err)
	require.NoError(t, again.Unlock())
	assert.FileExists(t, filepath.Join(dir, durable.LockName), "the lock file stays")

	_, err = durable.AcquireLock(durable.OS{}, filepath.Join(dir, "absent"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOSLockWithoutText(t *testing.T) {
	dir := t.TempDir()
	f, err := durable.OS{}.OpenKeep(filepath.Join(dir, durable.LockName))
	require.NoError(t, err)
	require.NoError(t, f.TryLock())
	_, err = durable.AcquireLock(durable.OS{}, dir)
	require.ErrorIs(t, err, durable.ErrLocked)
	assert.ErrorContains(t, err, "holder unknown")
	require.NoError(t, f.Close())
}

func TestOSFree(t *testing.T) {
	dir := t.TempDir()
	free, err := durable.Free(durable.OS{}, filepath.Join(dir, "not", "yet", "there"))
	require.NoError(t, err)
	assert.Positive(t, free)
	here, err := durable.OS{}.Free(dir)
	require.NoError(t, err)
	assert.InEpsilon(t, here, free, 0.5, "the volume of the nearest ancestor")
}

func TestOSMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	require.NoError(t, durable.MkdirAll(durable.OS{}, deep))
	require.NoError(t, durable.MkdirAll(durable.OS{}, deep), "again")
	assert.DirExists(t, deep)

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(deep, link))
	require.NoError(t, durable.MkdirAll(durable.OS{}, filepath.Join(link, "d")), "through a link to a directory")
	assert.DirExists(t, filepath.Join(deep, "d"))

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	assert.Error(t, durable.MkdirAll(durable.OS{}, file))
	assert.Error(t, durable.MkdirAll(durable.OS{}, filepath.Join(file, "x")))
	assert.FileExists(t, file)
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, durable.Writable(dir))
	require.ErrorIs(t, durable.Writable(filepath.Join(dir, "absent")), fs.ErrNotExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "it touches nothing")
}

func TestOSReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o555))
	if f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_RDWR, 0o644); err == nil {
		require.NoError(t, f.Close())
		t.Skip("not tested: this user may write to read-only directories")
	}
	err := durable.Writable(dir)
	require.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, dir)
	_, err = durable.AcquireLock(durable.OS{}, dir)
	require.ErrorIs(t, err, fs.ErrPermission)
	err = durable.WriteNew(durable.OS{}, filepath.Join(dir, "x"), []byte("x"))
	require.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, dir)
}
