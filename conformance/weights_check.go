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
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// weightParts say how contract.Weight calls each tensor of a layer.
var weightParts = []struct {
	role checkpoint.Role
	part string
}{
	{checkpoint.AttnNorm, "attn_norm"},
	{checkpoint.QKV, "qkv"},
	{checkpoint.AttnOut, "attn_out"},
	{checkpoint.MLPNorm, "mlp_norm"},
	{checkpoint.GateUp, "gate_up"},
	{checkpoint.Down, "down"},
}

// weightCases hold every stored weight against the checkpoint's value: the
// cosines of a pass cannot see one wrong bit among millions.
func weightCases(rec exporter.Recipe) []Case {
	description := "every stored weight is the checkpoint's value, rounded once: to float16, or to int8 with half a step of its row's scale at most; all functions share it"
	if rec.FoldRope {
		description += "; the rows of q and k that RoPE turns are the checkpoint's times the attention factor"
	}
	return []Case{{
		Check: CheckOracle, Name: "weights",
		Description: description,
		run:         func(ctx context.Context, s *Suite) Outcome { return s.storedWeights(ctx) },
	}}
}

func (s *Suite) storedWeights(ctx context.Context) Outcome {
	if out, stop := s.noCheckpoint(); stop {
		return out
	}
	folded, err := s.foldFactors()
	if err != nil {
		return broken(fmt.Errorf("%w: %w", errHarness, err))
	}
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		compared := 0
		for i := range s.opt.Layers.Len() {
			for _, w := range weightParts {
				if err := ctx.Err(); err != nil {
					return broken(err)
				}
				t, err := s.opt.Checkpoint.Tensor(w.role, s.opt.Layers.Start+i)
				if err != nil {
					return broken(fmt.Errorf("%w: %w", errHarness, err))
				}
				rows := tensorRows{Tensor: t, end: t.Rows()}
				if w.role == checkpoint.QKV {
					rows.factors = folded
				}
				n, out := compareStored(p, contract.Weight(i, w.part), rows)
				if out.Result != manifest.Pass {
					return out
				}
				compared += n
			}
		}
		return pass(figure("weights_compared", float64(compared), "1"))
	})
}

// foldFactors are what the package's qkv rows are stored times; nil where the
// host has the attention factor.
func (s *Suite) foldFactors() ([]float32, error) {
	if !s.recipe.FoldRope {
		return nil, nil
	}
	return oracle.FoldFactors(s.opt.Checkpoint.Config())
}

// tensorRows is the rows [first, end) of a tensor.
type tensorRows struct {
	*checkpoint.Tensor
	first, end int
	factors    []float32 // that the tensor's rows are stored times; nil: as they are
}

// read reads rows as they are to be stored before they are rounded.
func (t tensorRows) read(dst []float32, first int) error {
	if err := t.ReadRows(dst, first); err != nil || t.factors == nil {
		return err
	}
	for i, v := range dst {
		dst[i] = float32(v * t.factors[first+i/t.RowLen()])
	}
	return nil
}

// times says in a message what a row is stored times.
func (t tensorRows) times(row int) string {
	if t.factors == nil || t.factors[row] == 1 {
		return ""
	}
	return fmt.Sprintf(" times the attention factor %v", t.factors[row])
}

// count is how many rows there are.
func (t tensorRows) count() int { return t.end - t.first }

// compareStored holds a stored weight against rows of the checkpoint, and
// returns how many values it compared.
func compareStored(p *mlpackage.Package, name string, t tensorRows) (int, Outcome) {
	c, err := newStoredWeight(p, name, t)
	if err != nil {
		return 0, broken(err)
	}
	reason, err := c.compare(t)
	switch {
	case err != nil:
		return 0, broken(fmt.Errorf("%w: %w", errHarness, err))
	case reason != "":
		return 0, fail(reason)
	}
	return t.count() * t.RowLen(), pass()
}

// storedWeight is a weight as the package holds it: float16 values, or int8
// values and a float16 scale per row.
type storedWeight struct {
	name   string
	values []byte
	scales []byte // nil for float16
}

