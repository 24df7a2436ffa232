package conformance

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"

	"lockstep/conformance/oracle"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// headThreshold is what a precision must keep of an LM head shard: the cosine of
// each token's logits, and the largest difference of any one, in root mean
// squares of all logits that a case wants. A cosine over thousands of logits does
// not see a single wrong one; the difference does.
type headThreshold struct{ cosine, difference float64 }

func headThresholdOf(p exporter.Precision) headThreshold {
	if p == exporter.FP16 {
		return headThreshold{cosine: 0.99999, difference: 0.02}
	}
	return headThreshold{cosine: 0.999, difference: 0.25}
}

// largeInputs scales x so that its squares leave float16.
const largeInputs = 64

// decisive is by how many root mean squares of the differences the largest
// logit must lead, so that rounding has no say in which one it is: 6 are beyond
// what the difference of two such errors comes to among 200,000. (The largest
// difference would not do as the measure: it grows with the very error that is
// looked for.)
const decisive = 6

// headOracleCases hold single passes (or a block with one live row, where the
// package has no t1) against the independent model.
func headOracleCases(rec exporter.Recipe, golden bool) []Case {
	want := headThresholdOf(rec.Precision)
	bound := fmt.Sprintf("cosine per token of the shard's logits at least %g, no logit off by more than %g root mean squares of all, all finite; "+
		"the largest logit is the wanted one wherever its margin exceeds %d root mean squares of the differences found", want.cosine, want.difference, decisive)
	scaled := func(name, what string, tokens int, scale float32) Case {
		return Case{
			Check: CheckOracle, Name: name, Description: what + " against the oracle: " + bound,
			run: func(ctx context.Context, s *Suite) Outcome { return s.headOracle(ctx, name, tokens, scale) },
		}
	}
	cases := []Case{
		scaled("tokens", "single passes over seeded hidden states", 16, 1),
		scaled("small_inputs", fmt.Sprintf("single passes whose hidden states are %g times as large, where the norm's epsilon counts,", smallInputs), 2, smallInputs),
		scaled("large_inputs", fmt.Sprintf("single passes whose hidden states are %d times as large, whose squares leave float16,", largeInputs), 2, largeInputs),
		{
			Check: CheckOracle, Name: "weights",
			Description: "every stored weight is the checkpoint's value of the shard's rows, rounded once: to float16, or to int8 with half a step of its row's scale at most; all functions share it",
			run:         func(ctx context.Context, s *Suite) Outcome { return s.storedHead(ctx) },
		},
	}
	if golden {
		for p := range goldenPrompts {
			cases = append(cases, Case{
				Check: CheckOracle, Name: fmt.Sprintf("golden/prompt=%d", p),
				Description: "single passes over a prompt's hidden states after the last layer against the logits of an independent implementation: " + bound,
				run:         func(ctx context.Context, s *Suite) Outcome { return s.goldenLogits(ctx, p) },
			})
		}
	}
	return cases
}

// headTally gathers what the tokens of a case came to.
type headTally struct {
	want    headThreshold
	worst   headFigures
	tokens  int
	decided int // tokens whose largest logit was compared
	reason  string
}

// headFigures are the worst of a case, or of all cases.
type headFigures struct {
	cosine, difference float64 // as in headThreshold
	maxAbs             float64
}

// worse keeps the worse of each figure; NaN stays.
func (f headFigures) worse(o headFigures) headFigures {
	return headFigures{math.Min(f.cosine, o.cosine), math.Max(f.difference, o.difference), math.Max(f.maxAbs, o.maxAbs)}
}

// headMetrics gathers what is reported of an LM head shard.
type headMetrics struct {
	worst    headFigures
	measured bool
}

func (m *headMetrics) add(f headFigures) {
	if m.measured {
		f = m.worst.worse(f)
	}
	m.worst, m.measured = f, true
}

func (m *headMetrics) figures() []manifest.Metric {
	const most = "maximum over all tokens of the oracle's cases"
	return []manifest.Metric{
		measuredIf(m.measured, "cosine_logits_min", m.worst.cosine, "1", byOracle, "no oracle case ran"),
		measuredIf(m.measured, "max_abs_difference", m.worst.maxAbs, "1", most, "no oracle case ran"),
		measuredIf(m.measured, "max_difference_over_rms", m.worst.difference, "1", most, "no oracle case ran"),
	}
}

