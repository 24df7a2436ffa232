package conformance

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"lockstep/conformance/oracle"
	"lockstep/internal/contract"
)

// oracleSide is the other side where there is no package: what the checkpoint's
// layers come to, token by token. As in the gate, a package without a record
// whose weights are compressed is held against its own weights.
type oracleSide struct {
	side   *side // A, whose names are looked up
	start  int   // first layer
	layers int
	passes []map[int]map[oracle.Step][]float64 // by pass, then layer counted in the shard
	cache  *oracle.Cache
	folded []float32 // what A's weights multiply the rows of qkv by; nil: nothing
}

// oracleValue says which step of the oracle an exporter's value is.
type oracleValue struct {
	step   oracle.Step
	factor float64 // the value is the step times it
}

func newOracleSide(ctx context.Context, d *side, p passes) (*oracleSide, error) {
	s := d.suite
	o := &oracleSide{side: d, start: s.opt.Layers.Start, layers: s.opt.Layers.Len()}
	model, err := s.oracle(ctx)
	if err != nil {
		return nil, err
	}
	if o.cache, err = s.seededCache(model, p.seed); err != nil {
		return nil, err
	}
	if o.folded, err = s.foldFactors(); err != nil {
		return nil, err
	}
	for i, row := range p.rows {
		seen := map[int]map[oracle.Step][]float64{}
		_, err := model.Trace(ctx, floats(row), p.pos+i, o.cache, func(layer int, step oracle.Step, values []float64) {
			l := layer - o.start
			if seen[l] == nil {
				seen[l] = map[oracle.Step][]float64{}
			}
			seen[l][step] = slices.Clone(values)
		})
		if err != nil {
			return nil, err
		}
		o.passes = append(o.passes, seen)
	}
	return o, nil
}

// find is the layer and the oracle's value behind a name of A's. What leaves a
// layer is known whatever it is called.
func (o *oracleSide) find(name string) (int, oracleValue, bool) {
	if l := slices.Index(o.side.ends, name); l >= 0 {
		return l, oracleValue{oracle.Out, 1}, true
	}
	at := placeByName(name, 0, o.layers)
	l, part := at.layer, at.value
	if l == noLayer {
		return 0, oracleValue{}, false
	}
	if strings.HasPrefix(part, "probs_") {
		return l, oracleValue{oracle.Probs, 1}, true
	}
	dims := o.side.suite.record.Model.Dims
	if dims.KVHeads == 1 && part == "context_0" {
		part = "context" // nothing to concatenate
	}
	v, ok := map[string]oracleValue{
		"attn_norm": {oracle.AttnNorm, 1}, "qkv": {oracle.QKV, 1},
		"q_rope": {oracle.Q, 1}, "q_scaled": {oracle.Q, 1 / math.Sqrt(float64(dims.HeadDim))},
		"k_rope": {oracle.NewK, 1}, "v_rows": {oracle.NewV, 1},
		"context": {oracle.Context, 1}, "heads_channels": {oracle.Context, 1},
		"attn_out": {oracle.AttnOut, 1}, "attn_residual": {oracle.AttnResidual, 1},
		"mlp_norm": {oracle.MLPNorm, 1}, "gate_up": {oracle.GateUp, 1}, "gate": {oracle.Gate, 1}, "up": {oracle.Up, 1},
		"mlp_act": {oracle.Act, 1}, "down": {oracle.Down, 1},
	}[part]
	return l, v, ok
}

func (o *oracleSide) knows(name string) bool {
	_, _, ok := o.find(name)
	return ok
}

// stepName is what the oracle calls the value.
func (o *oracleSide) stepName(name string) string {
	_, v, _ := o.find(name)
	return string(v.step)
}

// tensors are the oracle's values of each token in the order of A's elements
// without T, which is the third dimension of all that find knows. They are nil
// where A's shape is another.
func (o *oracleSide) tensors(name string, shape []int) ([]int, []tensorData) {
	l, v, ok := o.find(name)
	if !ok || len(shape) != 4 && l != slices.Index(o.side.ends, name) {
		return nil, nil
	}
	single := slices.Clone(shape)
	single[o.axis(shape)] = 1
	var out []tensorData
	for _, seen := range o.passes {
		values := seen[l][v.step]
		if v.step == oracle.Probs {
			values = o.probs(name, values, single)
		}
		if len(values) != elements(single) {
			return nil, nil
		}
		scaled := make([]float64, len(values))
		for i, x := range values {
			scaled[i] = v.factor * x
			if v.step == oracle.QKV && o.folded != nil {
				scaled[i] *= float64(o.folded[i])
			}
		}
		out = append(out, tensorData{wide: scaled})
	}
	return single, out
}

// axis is where rows lie: the third dimension in the contract, or the likely one
// of a package that keeps the residual stream otherwise.
func (o *oracleSide) axis(shape []int) int {
	if len(shape) == 4 && shape[2] == o.side.rows {
		return 2
	}
	return max(0, likelyAxis(shape, o.side.rows))
}

// probs is one KV head's softmax, [group, S], 0 where the token does not look.
func (o *oracleSide) probs(name string, all []float64, single []int) []float64 {
	dims := o.side.suite.record.Model.Dims
	j, err := strconv.Atoi(name[strings.LastIndexByte(name, '_')+1:])
	group, seen := dims.Heads/dims.KVHeads, len(all)/dims.Heads
	slots := single[len(single)-1]
	if err != nil || j >= dims.KVHeads || seen > slots {
		return nil
	}
	out := make([]float64, group*slots)
	for h := range group {
		copy(out[h*slots:], all[(j*group+h)*seen:][:seen])
	}
	return out
}

// state is what the oracle's cache holds after the passes.
func (o *oracleSide) state(name string) tensorData {
	kind, l := oracle.K, 0
	for ; l < o.layers; l++ {
		if name == contract.VState(l) {
			kind = oracle.V
		}
		if name == contract.KState(l) || name == contract.VState(l) {
			break
		}
	}
	values, err := o.cache.Values(kind, o.start+l)
	if err != nil {
		return tensorData{} // not reached: the name is one of stateNames
	}
	return tensorData{wide: values}
}
