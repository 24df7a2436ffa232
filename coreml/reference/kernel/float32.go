package kernel

import (
	"fmt"
	"math"
)

// DotFloat32 returns the sum of a[i]*b[i] for any float32 values, each product
// rounded to float32 before it is added. The two are equally long.
func DotFloat32(a, b []float32) float32 {
	b = b[:len(a)]
	var s lanes
	full := len(a) &^ (laneCount - 1)
	accumulate(&s, a[:full], b[:full])
	accumulateTail(&s, a[full:], b[full:])
	return canonical(s.total())
}

// DotInt32 returns the sum of a[i]*b[i], which wraps.
func DotInt32(a, b []int32) int32 {
	var s int32
	for i, n := range a {
		s += n * b[i]
	}
	return s
}

// MatMulTransposedFloat32 is MatMulTransposed of any float32 values, not
// rounded to float16.
func MatMulTransposedFloat32(dst, a, b []float32, m, n, k int) {
	for i := range m {
		for j := range n {
			dst[i*n+j] = DotFloat32(a[i*k:(i+1)*k], b[j*k:(j+1)*k])
		}
	}
}

// MatMulTransposedInt32 is MatMulTransposed of int32 values, by DotInt32.
func MatMulTransposedInt32(dst, a, b []float32, m, n, k int) {
	to, x, y := Ints(dst), Ints(a), Ints(b)
	for i := range m {
		for j := range n {
			to[i*n+j] = DotInt32(x[i*k:(i+1)*k], y[j*k:(j+1)*k])
		}
	}
}

// Attention computes one row of scaled_dot_product_attention, not rounded to
// float16: scores[j] = q*k[j], times scale, plus mask[j]; their softmax; and dst
// = the sum over j of scores[j]*v[j]. Each of these is a float32 step as Dot,
// Softmax and MatMul define it before its rounding, and every product is rounded
// before it is added. k and v hold len(scores) rows as long as q and dst, and
// scores is overwritten. mask may be nil. Where no score is above -Inf the row
// is NaN.
func Attention(dst, scores, q, k, v, mask []float32, scale float32) {
	for j := range scores {
		scores[j] = float32(DotFloat32(q, k[j*len(q):(j+1)*len(q)]) * scale)
	}
	if mask != nil {
		for j, m := range mask[:len(scores)] {
			scores[j] += m
		}
	}
	SoftmaxFloat32(scores, scores)
	n := len(dst)
	for done := 0; done < n; done += columnBlock {
		denseBlock(dst[done:min(done+columnBlock, n)], scores, v[done:], n)
	}
	canonicalize(dst)
}

// UnaryFloat32 gives the loop of an operation that Unary knows for any float32
// values: the same float64 function, rounded once to float32. The error is
// below 0.5 + 2^-16 units in the last place; a result that is subnormal may be
// off by one of its units. Errors wrap ErrUnary.
func UnaryFloat32(name string, eps float32) (func(dst, src []float32), error) {
	f, ok := unaryFunctions[name]
	switch {
	case name == rsqrtName && !(eps >= 0 && eps <= math.MaxFloat32):
		return nil, fmt.Errorf("%w: %s with epsilon %v, want one from 0 on", ErrUnary, name, eps)
	case name == rsqrtName:
		f = func(x float64) float64 { return 1 / math.Sqrt(x+float64(eps)) }
	case !ok:
		return nil, fmt.Errorf("%w: %q, want one of %q", ErrUnary, name, UnaryNames())
	case eps != 0:
		return nil, fmt.Errorf("%w: %s has no epsilon, found %v", ErrUnary, name, eps)
	}
	return func(dst, src []float32) {
		for i, x := range src[:len(dst)] {
			if x == x { // as in a table: NaN is not asked
				x = float32(f(float64(x)))
			}
			dst[i] = canonical(x)
		}
	}, nil
}
