package terms

import (
	"context"
	"fmt"
	"strings"
)

// Dependence is what each live row of a block's outputs depends on: which
// tokens of the block, by hidden states and RoPE row, and which slots of the
// caches as they were before it.
type Dependence struct {
	Spot   Spot
	Groups []SlotRange // slots that are told apart; a long cache's far ones share a group
	Rows   []RowDependence
}

// RowDependence is one row's tokens, and one entry per group of slots.
type RowDependence struct{ Tokens, Slots []bool }

// Depend follows what a block's rows are computed from. As in a proof, masks
// are the host's, and what they hide is no source.
func Depend(ctx context.Context, s Subject, spot Spot) (*Dependence, error) {
	block, err := newSide(s, s.Block)
	if err != nil {
		return nil, err
	}
	alg, from := dependence{}, newSources(spot, block.shape.Slots)
	if from.count() > maxSources {
		return nil, fmt.Errorf("%w: the sources of %d rows over %d slots", ErrUncovered, spot.Live, block.shape.Slots)
	}
	states := &memory{func(name string) *tensor { return block.earlier(alg, from, name) }, map[string]*tensor{}}
	m, err := block.machine(alg, from, spot, states)
	if err != nil {
		return nil, err
	}
	for _, stage := range m.stages {
		if err := m.runTo(ctx, stage.end); err != nil {
			return nil, err
		}
		for _, name := range stage.states {
			delete(states.now, name)
		}
	}
	if err := m.runTo(ctx, len(m.fn.Ops)); err != nil {
		return nil, err
	}
	d := &Dependence{Spot: spot, Groups: from.groups}
	for row := range spot.Live {
		d.Rows = append(d.Rows, from.row(m, row))
	}
	return d, nil
}

// row joins what the elements of an output row depend on.
func (s sources) row(m *machine, row int) RowDependence {
	var all Term
	for _, name := range m.fn.Outputs {
		t := m.values[name]
		inner := elements(t.shape[3:])
		for c := range t.shape[1] {
			at := (c*t.shape[2] + row) * inner
			all = fold(dependence{}, all, t.data[at:at+inner], 1)
		}
	}
	r := RowDependence{Tokens: make([]bool, s.spot.Live), Slots: make([]bool, len(s.groups))}
	for i := range r.Tokens {
		r.Tokens[i] = all.has(i)
	}
	for i := range r.Slots {
		r.Slots[i] = all.has(s.spot.Live + i)
	}
	return r
}

// Causal reports the first dependence that a decoder must not have: on a later
// token, or on a slot from the block's first one on, which holds none of the
// tokens before it. It is empty if there is none.
func (d *Dependence) Causal() string {
	for i, row := range d.Rows {
		for j, on := range row.Tokens {
			if on && j > i {
				return fmt.Sprintf("row %d depends on token %d, which comes after it", i, j)
			}
		}
		for g, on := range row.Slots {
			if on && d.Groups[g].End > d.Spot.Pos {
				return fmt.Sprintf("row %d depends on the earlier content of slot %d, which is hidden or overwritten", i, max(d.Groups[g].Start, d.Spot.Pos))
			}
		}
	}
	return ""
}

// String draws the matrix: a line per row, tokens first, then slots; x is a
// dependence, . is none. Neighbouring slots with the same column are joined.
func (d *Dependence) String() string {
	type span struct {
		SlotRange
		group int
	}
	var spans []span
	for g, r := range d.Groups {
		if n := len(spans); n > 0 && d.sameColumn(spans[n-1].group, g) {
			spans[n-1].End = r.End
			continue
		}
		spans = append(spans, span{r, g})
	}
	var b strings.Builder
	const tokens = "tokens"
	width := max(len(tokens), 2*len(d.Rows)-1)
	fmt.Fprintf(&b, "%-10s %-*s ", "", width, tokens)
	for _, s := range spans {
		fmt.Fprintf(&b, " %s", s.SlotRange)
	}
	for i, row := range d.Rows {
		marks := make([]string, len(row.Tokens))
		for t, on := range row.Tokens {
			marks[t] = mark(on)
		}
		fmt.Fprintf(&b, "\nrow %-6d %-*s ", i, width, strings.Join(marks, " "))
		for _, s := range spans {
			fmt.Fprintf(&b, " %-*s", len(s.SlotRange.String()), mark(row.Slots[s.group]))
		}
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (d *Dependence) sameColumn(a, b int) bool {
	for _, row := range d.Rows {
		if row.Slots[a] != row.Slots[b] {
			return false
		}
	}
	return true
}

// String is "slots 0..15", or "slot 7".
func (r SlotRange) String() string {
	if r.End == r.Start+1 {
		return fmt.Sprintf("slot %d", r.Start)
	}
	return fmt.Sprintf("slots %d..%d", r.Start, r.End-1)
}

func mark(on bool) string {
	if on {
		return "x"
	}
	return "."
}
