package reference

import (
	"fmt"
	"math"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
)

// gatherAxis is gather: the parts of x along an axis that the indices name. An
// index outside the axis, negative ones included, is an error whether or not
// the op asks for the check: of the program if the indices are constant, else of
// the pass.
func (c *compiler) gatherAxis() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	indices, err := c.operand("indices")
	if err != nil {
		return err
	}
	shape, batch := c.values[x].typ.Shape, c.params.Int("batch_dims", 0)
	axis := c.params.Axis("axis", 0, len(shape))
	size, inner := shape[axis], mil.NumElements(shape[axis+1:])
	outer, perBatch := mil.NumElements(shape[:axis]), mil.NumElements(c.values[indices].typ.Shape[batch:])
	repeats := mil.NumElements(shape[batch:axis]) // of a batch's indices
	if c.values[indices].kind == ofConstant {
		if err := checkIndices(kernel.Ints(c.fn.values[indices]), size); err != nil {
			return fmt.Errorf("%w: parameter indices: %w", ErrProgram, err)
		}
	}
	dst := c.result(0)
	f := c.fn
	run := func(_, lo, hi int) {
		src, out, at := f.values[x], f.values[dst], kernel.Ints(f.values[indices])
		for r := lo; r < hi; r++ { // a part of the result: outer index, then the index's place
			o, i := r/perBatch, r%perBatch
			from := (o*size + int(at[o/repeats*perBatch+i])) * inner
			copy(out[r*inner:(r+1)*inner], src[from:from+inner])
		}
	}
	c.add([]int{x, indices}, []int{dst}, func() {
		if err := checkIndices(kernel.Ints(f.values[indices]), size); err != nil {
			f.fault = fmt.Errorf("parameter indices: %w", err)
			return
		}
		f.each(outer*perBatch, 1+elementGrain/inner, run)
	})
	return nil
}

func checkIndices(indices []int32, size int) error {
	for i, n := range indices {
		if n < 0 || int(n) >= size {
			return fmt.Errorf("%w: element %d: want an index in 0..%d, found %d", ErrIndex, i, size-1, n)
		}
	}
	return nil
}

// argmax is the place of the largest element along an axis.
func (c *compiler) argmax() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	axis := c.params.Axis("axis", -1, len(shape))
	if err := checkIndexType(c.op.Outputs[0].Type.DType, shape[axis]); err != nil {
		return err
	}
	dst := c.result(0)
	f, g, largest := c.fn, newVectors(shape, []int{axis}), kernel.ArgMax
	if c.values[x].typ.DType == mil.Int32 {
		largest = func(v []float32) int { return kernel.ArgMaxInt32(kernel.Ints(v)) }
	}
	c.forVectors([]int{x}, dst, g, func(i int, in, _ []float32) {
		kernel.Ints(f.values[dst])[i] = int32(largest(g.load(in, f.values[x], i)))
	})
	return nil
}

// checkIndexType says whether the indices of an axis fit an op's output.
func checkIndexType(d mil.DType, size int) error {
	limit := math.MaxInt32
	if d == mil.UInt16 {
		limit = math.MaxUint16
	}
	if size < 1 || size-1 > limit {
		return fmt.Errorf("%w: parameter x: want 1 to %d elements along the axis, as %s numbers them, found %d", ErrProgram, limit+1, d, size)
	}
	return nil
}

// topk gives the k largest elements along an axis, the largest first, or the
// smallest, and their places. Of equal elements the one that comes first in x
// comes first, and NaN counts as larger than every number. Where sort is false
// MIL promises no order; this is one.
func (c *compiler) topk() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	axis := c.params.Axis("axis", -1, len(shape))
	outs := []int{c.result(0)}
	if len(c.op.Outputs) > 1 {
		if err := checkIndexType(c.op.Outputs[1].Type.DType, shape[axis]); err != nil {
			return err
		}
		outs = append(outs, c.result(1))
	}
	f, g := c.fn, newVectors(shape, []int{axis})
	results := newVectors(c.values[outs[0]].typ.Shape, []int{axis})
	order, ascending := orderOf(c.values[x].typ.DType), c.params.Bool("ascending", false)
	n := g.length
	c.needScratch(2 * n)
	run := func(worker, lo, hi int) {
		in, places := f.scratch[worker][:n], kernel.Ints(f.scratch[worker][n:2*n])
		for i := lo; i < hi; i++ {
			v := g.load(in, f.values[x], i)
			order(places, v, ascending)
			for r := range results.length {
				at := results.outer.offset(i) + results.inner.offset(r)
				f.values[outs[0]][at] = v[places[r]]
				if len(outs) > 1 {
					kernel.Ints(f.values[outs[1]])[at] = places[r]
				}
			}
		}
	}
	c.add([]int{x}, outs, func() { f.each(g.count, 1+elementGrain/n, run) })
	return nil
}

func orderOf(d mil.DType) func(at []int32, v []float32, ascending bool) {
	if d == mil.Int32 {
		return func(at []int32, v []float32, ascending bool) { kernel.OrderInt32(at, kernel.Ints(v), ascending) }
	}
	return kernel.Order
}
