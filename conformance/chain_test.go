package conformance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml/decode"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// long asks for everything where the tests take a part: every window of the
// text in singles and by the oracle, 200 prompts with every draft source.
func long() bool { return os.Getenv("LOCKSTEP_LONG") != "" }

// exportWhole exports every part of the subject, off the ladder: what is judged
// is the chain.
func (s subject) exportWhole(t *testing.T) {
	t.Helper()
	opt := exporter.Options{
		Checkpoint: s.checkpoint, Dir: s.dir, Layout: s.layout, Recipe: s.recipe, Name: s.name, OffLadder: true,
	}
	parts := []exporter.Options{opt}
	parts[0].Embedding = true
	for _, r := range s.layout.Shards() {
		part := opt
		part.Layers = r
		parts = append(parts, part)
	}
	for i := range exporter.DefaultHeadShards {
		part := opt
		part.Head = exporter.Head{Shard: i, Of: exporter.DefaultHeadShards}
		parts = append(parts, part)
	}
	for _, part := range parts {
		_, err := exporter.Export(context.Background(), part)
		require.NoError(t, err)
	}
}

// openChain opens the subject's chain.
func (s subject) openChain(t *testing.T) *decode.Model {
	t.Helper()
	record, err := exporter.ReadRecord(s.dir)
	require.NoError(t, err)
	m, err := decode.Open(context.Background(), s.plane, s.dir, *record)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

// heldoutText is the bundled text with its golden likelihood.
func heldoutText(t *testing.T) *conformance.Heldout {
	t.Helper()
	facts, err := fixtures.GoldenFacts()
	require.NoError(t, err)
	h := &conformance.Heldout{Window: 256, NLL: facts.HeldoutNLL}
	for _, b := range fixtures.Heldout() {
		h.Tokens = append(h.Tokens, int(b))
	}
	return h
}

// someText is the beginning of the text, with its likelihood by the oracle: two
// windows, of which one is read in singles. The whole text, whose likelihood
// another implementation recorded, takes a minute.
func someText(t *testing.T, ck *checkpoint.Checkpoint) *conformance.Heldout {
	t.Helper()
	h := heldoutText(t)
	h.Tokens, h.Compared = h.Tokens[:2*h.Window], 1
	var err error
	h.NLL, err = conformance.OracleNLL(context.Background(), ck, slices.Collect(slices.Chunk(h.Tokens, h.Window)))
	require.NoError(t, err)
	return h
}

// TestChain judges the whole nano model in both precisions: hidden states,
// logits, greedy choices and text against other implementations, and sessions
// against plain decoding.
func TestChain(t *testing.T) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		t.Run(string(precision), func(t *testing.T) {
			t.Parallel()
			s := nanoSubject(t, precision, exporter.LayerNormConcat)
			s.exportWhole(t)
			golden, err := fixtures.Golden()
			require.NoError(t, err)
			text := heldoutText(t)
			if !long() {
				text = someText(t, s.checkpoint)
			}
			suite, err := conformance.NewChainSuite(context.Background(), conformance.ChainOptions{
				Dir: s.dir, Plane: s.plane, Checkpoint: s.checkpoint, Golden: golden, Heldout: text,
				Prompts: 1, NewTokens: 8,
			})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, suite.Close()) })
			for _, c := range suite.Cases() {
				t.Run(c.ID(), func(t *testing.T) { reportCase(t, suite.RunCase(context.Background(), c)) })
			}
		})
	}
}

// TestChainCatalogue keeps the list of a whole model's cases under review.
func TestChainCatalogue(t *testing.T) {
	var text strings.Builder
	seen := map[string]bool{}
	for _, c := range conformance.ChainCatalogue(exporter.DefaultRecipe(), exporter.DefaultLayout(), 2) {
		assert.False(t, seen[c.ID()], "%s stands twice", c.ID())
		seen[c.ID()] = true
		fmt.Fprintf(&text, "%-34s  %s\n", c.ID(), c.Description)
	}
	goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".txt")).Assert(t, "catalogue_chain", []byte(text.String()))
}

// TestChainWithoutGolden: what has nothing to be held against is not measured,
// and blocks are compared with singles all the same.
func TestChainWithoutGolden(t *testing.T) {
	s := smallSubject(t)
	suite, err := conformance.NewChainSuite(context.Background(), conformance.ChainOptions{Dir: s.dir, Plane: s.plane, Prompts: 2, NewTokens: 8})
	require.NoError(t, err)
	defer func() { assert.NoError(t, suite.Close()) }()
	for _, c := range suite.Cases() {
		want := manifest.NotMeasured
		if c.Check == conformance.CheckSpeculation {
			want = manifest.Pass
		}
		assert.Equal(t, want, suite.RunCase(context.Background(), c).Result, c.ID())
	}
}

