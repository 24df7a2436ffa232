package reference_test

import (
	"slices"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// integers are a literal's elements as numbers.
func (n *naive) integers(lit *mil.Literal) []float64 {
	raw, err := n.files.Bytes(lit)
	if err != nil {
		panic(err)
	}
	var out []float64
	switch lit.Type.DType {
	case mil.Int8:
		for _, b := range raw {
			out = append(out, float64(int8(b)))
		}
	case mil.UInt8:
		for _, b := range raw {
			out = append(out, float64(b))
		}
	default:
		values, err := mlpackage.Unpack(lit.Type.DType, raw, elements(lit.Type.Shape))
		if err != nil {
			panic(err)
		}
		for _, v := range values {
			out = append(out, float64(v))
		}
	}
	return out
}

// block is the index of the block that an element lies in.
func block(index, shape, blocks []int) []int {
	at := make([]int, len(index))
	for d, i := range index {
		at[d] = i / (shape[d] / blocks[d])
	}
	return at
}

func (n *naive) dequantize(op *mil.Op, out array) {
	q, scale := n.arg(op, "data").data, n.arg(op, "scale")
	offset := make([]float64, len(scale.data))
	if b := n.bindings(op, "offset"); b != nil {
		offset = n.value(b[0]).data
	}
	i := 0
	forIndices(out.shape, func(index []int) {
		at := scale.offset(block(index, out.shape, scale.shape))
		out.put(i, scale.data[at]*(q[i]-offset[at]))
		i++
	})
}

func (n *naive) lookUp(op *mil.Op, out array) {
	indices, lut := n.arg(op, "indices").data, n.arg(op, "lut")
	i := 0
	forIndices(out.shape, func(index []int) {
		at := append(block(index, out.shape, lut.shape), int(indices[i]), 0)
		out.set(index, lut.at(at))
		i++
	})
}

func (n *naive) linear(op *mil.Op, out array) {
	x, w := n.arg(op, "x"), n.arg(op, "weight")
	row, column := make([]float64, w.shape[1]), make([]float64, w.shape[1])
	forIndices(out.shape, func(i []int) {
		from, o := slices.Clone(i), i[len(i)-1]
		for k := range row {
			from[len(from)-1] = k
			row[k], column[k] = w.at([]int{o, k}), x.at(from)
		}
		v := dotOf(out.dtype, row, column)
		if b := n.bindings(op, "bias"); b != nil {
			v = plus(out.dtype, v, n.value(b[0]).at([]int{o}))
		}
		out.set(i, v)
	})
}

func (n *naive) sliceBySize(op *mil.Op, out array) {
	x, begin := n.arg(op, "x"), n.ints(op, "begin")
	for d, b := range begin {
		if b < 0 || b+out.shape[d] > x.shape[d] {
			panic(outside{})
		}
	}
	forIndices(out.shape, func(i []int) {
		from := slices.Clone(i)
		for d := range from {
			from[d] += begin[d]
		}
		out.set(i, x.at(from))
	})
}

func (n *naive) sliceUpdate(op *mil.Op, out array) {
	x, update := n.arg(op, "x"), n.arg(op, "update")
	copy(out.data, x.data)
	chosen, _ := n.chosen(op, x.shape)
	counts := make([]int, len(chosen))
	for d, c := range chosen {
		counts[d] = len(c)
	}
	n.checkCut(op, chosen, x.shape, update.shape)
	next := 0 // an axis that is squeezed has one element: the order is the same
	forIndices(counts, func(i []int) {
		to := make([]int, len(i))
		for d, at := range i {
			to[d] = chosen[d][at]
		}
		out.data[out.offset(to)] = update.data[next]
		next++
	})
}

func (n *naive) tile(op *mil.Op, out array) {
	x := n.arg(op, "x")
	forIndices(out.shape, func(i []int) {
		from := slices.Clone(i)
		for d := range from {
			from[d] %= x.shape[d]
		}
		out.set(i, x.at(from))
	})
}