// judgeLogits compares tokens' logits with the wanted ones.
func (s *Suite) judgeLogits(got [][]float16.Float16, want [][]float64) Outcome {
	t := headTally{want: headThresholdOf(s.recipe.Precision), worst: headFigures{cosine: math.Inf(1)}, tokens: len(got)}
	unit, noise := rootMeanSquare(want), rootMeanSquare(differences(got, want))
	for i := range got {
		f := logitsAlike(got[i], want[i], unit)
		// NaN compares false, so the condition is written to fail on it.
		if !(f.cosine >= t.want.cosine && f.difference <= t.want.difference) && t.reason == "" {
			t.reason = fmt.Sprintf("token %d: cosine of the logits %.7f (want %g), a logit is off by %.4g root mean squares of all (want at most %g), %.4g",
				i, f.cosine, t.want.cosine, f.difference, t.want.difference, f.maxAbs)
		}
		t.worst = t.worst.worse(f)
	}
	for i := range got {
		best, margin := top(want[i])
		if !(margin > decisive*noise) {
			continue
		}
		t.decided++
		if found := argmax(got[i]); found != best && t.reason == "" {
			t.reason = fmt.Sprintf("token %d: the largest logit is row %d of the vocabulary, want %d, by a margin of %.4g", i, s.shard.Start+found, s.shard.Start+best, margin)
		}
	}
	s.headMetrics.add(t.worst)
	evidence := []manifest.Evidence{
		figure("cosine_logits_min", t.worst.cosine, "1"),
		figure("max_abs_difference", t.worst.maxAbs, "1"),
		figure("max_difference_over_rms", t.worst.difference, "1"),
		figure("tokens", float64(t.tokens), "1"),
		figure("argmax_compared", float64(t.decided), "1"),
	}
	if t.reason != "" {
		return fail(t.reason, evidence...)
	}
	return pass(evidence...)
}

// rootMeanSquare is over all values of all lists.
func rootMeanSquare(lists [][]float64) float64 {
	var sum float64
	n := 0
	for _, list := range lists {
		for _, v := range list {
			sum += v * v
			n++
		}
	}
	return math.Sqrt(sum / float64(n))
}

// differences are got less want.
func differences(got [][]float16.Float16, want [][]float64) [][]float64 {
	out := make([][]float64, len(got))
	for i := range got {
		out[i] = floats(got[i])
		for c := range out[i] {
			out[i][c] -= want[i][c]
		}
	}
	return out
}

// logitsAlike compares one token's logits with the wanted ones; unit is that of
// the difference.
func logitsAlike(got []float16.Float16, want []float64, unit float64) headFigures {
	var gw, gg, ww, off float64
	for i, h := range got {
		g := float64(half.ToFloat32(h))
		gw, gg, ww = gw+g*want[i], gg+g*g, ww+want[i]*want[i]
		off = math.Max(off, math.Abs(g-want[i])) // NaN stays
	}
	return headFigures{cosine: gw / math.Sqrt(gg*ww), difference: off / unit, maxAbs: off}
}

// top is the largest value's index and by how much it exceeds the next.
func top(values []float64) (int, float64) {
	best, next := 0, math.Inf(-1)
	for i, v := range values[1:] {
		if v > values[best] {
			best, next = i+1, values[best]
		} else {
			next = max(next, v)
		}
	}
	return best, values[best] - next
}

// argmax is the first of the largest values.
func argmax(values []float16.Float16) int {
	best := 0
	for i := range values {
		if half.ToFloat32(values[i]) > half.ToFloat32(values[best]) {
			best = i
		}
	}
	return best
}

// oracleHead is the independent LM head, opened once.
func (s *Suite) oracleHead(ctx context.Context) (*oracle.Head, error) {
	if s.logits == nil {
		h, err := oracle.LoadHead(ctx, s.opt.Checkpoint)
		if err != nil {
			return nil, fmt.Errorf("%w: oracle: %w", errHarness, err)
		}
		s.logits = h
	}
	return s.logits, nil
}

