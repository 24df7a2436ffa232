package probe

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/coreml/worker"
	"lockstep/manifest"
)

// brittleArg makes this binary a worker whose plane breaks on two variants.
const brittleArg = "brittle-worker"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == brittleArg {
		err := worker.Main(context.Background(), func(string) (coreml.Plane, error) { return &faulty{load: breakHere}, nil })
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// breakHere ends the process at one variant's block, and hangs at another's
// singles.
func breakHere(dir, function string) error {
	switch variant := filepath.Base(filepath.Dir(dir)); {
	case variant == "norm=clamped" && function == "t4":
		panic("the engine fell over")
	case variant == "norm=prescaled" && function == "t1":
		time.Sleep(time.Hour)
	}
	return nil
}

// TestWorkersBreak: a crash and a hang, each in a process of its own, cost their
// rows; the rest goes on.
func TestWorkersBreak(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	plane, err := worker.New(context.Background(), worker.Options{
		Plane: manifest.PlaneReference, Path: self, Args: []string{brittleArg}, Load: 5 * time.Second,
	})
	require.NoError(t, err)
	opt := trialOptions(t, plane, named(t, "norm=clamped"), named(t, "norm=prescaled"), named(t, Baseline))
	p := mustRun(t, opt).Probe

	crash := stepOf(t, p, "norm=clamped", StepLoad)
	assert.Equal(t, manifest.ProbeError, crash.Result)
	assert.Contains(t, crash.Reason, "load t4: the plane broke: worker: loading t4: the process ended: exit status 2")
	assert.Contains(t, crash.Reason, "panic: the engine fell over", "the log's end is quoted")
	hang := stepOf(t, p, "norm=prescaled", StepLoad)
	assert.Equal(t, manifest.ProbeError, hang.Result)
	assert.Contains(t, hang.Reason, "loading t1: no answer in time: killed after 5s")
	for _, name := range []string{"norm=clamped", "norm=prescaled"} {
		assert.Equal(t, manifest.ProbeDone, stepOf(t, p, name, StepProgram).Result)
		assert.Equal(t, manifest.ProbeNotRun, stepOf(t, p, name, StepLatency).Result)
	}
	for _, s := range p.Variant(Baseline).Steps {
		if s.Name != StepPlan {
			assert.Equal(t, manifest.ProbeDone, s.Result, "%s: %s", s.Name, s.Reason)
		}
		assert.False(t, strings.Contains(s.Reason, "\n"))
	}
}
