//go:build unix

package exporter_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
)

// The environment of this test binary when it is run as the process that is to
// be killed: the checkpoint, the output directory, and after how many bytes of
// weights it says so and waits.
const (
	envVictim = "LOCKSTEP_TEST_VICTIM_CHECKPOINT"
	envOut    = "LOCKSTEP_TEST_VICTIM_OUT"
	envAfter  = "LOCKSTEP_TEST_VICTIM_AFTER"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(envVictim); path != "" {
		fmt.Println(victim(path)) // it never returns unless it fails
		os.Exit(1)
	}
	if out := os.Getenv(envDoomed); out != "" {
		if err := doomed(out); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(envRival); text != "" {
		if err := compete(text); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim exports until it is told to wait, and waits to be killed.
func victim(path string) error {
	ck, err := checkpoint.OpenDir(path)
	if err != nil {
		return err
	}
	w := &waiting{}
	if _, err := fmt.Sscan(os.Getenv(envAfter), &w.left); err != nil {
		return err
	}
	_, err = exporter.Export(context.Background(), victimOptions(ck, os.Getenv(envOut), w))
	return fmt.Errorf("the export ended: %w", err)
}

func victimOptions(ck *checkpoint.Checkpoint, dir string, progress exporter.Progress) exporter.Options {
	return exporter.Options{
		Checkpoint: ck, Dir: dir, Layers: exporter.Range{End: 1}, Layout: exporter.Layout{1},
		Recipe: nanoRecipe(exporter.FP16, exporter.LayerNormConcat), Name: "victim", Progress: progress,
	}
}

// waiting says "written" after a number of bytes and goes no further.
type waiting struct{ left int64 }

func (w *waiting) Begin(string, int64) {}
func (w *waiting) End()                {}
func (w *waiting) Advance(n int64) {
	if w.left -= n; w.left <= 0 {
		fmt.Println("written")
		select {}
	}
}

// TestKilledProcess kills exporting processes with SIGKILL, one after another,
// in the middle of the weights: the lock goes with the process, the next one
// goes on, and the last run's bytes are those of an undisturbed one.
func TestKilledProcess(t *testing.T) {
	spec := preset(t, "plain_rope_one_layer")
	spec.Config.HiddenSize, spec.Config.IntermediateSize = 512, 2048 // 4.5 M weights in one layer
	dir := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(context.Background(), dir, spec))
	ck, err := checkpoint.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	whole := export(t, victimOptions(ck, t.TempDir(), nil))

	out := filepath.Join(t.TempDir(), "out")
	for _, after := range []string{"1000000", "5000000"} {
		killVictim(t, dir, out, after)
		for _, name := range entries(t, out) {
			assert.NotEqual(t, whole.Plan.Package, name)
		}
	}
	res := export(t, victimOptions(ck, out, nil))
	assert.Equal(t, whole.Shard, res.Shard)
	assert.Greater(t, res.Resumed, int64(5_000_000))
	assert.Len(t, entries(t, out), 3, "package, record, lock")
}

// killVictim starts this binary as an exporting process and kills it once it
// has written so much.
func killVictim(t *testing.T, checkpointDir, out, after string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envVictim+"="+checkpointDir, envOut+"="+out, envAfter+"="+after)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	killed := cmd.Process.Kill()
	state := cmd.Wait()
	require.NoError(t, err)
	require.NoError(t, killed)
	require.Equal(t, "written", strings.TrimSpace(line))
	var exit *exec.ExitError
	require.ErrorAs(t, state, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	assert.Equal(t, syscall.SIGKILL, status.Signal())
}
