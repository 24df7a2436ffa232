package conformance

import (
	"context"
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// parityCases compare a block with single passes, bit for bit or, on a plane
// that rounds each function its own way, by a threshold per token; and show
// that a live row depends neither on its place in the block nor on the other
// rows, bit for bit everywhere.
func parityCases(rec exporter.Recipe, layers int) []Case {
	single, block := rec.Rows[0], rec.Rows[len(rec.Rows)-1]
	if block == 1 {
		return []Case{{
			Check: CheckParity, Name: "block",
			Description: "a block of tokens equals single passes",
			run: func(context.Context, *Suite) Outcome {
				return notMeasured("the recipe has no function of more than one row")
			},
		}}
	}
	name, bound := blockName(block, single), ""
	if block != single {
		bound = "; " + blockThreshold(layers).bound()
	}
	var cases []Case
	for _, p := range paritySpots(rec.Slots, block) {
		cases = append(cases, Case{
			Check: CheckParity, Name: fmt.Sprintf("%s/%s", name, p),
			Description: fmt.Sprintf("hidden of each live row and every slot of every state equal those of %d single passes, bit for bit", p.live) + bound,
			run:         func(ctx context.Context, s *Suite) Outcome { return s.blockEqualsSingles(ctx, p) },
		})
	}
	for _, pos := range independenceSpots(rec.Slots, block) {
		cases = append(cases, independenceCases(pos, bound)...)
	}
	return cases
}

// independenceSpots are where a whole block and a second one after it fit.
func independenceSpots(slots, block int) []int {
	var out []int
	for _, pos := range []int{1, slots / 2, slots - 2*block} {
		if pos >= 0 && pos+2*block <= slots && !slices.Contains(out, pos) {
			out = append(out, pos)
		}
	}
	return out
}

// blockName names the comparison of a block with singles: passes of the single
// function, or of the block with one live row where the package has no t1.
func blockName(block, single int) string {
	if single != 1 {
		return fmt.Sprintf("t%d_vs_one_live_row", block)
	}
	return fmt.Sprintf("t%d_vs_%dxt%d", block, block, single)
}

func independenceCases(pos int, bound string) []Case {
	at := func(name, description string, run func(*Suite, context.Context, int) Outcome) Case {
		return Case{
			Check: CheckParity, Name: fmt.Sprintf("%s/pos=%d", name, pos), Description: description,
			run: func(ctx context.Context, s *Suite) Outcome { return run(s, ctx, pos) },
		}
	}
	return []Case{
		at("after_rejected_draft", "a block that overwrites rejected draft slots equals singles that never saw the draft"+bound, (*Suite).afterRejectedDraft),
		at("row_place", "a token's result is the same in every row of the block", (*Suite).rowPlace),
		at("later_rows", "a row's result does not depend on the rows after it", (*Suite).laterRows),
		at("dead_rows", "dead rows of zeros, large and tiny values change no live row and no state", (*Suite).deadRows),
	}
}

// trial is what parity cases share: the block's driver, the singles' (the same
// one where the package has no t1), tokens and a seeded state.
type trial struct {
	block, single *driver
	rows          [][]float16.Float16
	seed          snapshot
	tolerance     *threshold // of a block against singles; nil: bit for bit
}

func (s *Suite) trial(ctx context.Context, name string) (*trial, error) {
	block, err := s.driver(ctx, s.recipe.Rows[len(s.recipe.Rows)-1])
	if err != nil {
		return nil, err
	}
	single, err := s.driver(ctx, s.recipe.Rows[0])
	if err != nil {
		return nil, err
	}
	sig := block.fn.Signature()
	t := &trial{
		block: block, single: single,
		rows: HiddenRows("parity x "+name, 2*block.rows, s.record.Model.Dims.Hidden),
		seed: s.seed(seededStates, sig),
	}
	if s.inexact() {
		bound := blockThreshold(s.opt.Layers.Len())
		t.tolerance = &bound
	}
	return t, nil
}

// singles runs tokens one at a time from pos on and returns their results.
func (t *trial) singles(ctx context.Context, st coreml.State, pos int, rows [][]float16.Float16) ([][]float16.Float16, error) {
	var out [][]float16.Float16
	for i := range rows {
		h, err := t.single.run(ctx, st, pos+i, rows[i:i+1])
		if err != nil {
			return nil, fmt.Errorf("single pos=%d: %w", pos+i, err)
		}
		out = append(out, h[0])
	}
	return out, nil
}

// blockEqualsSingles is the block against as many single passes.
func (s *Suite) blockEqualsSingles(ctx context.Context, p spot) Outcome {
	t, err := s.trial(ctx, p.String())
	if err != nil {
		return broken(err)
	}
	rows := t.rows[:p.live]
	blockState, err := t.block.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	got, err := t.block.run(ctx, blockState, p.pos, rows)
	if err != nil {
		return broken(fmt.Errorf("block pos=%d: %w", p.pos, err))
	}
	singleState, err := t.single.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	want, err := t.singles(ctx, singleState, p.pos, rows)
	if err != nil {
		return broken(err)
	}
	return t.againstSingles(p.pos, rows, got, want, blockState, singleState, nil)
}

// verdict compares results and states; visible limits the slots that are
// compared (nil compares all).
func (t *trial) verdict(pos int, got, want [][]float16.Float16, gotState, wantState coreml.State, visible func(slot int) bool) Outcome {
	worst := 0.0
	reason := ""
	for r := range want {
		d := compare(got[r], want[r])
		if d == nil {
			continue
		}
		worst = max(worst, d.maxAbs)
		if reason == "" {
			reason = fmt.Sprintf("pos=%d: hidden differ at [row %d, channel %d]: block %v, single %v (%d ulp; %d of %d channels of the row)",
				pos, r, d.index, d.a, d.b, d.ulps, d.count, len(want[r]))
		}
	}
	evidence := []manifest.Evidence{figure("hidden_max_abs_difference", worst, "1"), figure("rows_compared", float64(len(want)), "1")}
	if reason != "" {
		return fail(reason, evidence...)
	}
	reason, values, err := t.compareStates(pos, gotState, wantState, visible)
	if err != nil {
		return broken(err)
	}
	evidence = append(evidence, figure("state_values_compared", float64(values), "1"))
	if reason != "" {
		return fail(reason, evidence...)
	}
	return pass(evidence...)
}

// compareStates describes the first difference between two states, and counts
// the values it compared.
func (t *trial) compareStates(pos int, gotState, wantState coreml.State, visible func(slot int) bool) (string, int, error) {
	got, err := t.seed.read(gotState)
	if err != nil {
		return "", 0, err
	}
	want, err := t.seed.read(wantState)
	if err != nil {
		return "", 0, err
	}
	values := 0
	for _, st := range t.block.fn.Signature().States {
		a, b := got[st.Name], want[st.Name]
		slots, dim := st.Shape[2], st.Shape[3]
		for row := range len(a) / dim { // one head's slot
			slot := row % slots
			if visible != nil && !visible(slot) {
				continue
			}
			values += dim
			if d := compare(a[row*dim:(row+1)*dim], b[row*dim:(row+1)*dim]); d != nil {
				return fmt.Sprintf("pos=%d: state %s differs at [head %d, slot %d, dim %d]: block %v, single %v (%d ulp)",
					pos, st.Name, row/slots, slot, d.index, d.a, d.b, d.ulps), values, nil
			}
		}
	}
	return "", values, nil
}

// afterRejectedDraft: a block whose last rows were rejected, then a block that
// writes the right tokens over them. Slots beyond the second block still hold
// the draft, hidden by the mask, so they are not compared.
func (s *Suite) afterRejectedDraft(ctx context.Context, pos int) Outcome {
	t, err := s.trial(ctx, fmt.Sprintf("rejected pos=%d", pos))
	if err != nil {
		return broken(err)
	}
	n := t.block.rows
	// One row of the draft is right; the next block is shorter than what was
	// rejected where the block has room for that.
	const accepted = 1
	draft, truth := t.rows[:n], slices.Concat(t.rows[:accepted], t.rows[n:n+max(1, n-2)])
	blockState, err := t.block.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	first, err := t.block.run(ctx, blockState, pos, draft)
	if err != nil {
		return broken(err)
	}
	second, err := t.block.run(ctx, blockState, pos+accepted, truth[accepted:])
	if err != nil {
		return broken(err)
	}
	singleState, err := t.single.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	want, err := t.singles(ctx, singleState, pos, truth)
	if err != nil {
		return broken(err)
	}
	end := pos + len(truth)
	visible := func(slot int) bool { return slot < end || slot >= pos+n }
	return t.againstSingles(pos, truth, slices.Concat(first[:accepted], second), want, blockState, singleState, visible)
}

// rowPlace: the token at pos+n-1 as the last row of a block, and as row 0 with
// the tokens before it already in the cache, and every place between.
func (s *Suite) rowPlace(ctx context.Context, pos int) Outcome {
	t, err := s.trial(ctx, fmt.Sprintf("place pos=%d", pos))
	if err != nil {
		return broken(err)
	}
	n := t.block.rows
	rows := t.rows[:n]
	whole, err := t.block.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	want, err := t.block.run(ctx, whole, pos, rows)
	if err != nil {
		return broken(err)
	}
	for cut := 1; cut < n; cut++ { // the token's row is n-1-cut
		st, err := t.block.newState(t.seed)
		if err != nil {
			return broken(err)
		}
		head, err := t.block.run(ctx, st, pos, rows[:cut])
		if err != nil {
			return broken(err)
		}
		tail, err := t.block.run(ctx, st, pos+cut, rows[cut:])
		if err != nil {
			return broken(err)
		}
		if out := t.verdict(pos, slices.Concat(head, tail), want, st, whole, nil); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("block cut at row %d: %s", cut, out.Reason)
			return out
		}
	}
	return pass(figure("places_compared", float64(n-1), "1"))
}

