//go:build unix

package exporter_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// The environment of this test binary when it is one of two processes that
// export into one directory: what it exports, as JSON.
const envRival = "LOCKSTEP_TEST_RIVAL"

// rivalRounds is how often each pair of exporters meets with the other tests;
// LOCKSTEP_RIVALS asks for more (make faults).
const rivalRounds = 4

// rival is an exporting process: what it is to do.
type rival struct {
	Out        string
	Precision  exporter.Precision
	Start, End int
}

// ending is how a rival's export ended, as it says itself.
type ending struct {
	PID     int
	Did     string // "exported", "up to date", "locked", "conflict"
	Message string // of a refusal
}

func (r rival) options(ck *checkpoint.Checkpoint) exporter.Options {
	return exporter.Options{
		Checkpoint: ck, Dir: r.Out, Layers: exporter.Range{Start: r.Start, End: r.End}, Layout: exporter.DefaultLayout(),
		Recipe: nanoRecipe(r.Precision, exporter.LayerNormConcat), Name: "nano", OffLadder: true,
	}
}

// compete waits for its start on stdin, exports, and prints its ending.
func compete(text string) error {
	var r rival
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	ck, err := checkpoint.Open(fixtures.Nano())
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return err
	}
	end := ending{PID: os.Getpid(), Did: "exported"}
	res, err := exporter.Export(context.Background(), r.options(ck))
	switch {
	case errors.Is(err, durable.ErrLocked):
		end.Did = "locked"
	case errors.Is(err, exporter.ErrConflict):
		end.Did = "conflict"
	case err != nil:
		return err
	case res.UpToDate:
		end.Did = "up to date"
	}
	if err != nil {
		end.Message = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(end)
}

// contestant is a started rival that waits for its start.
type contestant struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

func enter(t *testing.T, r rival) *contestant {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	c := &contestant{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), envRival+"="+string(text))
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.stdout = bufio.NewReader(stdout)
	require.NoError(t, c.cmd.Start())
	line, err := c.stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return c
}

// end is what the rival says at last.
func (c *contestant) end(t *testing.T) ending {
	t.Helper()
	text, err := io.ReadAll(c.stdout)
	require.NoError(t, err)
	require.NoError(t, c.cmd.Wait(), "%s", text)
	var end ending
	require.NoError(t, json.Unmarshal(text, &end))
	return end
}

// meet starts both rivals, the second a drawn moment after the first.
func meet(t *testing.T, a, b rival, wait time.Duration) [2]ending {
	t.Helper()
	first, second := enter(t, a), enter(t, b)
	for _, c := range []*contestant{first, second} {
		_, err := c.stdin.Write([]byte{'\n'})
		require.NoError(t, err)
		time.Sleep(wait)
	}
	return [2]ending{first.end(t), second.end(t)}
}

// TestTwoExporters lets two processes export into one directory at once, again
// and again: one works at a time, the other says who holds the directory, or
// finds its work done, or another's; the bytes are those of an undisturbed
// export, and nothing else is there.
func TestTwoExporters(t *testing.T) {
	rounds := rivalRounds
	if more := os.Getenv("LOCKSTEP_RIVALS"); more != "" {
		var err error
		rounds, err = strconv.Atoi(more)
		require.NoError(t, err, "LOCKSTEP_RIVALS")
	}
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	tail := rival{Precision: exporter.Int8, Start: 30, End: 32}
	for _, tt := range []struct {
		name  string
		other rival
		late  string // what the second finds that comes after the first
	}{
		{"same", tail, "up to date"},
		{"recipe", rival{Precision: exporter.FP16, Start: 30, End: 32}, "conflict"},
		{"range", rival{Precision: exporter.Int8, Start: 28, End: 30}, "exported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := map[string]int{}
			rng := rand.New(rand.NewChaCha8(sha256.Sum256([]byte("rivals " + tt.name))))
			for range rounds {
				root := t.TempDir()
				bystander := filepath.Join(root, "bystander")
				require.NoError(t, os.WriteFile(bystander, []byte("stands here"), 0o600))
				a, b := tail, tt.other
				// An output directory that one of the two has to make.
				a.Out = filepath.Join(root, "new", "out")
				b.Out = a.Out
				ends := meet(t, a, b, time.Duration(rng.IntN(30))*time.Millisecond)
				judgeMeeting(t, ck, [2]rival{a, b}, ends, tt.late)
				content, err := os.ReadFile(bystander)
				require.NoError(t, err)
				require.Equal(t, "stands here", string(content))
				for _, e := range ends {
					seen[e.Did]++
				}
			}
			t.Logf("two exporters met %d times: %v", rounds, seen)
		})
	}
}

// judgeMeeting holds what two rivals say against each other and against what
// is there, then runs both again, one after the other.
func judgeMeeting(t *testing.T, ck *checkpoint.Checkpoint, rivals [2]rival, ends [2]ending, late string) {
	t.Helper()
	made := map[rival]bool{}
	for i, e := range ends {
		other := ends[1-i]
		switch e.Did {
		case "exported":
			made[rivals[i]] = true
		case "locked":
			require.Equal(t, "exported", other.Did, "a lock was in the way of both")
			// The holder may just be starting, and have written nothing yet.
			require.Regexp(t, fmt.Sprintf(`\((pid %d|holder unknown)\)`, other.PID), e.Message)
			require.Contains(t, e.Message, filepath.Join(rivals[i].Out, durable.LockName))
		default:
			require.Equal(t, late, e.Did)
			require.Equal(t, "exported", other.Did)
		}
	}
	require.NotEmpty(t, made, "neither worked: %+v", ends)
	if late != "exported" {
		require.True(t, ends[0].Did == "exported" != (ends[1].Did == "exported"), "want one at work, found %+v", ends)
	}
	sameAsAlone(t, ck, made)

	before := contents(t, rivals[0].Out)
	for i, e := range ends {
		opt := rivals[i].options(ck)
		switch res, err := exporter.Export(context.Background(), opt); {
		case made[rivals[i]] || late == "up to date":
			require.NoError(t, err)
			require.True(t, res.UpToDate)
		case late == "conflict":
			require.ErrorIs(t, err, exporter.ErrConflict)
		default:
			require.NoError(t, err)
			require.Equal(t, "locked", e.Did)
			require.False(t, res.UpToDate)
			made[rivals[i]] = true
		}
	}
	after := contents(t, rivals[0].Out)
	for name, content := range before {
		kept := name == manifest.RecordFile && after[name+".1"] == content // its former text
		require.True(t, kept || name == durable.LockName || after[name] == content, "%s has changed", name)
	}
	sameAsAlone(t, ck, made)
}

// sameAsAlone compares the rivals' directory with one into which the same was
// exported by one process after the other: the same files, the same bytes.
func sameAsAlone(t *testing.T, ck *checkpoint.Checkpoint, made map[rival]bool) {
	t.Helper()
	alone := t.TempDir()
	out := ""
	for r := range made {
		out = r.Out
		r.Out = alone
		export(t, r.options(ck))
	}
	want, found := contents(t, alone), contents(t, out)
	for name := range want {
		kept := name == manifest.RecordFile+".1" // of the one that came first
		_, there := found[name]
		require.True(t, there, "%s is missing", name)
		require.True(t, kept || name == durable.LockName || want[name] == found[name], "%s has other bytes", name)
	}
	require.Len(t, found, len(want))
}

// contents are the digests of all files below dir.
func contents(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	found := map[string][sha256.Size]byte{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		found[name] = sha256.Sum256(content)
		return err
	}))
	return found
}
