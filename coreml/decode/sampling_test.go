package decode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/coreml/decode"
)

func sample(t require.TestingT, m toy, prompt []int, limit int, s decode.Sampling, d decode.Draft) *decode.Result {
	session, err := decode.NewSession(m.begin(), nil, decode.Options{Sampling: &s, Draft: d})
	require.NoError(t, err)
	res, err := session.Generate(background, prompt, limit, nil)
	require.NoError(t, err)
	return res
}

// TestSamplingIgnoresDrafts: a seed gives the same tokens under every draft.
func TestSamplingIgnoresDrafts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawToy(t)
		prompt := drawIDs(t, m, 1, m.size.Slots, "prompt")
		s := decode.Sampling{
			Temperature: rapid.Float64Range(0.1, 5).Draw(t, "temperature"), Seed: rapid.String().Draw(t, "seed"),
		}
		plain := sample(t, m, prompt, 30, s, nil)
		draft := drawDraft(t, m, slices.Concat(prompt, plain.IDs()))
		require.Equal(t, plain.IDs(), sample(t, m, prompt, 30, s, draft).IDs())
	})
}

// TestSampledTokensFollowTheModel: over many seeds, the tokens that follow each
// token are distributed as softmax(logits/temperature), by a chi-square test,
// also where a draft was accepted or rejected before them. The draft proposes
// what greedy decoding gives, which is sometimes right.
func TestSampledTokensFollowTheModel(t *testing.T) {
	m := toy{seed: 3, window: 1, levels: 4, size: decode.Size{Rows: 4, Slots: 64, Vocab: 6}}
	const temperature = 1.3
	likeliest := draftFunc(func(history []int, n int) []int {
		ids, _ := m.greedy(history, n, nil)
		return ids
	})
	counts := newTransitions(m.size.Vocab)
	forced := newTransitions(m.size.Vocab)
	var stats decode.Stats
	for seed := range 400 {
		res := sample(t, m, []int{seed % m.size.Vocab}, 63, decode.Sampling{Temperature: temperature, Seed: fmt.Sprint(seed)}, likeliest)
		stats.Add(res.Stats)
		last := seed % m.size.Vocab
		for i, tok := range res.Tokens {
			counts[last][tok.ID]++
			wrong := tok.ID
			if i%10 == 0 {
				wrong = 2 // what accepting one draft in ten too many would give
			}
			forced[last][wrong]++
			last = tok.ID
		}
	}
	acceptance, _ := stats.Acceptance()
	assert.InDelta(t, 0.3, acceptance, 0.15, "some drafts were accepted and most were not")
	deviation, freedom := counts.chiSquare(m, temperature)
	assert.Less(t, deviation, critical(freedom), "chi-square with %d degrees of freedom", freedom)
	deviation, _ = forced.chiSquare(m, temperature)
	assert.Greater(t, deviation, critical(freedom), "the test must see one draft in ten accepted wrongly")
	deviation, _ = counts.chiSquare(m, temperature*1.1)
	assert.Greater(t, deviation, critical(freedom), "the test must see another temperature")
}

// transitions counts the tokens that followed each token.
type transitions [][]float64

func newTransitions(vocab int) transitions {
	out := make(transitions, vocab)
	for i := range out {
		out[i] = make([]float64, vocab)
	}
	return out
}

// chiSquare sums (observed - expected)^2 / expected.
func (c transitions) chiSquare(m toy, temperature float64) (sum float64, freedom int) {
	for last, row := range c {
		total := 0.0
		for _, n := range row {
			total += n
		}
		p := softmax(m.logits([]int{last}), temperature)
		for id, n := range row {
			expected := total * p[id]
			sum += (n - expected) * (n - expected) / expected
		}
		freedom += len(row) - 1
	}
	return sum, freedom
}

func softmax(logits []float32, temperature float64) []float64 {
	p := make([]float64, len(logits))
	sum := 0.0
	for i, v := range logits {
		p[i] = math.Exp(float64(v) / temperature)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// critical is the chi-square quantile of probability 0.999, by Wilson and
// Hilferty's approximation.
func critical(freedom int) float64 {
	k := float64(freedom)
	return k * math.Pow(1-2/(9*k)+3.0902*math.Sqrt(2/(9*k)), 3)
}

func TestLowTemperatureIsGreedy(t *testing.T) {
	m := toy{seed: 4, window: 2, levels: 100000, size: decode.Size{Rows: 4, Slots: 64, Vocab: 30}}
	truth, _ := m.greedy([]int{1}, 40, nil)
	assert.Equal(t, truth, sample(t, m, []int{1}, 40, decode.Sampling{Temperature: 1e-300, Seed: "x"}, nil).IDs())
}

func TestSeedsDiffer(t *testing.T) {
	m := toy{seed: 4, window: 2, levels: 3, size: decode.Size{Rows: 4, Slots: 64, Vocab: 30}}
	a := sample(t, m, []int{1}, 40, decode.Sampling{Temperature: 1, Seed: "1"}, nil).IDs()
	assert.Equal(t, a, sample(t, m, []int{1}, 40, decode.Sampling{Temperature: 1, Seed: "1"}, nil).IDs())
	assert.NotEqual(t, a, sample(t, m, []int{1}, 40, decode.Sampling{Temperature: 1, Seed: "2"}, nil).IDs())
}
