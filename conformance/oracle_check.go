package conformance

import (
	"context"
	"fmt"
	"math"

	"github.com/x448/float16"

	"lockstep/conformance/oracle"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// Golden are vectors of an independent implementation, by name.
type Golden interface {
	// Float32 returns a vector's values, row-major, and its shape.
	Float32(name string) ([]float32, []int, error)
}

// goldenPrompts is how many prompts the golden vectors have.
const goldenPrompts = 3

// tokensPerPrompt bounds the tokens that the sequential cases run.
const tokensPerPrompt = 32

// threshold is what a precision must keep per token: the cosine of hidden, and
// of hidden - x, since the residual hides much.
type threshold struct{ hidden, delta float64 }

// int8's rounding is a fresh error in each layer. Errors that do not depend on
// each other add by their squares, and so does 1 - cosine, half the square of an
// angle: a deeper shard may lose in proportion to its layers what the two of the
// tail may. The one record of the real model has .99976 with 2 layers and .99855
// with 20; nano's worst token has .9984 with 6, and its float16 package .99998.
func thresholdOf(p exporter.Precision, layers int) threshold {
	switch p {
	case exporter.FP16:
		return threshold{hidden: 0.9999, delta: 0.999}
	case fewBits:
		return threshold{hidden: 0.995, delta: 0.97}
	}
	depth := float64(max(2, layers)) / 2
	least := func(loss float64) float64 { return max(0, math.Round((1-loss*depth)*1e6)/1e6) }
	return threshold{hidden: least(0.001), delta: least(0.01)}
}

// oracleCases hold the singles (or a block with one live row, where the
// package has no t1) against the independent model. weights are the cases that
// hold what is stored against the checkpoint; where passes is another precision
// than the recipe's, the passes are held against the stored weights.
func oracleCases(rec exporter.Recipe, layers int, passes exporter.Precision, golden bool, weights []Case) []Case {
	var cases []Case
	want := thresholdOf(passes, layers)
	against := "the oracle: "
	if passes != rec.Precision {
		against = "the oracle over the weights that the package stores: "
	}
	bound := against + fmt.Sprintf("cosine per token of hidden at least %g, of hidden - x and of every layer's new keys and values at least %g, all finite; other slots untouched",
		want.hidden, want.delta)
	for _, pos := range singleSpots(rec.Slots) {
		cases = append(cases, Case{
			Check: CheckOracle, Name: fmt.Sprintf("seeded_cache/pos=%d", pos),
			Description: "one pass over seeded keys and values against " + bound,
			run:         func(ctx context.Context, s *Suite) Outcome { return s.seededOracle(ctx, pos, 1) },
		})
	}
	cases = append(cases, Case{
		Check: CheckOracle, Name: "small_inputs",
		Description: fmt.Sprintf("one pass whose x is %g times as large, where the norm's epsilon counts, against %s", smallInputs, bound),
		run:         func(ctx context.Context, s *Suite) Outcome { return s.seededOracle(ctx, 0, smallInputs) },
	})
	cases = append(cases, Case{
		Check: CheckOracle, Name: "from_empty",
		Description: "single passes from an empty cache against " + bound,
		run:         func(ctx context.Context, s *Suite) Outcome { return s.sequentialOracle(ctx) },
	})
	cases = append(cases, weights...)
	if golden {
		want := thresholdOf(rec.Precision, layers)
		for p := range goldenPrompts {
			cases = append(cases, Case{
				Check: CheckOracle, Name: fmt.Sprintf("golden/prompt=%d", p),
				Description: fmt.Sprintf("single passes against the golden vectors of an independent implementation: cosine per token of hidden at least %g, of hidden - x at least %g", want.hidden, want.delta),
				run:         func(ctx context.Context, s *Suite) Outcome { return s.goldenOracle(ctx, p) },
			})
		}
	}
	return cases
}

// noCheckpoint is the oracle's outcome without anything to compute from.
func (s *Suite) noCheckpoint() (Outcome, bool) {
	if s.opt.Checkpoint == nil {
		return notMeasured("no checkpoint"), true
	}
	return Outcome{}, false
}

// likeness is how close one token's hidden states are to the wanted ones.
type likeness struct {
	hidden, delta float64 // cosines
	maxAbs        float64
}

// alike compares got with want, both after the shard whose input was x.
func alike(got []float16.Float16, want, x []float64) likeness {
	l := likeness{}
	var gw, gg, ww, dgdw, dgdg, dwdw float64
	for i, h := range got {
		g, w := float64(half.ToFloat32(h)), want[i]
		gw, gg, ww = gw+g*w, gg+g*g, ww+w*w
		dg, dw := g-x[i], w-x[i]
		dgdw, dgdg, dwdw = dgdw+dg*dw, dgdg+dg*dg, dwdw+dw*dw
		l.maxAbs = max(l.maxAbs, math.Abs(g-w))
	}
	l.hidden, l.delta = gw/math.Sqrt(gg*ww), dgdw/math.Sqrt(dgdg*dwdw)
	return l
}

// tally gathers likenesses of a case and remembers the first token below the
// threshold.
type tally struct {
	want   threshold
	worst  likeness
	tokens int
	reason string
}

func (s *Suite) newTally(p exporter.Precision) *tally {
	return &tally{want: thresholdOf(p, s.opt.Layers.Len()), worst: likeness{hidden: math.Inf(1), delta: math.Inf(1)}}
}

func (t *tally) add(where string, l likeness) {
	t.tokens++
	// NaN compares false, so the conditions are written to fail on it.
	if !(l.hidden >= t.want.hidden && l.delta >= t.want.delta) && t.reason == "" {
		t.reason = fmt.Sprintf("%s: cosine of hidden %.7f (want %g), of hidden - x %.7f (want %g), max |difference| %.4g",
			where, l.hidden, t.want.hidden, l.delta, t.want.delta, l.maxAbs)
	}
	t.worst.hidden, t.worst.delta = min(t.worst.hidden, l.hidden), min(t.worst.delta, l.delta)
	t.worst.maxAbs = max(t.worst.maxAbs, l.maxAbs)
}

func (t *tally) outcome(s *Suite) Outcome {
	s.metrics.cosine(t.worst)
	evidence := []manifest.Evidence{
		figure("cosine_hidden_min", t.worst.hidden, "1"),
		figure("cosine_hidden_minus_x_min", t.worst.delta, "1"),
		figure("max_abs_difference", t.worst.maxAbs, "1"),
		figure("tokens", float64(t.tokens), "1"),
	}
	if t.reason != "" {
		return fail(t.reason, evidence...)
	}
	return pass(evidence...)
}

// smallInputs scales x so that mean(x^2) is near the usual epsilon of 1e-5.
const smallInputs = 1.0 / 256

// seededOracle runs one token at pos, its hidden states times scale (a power
// of two), over seeded keys and values.
func (s *Suite) seededOracle(ctx context.Context, pos int, scale float32) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	model, err := s.oracle(ctx)
	if err != nil {
		return broken(err)
	}
	d, err := s.driver(ctx, s.recipe.Rows[0])
	if err != nil {
		return broken(err)
	}
	seed := s.seed(seededStates, d.fn.Signature())
	st, err := d.newState(seed)
	if err != nil {
		return broken(err)
	}
	rows := s.oracleToken(pos)
	for i, h := range rows[0] {
		rows[0][i] = half.FromFloat32(scale * half.ToFloat32(h))
	}
	got, err := d.run(ctx, st, pos, rows)
	if err != nil {
		return broken(err)
	}
	cache, err := s.seededCache(model, seed)
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	x := floats(rows[0])
	want, err := model.Forward(ctx, x, pos, cache)
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	t := s.newTally(s.passPrecision())
	t.add(fmt.Sprintf("pos=%d", pos), alike(got[0], want, x))
	return s.withCaches(t.outcome(s), d, st, cache, seed, pos, pos+1)
}

