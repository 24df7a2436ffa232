package reference_test

import (
	"cmp"
	"math"
	"slices"

	"lockstep/internal/mil"
)

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, f := range v {
		out[i] = float32(f)
	}
	return out
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, f := range v {
		out[i] = float64(f)
	}
	return out
}

// dotOf is the sum of products of a type: of floats in 16 partial sums, of
// integers modulo 2^32.
func dotOf(d mil.DType, a, b []float64) float64 {
	if d != mil.Int32 {
		return float64(dot(narrow(a), narrow(b)))
	}
	var s uint32
	for i := range a {
		s += uint32(int64(a[i])) * uint32(int64(b[i]))
	}
	return float64(int32(s))
}

// plus adds a bias to a sum before the last rounding.
func plus(d mil.DType, a, b float64) float64 {
	if d == mil.Int32 {
		return a + b
	}
	return float64(float32(a) + float32(b))
}

// ints are the elements of an integer operand.
func (n *naive) ints(op *mil.Op, param string) []int {
	var out []int
	for _, v := range n.arg(op, param).data {
		out = append(out, int(v))
	}
	return out
}

func (n *naive) cast(op *mil.Op, out array) {
	x := n.arg(op, "x")
	fraction := x.dtype == mil.Float16 || x.dtype == mil.Float32
	for i, v := range x.data {
		if fraction && out.dtype != mil.Float16 && out.dtype != mil.Float32 && out.dtype != mil.Bool {
			low, high := 0.0, math.Ldexp(1, out.dtype.Bits())-1
			if slices.Contains([]mil.DType{mil.Int8, mil.Int16, mil.Int32}, out.dtype) {
				low, high = -(high+1)/2, (high-1)/2
			}
			if v != v {
				v = 0
			}
			v = math.Trunc(min(max(v, low), high))
		}
		out.put(i, v)
	}
}

func (n *naive) gather(op *mil.Op, out array) {
	x, indices := n.arg(op, "x"), n.arg(op, "indices")
	axis, batch := n.axis("axis", 0, len(x.shape)), n.p.Int("batch_dims", 0)
	for _, v := range indices.data {
		if v < 0 || v >= float64(x.shape[axis]) {
			panic(outside{})
		}
	}
	k := len(indices.shape) - batch // axes of the result that the indices make
	forIndices(out.shape, func(i []int) {
		at := append(slices.Clone(i[:batch]), i[axis:axis+k]...)
		from := append(slices.Clone(i[:axis]), int(indices.at(at)))
		out.set(i, x.at(append(from, i[axis+k:]...)))
	})
}

// ranked are the places of v's elements in their order.
func ranked(v []float64, ascending bool) []int {
	places := make([]int, len(v))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(i, j int) int {
		a, b := v[i], v[j]
		if a != a {
			a = math.Inf(1)
		}
		if b != b {
			b = math.Inf(1)
		}
		c := cmp.Or(cmp.Compare(a, b), cmp.Compare(truth(v[i] != v[i]), truth(v[j] != v[j])))
		if ascending {
			return c
		}
		return -c
	})
	return places
}

func (n *naive) argmax(op *mil.Op, out array) {
	x := n.arg(op, "x")
	var found []float64
	n.along(x, newArray(mil.Tensor(x.dtype, x.shape...)), []int{n.axis("axis", -1, len(x.shape))}, func(v []float64) []float64 {
		found = append(found, float64(ranked(v, false)[0]))
		return v
	})
	copy(out.data, found)
}

func (n *naive) topk(op *mil.Op) {
	x := n.arg(op, "x")
	axis := n.axis("axis", -1, len(x.shape))
	for o, v := range op.Outputs {
		sorted := newArray(mil.Tensor(mil.Float32, x.shape...)) // holds places of a test's axis
		if o == 0 {
			sorted = newArray(mil.Tensor(x.dtype, x.shape...))
		}
		n.along(x, sorted, []int{axis}, func(v []float64) []float64 {
			out := make([]float64, len(v))
			for i, at := range ranked(v, n.p.Bool("ascending", false)) {
				if out[i] = float64(at); o == 0 {
					out[i] = v[at]
				}
			}
			return out
		})
		out := newArray(v.Type)
		forIndices(out.shape, func(i []int) { out.set(i, sorted.at(i)) })
		n.values[v.Name] = out
	}
}

