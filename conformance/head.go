package conformance

import (
	"context"
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/contract"
)

// HeadCatalogue is Catalogue of an LM head shard.
func HeadCatalogue(rec exporter.Recipe, hidden int, golden bool) []Case {
	return headCatalogue(rec, hidden, golden)
}

func headCatalogue(rec exporter.Recipe, hidden int, golden bool) []Case {
	return slices.Concat(
		packageCases(),
		coverageCases(),
		headLintCases(hidden),
		equivalenceCases(rec.Rows, 0),
		headOracleCases(rec, golden),
		headParityCases(rec),
		residencyCases(rec),
	)
}

// coverageCases look beyond the shard: a vocabulary with a gap or an overlap is
// no vocabulary, though each of its shards is sound.
func coverageCases() []Case {
	return []Case{{
		Check: CheckPackage, Name: "coverage",
		Description: "the record's LM head shards cover the vocabulary exactly: each row is in one of them",
		run:         func(_ context.Context, s *Suite) Outcome { return s.coversVocabulary() },
	}}
}

func (s *Suite) coversVocabulary() Outcome {
	at, vocab := 0, s.record.Model.Dims.Vocab
	gap := func(to int) Outcome {
		return failf("rows %d:%d of the vocabulary are in no LM head shard of the record; lockstep export --head makes them all", at, to)
	}
	for _, h := range s.record.LMHead { // sorted, and none overlaps another
		if h.Start != at {
			return gap(h.Start)
		}
		at = h.End
	}
	if at != vocab {
		return gap(vocab)
	}
	return pass(figure("lm_head_shards", float64(len(s.record.LMHead)), "1"), figure("vocabulary_rows", float64(vocab), "1"))
}

// projector runs one function of an LM head shard. A pass depends on its hidden
// states alone.
type projector struct {
	fn   coreml.Function
	st   coreml.State
	rows int
	in   coreml.Tensor // hidden [1, C, T, 1]
	out  coreml.Tensor // logits [1, rows of the vocabulary, T, 1]
}

// projector opens the function of t rows, once.
func (s *Suite) projector(ctx context.Context, t int) (*projector, error) {
	if p, ok := s.projectors[t]; ok {
		return p, nil
	}
	fn, err := s.function(ctx, t)
	if err != nil {
		return nil, err
	}
	p, err := newProjector(fn, s.pkg, t, s.record.Model.Dims.Hidden, s.opt.Vocab.Len())
	if err != nil {
		return nil, err
	}
	s.projectors[t] = p
	return p, nil
}

func newProjector(fn coreml.Function, pkg coreml.Package, t, hidden, vocab int) (*projector, error) {
	st, err := pkg.NewState() // without a value in it
	if err != nil {
		return nil, err
	}
	tensor := func(channels int) coreml.Tensor {
		return coreml.Tensor{Shape: []int{1, channels, t, 1}, Data: make([]float16.Float16, channels*t)}
	}
	return &projector{fn: fn, st: st, rows: t, in: tensor(hidden), out: tensor(vocab)}, nil
}

// run executes one pass over the live tokens; the dead rows are copies of the
// last. Each result is the logits of one live token.
func (p *projector) run(ctx context.Context, live [][]float16.Float16) ([][]float16.Float16, error) {
	rows := slices.Clone(live)
	for len(rows) < p.rows {
		rows = append(rows, live[len(live)-1])
	}
	return p.execute(ctx, rows, len(live))
}

// execute runs a pass over all its rows and returns the first live ones.
func (p *projector) execute(ctx context.Context, rows [][]float16.Float16, live int) ([][]float16.Float16, error) {
	if len(rows) != p.rows {
		return nil, fmt.Errorf("%w: want %d rows, found %d", errHarness, p.rows, len(rows))
	}
	p.fill(rows)
	if err := p.predict(ctx); err != nil {
		return nil, err
	}
	return columns(p.out.Data, p.rows, live), nil
}

// fill hands the rows of a pass over, one for each of its T.
func (p *projector) fill(rows [][]float16.Float16) {
	for t, row := range rows {
		for c, v := range row {
			p.in.Data[c*p.rows+t] = v
		}
	}
}

// predict is the plane's part of execute.
func (p *projector) predict(ctx context.Context) error {
	return p.fn.Predict(ctx, map[string]coreml.Tensor{contract.Hidden: p.in}, p.st, map[string]coreml.Tensor{contract.Logits: p.out})
}