// oracleToken is the hidden state of the token that is run at pos over seeded
// keys and values.
func (s *Suite) oracleToken(pos int) [][]float16.Float16 {
	return HiddenRows(fmt.Sprintf("oracle x pos=%d", pos), 1, s.record.Model.Dims.Hidden)
}

// oracleSequence are the hidden states of tokens that are run from an empty
// cache.
func (s *Suite) oracleSequence() [][]float16.Float16 {
	return HiddenRows("oracle sequence", min(8, s.recipe.Slots), s.record.Model.Dims.Hidden)
}

// seededCache is the oracle's cache with the same content as the states.
func (s *Suite) seededCache(model *oracle.Model, seed snapshot) (*oracle.Cache, error) {
	cache := model.NewCache(s.recipe.Slots)
	for i := range s.opt.Layers.Len() {
		layer := s.opt.Layers.Start + i
		if err := cache.SetHalf(oracle.K, layer, seed[contract.KState(i)]); err != nil {
			return nil, err
		}
		if err := cache.SetHalf(oracle.V, layer, seed[contract.VState(i)]); err != nil {
			return nil, err
		}
	}
	return cache, nil
}

// sequentialOracle runs tokens one after another from an empty cache.
func (s *Suite) sequentialOracle(ctx context.Context) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	model, err := s.oracle(ctx)
	if err != nil {
		return broken(err)
	}
	d, err := s.driver(ctx, s.recipe.Rows[0])
	if err != nil {
		return broken(err)
	}
	st, err := d.newState(nil)
	if err != nil {
		return broken(err)
	}
	rows := s.oracleSequence()
	cache := model.NewCache(s.recipe.Slots)
	out := s.sequence(ctx, s.passPrecision(), d, st, rows, func(i int, x []float64) ([]float64, error) { return model.Forward(ctx, x, i, cache) })
	return s.withCaches(out, d, st, cache, nil, 0, len(rows))
}

