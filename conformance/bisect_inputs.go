package conformance

import (
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/internal/half"
)

// inputs makes the passes of both sides.
func (r *bisector) inputs() error {
	s, opt := r.a.suite, r.opt
	live, pos := opt.Live, opt.Position
	if pos < 0 {
		pos = s.recipe.Slots / 2
	}
	if pos >= s.recipe.Slots {
		return fmt.Errorf("%w: %w: position: want one of %d slots, from 0 on, found %d", ErrBisect, hostinput.ErrContext, s.recipe.Slots, pos)
	}
	if live == 0 {
		live = min(r.a.rows, s.recipe.Slots-pos)
	}
	if live < 1 || live > r.a.rows || pos > s.recipe.Slots-live {
		return fmt.Errorf("%w: %w: want 1 to %d live rows at a position that leaves them within %d slots, found %d at position %d",
			ErrBisect, hostinput.ErrContext, r.a.rows, s.recipe.Slots, live, pos)
	}
	rows, err := r.tokens(pos, live)
	if err != nil {
		return err
	}
	seed := snapshot{}
	shape := []int{1, s.record.Model.Dims.KVHeads, s.recipe.Slots, s.record.Model.Dims.HeadDim}
	for _, name := range stateNames(opt.A.Layers.Len()) {
		seed[name] = Normals(seededStates+" "+name, elements(shape), 1)
	}
	r.passA = passes{pos: pos, live: live, rows: rows, rope: s.rope(), seed: seed}
	r.passB = r.passA
	r.passB.singles = opt.Singles
	r.geo = geometry{
		rows: r.a.rows, live: live, pos: pos, slots: s.recipe.Slots,
		singles: opt.Singles || opt.Oracle, tolerance: r.tolerance(),
	}
	return nil
}

// tokens are the hidden states of the live rows: golden activations where there
// are any, plausible ones else.
func (r *bisector) tokens(pos, live int) ([][]float16.Float16, error) {
	s := r.a.suite
	n, scale := s.record.Model.Dims.Hidden, r.opt.Scale
	rows := HiddenRows(fmt.Sprintf("bisect x pos=%d", pos), live, n)
	if g := r.opt.A.Golden; g != nil {
		name := goldenName(0, r.opt.A.Layers.Start)
		values, shape, err := g.Float32(name)
		if err != nil {
			return nil, err
		}
		if len(shape) != 2 || shape[1] != n || shape[0] < live {
			return nil, fmt.Errorf("%w: golden vectors %s: want [%d or more, %d], found %v", ErrBisect, name, live, n, shape)
		}
		for i := range rows {
			half.Encode(rows[i], values[i*n:(i+1)*n])
		}
	}
	if scale == 0 || scale == 1 {
		return rows, nil
	}
	if mantissa, _ := math.Frexp(scale); mantissa != 0.5 {
		return nil, fmt.Errorf("%w: scale: want a power of two, found %v", ErrBisect, scale)
	}
	for _, row := range rows {
		for i, h := range row {
			row[i] = half.FromFloat64(scale * half.ToFloat64(h))
		}
	}
	return rows, nil
}

// Default relative tolerances, from nano's tail: two norm forms differ by up to
// 0.010 in its values, int8 weights and the oracle by up to 0.085. More layers
// add up to more.
const (
	RelativeFloat16 = 0.03
	RelativeInt8    = 0.2
	RelativeFewBits = 0.5
)

// tolerance is what was asked for, or what the comparison calls for: every bit
// of what is meant to be the same arithmetic, a relative one of what is not.
func (r *bisector) tolerance() Tolerance {
	a := r.a.suite
	precisions := []exporter.Precision{a.passPrecision()}
	if r.b != nil {
		b := r.b.suite
		precisions = []exporter.Precision{a.recipe.Precision, b.recipe.Precision}
		same := sameNorm(r.a, r.b) && a.opt.Plane.Name() == b.opt.Plane.Name() && a.recipe.Precision == b.recipe.Precision
		if same {
			precisions = nil
		} else if a.recipe.Precision == b.recipe.Precision {
			precisions = []exporter.Precision{exporter.FP16} // the weights are the same
		}
	}
	switch {
	case r.opt.Tolerance != nil:
		return *r.opt.Tolerance
	case len(precisions) == 0:
		return Tolerance{}
	case slices.Contains(precisions, fewBits):
		return Tolerance{Relative: RelativeFewBits}
	case slices.Contains(precisions, exporter.Int8):
		return Tolerance{Relative: RelativeInt8}
	}
	return Tolerance{Relative: RelativeFloat16}
}

// describe says what is compared with what.
func (r *bisector) describe() {
	r.out = &Bisection{
		A: r.a.describe(""), Layers: r.opt.A.Layers.String(), Position: r.passA.pos, Live: r.passA.live, Scale: 1,
		Tolerance: r.geo.tolerance.String(), Inputs: "seeded",
	}
	if r.opt.Scale != 0 {
		r.out.Scale = r.opt.Scale
	}
	if r.opt.A.Golden != nil {
		r.out.Inputs = "golden activations"
	}
	if r.oracle != nil {
		r.out.B, r.out.Aligned = "the oracle: the checkpoint's layers in float64", "by the exporter's names"
		if r.a.suite.compressed() {
			r.out.B += ", over the weights that A stores"
		}
		return
	}
	calls := ""
	if r.opt.Singles {
		calls = fmt.Sprintf(" %d times", r.passA.live)
	}
	r.out.B = r.b.describe(calls)
	r.out.Aligned = fmt.Sprintf("%s: %d of A's %d values have one of B", r.align.how, r.align.valsA-r.align.alone, r.align.valsA)
}