// laterRows: the same first rows with other rows after them.
func (s *Suite) laterRows(ctx context.Context, pos int) Outcome {
	t, err := s.trial(ctx, fmt.Sprintf("later pos=%d", pos))
	if err != nil {
		return broken(err)
	}
	n := t.block.rows
	base, err := t.block.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	want, err := t.block.run(ctx, base, pos, t.rows[:n])
	if err != nil {
		return broken(err)
	}
	for kept := 1; kept < n; kept++ {
		st, err := t.block.newState(t.seed)
		if err != nil {
			return broken(err)
		}
		got, err := t.block.run(ctx, st, pos, slices.Concat(t.rows[:kept], t.rows[n+kept:2*n]))
		if err != nil {
			return broken(err)
		}
		changed := func(slot int) bool { return slot < pos+kept || slot >= pos+n }
		if out := t.verdict(pos, got[:kept], want[:kept], st, base, changed); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("rows from %d on were changed: %s", kept, out.Reason)
			return out
		}
	}
	return pass(figure("changes_compared", float64(n-1), "1"))
}

// deadFill is what a dead row is tried with in place of a copy.
var deadFill = []struct {
	name  string
	value float64
}{{"zeros", 0}, {"large", 3e4}, {"tiny", 6e-8}}

// deadRows: one live row; the content of the dead rows must not matter.
func (s *Suite) deadRows(ctx context.Context, pos int) Outcome {
	t, err := s.trial(ctx, fmt.Sprintf("dead pos=%d", pos))
	if err != nil {
		return broken(err)
	}
	base, err := t.block.newState(t.seed)
	if err != nil {
		return broken(err)
	}
	want, err := t.block.run(ctx, base, pos, t.rows[:1])
	if err != nil {
		return broken(err)
	}
	for _, fill := range deadFill {
		st, err := t.block.newState(t.seed)
		if err != nil {
			return broken(err)
		}
		if err := t.block.pass.Fill(t.block.rope, pos, 1, t.rows[:1]); err != nil {
			return broken(fmt.Errorf("%w: %w", errHarness, err))
		}
		x := t.block.pass.X.Data
		for i := range x {
			if i%t.block.rows != 0 {
				x[i] = half.FromFloat64(fill.value)
			}
		}
		got, err := t.block.execute(ctx, st, 1)
		if err != nil {
			return broken(fmt.Errorf("dead rows of %s: %w", fill.name, err))
		}
		if out := t.verdict(pos, got, want, st, base, nil); out.Result != manifest.Pass {
			out.Reason = fmt.Sprintf("dead rows of %s: %s", fill.name, out.Reason)
			return out
		}
	}
	return pass(figure("fills_compared", float64(len(deadFill)), "1"))
}
