package reference_test

import (
	"math/big"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// array is a dense tensor of the naive evaluator: elements of any type as the
// float64 numbers that they are, a bool as 0 or 1.
type array struct {
	dtype mil.DType
	shape []int
	data  []float64
}

func newArray(t mil.Type) array {
	return array{dtype: t.DType, shape: t.Shape, data: make([]float64, elements(t.Shape))}
}

// halfArray is an array of float16.
func halfArray(shape []int, data []float16.Float16) array {
	out := newArray(mil.Tensor(mil.Float16, shape...))
	for i, h := range data {
		out.data[i] = half.ToFloat64(h)
	}
	return out
}

// halfs are the elements of an array of float16.
func (a array) halfs() []float16.Float16 {
	out := make([]float16.Float16, len(a.data))
	for i, v := range a.data {
		out[i] = half.FromFloat64(v)
	}
	return out
}

// offset is the place of an index.
func (a array) offset(index []int) int {
	at := 0
	for d, i := range index {
		at = at*a.shape[d] + i
	}
	return at
}

func (a array) at(index []int) float64 { return a.data[a.offset(index)] }

// spread is at for an index of the shape that a broadcasts to.
func (a array) spread(index []int) float64 {
	at, first := 0, len(index)-len(a.shape)
	for d, n := range a.shape {
		at *= n
		if n > 1 {
			at += index[first+d]
		}
	}
	return a.data[at]
}

func (a array) set(index []int, v float64) { a.put(a.offset(index), v) }

// put stores a number as the array's type has it: rounded, wrapped, or as the
// truth that it is not 0.
func (a array) put(at int, v float64) {
	switch d := a.dtype; d {
	case mil.Float16:
		v = half.ToFloat64(half.FromFloat64(v))
	case mil.Float32:
		v = float64(float32(v))
	case mil.Bool:
		v = truth(v != 0)
	default:
		n := new(big.Int)
		big.NewFloat(v).Int(n)
		n.And(n, big.NewInt(1<<d.Bits()-1)) // two's complement
		if v = float64(n.Int64()); d != mil.UInt8 && d != mil.UInt16 && d != mil.UInt32 && n.Bit(d.Bits()-1) == 1 {
			v -= float64(int64(1) << d.Bits())
		}
	}
	a.data[at] = v
}

// forIndices visits the indices of a shape in row-major order.
func forIndices(shape []int, visit func(index []int)) {
	if elements(shape) == 0 {
		return
	}
	index := make([]int, len(shape))
	for {
		visit(index)
		d := len(shape) - 1
		for ; d >= 0; d-- {
			if index[d]++; index[d] < shape[d] {
				break
			}
			index[d] = 0
		}
		if d < 0 {
			return
		}
	}
}