// withCaches adds to a passed outcome what the states say: the slots [from, to)
// hold the oracle's keys and values, and every other slot what it held before
// (seed, or zeros where that is nil).
func (s *Suite) withCaches(out Outcome, d *driver, st coreml.State, cache *oracle.Cache, seed snapshot, from, to int) Outcome {
	if out.Result != manifest.Pass {
		return out
	}
	got, err := s.seed(seededStates, d.fn.Signature()).read(st)
	if err != nil {
		return broken(err)
	}
	c := cacheTally{want: thresholdOf(s.passPrecision(), s.opt.Layers.Len()).delta, worst: math.Inf(1)}
	for i := range s.opt.Layers.Len() {
		for _, kind := range []oracle.Kind{oracle.K, oracle.V} {
			name := contract.KState(i)
			if kind == oracle.V {
				name = contract.VState(i)
			}
			want, err := cache.Values(kind, s.opt.Layers.Start+i)
			if err != nil {
				return broken(fmt.Errorf("%w: %w", errHarness, err))
			}
			for slot := range s.recipe.Slots {
				if slot >= from && slot < to {
					c.written(name, slot, s.slotAlike(got[name], want, slot))
				} else {
					c.kept(name, slot, s.slotKept(got[name], seed[name], slot))
				}
			}
		}
	}
	out.Evidence = append(out.Evidence, figure("cosine_keys_values_min", c.worst, "1"))
	if c.reason != "" {
		return fail(c.reason, out.Evidence...)
	}
	return out
}

// cacheTally gathers what the states' slots came to.
type cacheTally struct {
	want, worst float64
	reason      string
}

// written judges a slot that a pass should have written.
func (c *cacheTally) written(state string, slot int, cosine float64) {
	c.worst = min(c.worst, cosine)
	if !(cosine >= c.want) && c.reason == "" {
		c.reason = fmt.Sprintf("state %s: slot %d: cosine %.7f (want %g)", state, slot, cosine, c.want)
	}
}

// kept judges a slot that no pass should have touched.
func (c *cacheTally) kept(state string, slot int, same bool) {
	if !same && c.reason == "" {
		c.reason = fmt.Sprintf("state %s: slot %d was changed, though no token was written there", state, slot)
	}
}

// slotKept reports whether one slot of every head holds what it held, bit for
// bit; a nil before stands for zeros.
func (s *Suite) slotKept(got, before []float16.Float16, slot int) bool {
	dims := s.record.Model.Dims
	for head := range dims.KVHeads {
		at := (head*s.recipe.Slots + slot) * dims.HeadDim
		for i := at; i < at+dims.HeadDim; i++ {
			if before == nil && got[i]&0x7FFF != 0 || before != nil && got[i] != before[i] {
				return false
			}
		}
	}
	return true
}

