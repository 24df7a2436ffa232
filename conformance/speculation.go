package conformance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"lockstep/coreml/decode"
	"lockstep/manifest"
)

// Begin returns the decoding program of a new sequence over an empty cache.
type Begin func(context.Context) (decode.Passer, error)

// Speculation holds what sessions decode under drafts against plain greedy
// decoding, token by token. The truth is computed without a session: one token
// at a time, each the lowest id of the largest logit.
type Speculation struct {
	Plain   Begin // what gives the truth
	Judged  Begin // what the sessions decode with
	Prompts [][]int
	Tokens  int      // of each continuation, where the context has room
	Sources []string // of DraftSources
}

// SpeculationCount is what a run saw.
type SpeculationCount struct {
	Sequences int
	Tokens    int
	Differing int    // sequences whose tokens are not the truth's
	First     string // the first of them
	Stats     decode.Stats
	BySource  map[string]decode.Stats
}

// Run decodes every prompt with every source.
func (s Speculation) Run(ctx context.Context) (SpeculationCount, error) {
	count := SpeculationCount{BySource: map[string]decode.Stats{}}
	for i, prompt := range s.Prompts {
		truth, err := s.truth(ctx, prompt)
		if err != nil {
			return count, fmt.Errorf("prompt %d: %w", i, err)
		}
		for _, source := range s.Sources {
			if err := s.compare(ctx, &count, source, fmt.Sprintf("prompt %d", i), prompt, truth); err != nil {
				return count, fmt.Errorf("prompt %d, drafts %s: %w", i, source, err)
			}
		}
	}
	return count, nil
}

// Merge adds another run's counts; the first difference stays the first.
func (c *SpeculationCount) Merge(o SpeculationCount) {
	c.Sequences += o.Sequences
	c.Tokens += o.Tokens
	c.Differing += o.Differing
	if c.First == "" {
		c.First = o.First
	}
	c.Stats.Add(o.Stats)
	if c.BySource == nil {
		c.BySource = map[string]decode.Stats{}
	}
	for source, st := range o.BySource {
		sum := c.BySource[source]
		sum.Add(st)
		c.BySource[source] = sum
	}
}

// truth is plain greedy decoding: one live row at a time.
func (s Speculation) truth(ctx context.Context, prompt []int) ([]int, error) {
	p, err := s.Plain(ctx)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(prompt)
	for pos := 0; pos < p.Size().Slots && len(ids) < len(prompt)+s.Tokens; pos++ {
		rows, err := p.Pass(ctx, pos, ids[pos:pos+1])
		if err != nil {
			return nil, err
		}
		if pos == len(ids)-1 {
			ids = append(ids, lowestArgmax(rows[0]))
		}
	}
	return ids[len(prompt):], nil
}

// compare decodes one prompt with one source. A session that errs decodes
// something else, too.
func (s Speculation) compare(ctx context.Context, count *SpeculationCount, source, name string, prompt, truth []int) error {
	p, err := s.Judged(ctx)
	if err != nil {
		return err
	}
	draft, err := draftSource(source, slices.Concat(prompt, truth), len(prompt), p.Size().Vocab)
	if err != nil {
		return err
	}
	session, err := decode.NewSession(p, nil, decode.Options{Draft: draft})
	if err != nil {
		return err
	}
	res, err := session.Generate(ctx, prompt, s.Tokens, nil)
	if ctx.Err() != nil || res == nil {
		return err
	}
	count.Sequences++
	count.Tokens += len(res.Tokens)
	count.Stats.Add(res.Stats)
	stats := count.BySource[source]
	stats.Add(res.Stats)
	count.BySource[source] = stats
	if got := res.IDs(); err != nil || !slices.Equal(got, truth) {
		count.Differing++
		if count.First == "" {
			count.First = fmt.Sprintf("%s, drafts %s: %s", name, source, firstDifference(got, truth, err))
		}
	}
	return nil
}

func firstDifference(got, want []int, err error) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("token %d: want %d as plain greedy decoding gives it, found %d", i, want[i], got[i])
		}
	}
	if err != nil {
		return fmt.Sprintf("after %d tokens: %v", len(got), err)
	}
	return fmt.Sprintf("want %d tokens, found %d", len(want), len(got))
}

