package mutant_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/mutant"
	"lockstep/conformance/report"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// leaveTally leaves a run's counts in the directory that LOCKSTEP_TALLIES
// names, as a new file, for `lockstep report`. Tests that failed leave theirs,
// too.
func leaveTally(t *testing.T, m report.Mutants) {
	t.Helper()
	dir := os.Getenv("LOCKSTEP_TALLIES")
	if dir == "" {
		return
	}
	require.True(t, filepath.IsAbs(dir), "LOCKSTEP_TALLIES: want an absolute path, found %q", dir)
	text, err := report.EncodeMutants(m)
	require.NoError(t, err)
	path, err := durable.AppendNumbered(durable.OS{}, dir, report.MutantsPrefix(m.Name), report.MutantsExt, text)
	require.NoError(t, err)
	t.Logf("tally written to %s", path)
}

// killed runs a mutant as a subtest: it must be killed by what it names. The
// kill is nil if it was not run, or broke the suite.
func killed(t *testing.T, name, by string, run func(dir string) (*mutant.Kill, error)) (kill *mutant.Kill) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		k, err := run(filepath.Join(t.TempDir(), "mutant"))
		require.NoError(t, err)
		kill = k
		assert.True(t, k.KilledBy(by), "%s must be killed by %s, not by %v: %v", name, by, k.Killers(), k.Failed)
		assert.Equal(t, manifest.Fail, k.Verdict.Result)
	})
	return kill
}

// tallyOf counts what became of mutants; nil is one that was not run or broke
// the suite.
func tallyOf(name string, kills []*mutant.Kill) report.Mutants {
	m := report.Mutants{
		Schema: report.MutantsSchema, Name: name, Mutants: len(kills),
		Command: "go test ./conformance/mutant -run MutantsAreKilled -count=1",
	}
	decided := mutant.Matrix{}
	for _, k := range kills {
		if k == nil {
			m.Undecided++
		} else {
			decided.Kills = append(decided.Kills, k)
		}
	}
	t := decided.Totals()
	m.Killed, m.Equal, m.Survived = t.Killed, t.Equal, t.Survived
	return m
}

// tallyOfRandom counts n random mutants of one kind.
func tallyOfRandom(n int, t mutant.Tally) report.Mutants {
	return report.Mutants{
		Schema: report.MutantsSchema, Name: "random_" + t.Kind, Mutants: n,
		Killed: t.Fates[mutant.Killed], Equal: t.Fates[mutant.Equal], Survived: t.Survivors, Undecided: n - t.Drawn,
		Command: fmt.Sprintf("make mutants MUTANTS=%d", n),
	}
}

// TestTallies: every mutant is counted once, whatever became of it, and what a
// run leaves is what a report reads.
func TestTallies(t *testing.T) {
	kill := func(name string, equal bool, r manifest.Result) *mutant.Kill {
		return &mutant.Kill{Mutant: mutant.Mutant{Name: name}, Equal: equal, Results: map[string]manifest.Result{"lint": r}}
	}
	named := tallyOf("named", []*mutant.Kill{kill("one", false, manifest.Fail), nil, kill("same", true, manifest.Pass), kill("alive", false, manifest.Pass)})
	assert.Equal(t, report.Mutants{
		Schema: report.MutantsSchema, Name: "named", Mutants: 4, Killed: 1, Equal: 1, Survived: []string{"alive"}, Undecided: 1,
		Command: "go test ./conformance/mutant -run MutantsAreKilled -count=1",
	}, named)
	random := tallyOfRandom(5, mutant.Tally{Kind: "bit", Drawn: 4, Fates: map[mutant.Fate]int{mutant.Killed: 2, mutant.Equal: 1, mutant.Survived: 1}, Survivors: []string{"bit 3"}})
	assert.Equal(t, 1, random.Undecided)

	dir := filepath.Join(t.TempDir(), "tallies")
	t.Setenv("LOCKSTEP_TALLIES", dir)
	older := named
	older.Killed, older.Undecided = 0, 2
	for _, m := range []report.Mutants{random, older, named} {
		leaveTally(t, m)
	}
	read, err := report.ReadMutants(os.DirFS(dir))
	require.NoError(t, err)
	assert.Equal(t, []report.Mutants{named, random}, read, "the newest of each name")
}
