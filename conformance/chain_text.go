package conformance

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"lockstep/conformance/oracle"
	"lockstep/coreml/decode"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
)

// perplexityTolerance is how far the perplexity of held-out text may be from
// the independent implementation's, relative to it.
func perplexityTolerance(p exporter.Precision) float64 {
	if p == exporter.FP16 {
		return 0.005
	}
	return 0.02
}

func perplexityCases(rec exporter.Recipe) []ChainCase {
	within := perplexityTolerance(rec.Precision)
	return []ChainCase{
		{
			Check: CheckPerplexity, Name: "blocks",
			Description: fmt.Sprintf("held-out text in blocks: perplexity within %g of the independent implementation's", within),
			run: func(ctx context.Context, s *ChainSuite) Outcome {
				return s.perplexity(ctx, s.readInBlocks)
			},
		},
		{
			Check: CheckPerplexity, Name: "singles",
			Description: "held-out text in singles: each logit and the perplexity are those of blocks, bit for bit",
			run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.singlesText(ctx) },
		},
		{
			Check: CheckPerplexity, Name: "oracle",
			Description: fmt.Sprintf("held-out text by the oracle: the perplexity of blocks is within %g of it; of the whole text, it is the independent implementation's within 1e-4", within),
			run:         func(ctx context.Context, s *ChainSuite) Outcome { return s.oracleText(ctx) },
		},
	}
}

// errNoText means that there is no held-out text.
var errNoText = fmt.Errorf("%w: no held-out text", errNoGolden)

// reading is the held-out text as one way of passing it has it.
type reading struct {
	nll     float64  // summed, nats
	counted int      // tokens
	rows    []uint64 // a hash of every row of logits
	windows []mark   // at the end of each window
}

// mark is how far a reading is.
type mark struct {
	nll     float64
	counted int
}

func (r *reading) perplexity() float64 { return math.Exp(r.nll / float64(r.counted)) }

// add takes the row of logits before the given token.
func (r *reading) add(row []float32, token int) {
	r.nll += negativeLogLikelihood(widen(row), token)
	r.counted++
	h := fnv.New64a()
	buf := make([]byte, 0, 4*len(row))
	for _, v := range row {
		b := math.Float32bits(v)
		buf = append(buf, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
	}
	_, _ = h.Write(buf)
	r.rows = append(r.rows, h.Sum64())
}

// negativeLogLikelihood is -log softmax(row)[token].
func negativeLogLikelihood(row []float64, token int) float64 {
	largest := slices.Max(row)
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(v - largest)
	}
	return math.Log(sum) + largest - row[token]
}

// windows cuts the text, all of it or the part that is compared; each window
// begins with an empty cache.
func (s *ChainSuite) windows(all bool) ([][]int, error) {
	h := s.opt.Heldout
	if h == nil {
		return nil, errNoText
	}
	if h.Window < 2 || h.Window > s.recipe.Slots || len(h.Tokens) < 2 {
		return nil, fmt.Errorf("%w: held-out text of %d tokens in windows of %d, want at least 2 and at most %d slots", errHarness, len(h.Tokens), h.Window, s.recipe.Slots)
	}
	out := slices.Collect(slices.Chunk(h.Tokens, h.Window))
	if !all && h.Compared > 0 {
		out = out[:min(h.Compared, len(out))]
	}
	return out, nil
}

// upTo is the reading of the first n windows.
func (r *reading) upTo(n int) *reading {
	return &reading{nll: r.windows[n-1].nll, counted: r.windows[n-1].counted, rows: r.rows[:r.windows[n-1].counted]}
}

// read takes in the text once by a way of passing.
func (s *ChainSuite) read(ctx context.Context, way string, all bool, pass func(ctx context.Context, ids []int, r *reading) error) (*reading, error) {
	if r, ok := s.text[way]; ok {
		return r, nil
	}
	windows, err := s.windows(all)
	if err != nil {
		return nil, err
	}
	r := &reading{}
	for _, ids := range windows {
		if err := pass(ctx, ids, r); err != nil {
			return nil, err
		}
		r.windows = append(r.windows, mark{r.nll, r.counted})
	}
	s.text[way] = r
	return r, nil
}

func (s *ChainSuite) readInBlocks(ctx context.Context) (*reading, error) {
	return s.read(ctx, "blocks", true, func(ctx context.Context, ids []int, r *reading) error {
		block, _, err := s.begin(ctx)
		if err != nil {
			return err
		}
		return readWith(ctx, block, ids, r)
	})
}

func (s *ChainSuite) readInSingles(ctx context.Context) (*reading, error) {
	return s.read(ctx, "singles", false, func(ctx context.Context, ids []int, r *reading) error {
		_, single, err := s.begin(ctx)
		if err != nil {
			return err
		}
		return readWith(ctx, oneAtATime{single}, ids, r)
	})
}