// smallSubject is a whole synthetic model of three layers, exported.
func smallSubject(t *testing.T) subject {
	t.Helper()
	s := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	source := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(context.Background(), source, synth.Presets()[0].Spec))
	recipe := s.recipe
	s.useCheckpoint(t, "small", source)
	s.recipe, s.layout = recipe, exporter.Layout{2, 1}
	s.recipe.Slots = 112
	s.exportWhole(t)
	return s
}

// TestSpeculation is the promise of the whole project, in numbers: over
// prompts, continuations of 64 tokens and draft sources, speculation gives plain
// greedy decoding's tokens. 200 prompts go through a small model, each with two
// sources in turn, and some through nano; with LOCKSTEP_LONG set 200 go through
// nano, each with every source.
func TestSpeculation(t *testing.T) {
	nano := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	nano.recipe.Slots = 112
	nano.exportWhole(t)
	small := smallSubject(t)
	for _, tt := range []struct {
		name    string
		subject subject
		prompts int
		text    *conformance.Heldout
		vocab   int
	}{
		{"small", small, 200, nil, 96},
		{"nano", nano, 6, heldoutText(t), 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sources := 2
			if long() {
				tt.prompts, sources = 200, len(conformance.DraftSources())
			}
			prompts := conformance.SpeculationPrompts(tt.prompts, tt.text, tt.vocab, 40)
			count := speculate(t, tt.subject, prompts, sources)
			assert.Zero(t, count.Differing, count.First)
			assert.Equal(t, tt.prompts*sources, count.Sequences)
			assert.Equal(t, 64*count.Sequences, count.Tokens)
			for _, source := range conformance.DraftSources() {
				st := count.BySource[source]
				ratio, ok := st.TokensPerPass()
				assert.True(t, ok)
				t.Logf("%s, drafts %s: %d tokens, %d drafted, %d accepted, %.3f tokens per pass", tt.name, source, st.Tokens, st.Drafted, st.Accepted, ratio)
			}
			t.Logf("%s: %d prompts, %d sequences, %d tokens: %d differ", tt.name, tt.prompts, count.Sequences, count.Tokens, count.Differing)
			right, _ := count.BySource["right"].TokensPerPass()
			assert.Greater(t, right, 3.5, "right drafts fill the blocks")
			assert.Zero(t, count.BySource["wrong"].Accepted)
		})
	}
}

