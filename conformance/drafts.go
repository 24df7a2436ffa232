package conformance

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"

	"lockstep/coreml/decode"
)

// DraftSources names what the speculation cases draft with.
func DraftSources() []string {
	return []string{"right", "wrong", "half_right", "random", "adversarial", "ngram"}
}

// draftSource makes a source for one prompt, the first tokens of truth, which is
// what plain decoding gives. Source and prompt decide every random choice, so
// each prompt has choices of its own.
func draftSource(source string, truth []int, prompt, vocab int) (decode.Draft, error) {
	rng := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "lockstep drafts %s %v", source, truth[:prompt]))))
	other := func(id int) int { return (id + 1 + rng.IntN(max(1, vocab-1))) % vocab }
	known := func(change func(i, id int) int) decode.Draft {
		return draftFunc(func(history []int, n int) []int {
			var out []int
			for at := len(history); at < min(len(history)+n, len(truth)); at++ {
				out = append(out, change(at-len(history), truth[at]))
			}
			return out
		})
	}
	switch source {
	case "right":
		return known(func(_, id int) int { return id }), nil
	case "wrong":
		return known(func(_, id int) int { return other(id) }), nil
	case "half_right":
		return known(func(_, id int) int {
			if rng.IntN(2) == 0 {
				return id
			}
			return other(id)
		}), nil
	case "random":
		return draftFunc(func(_ []int, n int) []int {
			out := make([]int, rng.IntN(n+1))
			for i := range out {
				out[i] = rng.IntN(vocab)
			}
			return out
		}), nil
	case "adversarial":
		return adversary{truth, vocab, rng}, nil
	case "ngram":
		return decode.DefaultNGram(), nil
	}
	return nil, fmt.Errorf("%w: no draft source %q", errHarness, source)
}

type draftFunc func(history []int, n int) []int

func (f draftFunc) Draft(history []int, n int) []int { return f(history, n) }

// adversary drafts what a decoder is likely to get wrong.
type adversary struct {
	truth []int
	vocab int
	rng   *rand.Rand
}

// Draft implements decode.Draft by one of several tricks.
func (a adversary) Draft(history []int, n int) []int {
	end := min(len(history)+n, len(a.truth))
	next := append([]int(nil), a.truth[min(len(history), end):end]...)
	wrong := func(at int) []int {
		if at >= 0 && at < len(next) {
			next[at] = (next[at] + 1) % a.vocab
		}
		return next
	}
	switch a.rng.IntN(7) {
	case 0: // right up to the last
		return wrong(len(next) - 1)
	case 1: // wrong at first, then right
		return wrong(0)
	case 2: // right, but one token late
		return append([]int{history[len(history)-1]}, next...)
	case 3: // right, but one token early
		return append(next[min(1, len(next)):], 0)
	case 4: // longer than asked for
		return append(next, a.rng.IntN(a.vocab), a.rng.IntN(a.vocab))
	case 5: // beyond the vocabulary
		return append(next[:min(1, len(next))], a.vocab, -1, 0)
	}
	return nil
}
