package probe

import (
	"context"
	"math"

	"github.com/x448/float16"

	"lockstep/conformance/oracle"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// What a sound program keeps of the model per token on the reference plane: the
// cosine of hidden, and of hidden - x by how the weights are stored.
const leastHidden = 0.999

var leastDelta = map[weights]float64{perChannel: 0.99, perTensor: 0.98, halfs: 0.999}

// likeness is the least cosine of tokens with the model's, of hidden and of
// hidden - x. The zero likeness has compared nothing.
type likeness struct {
	tokens        int
	hidden, delta float64
}

// add compares single tokens from pos on, over seeded caches.
func (l *likeness) add(ctx context.Context, from *lab, pos int, got [][]float16.Float16) error {
	model, err := from.model(ctx)
	if err != nil {
		return err
	}
	d, seed := from.dims, from.caches()
	cache := model.NewCache(d.Slots)
	for kind, name := range map[oracle.Kind]string{oracle.K: contract.KState(0), oracle.V: contract.VState(0)} {
		if err := cache.SetHalf(kind, d.layers().Start, seed[name]); err != nil {
			return err
		}
	}
	for i, token := range tokens(d, pos)[:len(got)] {
		x := floats(token)
		want, err := model.Forward(ctx, x, pos+i, cache)
		if err != nil {
			return err
		}
		h := floats(got[i])
		l.take(cosine(h, want, nil), cosine(h, want, x))
	}
	return nil
}

// take keeps the least; NaN is less than everything.
func (l *likeness) take(hidden, delta float64) {
	if l.tokens == 0 || !(hidden >= l.hidden) {
		l.hidden = hidden
	}
	if l.tokens == 0 || !(delta >= l.delta) {
		l.delta = delta
	}
	l.tokens++
}

func floats(values []float16.Float16) []float64 {
	out := make([]float64, len(values))
	for i, h := range values {
		out[i] = half.ToFloat64(h)
	}
	return out
}

// cosine is that of two vectors, of a - x and b - x if x is given.
func cosine(a, b, x []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		p, q := a[i], b[i]
		if x != nil {
			p, q = p-x[i], q-x[i]
		}
		ab, aa, bb = ab+float64(p*q), aa+float64(p*p), bb+float64(q*q)
	}
	return ab / math.Sqrt(aa*bb)
}