// speculate shares prompts among two workers, each with a model of its own, and
// takes the sources in turn.
func speculate(t *testing.T, s subject, prompts [][]int, sources int) conformance.SpeculationCount {
	t.Helper()
	names := conformance.DraftSources()
	var total conformance.SpeculationCount
	var mu sync.Mutex
	var wg sync.WaitGroup
	const workers = 2
	for w := range workers {
		m := s.openChain(t)
		begin := func(ctx context.Context) (decode.Passer, error) {
			c, err := m.NewCache()
			if err != nil {
				return nil, err
			}
			return c.Program(ctx, 4)
		}
		wg.Go(func() {
			for i := w; i < len(prompts); i += workers {
				run := conformance.Speculation{Plain: begin, Judged: begin, Prompts: prompts[i : i+1], Tokens: 64}
				for k := range sources {
					run.Sources = append(run.Sources, names[(i*sources+k)%len(names)])
				}
				count, err := run.Run(context.Background())
				assert.NoError(t, err)
				mu.Lock()
				total.Merge(count)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total
}

// beginOf begins sequences of a chain with both functions.
func beginOf(m *decode.Model) decode.Begin {
	return func(ctx context.Context) (block, single decode.Passer, err error) {
		c, err := m.NewCache()
		if err != nil {
			return nil, nil, err
		}
		if block, err = c.Program(ctx, 4); err != nil {
			return nil, nil, err
		}
		single, err = c.Program(ctx, 1)
		return block, single, err
	}
}

// TestDriftingBlocks: on a plane whose block function drifts from the singles',
// deciding by both changes tokens, which is seen and labelled: the audit finds
// the first one, with and without a guard.
func TestDriftingBlocks(t *testing.T) {
	s := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	s.recipe.Slots, s.plane = 96, drifting{Plane: s.plane, bound: 0.02, caches: true}
	s.exportWhole(t)
	begin := beginOf(s.openChain(t))
	text := heldoutText(t).Tokens
	calibration, err := decode.Calibrate(context.Background(), begin, "two pieces of held-out text", [][]int{text[3000:3040], text[3500:3540]}, decode.DefaultFactor)
	require.NoError(t, err)
	t.Logf("calibration: %+v", calibration)
	assert.Positive(t, calibration.Difference)
	diverged := map[decode.Mode]int{}
	for i := range driftPrompts {
		prompt := text[200*i : 200*i+20]
		truth := generate(t, begin, decode.Options{Mode: singlesAlone}, prompt, 40)
		for _, opt := range []decode.Options{{Mode: decode.Unguarded}, {Mode: decode.Guarded, Calibration: &calibration}} {
			opt.Draft = decode.DefaultNGram()
			res := generate(t, begin, opt, prompt, 40)
			assert.Equal(t, opt.Mode, res.Mode, "the result is labelled")
			assert.Equal(t, opt.Calibration, res.Calibration)
			if requireAudit(t, begin, opt.Mode, prompt, res, truth.IDs()) {
				diverged[opt.Mode]++
			}
		}
	}
	t.Logf("of %d sequences %d diverged unguarded, %d guarded", driftPrompts, diverged[decode.Unguarded], diverged[decode.Guarded])
	assert.Positive(t, diverged[decode.Unguarded], "the drift must be seen")
	assert.LessOrEqual(t, diverged[decode.Guarded], diverged[decode.Unguarded])
}

// TestOneProgramNeedsItselfAlone: a block function that is off the singles' one
// but agrees with itself decodes exactly: its own plain decoding is the truth.
func TestOneProgramNeedsItselfAlone(t *testing.T) {
	s := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	s.recipe.Slots, s.plane = 96, drifting{Plane: s.plane, bound: 0.02}
	s.exportWhole(t)
	begin := beginOf(s.openChain(t))
	text := heldoutText(t).Tokens
	singles := 0
	for i := range driftPrompts {
		prompt := text[200*i : 200*i+20]
		res := generate(t, begin, decode.Options{Draft: decode.DefaultNGram()}, prompt, 40)
		truth := generate(t, begin, decode.Options{}, prompt, 40)
		assert.Equal(t, truth.IDs(), res.IDs())
		assert.False(t, requireAudit(t, begin, decode.OneProgram, prompt, res, truth.IDs()))
		if !slices.Equal(truth.IDs(), generate(t, begin, decode.Options{Mode: singlesAlone}, prompt, 40).IDs()) {
			singles++
		}
	}
	assert.Positive(t, singles, "the drift must change what the singles' function decides")
}

const driftPrompts = 3

// singlesAlone stands for decoding with the function of one row from the first
// token of the prompt on.
const singlesAlone = decode.Mode("singles")

func generate(t *testing.T, begin decode.Begin, opt decode.Options, prompt []int, n int) *decode.Result {
	t.Helper()
	block, single, err := begin(context.Background())
	require.NoError(t, err)
	switch opt.Mode {
	case singlesAlone:
		block, single, opt.Mode = single, nil, decode.OneProgram
	case "":
		single = nil
	}
	session, err := decode.NewSession(block, single, opt)
	require.NoError(t, err)
	res, err := session.Generate(context.Background(), prompt, n, nil)
	require.NoError(t, err)
	return res
}

// requireAudit holds the audit against the truth and reports a divergence.
func requireAudit(t *testing.T, begin decode.Begin, mode decode.Mode, prompt []int, res *decode.Result, truth []int) bool {
	t.Helper()
	block, single, err := begin(context.Background())
	require.NoError(t, err)
	plain := single
	if mode == decode.OneProgram {
		plain = block
	}
	d, err := decode.Audit(context.Background(), plain, prompt, res.Tokens, nil)
	require.NoError(t, err)
	if slices.Equal(truth, res.IDs()) {
		require.Nil(t, d, "%s", mode)
		return false
	}
	first := 0
	for truth[first] == res.IDs()[first] {
		first++
	}
	require.NotNil(t, d, "%s", mode)
	require.Equal(t, first, d.Index, "%s", mode)
	require.Equal(t, truth[first], d.Want.ID, "%s", mode)
	t.Logf("%s: %s", mode, d)
	return true
}
