package terms

import (
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// vectors are the parts of a tensor that a reduction looks at: outer gives
// where each begins, inner where its elements lie from there, in row-major
// order of the reduced axes.
type vectors struct{ outer, inner []int }

func newVectors(shape, axes []int) vectors {
	strides := rowMajor(shape)
	var inShape, inStrides, outShape, outStrides []int
	next := 0
	for d, size := range shape {
		if next < len(axes) && axes[next] == d {
			inShape, inStrides = append(inShape, size), append(inStrides, strides[d])
			next++
			continue
		}
		outShape, outStrides = append(outShape, size), append(outStrides, strides[d])
	}
	return vectors{outer: offsets(outShape, outStrides), inner: offsets(inShape, inStrides)}
}

func offsets(shape, strides []int) []int {
	out := make([]int, elements(shape))
	for i := range out {
		out[i] = offset(coordinates(i, shape), strides)
	}
	return out
}

// find is the vector that element index of the tensor is in.
func (v vectors) find(index int) (vector, element int) {
	for i, at := range v.outer {
		for k, from := range v.inner {
			if at+from == index {
				return i, k
			}
		}
	}
	panic("terms: an element outside of its tensor") // indices come from this tensor
}

// softmax along an axis. An element is H(the vector's visible elements by
// index, its own term); a vanishing one is 0. The sum runs by index, which the
// masked 0s do not change.
func softmax(o *operation) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	shape := o.shape("x")
	v := newVectors(shape, []int{o.Axis("axis", -1, len(shape))})
	return rule{
		run: func(_ int, dst []Term) error {
			o.softmax(v, dst, x)
			return nil
		},
		reads: func(_, index int) []read {
			vector, _ := v.find(index)
			return append([]read{{index: index}}, v.reads(x, vector, Term.isVanishing)...)
		},
	}, nil
}

// softmax fills dst with the softmax of each vector of x.
func (o *operation) softmax(v vectors, dst, x []Term) {
	seed, nothing := o.seedOf(), o.seedOf(" over nothing")
	nothing.hi |= undefined
	parallel(len(v.outer), len(v.inner), func(lo, hi int) {
		for _, at := range v.outer[lo:hi] {
			whole, visible := seed, false
			for k, from := range v.inner {
				if t := x[at+from]; !t.isVanishing() {
					whole, visible = o.alg.mix(o.alg.mix(whole, number(float64(k))), t), true
				}
			}
			for _, from := range v.inner {
				t := x[at+from]
				switch {
				case !visible:
					dst[at+from] = nothing
				case !t.isVanishing():
					dst[at+from] = o.alg.mix(whole, t)
				}
			}
		}
	})
}

// reads lists a vector's elements and which of them do not matter.
func (v vectors) reads(x []Term, vector int, dead func(Term) bool) []read {
	var out []read
	for _, from := range v.inner {
		at := v.outer[vector] + from
		out = append(out, read{index: at, dead: dead(x[at])})
	}
	return out
}

func never(Term) bool { return false }

// layerNorm over axes: an element is H(the vector in order, its own term, gamma,
// beta).
func layerNorm(o *operation) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	var affine [][]Term
	for _, param := range []string{"gamma", "beta"} {
		if o.Has(param) {
			t, err := o.terms(param)
			if err != nil {
				return rule{}, err
			}
			affine = append(affine, t)
		}
	}
	shape := o.shape("x")
	v := newVectors(shape, o.Axes("axes", len(shape)))
	seed := o.seedOf(" ", o.Half("epsilon", 1e-5), o.Has("gamma"), o.Has("beta"))
	return rule{
		run: func(_ int, dst []Term) error {
			parallel(len(v.outer), len(v.inner), func(lo, hi int) {
				for _, at := range v.outer[lo:hi] {
					whole := seed
					for _, from := range v.inner {
						whole = o.alg.mix(whole, x[at+from])
					}
					for k, from := range v.inner {
						t := o.alg.mix(whole, x[at+from])
						for _, a := range affine {
							t = o.alg.mix(t, a[k])
						}
						dst[at+from] = t
					}
				}
			})
			return nil
		},
		reads: func(_, index int) []read {
			vector, _ := v.find(index)
			return append([]read{{index: index}}, v.reads(x, vector, never)...)
		},
	}, nil
}

// reduce folds vectors to one element each, ordered: a float sum depends on its
// order, and of a largest element the order costs nothing to keep. A sum leaves
// out zeros, and what is known is computed.
func reduce(o *operation) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	shape := o.shape("x")
	v := newVectors(shape, o.Axes("axes", len(shape)))
	seed := o.seedOf(" ", len(v.inner))
	sum := o.op.Type == "reduce_sum"
	return rule{
		run: func(_ int, dst []Term) error {
			parallel(len(v.outer), len(v.inner), func(lo, hi int) {
				for i := lo; i < hi; i++ {
					dst[i] = o.reduceOne(x, v, i, seed, sum)
				}
			})
			return nil
		},
		reads: func(_, index int) []read {
			return v.reads(x, index, func(t Term) bool { return sum && t == zero })
		},
	}, nil
}

func (o *operation) reduceOne(x []Term, v vectors, i int, seed Term, sum bool) Term {
	acc, total, known, in := seed, float32(0), true, 0
	var last Term
	for k, from := range v.inner {
		t := x[v.outer[i]+from]
		if sum && t == zero {
			continue
		}
		n, ok := t.value()
		known = known && ok
		total += float32(n)
		in, last = in+1, t
		acc = o.alg.mix(o.alg.mix(acc, number(float64(k))), t)
	}
	switch {
	case !sum:
		return acc
	case in == 0:
		return zero
	case in == 1:
		return last
	case known && o.Type("x").DType == mil.Float16:
		return number(half.ToFloat64(half.FromFloat32(total)))
	}
	return acc
}