// readWith passes a window and counts each token but the first.
func readWith(ctx context.Context, p decode.Passer, ids []int, r *reading) error {
	return inBlocks(ctx, p, ids[:len(ids)-1], func(pos int, rows [][]float32) error {
		for t, row := range rows {
			r.add(row, ids[pos+t+1])
		}
		return nil
	})
}

// oneAtATime is a Passer that is given one token at a time.
type oneAtATime struct{ decode.Passer }

func (p oneAtATime) Size() decode.Size {
	size := p.Passer.Size()
	size.Rows = 1
	return size
}

func (s *ChainSuite) perplexity(ctx context.Context, read func(context.Context) (*reading, error)) Outcome {
	r, err := read(ctx)
	if err != nil {
		return unmeasuredOr(err)
	}
	want := math.Exp(s.opt.Heldout.NLL / float64(r.counted))
	within := perplexityTolerance(s.recipe.Precision)
	out := pass(figure("perplexity", r.perplexity(), "1"), figure("perplexity_wanted", want, "1"), figure("tokens", float64(r.counted), "1"))
	if off := math.Abs(r.perplexity()/want - 1); !(off <= within) {
		return fail(fmt.Sprintf("perplexity %.6g is %.3g from %.6g, want at most %g", r.perplexity(), off, want, within), out.Evidence...)
	}
	return out
}

func (s *ChainSuite) singlesText(ctx context.Context) Outcome {
	blocks, err := s.readInBlocks(ctx)
	if err != nil {
		return unmeasuredOr(err)
	}
	singles, err := s.readInSingles(ctx)
	if err != nil {
		return unmeasuredOr(err)
	}
	blocks = blocks.upTo(len(singles.windows))
	differ, first := 0, -1
	for i := range blocks.rows {
		if blocks.rows[i] != singles.rows[i] {
			differ++
			if first < 0 {
				first = i
			}
		}
	}
	out := pass(figure("perplexity", singles.perplexity(), "1"), figure("rows_differing", float64(differ), "1"), figure("rows_compared", float64(len(blocks.rows)), "1"))
	switch {
	case differ > 0:
		return fail(fmt.Sprintf("the logits before counted token %d differ between blocks and singles", first), out.Evidence...)
	case math.Float64bits(blocks.nll) != math.Float64bits(singles.nll):
		return fail(fmt.Sprintf("negative log-likelihood: blocks %v, singles %v", blocks.nll, singles.nll), out.Evidence...)
	}
	return out
}

// oracleText holds the two implementations that share nothing against each
// other, and the chain against the oracle.
func (s *ChainSuite) oracleText(ctx context.Context) Outcome {
	if s.opt.Checkpoint == nil {
		return notMeasured("no checkpoint")
	}
	blocks, err := s.readInBlocks(ctx)
	if err != nil {
		return unmeasuredOr(err)
	}
	windows, err := s.windows(false)
	if err != nil {
		return unmeasuredOr(err)
	}
	nll, err := OracleNLL(ctx, s.opt.Checkpoint, windows)
	if err != nil {
		return broken(fmt.Errorf("oracle: %w", err))
	}
	whole := len(windows) == len(blocks.windows)
	blocks = blocks.upTo(len(windows))
	n := float64(blocks.counted)
	theirs, golden := math.Exp(nll/n), math.Exp(s.opt.Heldout.NLL/n)
	within := perplexityTolerance(s.recipe.Precision)
	out := pass(figure("perplexity_oracle", theirs, "1"), figure("perplexity_blocks", blocks.perplexity(), "1"), figure("windows_compared", float64(len(windows)), "1"))
	switch {
	case whole && !(math.Abs(theirs/golden-1) <= 1e-4):
		return fail(fmt.Sprintf("the oracle's perplexity is %.8g, the independent implementation's %.8g", theirs, golden), out.Evidence...)
	case !(math.Abs(blocks.perplexity()/theirs-1) <= within):
		return fail(fmt.Sprintf("perplexity %.6g in blocks, %.6g by the oracle: want within %g", blocks.perplexity(), theirs, within), out.Evidence...)
	}
	return out
}

// OracleNLL is the negative log-likelihood, in nats, of each window's tokens but
// the first, summed, by the independent model of the checkpoint.
func OracleNLL(ctx context.Context, ck *checkpoint.Checkpoint, windows [][]int) (float64, error) {
	model, err := oracle.Load(ctx, ck, 0, ck.Config().Layers)
	if err != nil {
		return 0, err
	}
	head, err := oracle.LoadHead(ctx, ck)
	if err != nil {
		return 0, err
	}
	nll := 0.0
	for _, ids := range windows {
		cache := model.NewCache(len(ids))
		for pos, id := range ids[:len(ids)-1] {
			x, err := head.Embed(id)
			if err != nil {
				return 0, err
			}
			if x, err = model.Forward(ctx, x, pos, cache); err != nil {
				return 0, err
			}
			logits, err := head.Logits(ctx, x)
			if err != nil {
				return 0, err
			}
			nll += negativeLogLikelihood(logits, ids[pos+1])
		}
	}
	return nll, nil
}
