package decode

import (
	"fmt"
	"slices"
)

// Draft proposes tokens for a block to verify. What it proposes decides how
// many tokens a pass gives, never which.
type Draft interface {
	// Draft returns what it expects after the tokens of a sequence, at most n
	// ids, n being positive. The session leaves out what is beyond n, and what
	// follows an id outside the vocabulary. history must not be kept or changed.
	Draft(history []int, n int) []int
}

// NGram is prompt lookup (Saxena 2023): it looks for the latest earlier place
// where the sequence's last tokens stand, and proposes what followed there. It
// needs no model.
type NGram struct {
	// Max and Min bound how many last tokens are looked for; longer matches are
	// tried first.
	Max, Min int
	// Size is how many tokens it proposes at most; 0 stands for as many as fit
	// the block.
	Size int
}

// DefaultNGram looks for three tokens, then two, then one.
func DefaultNGram() NGram { return NGram{Max: 3, Min: 1} }

// Check reports sizes that propose nothing; the error is ErrOptions.
func (g NGram) Check() error {
	if g.Min < 1 || g.Max < g.Min || g.Size < 0 {
		return fmt.Errorf("%w: n-grams of %d to %d tokens and drafts of %d, want 1 <= min <= max and a draft of 0 (as fits) or more", ErrOptions, g.Min, g.Max, g.Size)
	}
	return nil
}

// Draft implements Draft. A continuation that reaches the sequence's end goes
// on with what it has proposed itself, so a period is followed round.
func (g NGram) Draft(history []int, n int) []int {
	if g.Size > 0 {
		n = min(n, g.Size)
	}
	for size := min(g.Max, len(history)-1); size >= max(g.Min, 1); size-- {
		at := lastEarlier(history, history[len(history)-size:])
		if at < 0 {
			continue
		}
		out := make([]int, n)
		for i := range out {
			if from := at + size + i; from < len(history) {
				out[i] = history[from]
			} else {
				out[i] = out[from-len(history)]
			}
		}
		return out
	}
	return nil
}

// lastEarlier is the last place before its end where history has the run, or -1.
func lastEarlier(history, run []int) int {
	for at := len(history) - len(run) - 1; at >= 0; at-- {
		if slices.Equal(history[at:at+len(run)], run) {
			return at
		}
	}
	return -1
}