// newStoredWeight finds a weight in every function and checks that they share
// it and that it has the tensor's size.
func newStoredWeight(p *mlpackage.Package, name string, t tensorRows) (*storedWeight, error) {
	var first []*mil.Literal
	for _, f := range p.Model.Program.Functions {
		lits := weightLiterals(f, name)
		switch {
		case len(lits) == 0:
			return nil, fmt.Errorf("function %s: weight %s: the package has none", f.Name, name)
		case first == nil:
			first = lits
		case !slices.EqualFunc(first, lits, func(a, b *mil.Literal) bool {
			return a.Blob != nil && b.Blob != nil && *a.Blob == *b.Blob
		}):
			return nil, fmt.Errorf("function %s: weight %s: not shared with function %s", f.Name, name, p.Model.Program.Functions[0].Name)
		}
	}
	w := &storedWeight{name: name}
	var err error
	if w.values, err = p.Bytes(first[0]); err != nil {
		return nil, err
	}
	want, width := t.count()*t.RowLen(), 2
	if len(first) == 2 {
		width = 1
		if w.scales, err = p.Bytes(first[1]); err != nil {
			return nil, err
		}
		if len(w.scales) != 2*t.count() {
			return nil, fmt.Errorf("weight %s: want one scale for each of %d rows, found %d bytes of scales", name, t.count(), len(w.scales))
		}
	}
	if len(w.values) != width*want {
		return nil, fmt.Errorf("weight %s: want %d values of %d bytes, found %d bytes", name, want, width, len(w.values))
	}
	return w, nil
}

// weightLiterals are the stored literals of an op: its value, or data and scale.
func weightLiterals(f *mil.Function, name string) []*mil.Literal {
	i := slices.IndexFunc(f.Ops, func(op *mil.Op) bool { return len(op.Outputs) == 1 && op.Outputs[0].Name == name })
	if i < 0 {
		return nil
	}
	if f.Ops[i].Val != nil {
		return []*mil.Literal{f.Ops[i].Val}
	}
	var lits []*mil.Literal
	for _, param := range []string{"data", "scale"} {
		for _, arg := range f.Ops[i].Args {
			if arg.Param == param && len(arg.Bindings) == 1 && arg.Bindings[0].Literal != nil {
				lits = append(lits, arg.Bindings[0].Literal)
			}
		}
	}
	return lits
}

// compare reads the tensor once, some rows at a time, and describes the first
// stored value that is not its rounding.
func (w *storedWeight) compare(t tensorRows) (string, error) {
	cols := t.RowLen()
	rows := max(1, (1<<18)/cols)
	values := make([]float32, rows*cols)
	for first := t.first; first < t.end; first += rows {
		part := values[:min(rows, t.end-first)*cols]
		if err := t.read(part, first); err != nil {
			return "", err
		}
		for r := 0; r*cols < len(part); r++ {
			if col, what := w.row(first-t.first+r, part[r*cols:(r+1)*cols]); what != "" {
				return fmt.Sprintf("weight %s at [%d, %d]: the checkpoint's %s%s has %v: %s", w.name, first+r, col, t.Name, t.times(first+r), part[r*cols+col], what), nil
			}
		}
	}
	return "", nil
}

// row compares one row and says what is wrong at which column.
func (w *storedWeight) row(r int, want []float32) (int, string) {
	if w.scales == nil {
		for i, v := range want {
			at := 2 * (r*len(want) + i)
			if got := float16.Float16(uint16(w.values[at]) | uint16(w.values[at+1])<<8); got != half.FromFloat32(v) {
				return i, fmt.Sprintf("want float16 %v, found %v", half.ToFloat32(half.FromFloat32(v)), half.ToFloat32(got))
			}
		}
		return 0, ""
	}
	scale := float64(half.ToFloat32(float16.Float16(uint16(w.scales[2*r]) | uint16(w.scales[2*r+1])<<8)))
	peak, at := 0.0, 0
	for i, v := range want {
		if a := math.Abs(float64(v)); a > peak {
			peak, at = a, i
		}
	}
	// The scale is max|w|/127, up to its own rounding to float16; a row of
	// zeros may have any.
	if ideal := peak / 127; peak > 0 && math.Abs(scale-ideal) > ideal*0x1p-11+0x1p-24 {
		return at, fmt.Sprintf("want a scale near %v, found %v", ideal, scale)
	}
	for i, v := range want {
		q := float64(int8(w.values[r*len(want)+i]))
		// Half a step, or clamped where the scale was rounded down.
		if miss := math.Abs(float64(v) - q*scale); miss > scale/2 && math.Abs(q) != 127 || miss > scale {
			return i, fmt.Sprintf("want within half a step of %v, found %v (%v steps)", scale, q*scale, q)
		}
	}
	return 0, ""
}
