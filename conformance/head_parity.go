package conformance

import (
	"context"
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/exporter"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// headParityCases compare a block of an LM head shard with single passes, bit
// for bit, and show that a live row depends neither on its place nor on the
// other rows. There is no position: a row's logits follow from its hidden
// states alone.
func headParityCases(rec exporter.Recipe) []Case {
	single, block := rec.Rows[0], rec.Rows[len(rec.Rows)-1]
	if block == 1 {
		return parityCases(rec, 0) // which say why there is nothing to compare
	}
	of := func(name, description string, run func(*headTrial, context.Context) Outcome) Case {
		return Case{
			Check: CheckParity, Name: name, Description: description,
			run: func(ctx context.Context, s *Suite) Outcome {
				t, err := s.headTrial(ctx, name)
				if err != nil {
					return broken(err)
				}
				return run(t, ctx)
			},
		}
	}
	bound := ""
	if block != single {
		bound = "; " + headBlockThreshold().bound()
	}
	var cases []Case
	for live := 1; live <= block; live++ {
		cases = append(cases, of(
			fmt.Sprintf("%s/live=%d", blockName(block, single), live),
			fmt.Sprintf("logits of each live row equal those of %d single passes, bit for bit", live)+bound,
			func(t *headTrial, ctx context.Context) Outcome { return t.blockEqualsSingles(ctx, live) },
		))
	}
	return append(
		cases,
		of("row_place", "a token's logits are the same in every row of the block", (*headTrial).rowPlace),
		of("later_rows", "a row's logits do not depend on the rows after it", (*headTrial).laterRows),
		of("dead_rows", "dead rows of zeros, large and tiny values change no live row", (*headTrial).deadRows),
	)
}

// headTrial is what these cases share: the block, the singles (the same where
// the package has no t1) and tokens.
type headTrial struct {
	block, single *projector
	rows          [][]float16.Float16
	tolerance     *headThreshold // of a block against singles; nil: bit for bit
}

func (s *Suite) headTrial(ctx context.Context, name string) (*headTrial, error) {
	block, err := s.projector(ctx, s.recipe.Rows[len(s.recipe.Rows)-1])
	if err != nil {
		return nil, err
	}
	single, err := s.projector(ctx, s.recipe.Rows[0])
	if err != nil {
		return nil, err
	}
	t := &headTrial{block: block, single: single, rows: HiddenRows("head parity x "+name, 2*block.rows, s.record.Model.Dims.Hidden)}
	if s.inexact() {
		bound := headBlockThreshold()
		t.tolerance = &bound
	}
	return t, nil
}

// singles are the logits of tokens one at a time.
func (t *headTrial) singles(ctx context.Context, rows [][]float16.Float16) ([][]float16.Float16, error) {
	var out [][]float16.Float16
	for i := range rows {
		got, err := t.single.run(ctx, rows[i:i+1])
		if err != nil {
			return nil, fmt.Errorf("single %d: %w", i, err)
		}
		out = append(out, got[0])
	}
	return out, nil
}

// verdict compares logits row by row.
func (t *headTrial) verdict(got, want [][]float16.Float16) Outcome {
	for r := range want {
		if d := compare(got[r], want[r]); d != nil {
			return failf("logits differ at [row %d, vocabulary row %d of the shard]: block %v, single %v (%d ulp; %d of %d logits of the row)",
				r, d.index, d.a, d.b, d.ulps, d.count, len(want[r]))
		}
	}
	return pass(figure("rows_compared", float64(len(want)), "1"))
}

func (t *headTrial) blockEqualsSingles(ctx context.Context, live int) Outcome {
	got, err := t.block.run(ctx, t.rows[:live])
	if err != nil {
		return broken(fmt.Errorf("block: %w", err))
	}
	want, err := t.singles(ctx, t.rows[:live])
	if err != nil {
		return broken(err)
	}
	return t.againstSingles(got, want)
}

// rowPlace turns the tokens of a block round by one row after another.
func (t *headTrial) rowPlace(ctx context.Context) Outcome {
	n := t.block.rows
	want, err := t.block.run(ctx, t.rows[:n])
	if err != nil {
		return broken(err)
	}
	for shift := 1; shift < n; shift++ {
		turn := func(rows [][]float16.Float16) [][]float16.Float16 { return slices.Concat(rows[shift:], rows[:shift]) }
		got, err := t.block.run(ctx, turn(t.rows[:n]))
		if err != nil {
			return broken(err)
		}
		if out := t.verdict(got, turn(want)); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("tokens turned by %d rows: %s", shift, out.Reason)
			return out
		}
	}
	return pass(figure("places_compared", float64(n-1), "1"))
}

// laterRows: the same first rows with other rows after them.
func (t *headTrial) laterRows(ctx context.Context) Outcome {
	n := t.block.rows
	want, err := t.block.run(ctx, t.rows[:n])
	if err != nil {
		return broken(err)
	}
	for kept := 1; kept < n; kept++ {
		got, err := t.block.run(ctx, slices.Concat(t.rows[:kept], t.rows[n+kept:2*n]))
		if err != nil {
			return broken(err)
		}
		if out := t.verdict(got[:kept], want[:kept]); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("rows from %d on were changed: %s", kept, out.Reason)
			return out
		}
	}
	return pass(figure("changes_compared", float64(n-1), "1"))
}

// deadRows: one live row; the content of the others must not matter.
func (t *headTrial) deadRows(ctx context.Context) Outcome {
	want, err := t.block.run(ctx, t.rows[:1])
	if err != nil {
		return broken(err)
	}
	for _, fill := range deadFill {
		dead := make([]float16.Float16, len(t.rows[0]))
		for i := range dead {
			dead[i] = half.FromFloat64(fill.value)
		}
		rows := t.rows[:1:1]
		for len(rows) < t.block.rows {
			rows = append(rows, dead)
		}
		got, err := t.block.execute(ctx, rows, 1)
		if err != nil {
			return broken(fmt.Errorf("dead rows of %s: %w", fill.name, err))
		}
		if out := t.verdict(got, want); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("dead rows of %s: %s", fill.name, out.Reason)
			return out
		}
	}
	return pass(figure("fills_compared", float64(len(deadFill)), "1"))
}
