package mutant_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"lockstep/conformance/mutant"
	"lockstep/manifest"
)

// TestMatrix renders one mutant of each end: killed once, killed twice, equal,
// and survived, which is named.
func TestMatrix(t *testing.T) {
	kill := func(name string, equal bool, lint, parity manifest.Result, kinds ...string) *mutant.Kill {
		return &mutant.Kill{
			Mutant: mutant.Mutant{Name: name}, Equal: equal,
			Results: map[string]manifest.Result{"lint": lint, "parity": parity},
			Failed:  map[string][]string{"lint": kinds},
		}
	}
	m := mutant.Matrix{Columns: []string{"lint", "parity", "host"}, Kills: []*mutant.Kill{
		kill("(none)", false, manifest.Pass, manifest.NotMeasured),
		kill("one", false, manifest.Fail, manifest.Pass, "const"),
		kill("two", false, manifest.Fail, manifest.Fail, "const", "op"),
		kill("same", true, manifest.Pass, manifest.Pass),
		kill("alive", false, manifest.Pass, manifest.NotRun),
	}}
	assert.Equal(t, mutant.Totals{
		Killed: 2, Equal: 1, Survived: []string{"alive"},
		By: map[string]int{"lint": 2, "parity": 1}, Alone: map[string]int{"lint": 1},
	}, m.Totals())
	assert.Equal(t, `| mutant | lint | parity | host | kinds of cases that failed |
|---|---|---|---|---|
| (none) | pass | not measured | - |  |
| one | KILLED | pass | - | const |
| two | KILLED | KILLED | - | const op |
| same | pass | pass | - | equal: the sound package's bits |
| alive | pass | not run | - |  |
| killed by it | 2 | 1 | 0 |  |
| by it alone | 1 | 0 | 0 |  |

4 mutants: 2 killed, 1 equal, 1 survived: alive
`, m.Markdown())
	assert.Contains(t, m.Text(), "\ntwo                             KILLED        KILLED        -             const op\n")
	assert.Contains(t, m.Text(), "\n4 mutants: 2 killed, 1 equal, 1 survived: alive\n")
}

func TestTally(t *testing.T) {
	tally := mutant.Tally{Kind: "bit"}
	for seed, fate := range map[string]mutant.Fate{"bit 0": mutant.Killed, "bit 1": mutant.Equal, "bit 2": mutant.Survived} {
		tally.Add(seed, &mutant.Trial{Name: "bit 3 of byte 4", Fate: fate})
	}
	assert.Equal(t, "bit: 3 mutants: 1 killed, 1 equal, 1 survived: bit 2: bit 3 of byte 4", tally.String())
}
