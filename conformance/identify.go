package conformance

import (
	"context"
	"fmt"
	"math"
	"slices"

	"lockstep/conformance/oracle"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// alikeWeight is the likeness from which a stored weight is taken for the
// checkpoint's: another weight, or a transposed one, has none to speak of.
const alikeWeight = 0.9

// leastAlike is what a weight must keep: a norm's, which nobody compresses, what
// float16 does; a matrix what compressing nano has left, and little less (least
// likeness in fixtures/foreign: .99994 with eight bits, .9990 with six, .9914
// with four).
func leastAlike(role checkpoint.Role, p exporter.Precision) float64 {
	switch {
	case role == checkpoint.AttnNorm || role == checkpoint.MLPNorm:
		return 0.99999
	case p == fewBits:
		return 0.99
	}
	return 0.998
}

// identified is what the weights of a compressed package came to.
type identified struct {
	model  *oracle.Model // over the package's weights
	worst  float64
	biased float64 // the largest share of an error that is systematic
	reason string  // why the package's weights could not be told
	poor   string  // the first that is not like enough

	layers     map[string]int // of a taken constant, by its name, inside the shard
	candidates []mil.Value    // constants that are not taken yet
	values     []float32      // of the last one taken
}

// ownWeights is the oracle over the weights that the package stores, so that
// the passes show its graph alone, not what compressing did. Only one function
// is read: parity shows that the others compute the same.
func (s *Suite) ownWeights(ctx context.Context) (*identified, error) {
	if s.own != nil {
		return s.own, nil
	}
	model, err := oracle.Load(ctx, s.opt.Checkpoint, s.opt.Layers.Start, s.opt.Layers.End)
	if err != nil {
		return nil, fmt.Errorf("%w: oracle: %w", errHarness, err)
	}
	f := s.files.Model.Program.Function(s.functionName(s.recipe.Rows[0]))
	scope, err := mil.NewScope(f)
	if err != nil {
		return nil, err
	}
	found := &identified{model: model, worst: math.Inf(1), layers: map[string]int{}, candidates: constants(f)}
	for i := range s.opt.Layers.Len() {
		for _, w := range weightParts {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			layer := s.opt.Layers.Start + i
			want, err := readWeight(s.opt.Checkpoint, w.role, layer)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errHarness, err)
			}
			want.layer = i
			want.name = fmt.Sprintf("layer %d: weight %s", layer, w.part)
			if err := found.match(weightReader{s.files, scope}, want, leastAlike(w.role, s.recipe.Precision)); err != nil {
				return nil, err
			}
			if found.reason != "" {
				s.own = found
				return found, nil
			}
			if found.model, err = found.model.With(w.role, layer, found.values); err != nil {
				return nil, err
			}
		}
	}
	s.own = found
	return found, nil
}

// match finds the constant for a tensor of the checkpoint; each is taken once.
func (d *identified) match(r weightReader, want *checkpointWeight, least float64) error {
	at, values, like, err := likest(r, d.candidates, want)
	if err != nil {
		return err
	}
	if at < 0 {
		d.reason = fmt.Sprintf("%s: no constant %v of the package is like it", want.name, want.shape)
		return nil
	}
	if like < least && d.poor == "" {
		d.poor = fmt.Sprintf("%s, %s in the package: likeness %.7f (want %g)", want.name, d.candidates[at].Name, like, least)
	}
	share := systematic(values, want.values)
	if share > mostSystematic && d.poor == "" {
		d.poor = fmt.Sprintf("%s, %s in the package: %.3f of its squared error is one constant, or one factor, for all elements (want at most %g): an offset or a scale is wrong",
			want.name, d.candidates[at].Name, share, mostSystematic)
	}
	d.values, d.worst, d.biased = values, min(d.worst, like), max(d.biased, share)
	d.layers[d.candidates[at].Name] = want.layer
	d.candidates = slices.Delete(d.candidates, at, at+1)
	return nil
}

// checkpointWeight is a tensor of the checkpoint in memory.
type checkpointWeight struct {
	name   string
	layer  int   // inside the shard
	shape  []int // without ones
	values []float32
}

