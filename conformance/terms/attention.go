package terms

import (
	"fmt"

	"lockstep/internal/mil"
)

// attention is softmax(query key^T / sqrt(E) + mask) value. Its terms are those
// of the four ops that it stands for, under its own name: the scores, with the
// scale, by pairs of rows; the mask added; the softmax over what is visible; the
// product with the columns of value.
func attention(o *operation) (rule, error) {
	a := &attended{operation: o}
	for _, in := range []struct {
		param string
		to    *[]Term
	}{{"query", &a.query}, {"key", &a.key}, {"value", &a.value}} {
		var err error
		if *in.to, err = o.terms(in.param); err != nil {
			return rule{}, err
		}
	}
	if err := a.addMask(); err != nil {
		return rule{}, err
	}
	return rule{run: func(_ int, dst []Term) error {
		a.products(a.weights()).run(dst)
		return nil
	}, reads: a.reads}, nil
}

// attended is an attention with its operands.
type attended struct {
	*operation
	query, key, value []Term
	mask              []Term // under the scores' shape, nil without one
	maskFrom          []int  // where each is in the operand
}

// scoresShape is [..., L, S] of queries [..., L, E] and keys [..., S, E].
func (a *attended) scoresShape() []int {
	out, key := a.op.Outputs[0].Type.Shape, a.shape("key")
	shape := append([]int{}, out...)
	shape[len(shape)-1] = key[len(key)-2]
	return shape
}

// addMask spreads the mask under the scores. One of bools has to be known: true
// adds 0, and false hides.
func (a *attended) addMask() error {
	if !a.Has("attn_mask") {
		return nil
	}
	mask, err := a.terms("attn_mask")
	if err != nil {
		return err
	}
	shape := a.scoresShape()
	strides := broadcast(a.shape("attn_mask"), shape)
	a.maskFrom = offsets(shape, strides)
	a.mask = make([]Term, len(a.maskFrom))
	for i, from := range a.maskFrom {
		a.mask[i] = mask[from]
	}
	if a.Type("attn_mask").DType != mil.Bool {
		return nil
	}
	for i, t := range a.mask {
		v, known := t.value()
		if !known {
			return fmt.Errorf("%w: an attention mask of bools that depends on inputs", ErrUncovered)
		}
		if a.mask[i] = zero; v == 0 {
			a.mask[i] = number(maskedBelow)
		}
	}
	return nil
}

// weights is the softmax of the masked scores, with 0 for what is hidden.
func (a *attended) weights() []Term {
	shape := a.scoresShape()
	scores := make([]Term, elements(shape))
	m := a.newMultiplication(matrices{a.query, a.shape("query"), false}, matrices{a.key, a.shape("key"), true}, shape)
	m.seed, m.arith = a.seedOf(" scores"), a.inside("mul")
	m.run(scores)
	add := a.inside("add")
	for i, t := range a.mask {
		scores[i] = add.join(scores[i], t)
	}
	out := make([]Term, len(scores))
	a.softmax(newVectors(shape, []int{len(shape) - 1}), out, scores)
	return out
}

// inside is the arithmetic of a step, which nothing rounds to float16.
func (a *attended) inside(op string) arithmetic {
	return arithmetic{a.alg, op, mil.Float32, a.seedOf(" " + op)}
}

// products are the weights times the columns of value.
func (a *attended) products(weights []Term) *multiplication {
	m := a.newMultiplication(matrices{weights, a.scoresShape(), false}, matrices{a.value, a.shape("value"), false}, a.op.Outputs[0].Type.Shape)
	m.seed, m.arith = a.seedOf(), a.inside("mul")
	return m
}

// reads lists, for an element, the row of the query, and by slot the mask, the
// row of the key, and the element of value; a hidden slot is dead.
func (a *attended) reads(_, index int) []read {
	const query, key, value, mask = 0, 1, 2, 3
	weights := a.weights()
	m := a.products(weights)
	scores := a.newMultiplication(matrices{a.query, a.shape("query"), false}, matrices{a.key, a.shape("key"), true}, a.scoresShape())
	r, j := index/m.n, index%m.n
	var out []read
	for e := range scores.k {
		out = append(out, read{operand: query, index: scores.rows[r].x + e})
	}
	for slot := range m.k {
		dead := weights[r*m.k+slot] == zero
		if a.mask != nil {
			out = append(out, read{operand: mask, index: a.maskFrom[r*m.k+slot]})
		}
		for e := range scores.k {
			out = append(out, read{operand: key, index: scores.rows[r].y + slot*scores.k + e, dead: dead})
		}
		out = append(out, read{operand: value, index: m.rows[r].y + slot*m.stepK + j, dead: dead})
	}
	return out
}
