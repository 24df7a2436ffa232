//go:build unix

package exporter_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
)

// The environment of this test binary when it is the process that kills itself
// at its n-th call to the file system.
const (
	envDoomed = "LOCKSTEP_TEST_DOOMED_OUT"
	envCall   = "LOCKSTEP_TEST_DOOMED_CALL"
)

// killPoints is how many processes are killed with the other tests;
// LOCKSTEP_KILLS asks for more (make faults).
const killPoints = 12

// doomed exports nano's tail on a file system that kills the process.
func doomed(out string) error {
	n, err := strconv.ParseInt(os.Getenv(envCall), 10, 64)
	if err != nil {
		return err
	}
	ck, err := checkpoint.Open(fixtures.Nano())
	if err != nil {
		return err
	}
	fsys := &deadly{FS: durable.OS{}}
	fsys.left.Store(n)
	opt := doomedOptions(ck, out)
	opt.FS = fsys
	if _, err := exporter.Export(context.Background(), opt); err != nil {
		return err
	}
	fmt.Println(n - fsys.left.Load()) // how many calls an export makes
	return nil
}

func doomedOptions(ck *checkpoint.Checkpoint, out string) exporter.Options {
	return exporter.Options{
		Checkpoint: ck, Dir: out, Layers: exporter.Range{Start: 30, End: 32}, Layout: exporter.DefaultLayout(),
		Recipe: nanoRecipe(exporter.Int8, exporter.LayerNormConcat), Name: "nano",
	}
}

// deadly is a file system whose n-th call ends the process by SIGKILL: a write
// after half of its bytes, everything else before it is done.
type deadly struct {
	durable.FS
	left atomic.Int64
}

func (d *deadly) step(half func()) {
	if d.left.Add(-1) != 0 {
		return
	}
	if half != nil {
		half()
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err == nil {
		select {}
	}
}

func (d *deadly) Stat(name string) (durable.Info, error) { d.step(nil); return d.FS.Stat(name) }
func (d *deadly) Mkdir(name string) error                { d.step(nil); return d.FS.Mkdir(name) }
func (d *deadly) Link(a, b string) error                 { d.step(nil); return d.FS.Link(a, b) }
func (d *deadly) Rename(a, b string) error               { d.step(nil); return d.FS.Rename(a, b) }
func (d *deadly) RenameNoReplace(a, b string) error      { d.step(nil); return d.FS.RenameNoReplace(a, b) }
func (d *deadly) SyncDir(name string) error              { d.step(nil); return d.FS.SyncDir(name) }

func (d *deadly) OpenKeep(name string) (durable.File, error) {
	d.step(nil)
	f, err := d.FS.OpenKeep(name)
	return deadlyFile{f, d}, err
}

type deadlyFile struct {
	durable.File
	fs *deadly
}

func (f deadlyFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.step(func() { _, _ = f.File.WriteAt(p[:len(p)/2], off) })
	return f.File.WriteAt(p, off)
}

func (f deadlyFile) Sync() error { f.fs.step(nil); return f.File.Sync() }

// TestKilledAnywhere kills real processes at random calls, several in a row in
// one directory, until one is left alone: what stood before is unchanged, no
// finished name holds unfinished bytes, and the bytes are those of an
// undisturbed export.
func TestKilledAnywhere(t *testing.T) {
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	whole := export(t, doomedOptions(ck, t.TempDir()))
	calls := countCalls(t)
	n := killPoints
	if more := os.Getenv("LOCKSTEP_KILLS"); more != "" {
		n, err = strconv.Atoi(more)
		require.NoError(t, err, "LOCKSTEP_KILLS")
	}
	rng := rand.New(rand.NewChaCha8(sha256.Sum256([]byte("kill points"))))
	killed, runs := 0, 0
	for killed < n {
		dir := t.TempDir()
		bystander := filepath.Join(dir, "bystander")
		require.NoError(t, os.WriteFile(bystander, []byte("stands here"), 0o600))
		for range 1 + rng.IntN(3) {
			at := 1 + rng.Int64N(calls)
			if runDoomed(t, dir, at) {
				killed++
			}
			noUnfinishedBytes(t, dir, whole)
		}
		runs++
		res := export(t, doomedOptions(ck, dir))
		require.Equal(t, whole.Shard, res.Shard)
		content, err := os.ReadFile(bystander)
		require.NoError(t, err)
		require.Equal(t, "stands here", string(content))
	}
	t.Logf("%d processes killed at one of %d calls, in %d directories: each ended in the same digests", killed, calls, runs)
}

// noUnfinishedBytes: the package's name, if it is there, holds the whole
// package, and lockstep.json, if it is there, decodes.
func noUnfinishedBytes(t *testing.T, dir string, whole *exporter.Result) {
	t.Helper()
	for _, f := range whole.Shard.Package.Files {
		content, err := os.ReadFile(filepath.Join(dir, whole.Plan.Package, filepath.FromSlash(f.Path)))
		if errors.Is(err, os.ErrNotExist) {
			require.NoDirExists(t, filepath.Join(dir, whole.Plan.Package))
			break
		}
		require.NoError(t, err)
		require.Equal(t, f.SHA256, fmt.Sprintf("%x", sha256.Sum256(content)))
	}
	if _, err := exporter.ReadRecord(dir); !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
}

// countCalls is how many calls an undisturbed export makes.
func countCalls(t *testing.T) int64 {
	t.Helper()
	text, err := doomedCommand(t.TempDir(), 1<<40).Output()
	require.NoError(t, err)
	calls, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	require.NoError(t, err)
	require.Greater(t, calls, int64(20))
	return calls
}

// runDoomed reports whether the process was killed; one that finds less to do
// may end before.
func runDoomed(t *testing.T, out string, at int64) bool {
	t.Helper()
	err := doomedCommand(out, at).Run()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGKILL, status.Signal(), "call %d: %v", at, err)
	return true
}

func doomedCommand(out string, at int64) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envDoomed+"="+out, envCall+"="+strconv.FormatInt(at, 10))
	return cmd
}
