package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"

	"lockstep/conformance"
	"lockstep/coreml/decode"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/manifest"
)

func main() {
	dir := flag.String("model", "", "output directory of the whole nano model, with 256 slots")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var (
	errDiffer = errors.New("speculative decoding gave other tokens than greedy decoding")
	errJudged = errors.New("the model was not judged sound")
)

// prompts are of the kind of text that nano was trained on; the first ones make
// it repeat itself.
var prompts = []string{
	"And these are the sons of Reuben; Hanoch, and the son",
	"And the LORD said unto Moses, Speak unto the children of Israel, and say",
	"Blessed be the LORD for ever",
}

const newTokens = 120

func run(ctx context.Context, to io.Writer, dir string) error {
	record, err := exporter.ReadRecord(dir)
	if err != nil {
		return err
	}
	m, err := decode.Open(ctx, reference.Plane{}, dir, *record)
	if err != nil {
		return err
	}
	var sum decode.Stats
	for _, prompt := range prompts {
		st, err := both(ctx, to, m, prompt)
		if err != nil {
			return errors.Join(err, m.Close())
		}
		sum.Add(st)
	}
	ratio, _ := sum.TokensPerPass()
	acceptance, _ := sum.Acceptance()
	fmt.Fprintf(to, "identical   %d prompts, %d tokens: speculative as greedy\n", len(prompts), sum.Tokens)
	fmt.Fprintf(to, "speculative %.2f tokens per pass, %.0f %% of %d drafted tokens accepted\n", ratio, 100*acceptance, sum.Drafted)
	if err := m.Close(); err != nil {
		return err
	}
	return perplexity(ctx, to, dir)
}

// both decodes a prompt plainly and under drafts and compares the tokens.
func both(ctx context.Context, to io.Writer, m *decode.Model, prompt string) (decode.Stats, error) {
	greedy, err := generate(ctx, m, prompt, nil)
	if err != nil {
		return decode.Stats{}, err
	}
	speculative, err := generate(ctx, m, prompt, decode.DefaultNGram())
	if err != nil {
		return decode.Stats{}, err
	}
	fmt.Fprintf(to, "%s|%s\n", prompt, text(speculative.IDs()))
	fmt.Fprintf(to, "  %d tokens in %d passes, greedy in %d\n", speculative.Stats.Tokens, speculative.Stats.BlockPasses, greedy.Stats.BlockPasses)
	if !slices.Equal(greedy.IDs(), speculative.IDs()) {
		return speculative.Stats, fmt.Errorf("%w: %q: %v, %v", errDiffer, prompt, greedy.IDs(), speculative.IDs())
	}
	return speculative.Stats, nil
}

func generate(ctx context.Context, m *decode.Model, prompt string, draft decode.Draft) (*decode.Result, error) {
	cache, err := m.NewCache()
	if err != nil {
		return nil, err
	}
	block, err := cache.Program(ctx, slices.Max(m.Rows()))
	if err != nil {
		return nil, err
	}
	session, err := decode.NewSession(block, nil, decode.Options{Draft: draft})
	if err != nil {
		return nil, err
	}
	return session.Generate(ctx, tokens([]byte(prompt)), newTokens, nil)
}

// tokens are the bytes, which nano's tokens are.
func tokens(text []byte) []int {
	ids := make([]int, len(text))
	for i, b := range text {
		ids[i] = int(b)
	}
	return ids
}

func text(ids []int) string {
	out := make([]byte, len(ids))
	for i, id := range ids {
		out[i] = byte(id)
	}
	return string(out)
}

// perplexity reads the held-out text in blocks and has it judged.
func perplexity(ctx context.Context, to io.Writer, dir string) error {
	facts, err := fixtures.GoldenFacts()
	if err != nil {
		return err
	}
	suite, err := conformance.NewChainSuite(ctx, conformance.ChainOptions{
		Dir: dir, Plane: reference.Plane{},
		Heldout: &conformance.Heldout{Tokens: tokens(fixtures.Heldout()), Window: 256, NLL: facts.HeldoutNLL},
	})
	if err != nil {
		return err
	}
	defer suite.Close() // nothing is left to lose
	for _, c := range suite.Cases() {
		if c.Check != conformance.CheckPerplexity || c.Name != "blocks" {
			continue
		}
		out := suite.RunCase(ctx, c)
		for _, e := range out.Evidence {
			fmt.Fprintf(to, "%-17s %v\n", e.Name, float64(*e.Value))
		}
		if out.Result != manifest.Pass {
			return fmt.Errorf("%w: %s: %s: %s", errJudged, c.ID(), out.Result, out.Reason)
		}
		return nil
	}
	return fmt.Errorf("%w: the catalogue has no perplexity in blocks", errJudged)
}
