package durable_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

const (
	logName = "/out/summary.md"
	logOld  = "what another step wrote\n"
	logNew  = "what this run adds\n"
)

// logged returns a file system with a log that is synced, or without one.
func logged(t *testing.T, there bool) *faultfs.Mem {
	t.Helper()
	m := faultfs.NewMem()
	require.NoError(t, durable.MkdirAll(m, "/out"))
	if there {
		put(t, m, logName, []byte(logOld))
	}
	require.NoError(t, m.SyncDir("/out"))
	return m
}

func TestAppend(t *testing.T) {
	m := logged(t, false)
	require.NoError(t, durable.Append(m, logName, []byte(logNew)))
	require.NoError(t, durable.Append(m, logName, []byte(logNew)))
	m = m.Crash(faultfs.Nothing())
	assert.Equal(t, logNew+logNew, m.Content()[logName], "it is durable, and the first text stays")
}

// TestAppendFails: whatever call fails or is the last of a dying process, with
// or without power loss, the old text stands whole, and nothing but a beginning
// of the new one stands behind it.
func TestAppendFails(t *testing.T) {
	for _, there := range []bool{true, false} {
		old := ""
		if there {
			old = logOld
		}
		recorder := faultfs.Wrap(logged(t, there), nil)
		require.NoError(t, durable.Append(recorder, logName, []byte(logNew)))
		calls := recorder.Calls()
		require.Greater(t, len(calls), 5)
		for _, c := range calls {
			when := fmt.Sprintf("call %d (%s %s), log there: %v", c.Index, c.Op, c.Path, there)
			m := logged(t, there)
			err := durable.Append(faultfs.Wrap(m, faultfs.FailAt(c.Index, syscall.EIO)), logName, []byte(logNew))
			require.ErrorIs(t, err, syscall.EIO, when)
			require.ErrorContains(t, err, "/out", when)
			holdsBeginning(t, m, old, when)

			m = logged(t, there)
			require.ErrorIs(t, durable.Append(faultfs.Wrap(m, faultfs.DieAt(c.Index)), logName, []byte(logNew)), faultfs.ErrDead, when)
			holdsBeginning(t, m, old, when)
			m = m.Crash(faultfs.Nothing())
			require.True(t, strings.HasPrefix(m.Content()[logName], old), when)
		}
	}
}

// holdsBeginning wants the old text with a beginning of the new one.
func holdsBeginning(t *testing.T, m *faultfs.Mem, old, when string) {
	t.Helper()
	rest, ok := strings.CutPrefix(m.Content()[logName], old)
	require.True(t, ok, "%s: the old text was changed", when)
	require.True(t, strings.HasPrefix(logNew, rest), "%s: found %q behind the old text", when, rest)
}

func TestAppendFullDisk(t *testing.T) {
	for n := range len(logNew) {
		m := logged(t, true)
		err := durable.Append(faultfs.Wrap(m, faultfs.FullAfter(n, syscall.ENOSPC)), logName, []byte(logNew))
		require.ErrorIs(t, err, durable.ErrNoSpace)
		require.Equal(t, logOld+logNew[:n], m.Content()[logName])
	}
}

func TestAppendShortWrite(t *testing.T) {
	m := logged(t, true)
	err := durable.Append(faultfs.Wrap(m, faultfs.ShortAt(0, 3)), logName, []byte(logNew))
	require.ErrorContains(t, err, "short write")
	holdsBeginning(t, m, logOld, "short write")
}

func TestAppendLocked(t *testing.T) {
	m := logged(t, true)
	other, err := m.OpenKeep(logName)
	require.NoError(t, err)
	require.NoError(t, other.TryLock())
	require.ErrorIs(t, durable.Append(m, logName, []byte(logNew)), durable.ErrLocked)
	assert.Equal(t, logOld, m.Content()[logName])
}

// TestAppendRefuses what is no regular file, on the system's own file system.
func TestAppendRefuses(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(target, []byte(logOld), 0o644))
	require.NoError(t, os.Symlink(target, link))
	require.ErrorIs(t, durable.Append(durable.OS{}, link, []byte(logNew)), durable.ErrNotOurs)
	require.ErrorIs(t, durable.Append(durable.OS{}, os.DevNull, []byte(logNew)), durable.ErrNotOurs)
	require.Error(t, durable.Append(durable.OS{}, dir, []byte(logNew)))
	err := durable.Append(durable.OS{}, filepath.Join(dir, "absent", "log"), []byte(logNew))
	require.True(t, errors.Is(err, os.ErrNotExist), "%v", err)
	text, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, logOld, string(text))

	require.NoError(t, durable.Append(durable.OS{}, target, []byte(logNew)))
	text, err = os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, logOld+logNew, string(text))
}
