package conformance

import (
	"context"
	"fmt"
	"math"
	"path"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml/decode"
	"lockstep/exporter"
)

// chainThreshold is what a precision must keep through the whole model, per
// token: the cosine of hidden after any shard, and of the logits.
type chainThreshold struct{ hidden, logits float64 }

func chainThresholdOf(p exporter.Precision) chainThreshold {
	if p == exporter.FP16 {
		return chainThreshold{hidden: 0.9999, logits: 0.9999}
	}
	return chainThreshold{hidden: 0.9995, logits: 0.9995}
}

// chainPrompt is a golden prompt as it went through the chain in blocks.
type chainPrompt struct {
	ids    []int
	hidden map[int][][]float16.Float16 // after the shard that ends at a layer, by token
	logits [][]float32                 // by token
}

// prompt runs a golden prompt, once.
func (s *ChainSuite) prompt(ctx context.Context, index int) (*chainPrompt, error) {
	if p, ok := s.prompts[index]; ok {
		return p, nil
	}
	ids, err := s.goldenIDs(fmt.Sprintf("p%d.ids", index))
	if err != nil {
		return nil, err
	}
	block, _, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	s.recorder.hidden = map[string][]float16.Float16{}
	defer func() { s.recorder.hidden = nil }()
	p := &chainPrompt{ids: ids, hidden: map[int][][]float16.Float16{}}
	t := s.block()
	err = inBlocks(ctx, block, ids, func(pos int, rows [][]float32) error {
		for _, row := range rows {
			p.logits = append(p.logits, slices.Clone(row))
		}
		for _, shard := range s.record.Shards {
			out, ok := s.recorder.hidden[path.Base(shard.Package.Path)]
			if ok {
				p.hidden[shard.End] = append(p.hidden[shard.End], columns(out, t, len(rows))...)
			}
		}
		return nil
	})
	s.prompts[index] = p
	return p, err
}

// inBlocks passes ids from an empty cache, in blocks as large as they may be.
func inBlocks(ctx context.Context, p decode.Passer, ids []int, observe func(pos int, rows [][]float32) error) error {
	for pos := 0; pos < len(ids); {
		n := min(p.Size().Rows, len(ids)-pos)
		rows, err := p.Pass(ctx, pos, ids[pos:pos+n])
		if err != nil {
			return err
		}
		if err := observe(pos, rows); err != nil {
			return err
		}
		pos += n
	}
	return nil
}

// goldenIDs are a golden vector's tokens.
func (s *ChainSuite) goldenIDs(name string) ([]int, error) {
	if s.opt.Golden == nil {
		return nil, errNoGolden
	}
	values, err := s.opt.Golden.Int32(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHarness, err)
	}
	ids := make([]int, len(values))
	for i, v := range values {
		ids[i] = int(v)
	}
	return ids, nil
}

// goldenRows are a golden vector of one row per token.
func (s *ChainSuite) goldenRows(name string, tokens, width int) ([][]float32, error) {
	if s.opt.Golden == nil {
		return nil, errNoGolden
	}
	values, shape, err := s.opt.Golden.Float32(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHarness, err)
	}
	if len(shape) != 2 || shape[0] != tokens || shape[1] != width {
		return nil, fmt.Errorf("%w: golden vector %s has shape %v, want [%d %d]", errHarness, name, shape, tokens, width)
	}
	return slices.Collect(slices.Chunk(values, width)), nil
}

// layerCases hold hidden states after each shard against golden vectors.
func layerCases(rec exporter.Recipe, layout []int) []ChainCase {
	want := chainThresholdOf(rec.Precision).hidden
	var cases []ChainCase
	for prompt := range goldenPrompts {
		end := 0
		for _, n := range layout {
			end += n
			after := end
			cases = append(cases, ChainCase{
				Check: CheckLayers, Name: fmt.Sprintf("after=%d/prompt=%d", after, prompt),
				Description: fmt.Sprintf("hidden after the shard that ends at the layer, in blocks from token ids, against golden vectors: cosine per token at least %g", want),
				run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.hiddenAfter(ctx, prompt, after) },
			})
		}
	}
	return cases
}

