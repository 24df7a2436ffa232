package exporter

import (
	"math"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// rmsNorm adds w * x / sqrt(mean(x^2) + eps) over the channels of x
// [1, C, T, 1] in the recipe's form.
func (g *graph) rmsNorm(name, x string, w weight) string {
	var normed string
	switch g.rec.Norm {
	case Clamped:
		normed = g.clampedNorm(name, x)
	case Prescaled:
		normed = g.prescaledNorm(name, x)
	default:
		normed = g.layerNormConcat(name, x)
	}
	return g.binary("mul", name, normed, g.Const(name+"_weight", w.literal()))
}

// layerNormConcat normalises concat[x, -x]: its mean is exactly 0 and its
// variance mean(x^2), so layer_norm is RMSNorm and its first half is the
// answer.
func (g *graph) layerNormConcat(name, x string) string {
	neg := g.scale(name+"_neg", x, -1)
	both := g.concat(name+"_both", 1, x, neg)
	ln := g.Op("layer_norm", name+"_ln", mil.Arg("x", both), mil.Lit("axes", mil.Int32s(1)),
		mil.Lit("epsilon", mil.Half(half.FromFloat64(g.cfg.RMSNormEps))))
	t, c := g.rows, g.cfg.HiddenSize
	return g.Op("slice_by_index", name+"_half", mil.Arg("x", ln),
		mil.Lit("begin", mil.Int32s(0, 0, 0, 0)), mil.Lit("end", mil.Int32s(1, c, t, 1)))
}

// clampedNorm divides by m = max(1, max|x|) first, so that no square leaves
// float16: (x/m) / sqrt(mean((x/m)^2) + eps/m^2).
func (g *graph) clampedNorm(name, x string) string {
	one := mil.Half(half.FromFloat64(1))
	peak := g.reduce("reduce_max", name+"_peak", g.Op("abs", name+"_abs", mil.Arg("x", x)))
	m := g.Op("maximum", name+"_m", mil.Arg("x", peak), mil.Lit("y", one))
	xs := g.binary("real_div", name+"_clamped", x, m)
	mean := g.reduce("reduce_mean", name+"_mean", g.Op("square", name+"_square", mil.Arg("x", xs)))
	// eps * (1/m)^2 and not eps / m^2: m^2 overflows float16 from 256 up.
	inv := g.Op("real_div", name+"_inv_m", mil.Lit("x", one), mil.Arg("y", m))
	eps := g.scale(name+"_eps", g.Op("square", name+"_inv_m2", mil.Arg("x", inv)), g.cfg.RMSNormEps)
	root := g.Op("sqrt", name+"_root", mil.Arg("x", g.binary("add", name+"_var", mean, eps)))
	return g.binary("real_div", name+"_normed", xs, root)
}

// prescaledNorm divides by sqrt(d) first: xs * rsqrt(mean(xs^2) + eps/d).
func (g *graph) prescaledNorm(name, x string) string {
	d := float64(g.cfg.HiddenSize)
	xs := g.scale(name+"_prescaled", x, 1/math.Sqrt(d))
	mean := g.reduce("reduce_mean", name+"_mean", g.Op("square", name+"_square", mil.Arg("x", xs)))
	inv := g.Op("rsqrt", name+"_rsqrt", mil.Arg("x", mean),
		mil.Lit("epsilon", mil.Half(half.FromFloat64(g.cfg.RMSNormEps/d))))
	return g.binary("mul", name+"_normed", xs, inv)
}

// reduce folds the channel axis and keeps it.
func (g *graph) reduce(op, out, x string) string {
	return g.Op(op, out, mil.Arg("x", x), mil.Lit("axes", mil.Int32s(1)), mil.Lit("keep_dims", mil.BoolScalar(true)))
}

// scale multiplies by a constant, rounded once to float16.
func (g *graph) scale(out, x string, by float64) string {
	return g.Op("mul", out, mil.Arg("x", x), mil.Lit("y", mil.Half(half.FromFloat64(by))))
}