// headOracle runs seeded tokens, their hidden states times scale.
func (s *Suite) headOracle(ctx context.Context, name string, tokens int, scale float32) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	head, err := s.oracleHead(ctx)
	if err != nil {
		return broken(err)
	}
	rows := HiddenRows("head oracle x "+name, tokens, s.record.Model.Dims.Hidden)
	xs := make([][]float64, tokens)
	for i, row := range rows {
		for c, h := range row {
			row[c] = half.FromFloat32(scale * half.ToFloat32(h))
		}
		xs[i] = floats(row)
	}
	got, err := s.logitsOf(ctx, rows)
	if err != nil {
		return broken(err)
	}
	want, err := head.LogitsOfRows(ctx, xs, s.shard.Start, s.shard.End)
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	return s.judgeLogits(got, want)
}

// logitsOf runs tokens one at a time.
func (s *Suite) logitsOf(ctx context.Context, rows [][]float16.Float16) ([][]float16.Float16, error) {
	p, err := s.projector(ctx, s.recipe.Rows[0])
	if err != nil {
		return nil, err
	}
	var out [][]float16.Float16
	for i := range rows {
		got, err := p.run(ctx, rows[i:i+1])
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i, err)
		}
		out = append(out, got[0])
	}
	return out, nil
}

// storedHead holds the stored weights against the checkpoint's.
func (s *Suite) storedHead(ctx context.Context) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		compared := 0
		for _, w := range []struct {
			role       checkpoint.Role
			name       string
			first, end int
		}{
			{checkpoint.FinalNorm, contract.FinalNormWeight, 0, 1},
			{checkpoint.LMHead, contract.LogitsWeight, s.shard.Start, s.shard.End},
		} {
			if err := ctx.Err(); err != nil {
				return broken(err)
			}
			t, err := s.opt.Checkpoint.Tensor(w.role, 0)
			if err != nil {
				return broken(fmt.Errorf("%w: %w", errHarness, err))
			}
			n, out := compareStored(p, w.name, tensorRows{Tensor: t, first: w.first, end: w.end})
			if out.Result != manifest.Pass {
				return out
			}
			compared += n
		}
		return pass(figure("weights_compared", float64(compared), "1"))
	})
}

// goldenLogits runs a prompt's hidden states after the last layer.
func (s *Suite) goldenLogits(ctx context.Context, prompt int) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	dims := s.record.Model.Dims
	in, inShape, err := s.opt.Golden.Float32(goldenName(prompt, dims.Layers))
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	out, outShape, err := s.opt.Golden.Float32(goldenLogitsName(prompt))
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	if len(inShape) != 2 || inShape[1] != dims.Hidden || !slices.Equal(outShape, []int{inShape[0], dims.Vocab}) {
		return broken(fmt.Errorf("%w: golden vectors of shape %v and %v, want [tokens, %d] and [tokens, %d]", errHarness, inShape, outShape, dims.Hidden, dims.Vocab))
	}
	tokens := min(inShape[0], tokensPerPrompt)
	rows, want := make([][]float16.Float16, tokens), make([][]float64, tokens)
	for i := range rows {
		rows[i] = make([]float16.Float16, dims.Hidden)
		half.Encode(rows[i], in[i*dims.Hidden:(i+1)*dims.Hidden])
		for _, v := range out[i*dims.Vocab+s.shard.Start : i*dims.Vocab+s.shard.End] {
			want[i] = append(want[i], float64(v))
		}
	}
	got, err := s.logitsOf(ctx, rows)
	if err != nil {
		return broken(err)
	}
	return s.judgeLogits(got, want)
}

// goldenLogitsName is the vector of a prompt's logits.
func goldenLogitsName(prompt int) string { return fmt.Sprintf("p%d.logits", prompt) }

// hasGoldenLogits reports whether the golden vectors have hidden states after
// the last layer, and logits.
func hasGoldenLogits(g Golden, layers int) bool {
	if g == nil {
		return false
	}
	for p := range goldenPrompts {
		for _, name := range []string{goldenName(p, layers), goldenLogitsName(p)} {
			if _, _, err := g.Float32(name); err != nil {
				return false
			}
		}
	}
	return true
}
