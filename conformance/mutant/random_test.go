package mutant_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/mutant"
)

// randomTrials is how many random mutants of each kind run with the other
// tests; LOCKSTEP_MUTANTS asks for more (make mutants).
const randomTrials = 25

// TestRandomMutants: rewrites of the program and flipped bits, drawn by name.
// Each is killed, or its functions give the same bits as the sound package's.
func TestRandomMutants(t *testing.T) {
	b := base(t)
	n := randomTrials
	if more := os.Getenv("LOCKSTEP_MUTANTS"); more != "" {
		var err error
		n, err = strconv.Atoi(more)
		require.NoError(t, err, "LOCKSTEP_MUTANTS")
	}
	for _, kind := range []struct {
		name string
		try  func(context.Context, mutant.Base, string, string) (*mutant.Trial, error)
	}{{"program", mutant.RandomProgram}, {"bit", mutant.RandomBit}} {
		t.Run(kind.name, func(t *testing.T) {
			fates := map[mutant.Fate]int{}
			for i := range n {
				trial, err := kind.try(context.Background(), b, fmt.Sprintf("%s %d", kind.name, i), filepath.Join(t.TempDir(), strconv.Itoa(i)))
				require.NoError(t, err, "%s %d", kind.name, i)
				fates[trial.Fate]++
				if trial.Fate == mutant.Survived {
					t.Logf("survivor %s %d: %s", kind.name, i, trial.Name)
				}
			}
			t.Logf("%d mutants: %d killed, %d equal, %d survived", n, fates[mutant.Killed], fates[mutant.Equal], fates[mutant.Survived])
			assert.LessOrEqual(t, fates[mutant.Survived]*100, n, "at most 1 %% may survive")
			assert.Positive(t, fates[mutant.Killed])
		})
	}
}
