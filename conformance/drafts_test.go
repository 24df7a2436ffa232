package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// draftsAlong asks a source for drafts of three along a sequence.
func draftsAlong(t *testing.T, source string, truth []int, prompt, vocab int) [][]int {
	t.Helper()
	d, err := draftSource(source, truth, prompt, vocab)
	require.NoError(t, err)
	var out [][]int
	for at := prompt; at <= len(truth); at++ {
		out = append(out, d.Draft(truth[:at], 3))
	}
	return out
}

// TestDraftSourcesDrawAnewForEachPrompt: sources that draw repeat themselves for
// a prompt, and draw otherwise for another one whose continuation is the same.
func TestDraftSourcesDrawAnewForEachPrompt(t *testing.T) {
	sequence := func(first int) []int {
		truth := []int{first}
		for i := range 64 {
			truth = append(truth, i*7%50)
		}
		return truth
	}
	for _, source := range []string{"wrong", "half_right", "random", "adversarial"} {
		a := draftsAlong(t, source, sequence(1), 1, 256)
		assert.Equal(t, a, draftsAlong(t, source, sequence(1), 1, 256), source)
		assert.NotEqual(t, a[1:], draftsAlong(t, source, sequence(2), 1, 256)[1:], source)
	}
}

// TestDraftSourcesAreWhatTheyAreCalled counts how often the first token drafted
// is the sequence's next.
func TestDraftSourcesAreWhatTheyAreCalled(t *testing.T) {
	truth := make([]int, 200)
	for i := range truth {
		truth[i] = i * 37 % 251
	}
	for source, want := range map[string][2]int{"right": {198, 198}, "wrong": {0, 0}, "half_right": {70, 130}, "random": {0, 10}, "adversarial": {50, 150}} {
		right := 0
		for i, draft := range draftsAlong(t, source, truth, 2, 256) {
			if at := 2 + i; at < len(truth) && len(draft) > 0 && draft[0] == truth[at] {
				right++
			}
		}
		assert.GreaterOrEqual(t, right, want[0], source)
		assert.LessOrEqual(t, right, want[1], source)
	}
	_, err := draftSource("lucky", truth, 1, 256)
	assert.ErrorIs(t, err, errHarness)
}
