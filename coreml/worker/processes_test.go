//go:build linux || darwin

package worker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// duplicate is another name for a descriptor.
func duplicate(fd int) *os.File {
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, sharedFD+1)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(other), "duplicate")
}

// isGone reports that there is no process of that id: none that runs, and none
// that nobody has waited for.
func isGone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }

// requireGone wants every worker of the crew gone. What belongs to packages must
// have been closed.
func (c *crew) requireGone() {
	c.t.Helper()
	for _, pid := range c.started() {
		require.Eventually(c.t, func() bool { return isGone(pid) }, patience, time.Millisecond, "worker %d is still there", pid)
	}
}

// TestKilledWorker kills the worker while it is at work.
func TestKilledWorker(t *testing.T) {
	c := newCrew(t, "hang_predict", 2)
	opened := c.open(c.plane())
	fn, st := mustFunction(t, opened, "t1"), mustState(t, opened)
	pids := c.started()
	require.Len(t, pids, 2)
	time.AfterFunc(100*time.Millisecond, func() { unix.Kill(pids[1], unix.SIGKILL) })
	_, err := step(context.Background(), fn, st, 1)
	requireBroken(t, err, ErrDied, "signal: killed", "a pass of t1")
	assert.True(t, isGone(pids[1]))

	_, err = step(context.Background(), fn, st, 1)
	requireBroken(t, err, ErrStateLost)
	hidden, err := step(context.Background(), fn, mustState(t, opened), 1)
	require.NoError(t, err, "the next worker does it")
	assert.Equal(t, []float32{1}, hidden)
}

// TestKilledBetweenCalls kills a worker that has nothing to do.
func TestKilledBetweenCalls(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			c := newCrew(t, "none", 0)
			c.opt.Exclusive = exclusive
			opened := c.open(c.plane())
			fn, st := mustFunction(t, opened, "t1"), mustState(t, opened)
			require.NoError(t, unix.Kill(c.started()[1], unix.SIGKILL))
			<-opened.proc.ended
			other := mustFunction(t, opened, "t4")
			_, err := step(context.Background(), other, st, 1, 2, 3, 4)
			requireBroken(t, err, ErrStateLost)
			_, err = step(context.Background(), fn, mustState(t, opened), 1)
			require.NoError(t, err)
		})
	}
}

const parentArg = "parent-under-test"

// runParent starts workers that hang in a pass, and waits to be killed.
func runParent(pids, fault string) {
	ctx := context.Background()
	p, err := New(ctx, Options{Plane: "toy", Path: os.Args[0], Args: []string{workerArg, pids, fault, "9"}})
	if err != nil {
		panic(err)
	}
	opened, err := p.Open(ctx, "toy.mlpackage")
	if err != nil {
		panic(err)
	}
	fn, err := opened.Function(ctx, "t1")
	if err != nil {
		panic(err)
	}
	st, err := opened.NewState()
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	_, err = step(ctx, fn, st, 1)
	panic(err)
}

// TestKilledParent kills the process that a worker works for: the worker, which
// hangs in a pass, ends too.
func TestKilledParent(t *testing.T) {
	c := newCrew(t, "hang_predict", 9)
	parent := exec.Command(c.opt.Path, parentArg, c.pids, "hang_predict")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)
	pids := c.started()
	require.Len(t, pids, 2)
	assert.False(t, isGone(pids[1]), "it works")
	require.NoError(t, parent.Process.Kill())
	assert.Error(t, parent.Wait())
	c.requireGone()
}