func (s *ChainSuite) hiddenAfter(ctx context.Context, prompt, layer int) Outcome {
	p, err := s.prompt(ctx, prompt)
	if err != nil {
		return unmeasuredOr(err)
	}
	want, err := s.goldenRows(goldenName(prompt, layer), len(p.ids), s.record.Model.Dims.Hidden)
	if err != nil {
		return unmeasuredOr(err)
	}
	got := make([][]float64, len(p.ids))
	for i, row := range p.hidden[layer] {
		got[i] = floats(row)
	}
	l := newLikeness(chainThresholdOf(s.recipe.Precision).hidden)
	for i := range want {
		l.add(fmt.Sprintf("token %d", i), got[i], want[i])
	}
	return l.outcome("hidden")
}

// vectorLikeness gathers how close vectors are, and the first too far away.
type vectorLikeness struct {
	least  float64 // cosine wanted
	worst  float64
	maxAbs float64
	tokens int
	reason string
}

func newLikeness(least float64) *vectorLikeness { return &vectorLikeness{least: least, worst: 1} }

func (l *vectorLikeness) add(where string, got []float64, want []float32) {
	if len(got) != len(want) {
		l.worst, l.reason = math.NaN(), fmt.Sprintf("%s: want %d values, found %d", where, len(want), len(got))
		return
	}
	var gw, gg, ww float64
	for i, g := range got {
		w := float64(want[i])
		gw, gg, ww = gw+g*w, gg+g*g, ww+w*w
		l.maxAbs = math.Max(l.maxAbs, math.Abs(g-w))
	}
	cosine := gw / math.Sqrt(gg*ww)
	l.tokens++
	l.worst = math.Min(l.worst, cosine)
	if !(cosine >= l.least) && l.reason == "" { // written to fail on NaN
		l.reason = fmt.Sprintf("%s: cosine %.7f, want %g", where, cosine, l.least)
	}
}

func (l *vectorLikeness) outcome(what string) Outcome {
	out := pass(figure("cosine_min", l.worst, "1"), figure("max_abs_difference", l.maxAbs, "1"), figure("tokens_compared", float64(l.tokens), "1"))
	if l.reason != "" {
		return fail(what+": "+l.reason, out.Evidence...)
	}
	return out
}

// logitsCases hold logits against golden vectors and blocks against singles.
func logitsCases(rec exporter.Recipe) []ChainCase {
	want := chainThresholdOf(rec.Precision).logits
	var cases []ChainCase
	for prompt := range goldenPrompts {
		cases = append(cases, ChainCase{
			Check: CheckLogits, Name: fmt.Sprintf("golden/prompt=%d", prompt),
			Description: fmt.Sprintf("logits of each token against golden vectors: cosine at least %g", want),
			run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.goldenLogits(ctx, prompt) },
		}, ChainCase{
			Check: CheckLogits, Name: fmt.Sprintf("block_vs_singles/prompt=%d", prompt),
			Description: "logits of each token are those of single passes through the whole model, bit for bit",
			run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.blockLogits(ctx, prompt) },
		})
	}
	return cases
}

func (s *ChainSuite) goldenLogits(ctx context.Context, prompt int) Outcome {
	l, err := s.logitsLikeness(ctx, prompt)
	if err != nil {
		return unmeasuredOr(err)
	}
	return l.outcome("logits")
}

func (s *ChainSuite) logitsLikeness(ctx context.Context, prompt int) (*vectorLikeness, error) {
	p, err := s.prompt(ctx, prompt)
	if err != nil {
		return nil, err
	}
	want, err := s.goldenRows(fmt.Sprintf("p%d.logits", prompt), len(p.ids), s.record.Model.Dims.Vocab)
	if err != nil {
		return nil, err
	}
	l := newLikeness(chainThresholdOf(s.recipe.Precision).logits)
	for i, row := range p.logits {
		l.add(fmt.Sprintf("token %d", i), widen(row), want[i])
	}
	return l, nil
}

func widen(row []float32) []float64 {
	out := make([]float64, len(row))
	for i, v := range row {
		out[i] = float64(v)
	}
	return out
}

func (s *ChainSuite) blockLogits(ctx context.Context, prompt int) Outcome {
	p, err := s.prompt(ctx, prompt)
	if err != nil {
		return unmeasuredOr(err)
	}
	_, single, err := s.begin(ctx)
	if err != nil {
		return broken(err)
	}
	differ, reason := 0, ""
	for pos := range p.ids {
		rows, err := single.Pass(ctx, pos, p.ids[pos:pos+1])
		if err != nil {
			return broken(err)
		}
		for id, v := range rows[0] {
			if math.Float32bits(v) == math.Float32bits(p.logits[pos][id]) {
				continue
			}
			differ++
			if reason == "" {
				reason = fmt.Sprintf("token %d, id %d: block %v, single %v", pos, id, p.logits[pos][id], v)
			}
		}
	}
	evidence := figure("logits_differing", float64(differ), "1")
	if reason != "" {
		return fail(reason, evidence)
	}
	return pass(evidence, figure("logits_compared", float64(len(p.ids)*s.record.Model.Dims.Vocab), "1"))
}

