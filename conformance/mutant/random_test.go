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
			t.Parallel()
			tally := mutant.Tally{Kind: kind.name}
			defer func() { leaveTally(t, tallyOfRandom(n, tally)) }()
			for i := range n {
				seed := fmt.Sprintf("%s %d", kind.name, i)
				trial, err := kind.try(context.Background(), b, seed, filepath.Join(t.TempDir(), strconv.Itoa(i)))
				require.NoError(t, err, seed)
				tally.Add(seed, trial)
			}
			fmt.Fprintln(t.Output(), tally)
			assert.LessOrEqual(t, len(tally.Survivors)*100, n, "at most 1 %% may survive")
			assert.Positive(t, tally.Fates[mutant.Killed])
		})
	}
}
