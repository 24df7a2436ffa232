package conformance_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/worker"
	"lockstep/manifest"
)

// errDeadline means that go test would end the process in the middle of a run.
var errDeadline = errors.New("stopped before it started")

// afterLoads is what a suite is given beyond the cold loads of its functions.
const afterLoads = 20 * time.Minute

// mostFunctions is how many functions a package has at most.
const mostFunctions = 2

// timeToLoad is how long the cold loads of a package's functions may take on a
// plane before they count as hung, and what comes after them. It is 0 on planes
// that load at once.
func timeToLoad(plane string) time.Duration {
	if plane != manifest.PlaneCoreML {
		return 0
	}
	return mostFunctions*worker.DefaultLoad + afterLoads
}

// enoughTime wants need between now and the deadline of go test, which ends the
// process with no verdict and with what it was doing unsaid. A deadline of zero
// is none. The error says how to run the test in the environment env.
func enoughTime(deadline, now time.Time, need time.Duration, test string, env []string) error {
	if deadline.IsZero() || need <= deadline.Sub(now) {
		return nil
	}
	var command []string
	for _, setting := range env {
		if strings.HasPrefix(setting, "LOCKSTEP_") {
			name, value, _ := strings.Cut(setting, "=")
			command = append(command, fmt.Sprintf("%s='%s'", name, strings.ReplaceAll(value, "'", `'\''`)))
		}
	}
	command = append(command, fmt.Sprintf("go test ./conformance -run '^%s$' -count=1 -timeout %s", test, need+10*time.Minute))
	return fmt.Errorf("%w: want %s until the deadline of go test, since cold loads may take that long, found %s; run: %s",
		errDeadline, need, max(deadline.Sub(now), 0).Round(time.Second), strings.Join(command, " "))
}

// requireTime ends the test where go test leaves too little time for it.
func requireTime(t *testing.T, plane string) {
	t.Helper()
	deadline, _ := t.Deadline()
	test, _, _ := strings.Cut(t.Name(), "/")
	require.NoError(t, enoughTime(deadline, time.Now(), timeToLoad(plane), test, os.Environ()))
}

func TestEnoughTime(t *testing.T) {
	now := time.Unix(1e9, 0)
	env := []string{"HOME=/x", "LOCKSTEP_PLANE=coreml", "LOCKSTEP_OUT=/a b/it's"}
	need := timeToLoad(manifest.PlaneCoreML)
	assert.Equal(t, time.Hour, need)
	assert.NoError(t, enoughTime(time.Time{}, now, need, "TestTail", env), "-timeout 0")
	assert.NoError(t, enoughTime(now.Add(need), now, need, "TestTail", env))
	err := enoughTime(now.Add(10*time.Minute), now, need, "TestTail", env)
	require.ErrorIs(t, err, errDeadline)
	assert.ErrorContains(t, err, "found 10m0s; run: LOCKSTEP_PLANE='coreml' LOCKSTEP_OUT='/a b/it'\\''s' "+
		"go test ./conformance -run '^TestTail$' -count=1 -timeout 1h10m0s")
	assert.ErrorIs(t, enoughTime(now.Add(-time.Second), now, need, "TestTail", env), errDeadline)

	for _, plane := range []string{manifest.PlaneReference, manifest.PlaneFake} {
		assert.NoError(t, enoughTime(now, now, timeToLoad(plane), "TestTail", env), "it loads at once")
	}
}