// goldenSequences is how many greedy continuations the golden vectors have.
const goldenSequences = 8

// greedyCases hold the greedy choice against golden continuations.
func greedyCases() []ChainCase {
	var cases []ChainCase
	for i := range goldenSequences {
		cases = append(cases, ChainCase{
			Check: CheckGreedy, Name: fmt.Sprintf("golden/sequence=%d", i),
			Description: "along a golden greedy continuation the largest logit is its token, wherever its margin is above twice the largest logit error of the golden prompts; at least a quarter of the tokens",
			run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.goldenGreedy(ctx, i) },
		})
	}
	return cases
}

// logitError is the largest difference of a logit to the golden prompts'.
func (s *ChainSuite) logitError(ctx context.Context) (float64, error) {
	worst := 0.0
	for prompt := range goldenPrompts {
		l, err := s.logitsLikeness(ctx, prompt)
		if err != nil {
			return 0, err
		}
		worst = math.Max(worst, l.maxAbs)
	}
	return worst, nil
}

// goldenGreedy follows a golden continuation in blocks.
func (s *ChainSuite) goldenGreedy(ctx context.Context, index int) Outcome {
	limit, err := s.logitError(ctx)
	if err != nil {
		return unmeasuredOr(err)
	}
	limit *= 2 // the first logit may fall by the error, the second rise
	g, err := s.continuation(index)
	if err != nil {
		return unmeasuredOr(err)
	}
	block, _, err := s.begin(ctx)
	if err != nil {
		return broken(err)
	}
	compared, agreed, reason := 0, 0, ""
	ids := slices.Concat(g.prompt, g.tokens[:len(g.tokens)-1])
	err = inBlocks(ctx, block, ids, func(pos int, rows [][]float32) error {
		for t, row := range rows {
			i := pos + t - (len(g.prompt) - 1)
			if i < 0 {
				continue
			}
			best := lowestArgmax(row)
			if best == g.tokens[i] {
				agreed++
			}
			if !(float64(g.margins[i]) > limit) {
				continue
			}
			compared++
			if best != g.tokens[i] && reason == "" {
				reason = fmt.Sprintf("token %d: want %d, whose golden margin is %.4g (error %.4g), found %d", i, g.tokens[i], g.margins[i], limit/2, best)
			}
		}
		return nil
	})
	if err != nil {
		return broken(err)
	}
	out := pass(figure("tokens_compared", float64(compared), "1"), figure("tokens_equal", float64(agreed), "1"), figure("margin_wanted", limit, "1"))
	if 4*compared < len(g.tokens) && reason == "" {
		reason = fmt.Sprintf("only %d of %d golden margins are above %.4g: want at least a quarter", compared, len(g.tokens), limit)
	}
	if reason != "" {
		return fail(reason, out.Evidence...)
	}
	return out
}

// continuation is one golden greedy continuation.
type continuation struct {
	prompt, tokens []int
	margins        []float32
}

func (s *ChainSuite) continuation(index int) (c continuation, err error) {
	name := fmt.Sprintf("greedy%d.", index)
	if c.prompt, err = s.goldenIDs(name + "prompt"); err != nil {
		return c, err
	}
	if c.tokens, err = s.goldenIDs(name + "tokens"); err != nil {
		return c, err
	}
	if c.margins, _, err = s.opt.Golden.Float32(name + "margins"); err != nil {
		return c, fmt.Errorf("%w: %w", errHarness, err)
	}
	if len(c.prompt) == 0 || len(c.tokens) == 0 || len(c.margins) != len(c.tokens) {
		return c, fmt.Errorf("%w: golden continuation %d has %d prompt tokens, %d tokens and %d margins", errHarness, index, len(c.prompt), len(c.tokens), len(c.margins))
	}
	return c, nil
}

// lowestArgmax is the id of the largest logit, of equal ones the lowest: the
// suite's own reading of the rule that sessions are held against.
func lowestArgmax(row []float32) int {
	best := 0
	for id, v := range row {
		if v > row[best] {
			best = id
		}
	}
	return best
}