// slotAlike is the cosine of one slot over all heads.
func (s *Suite) slotAlike(got []float16.Float16, want []float64, slot int) float64 {
	dims := s.record.Model.Dims
	var gw, gg, ww float64
	for head := range dims.KVHeads {
		at := (head*s.recipe.Slots + slot) * dims.HeadDim
		for i := at; i < at+dims.HeadDim; i++ {
			g := float64(half.ToFloat32(got[i]))
			gw, gg, ww = gw+g*want[i], gg+g*g, ww+want[i]*want[i]
		}
	}
	return gw / math.Sqrt(gg*ww)
}

// sequence runs tokens one after another and compares each with want, to the
// thresholds of p.
func (s *Suite) sequence(ctx context.Context, p exporter.Precision, d *driver, st coreml.State, rows [][]float16.Float16, want func(i int, x []float64) ([]float64, error)) Outcome {
	t := s.newTally(p)
	for i := range rows {
		got, err := d.run(ctx, st, i, rows[i:i+1])
		if err != nil {
			return broken(fmt.Errorf("pos=%d: %w", i, err))
		}
		x := floats(rows[i])
		w, err := want(i, x)
		if err != nil {
			return broken(fmt.Errorf("%w: %w", errHarness, err))
		}
		t.add(fmt.Sprintf("pos=%d", i), alike(got[0], w, x))
	}
	return t.outcome(s)
}

// goldenOracle runs a prompt's hidden states through the shard.
func (s *Suite) goldenOracle(ctx context.Context, prompt int) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	rows, err := s.goldenTokens(prompt)
	if err != nil {
		return broken(err)
	}
	out, shape, err := s.opt.Golden.Float32(goldenName(prompt, s.opt.Layers.End))
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	hidden := s.record.Model.Dims.Hidden
	if len(shape) != 2 || shape[1] != hidden || shape[0] < len(rows) {
		return broken(fmt.Errorf("%w: golden vectors of shape %v after the shard, want [tokens, %d] with a token for each of %d before it", errHarness, shape, hidden, len(rows)))
	}
	d, err := s.driver(ctx, s.recipe.Rows[0])
	if err != nil {
		return broken(err)
	}
	st, err := d.newState(nil)
	if err != nil {
		return broken(err)
	}
	return s.sequence(ctx, s.recipe.Precision, d, st, rows, func(i int, _ []float64) ([]float64, error) {
		want := make([]float64, hidden)
		for c := range want {
			want[c] = float64(out[i*hidden+c])
		}
		return want, nil
	})
}

// goldenTokens are a prompt's hidden states before the shard.
func (s *Suite) goldenTokens(prompt int) ([][]float16.Float16, error) {
	in, shape, err := s.opt.Golden.Float32(goldenName(prompt, s.opt.Layers.Start))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHarness, err)
	}
	hidden := s.record.Model.Dims.Hidden
	if len(shape) != 2 || shape[1] != hidden {
		return nil, fmt.Errorf("%w: golden vectors of shape %v before the shard, want [tokens, %d]", errHarness, shape, hidden)
	}
	rows := make([][]float16.Float16, min(shape[0], tokensPerPrompt, s.recipe.Slots))
	for i := range rows {
		rows[i] = make([]float16.Float16, hidden)
		half.Encode(rows[i], in[i*hidden:(i+1)*hidden])
	}
	return rows, nil
}

// goldenName is the vector of a prompt's hidden states at a layer border.
func goldenName(prompt, layer int) string {
	if layer == 0 {
		return fmt.Sprintf("p%d.embed", prompt)
	}
	return fmt.Sprintf("p%d.hidden%d", prompt, layer)
}

// hasGolden reports whether the golden vectors reach both ends of the range.
func hasGolden(g Golden, layers exporter.Range) bool {
	if g == nil {
		return false
	}
	for p := range goldenPrompts {
		for _, layer := range []int{layers.Start, layers.End} {
			if _, _, err := g.Float32(goldenName(p, layer)); err != nil {
				return false
			}
		}
	}
	return true
}

func floats(h []float16.Float16) []float64 {
	out := make([]float64, len(h))
	for i := range h {
		out[i] = float64(half.ToFloat32(h[i]))
	}
	return out
}
