package oracle

import (
	"context"
	"math"

	"lockstep/internal/checkpoint"
)

// layer holds one decoder layer's weights.
type layer struct {
	attnNorm, mlpNorm          []float32
	qkv, attnOut, gateUp, down matrix
}

// readLayer reads the six tensors of one layer.
func (m *Model) readLayer(ctx context.Context, ckpt *checkpoint.Checkpoint, index int) (layer, error) {
	var l layer
	var attnNorm, mlpNorm matrix
	for _, part := range []struct {
		role       checkpoint.Role
		dst        *matrix
		rows, cols int
	}{
		{checkpoint.AttnNorm, &attnNorm, 1, m.hidden},
		{checkpoint.QKV, &l.qkv, (m.heads + 2*m.kvHeads) * m.headDim, m.hidden},
		{checkpoint.AttnOut, &l.attnOut, m.hidden, m.heads * m.headDim},
		{checkpoint.MLPNorm, &mlpNorm, 1, m.hidden},
		{checkpoint.GateUp, &l.gateUp, 2 * m.intermediate, m.hidden},
		{checkpoint.Down, &l.down, m.hidden, m.intermediate},
	} {
		read, err := readMatrix(ctx, ckpt, part.role, index, part.rows, part.cols)
		if err != nil {
			return layer{}, err
		}
		*part.dst = read
	}
	l.attnNorm, l.mlpNorm = attnNorm.data, mlpNorm.data
	return l, nil
}

// forward runs one token through layer start+index: h = x + o(attn(rms(x))),
// then h + down(up * silu(gate)) of rms(h).
func (m *Model) forward(x []float64, index, slot int, cos, sin []float64, cache *Cache, observe func(Step, []float64)) []float64 {
	l := &m.layers[index]
	shown := func(step Step, values []float64) []float64 {
		observe(step, values)
		return values
	}
	normed := shown(AttnNorm, rmsNorm(x, l.attnNorm, m.eps))
	qkv := shown(QKV, l.qkv.times(normed))
	attended := shown(Context, m.attend(qkv, index, slot, cos, sin, cache, observe))
	h := shown(AttnResidual, add(x, shown(AttnOut, l.attnOut.times(attended))))

	gateUp := shown(GateUp, l.gateUp.times(shown(MLPNorm, rmsNorm(h, l.mlpNorm, m.eps))))
	gate, up := shown(Gate, gateUp[:m.intermediate]), shown(Up, gateUp[m.intermediate:])
	act := make([]float64, m.intermediate)
	for i, g := range gate {
		act[i] = up[i] * (g / (1 + math.Exp(-g)))
	}
	return shown(Out, add(h, shown(Down, l.down.times(shown(Act, act)))))
}

// attend splits qkv (rows: all Q heads, all K heads, all V heads), turns q and
// k, stores k and v in their slot, and returns each query head's weighted sum
// of the values in slots 0..slot. Query head h reads KV head
// h / (heads / kvHeads).
func (m *Model) attend(qkv []float64, index, slot int, cos, sin []float64, cache *Cache, observe func(Step, []float64)) []float64 {
	dim := m.headDim
	q := qkv[:m.heads*dim]
	k := qkv[m.heads*dim : (m.heads+m.kvHeads)*dim]
	v := qkv[(m.heads+m.kvHeads)*dim:]
	for h := range m.heads {
		turn(q[h*dim:][:dim], cos, sin)
	}
	for h := range m.kvHeads {
		turn(k[h*dim:][:dim], cos, sin)
	}
	cache.store(K, index, slot, k)
	cache.store(V, index, slot, v)
	observe(Q, q)
	observe(NewK, k)
	observe(NewV, v)

	out, seen := make([]float64, m.heads*dim), slot+1
	probs := make([]float64, m.heads*seen)
	group := m.heads / m.kvHeads
	least := max(1, (1<<16)/(seen*dim))
	parallel(m.heads, least, func(lo, hi int) {
		for h := lo; h < hi; h++ {
			keys, values := cache.rows(K, index, h/group), cache.rows(V, index, h/group)
			attendHead(out[h*dim:][:dim], q[h*dim:][:dim], keys, values, probs[h*seen:][:seen])
		}
	})
	observe(Probs, probs)
	return out
}

// attendHead adds softmax(q.keys/sqrt(dim)) times values over the first
// len(scores) slots to out, which must be zero, and leaves the softmax in
// scores.
func attendHead(out, q, keys, values, scores []float64) {
	dim := len(q)
	top := math.Inf(-1)
	for s := range scores {
		var sum float64
		for i, v := range keys[s*dim:][:dim] {
			sum += float64(q[i] * v)
		}
		scores[s] = sum / math.Sqrt(float64(dim))
		top = max(top, scores[s])
	}
	var total float64
	for s, score := range scores {
		scores[s] = math.Exp(score - top)
		total += scores[s]
	}
	for s, e := range scores {
		p := e / total
		scores[s] = p
		for i, v := range values[s*dim:][:dim] {
			out[i] += float64(p * v)
		}
	}
}

func add(a, b []float64) []float64 {
	y := make([]float64, len(a))
	for i := range a {
		y[i] = a[i] + b[i]
	}
	return y
}