// speculationCases draft with each source, and once over logits so coarse that
// ties decide.
func speculationCases(prompts int) []ChainCase {
	const wanted = "sessions under drafts give plain greedy decoding's tokens, one by one; "
	var cases []ChainCase
	for _, source := range DraftSources() {
		cases = append(cases, ChainCase{
			Check: CheckSpeculation, Name: "drafts=" + source,
			Description: wanted + fmt.Sprintf("%d prompts", prompts),
			run: func(ctx context.Context, s *ChainSuite) Outcome {
				return s.speculation(ctx, []string{source}, s.chain)
			},
		})
	}
	return append(cases, ChainCase{
		Check: CheckSpeculation, Name: "ties",
		Description: wanted + fmt.Sprintf("logits rounded to multiples of %d, so that many tie and the lowest id counts; %d prompts", tieStep, prompts),
		run: func(ctx context.Context, s *ChainSuite) Outcome {
			return s.speculation(ctx, []string{"half_right", "ngram"}, func(ctx context.Context) (decode.Passer, error) {
				p, err := s.chain(ctx)
				return coarseLogits{p}, err
			})
		},
	})
}

// chain begins a sequence of the decoding program alone.
func (s *ChainSuite) chain(ctx context.Context) (decode.Passer, error) {
	block, _, err := s.begin(ctx)
	return block, err
}

func (s *ChainSuite) speculation(ctx context.Context, sources []string, plain Begin) Outcome {
	if s.opt.Prompts < 1 || s.opt.NewTokens < 2 {
		return notMeasured("no prompts asked for")
	}
	run := Speculation{
		Plain: plain, Tokens: s.opt.NewTokens, Sources: sources,
		Judged: func(ctx context.Context) (decode.Passer, error) {
			p, err := plain(ctx)
			if err == nil && s.opt.Runtime != nil {
				p = s.opt.Runtime(p)
			}
			return p, err
		},
		Prompts: SpeculationPrompts(s.opt.Prompts, s.opt.Heldout, s.record.Model.Dims.Vocab, s.recipe.Slots),
	}
	count, err := run.Run(ctx)
	if err != nil {
		return broken(err)
	}
	return count.outcome()
}

func (c SpeculationCount) outcome() Outcome {
	out := pass(
		figure("sequences", float64(c.Sequences), "1"), figure("tokens_compared", float64(c.Tokens), "1"),
		figure("passes", float64(c.Stats.PrefillPasses+c.Stats.BlockPasses), "1"),
		figure("drafted", float64(c.Stats.Drafted), "1"), figure("accepted", float64(c.Stats.Accepted), "1"),
	)
	if ratio, ok := c.Stats.TokensPerPass(); ok {
		out.Evidence = append(out.Evidence, figure("tokens_per_pass", ratio, "1"))
	}
	if c.Differing > 0 {
		return Outcome{Result: manifest.Fail, Reason: fmt.Sprintf("%d of %d sequences differ; %s", c.Differing, c.Sequences, c.First), Evidence: out.Evidence}
	}
	return out
}

// longestPrompt bounds the prompts of the speculation cases.
const longestPrompt = 40

// SpeculationPrompts are n prompts of 1, 2, 3... up to 40 tokens, from places in
// the text that a named stream chooses, or of random tokens without one.
func SpeculationPrompts(n int, text *Heldout, vocab, slots int) [][]int {
	rng := rand.New(rand.NewChaCha8(sha256.Sum256([]byte("lockstep speculation prompts"))))
	prompts := make([][]int, n)
	for i := range prompts {
		size := 1 + i%min(longestPrompt, slots)
		if text != nil && len(text.Tokens) > size {
			at := rng.IntN(len(text.Tokens) - size)
			prompts[i] = text.Tokens[at : at+size]
			continue
		}
		for range size {
			prompts[i] = append(prompts[i], rng.IntN(vocab))
		}
	}
	return prompts
}

// tieStep is the step of coarseLogits.
const tieStep = 2

// coarseLogits rounds logits so that they tie.
type coarseLogits struct{ decode.Passer }

func (p coarseLogits) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	rows, err := p.Passer.Pass(ctx, pos, ids)
	for _, row := range rows {
		for id, v := range row {
			row[id] = tieStep * float32(math.RoundToEven(float64(v/tieStep)))
		}
	}
	return rows, err
}