// attention is the three ops that it stands for, row by row, in float32.
func (n *naive) attention(op *mil.Op, out array) {
	q, k, v := n.arg(op, "query"), n.arg(op, "key"), n.arg(op, "value")
	last := len(q.shape) - 1
	scale := float32(1 / math.Sqrt(float64(q.shape[last])))
	row := func(a array, head []int, r int) (out []float64) {
		for e := range a.shape[last] {
			out = append(out, a.at(append(slices.Clone(head), r, e)))
		}
		return out
	}
	forIndices(q.shape[:last], func(i []int) {
		head := i[:last-1]
		scores := make([]float32, k.shape[last-1])
		for j := range scores {
			scores[j] = float32(dot(narrow(row(q, head, i[last-1])), narrow(row(k, head, j))) * scale)
			if b := n.bindings(op, "attn_mask"); b != nil {
				m := n.value(b[0])
				switch add := m.spread(append(slices.Clone(i), j)); {
				case m.dtype != mil.Bool:
					scores[j] += float32(add)
				case add == 0:
					scores[j] += float32(math.Inf(-1))
				}
			}
		}
		weights := softmax(scores)
		for e := range v.shape[last] {
			column := make([]float32, len(weights))
			for j := range column {
				column[j] = float32(v.at(append(slices.Clone(head), j, e)))
			}
			out.set(append(slices.Clone(i), e), float64(dot(weights, column)))
		}
	})
}

// conv is a convolution with padding of zeros.
func (n *naive) conv(op *mil.Op, out array) {
	x, w := n.arg(op, "x"), n.arg(op, "weight")
	axes := len(x.shape) - 2
	strides, dilations, groups := n.p.Ints("strides"), n.p.Ints("dilations"), n.p.Int("groups", 1)
	before := make([]int, axes)
	for d := range before {
		reach := w.shape[2+d] - 1
		if dilations != nil {
			reach *= dilations[d]
		}
		switch n.p.String("pad_type", "valid") {
		case "custom":
			if pad := n.p.Ints("pad"); pad != nil {
				before[d] = pad[2*d]
			}
		case "same", "same_lower":
			before[d] = reach / 2
		}
	}
	forIndices(out.shape, func(i []int) {
		var under, row []float64
		forIndices(w.shape[1:], func(k []int) {
			from := []int{i[0], i[1]/(w.shape[0]/groups)*w.shape[1] + k[0]}
			inside := true
			for d := range axes {
				at := i[2+d]
				if strides != nil {
					at *= strides[d]
				}
				step := k[1+d]
				if dilations != nil {
					step *= dilations[d]
				}
				at += step - before[d]
				inside = inside && at >= 0 && at < x.shape[2+d]
				from = append(from, at)
			}
			value := 0.0
			if inside {
				value = x.at(from)
			}
			under, row = append(under, value), append(row, w.at(append([]int{i[1]}, k...)))
		})
		v := dotOf(out.dtype, under, row)
		if b := n.bindings(op, "bias"); b != nil {
			v = plus(out.dtype, v, n.value(b[0]).at([]int{i[1]}))
		}
		out.set(i, v)
	})
}

// reduceInts is sum, maximum or sum of squares of int32.
func (n *naive) reduceInts(op *mil.Op, out array) {
	x := n.arg(op, "x")
	var results []float64
	n.along(x, newArray(mil.Tensor(x.dtype, x.shape...)), n.axes(len(x.shape)), func(v []float64) []float64 {
		ones := slices.Repeat([]float64{1}, len(v))
		switch op.Type {
		case "reduce_sum":
			results = append(results, dotOf(mil.Int32, v, ones))
		case "reduce_sum_square":
			results = append(results, dotOf(mil.Int32, v, v))
		case "reduce_max":
			results = append(results, slices.Max(append([]float64{math.MinInt32}, v...)))
		default:
			panic("no meaning of " + op.Type + " of integers")
		}
		return v
	})
	copy(out.data, results)
}

// checkCut panics unless the bounds and the chosen elements lie in x and are as
// many as the update has, axis by axis.
func (n *naive) checkCut(op *mil.Op, chosen [][]int, x, update []int) {
	squeezed, masked, end := n.p.BoolSlice("squeeze_mask"), n.p.BoolSlice("end_mask"), n.ints(op, "end")
	for d, at := range chosen {
		for _, i := range at {
			if i < 0 || i >= x[d] {
				panic(outside{})
			}
		}
		if squeezed != nil && squeezed[d] {
			continue
		}
		outsideEnd := (masked == nil || !masked[d]) && (end[d] < -x[d] || end[d] > x[d])
		if outsideEnd || len(at) != update[0] {
			panic(outside{})
		}
		update = update[1:]
	}
}