func readWeight(ck *checkpoint.Checkpoint, role checkpoint.Role, layer int) (*checkpointWeight, error) {
	t, err := ck.Tensor(role, layer)
	if err != nil {
		return nil, err
	}
	w := &checkpointWeight{shape: withoutOnes([]int{t.Rows(), t.RowLen()}), values: make([]float32, t.Rows()*t.RowLen())}
	return w, t.ReadRows(w.values, 0)
}

// constants are the floats that are known at compile time and may be weights.
func constants(f *mil.Function) []mil.Value {
	var out []mil.Value
	for _, op := range f.Ops {
		switch op.Type {
		case "const", "constexpr_blockwise_shift_scale", "constexpr_lut_to_dense":
			if v := op.Outputs[0]; v.Type.DType == mil.Float16 {
				out = append(out, v)
			}
		}
	}
	return out
}

// likest is the constant of the wanted shape that is most alike, -1 if none is.
// Norms are like each other, so all are tried; the first matrix that is alike is
// the one.
func likest(r weightReader, candidates []mil.Value, want *checkpointWeight) (at int, best []float32, most float64, err error) {
	at, most = -1, alikeWeight
	for i, v := range candidates {
		if !slices.Equal(withoutOnes(v.Type.Shape), want.shape) {
			continue
		}
		values, err := r.value(v.Name)
		if err != nil {
			return -1, nil, 0, err
		}
		if c := likenessOf(values, want.values); c >= most {
			at, best, most = i, values, c
		}
		if at >= 0 && len(want.shape) > 1 {
			break
		}
	}
	return at, best, most, nil
}

// likenessOf is 1 - |got-want|^2 / (2 |want|^2): the cosine of vectors of one
// length, but less where the length is wrong, as with a wrong scale.
func likenessOf(got, want []float32) float64 {
	var off, all float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		off, all = off+d*d, all+float64(want[i])*float64(want[i])
	}
	return 1 - off/(2*all)
}

// mostSystematic is how much of a weight's squared error may be systematic.
// Rounding goes up as often as down, whatever it rounds to: the most in
// fixtures/foreign is .04. A zero point that is off by one step leaves .9, and
// is too small for any likeness to see.
const mostSystematic = 0.25

// systematic is the share of |got-want|^2 that one constant added to every
// element, or one factor on them, accounts for; the larger of the two.
func systematic(got, want []float32) float64 {
	var sum, squares, along, all float64
	for i := range got {
		d, w := float64(got[i])-float64(want[i]), float64(want[i])
		sum, squares, along, all = sum+d, squares+d*d, along+d*w, all+w*w
	}
	if squares == 0 {
		return 0
	}
	return max(sum*sum/float64(len(got)), along*along/all) / squares
}

// compressedWeightCases tell the package's weights, for the passes that follow.
func compressedWeightCases(p exporter.Precision) []Case {
	return []Case{{
		Check: CheckOracle, Name: "weights",
		Description: fmt.Sprintf("every tensor of the checkpoint has its like in the package, of the same shape: 1 - |difference|^2 / (2 |tensor|^2) at least %g, of norms %g; at most %g of |difference|^2 is one constant or one factor for all elements",
			leastAlike(checkpoint.QKV, p), leastAlike(checkpoint.AttnNorm, p), mostSystematic),
		run: func(ctx context.Context, s *Suite) Outcome { return s.alikeWeights(ctx) },
	}}
}

func (s *Suite) alikeWeights(ctx context.Context) Outcome {
	return s.withPackage(func(*mlpackage.Package) Outcome {
		own, err := s.ownWeights(ctx)
		if err != nil {
			return broken(err)
		}
		evidence := []manifest.Evidence{figure("likeness_weight_min", own.worst, "1"), figure("systematic_error_share_max", own.biased, "1")}
		switch {
		case own.reason != "":
			return notMeasured(own.reason)
		case own.poor != "":
			return fail(own.poor, evidence...)
		}
		return pass(evidence...)
	})
}
