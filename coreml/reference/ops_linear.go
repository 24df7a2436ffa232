package reference

import (
	"fmt"
	"slices"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// productGrain is how many products make a range worth a worker.
const productGrain = 1 << 14

// conv is a 1x1 convolution: a product of the stored weight [out, in] with the
// columns of x, one per row of the pass. Work is split over output channels.
func (c *compiler) conv() error {
	if err := c.pointwise(); err != nil {
		return err
	}
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	w, err := c.weight("weight")
	if err != nil {
		return err
	}
	bias, err := c.optional("bias")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	in := c.values[x].typ.Shape
	k, rows, cols := in[1], w.typ.Shape[0], mil.NumElements(in[2:])
	if cols > 1 {
		c.needShared(k * cols)
	}
	f := c.fn
	columns := func() []float32 { // x with each column contiguous
		if cols == 1 {
			return f.values[x]
		}
		return f.shared[:k*cols]
	}
	run := func(_, lo, hi int) {
		w.channels(f.values[dst][lo*cols:hi*cols], columns(), bias, lo, hi, cols)
	}
	c.add([]int{x}, []int{dst}, func() {
		if cols > 1 {
			transposeInto(columns(), f.values[x], k, cols)
		}
		f.each(rows, 1+productGrain/k, run)
	})
	return nil
}

// pointwise reports what keeps the conv at hand from being a plain 1x1.
func (c *compiler) pointwise() error {
	p := c.params
	x, weight := p.Type("x").Shape, p.Type("weight").Shape
	switch {
	case !allEqual(weight[2:], 1):
		return fmt.Errorf("%w: parameter weight: want a kernel of 1 in each direction, found shape %v", ErrProgram, weight)
	case x[0] != 1:
		return fmt.Errorf("%w: parameter x: want a batch of 1, found shape %v", ErrProgram, x)
	case p.Int("groups", 1) != 1:
		return fmt.Errorf("%w: parameter groups: want 1, found %d", ErrProgram, p.Int("groups", 1))
	case !allEqual(p.Ints("strides"), 1):
		return fmt.Errorf("%w: parameter strides: want 1 in each direction, found %v", ErrProgram, p.Ints("strides"))
	case !allEqual(p.Ints("pad"), 0):
		return fmt.Errorf("%w: parameter pad: want 0 on each side, found %v", ErrProgram, p.Ints("pad"))
	}
	return nil // with a kernel of 1, dilations and the other pad types change nothing
}

func allEqual(ints []int, want int) bool {
	return !slices.ContainsFunc(ints, func(i int) bool { return i != want })
}

// linear is the product of each row of x with the stored weight [out, in].
// Work is split over output channels; the results of a range of them pass
// through the shared buffer unless x is one row, as they do not lie together.
func (c *compiler) linear() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	w, err := c.weight("weight")
	if err != nil {
		return err
	}
	bias, err := c.optional("bias")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	n, k := w.typ.Shape[0], w.typ.Shape[1]
	f, cols := c.fn, c.values[x].elements/k
	if cols > 1 {
		c.needShared(n * cols)
	}
	run := func(_, lo, hi int) {
		out := f.values[dst]
		if cols == 1 {
			w.channels(out[lo:hi], f.values[x], bias, lo, hi, 1)
			return
		}
		part := f.shared[lo*cols : hi*cols]
		w.channels(part, f.values[x], bias, lo, hi, cols)
		for r := lo; r < hi; r++ {
			for t, v := range part[(r-lo)*cols : (r-lo+1)*cols] {
				out[t*n+r] = v
			}
		}
	}
	c.add([]int{x}, []int{dst}, func() { f.each(n, 1+productGrain/k/cols, run) })
	return nil
}

// channels computes the output channels lo to hi: their rows' products with
// the columns of x, plus the bias, if any, before the one rounding.
func (w convWeight) channels(dst, x, bias []float32, lo, hi, cols int) {
	k := w.typ.Shape[1]
	if bias == nil {
		w.rows(lo, hi, k).product(dst, x, k, cols)
		return
	}
	w.rows(lo, hi, k).sums(dst, x, k, cols)
	addBias(dst, bias[lo:hi], cols)
}

// rows are the rows lo to hi of a weight of k columns.
func (w convWeight) rows(lo, hi, k int) convWeight {
	if w.quants == nil {
		return convWeight{halfs: w.halfs[lo*k : hi*k]}
	}
	scales := w.scales
	if len(scales) > 1 {
		scales = scales[lo:hi]
	}
	return convWeight{quants: w.quants[lo*k : hi*k], scales: scales}
}

// product computes the rows' products with the columns of x.
func (w convWeight) product(dst, x []float32, k, cols int) {
	if w.quants == nil {
		kernel.ConvHalf(dst, w.halfs, x, k, cols)
	} else {
		kernel.ConvInt8(dst, w.quants, w.scales, x, k, cols)
	}
}

// sums is product without the rounding to float16.
func (w convWeight) sums(dst, x []float32, k, cols int) {
	if w.quants == nil {
		kernel.ConvHalfSums(dst, w.halfs, x, k, cols)
	} else {
		kernel.ConvInt8Sums(dst, w.quants, w.scales, x, k, cols)
	}
}

// addBias adds each row's bias to its sums and rounds them.
func addBias(dst, bias []float32, cols int) {
	for r, b := range bias {
		row := dst[r*cols : (r+1)*cols]
		for i := range row {
			row[i] += b
		}
	}
	half.Round(dst)
}

// transposeInto writes src [rows, cols] as dst [cols, rows].
func transposeInto(dst, src []float32, rows, cols int) {
	for r := range rows {
		for t, v := range src[r*cols : (r+1)*cols] {
			dst[t*rows+r] = v
		}
	}
}

// matmul multiplies the last two axes, broadcasting the others.
func (c *compiler) matmul() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	y, err := c.operand("y")
	if err != nil {
		return err
	}
	if c.params.Bool("transpose_x", false) {
		x = c.transposed(x)
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	g := newProduct(c.values[x].typ.Shape, c.values[y].typ.Shape, c.values[dst].typ.Shape)
	if c.params.Bool("transpose_y", false) {
		c.matmulRows(x, y, dst, g)
	} else {
		c.matmulColumns(x, y, dst, g)
	}
	return nil
}

// transposed adds a step that swaps the last two axes of x.
func (c *compiler) transposed(x int) int {
	shape, strides := slices.Clone(c.values[x].typ.Shape), rowMajor(c.values[x].typ.Shape)
	a, b := len(shape)-2, len(shape)-1
	shape[a], shape[b] = shape[b], shape[a]
	strides[a], strides[b] = strides[b], strides[a]
	v := c.addValue("", mil.Tensor(mil.Float16, shape...))
	c.gather(x, v, 0, strides)
	return v
}

// product is the geometry of a batched matmul: per batch, x [m, k] times
// y [k, n], or y [n, k] transposed.
type product struct {
	m, n, k int
	batches int
	batch   broadcast
}

func newProduct(x, y, out []int) product {
	r := len(out)
	g := product{m: out[r-2], n: out[r-1], k: x[len(x)-1], batches: mil.NumElements(out[:r-2])}
	g.batch = newBroadcast(x[:len(x)-2], y[:len(y)-2], out[:r-2])
	if g.batch.rows == 1 && g.batch.innerX == 1 && g.batch.innerY == 0 { // one y for all: x is one matrix
		g.m, g.batches = g.m*g.batches, 1
	}
	return g
}

// operands are the offsets of batch b's operands.
func (g *product) operands(b int) (x, y int) {
	x, y = g.batch.offsets(b / g.batch.inner)
	at := b % g.batch.inner
	return (x + at*g.batch.innerX) * g.m * g.k, (y + at*g.batch.innerY) * g.k * g.n
}

// matmulRows: y's rows are contiguous vectors; work is split over them. The
// results of one range of them pass through the shared buffer, as they do not
// lie together.
func (c *compiler) matmulRows(x, y, dst int, g product) {
	f := c.fn
	if g.m > 1 {
		c.needShared(g.m * g.n)
	}
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for b := range g.batches {
			atX, atY := g.operands(b)
			rows, columns := xs[atX:atX+g.m*g.k], ys[atY+lo*g.k:atY+hi*g.k]
			to := out[b*g.m*g.n : (b+1)*g.m*g.n]
			if g.m == 1 {
				kernel.MatMulTransposed(to[lo:hi], rows, columns, 1, hi-lo, g.k)
				continue
			}
			part := f.shared[lo*g.m : hi*g.m]
			kernel.MatMulTransposed(part, rows, columns, g.m, hi-lo, g.k)
			for m := range g.m {
				copy(to[m*g.n+lo:m*g.n+hi], part[m*(hi-lo):])
			}
		}
	}
	grain := 1 + productGrain/g.k/g.m/g.batches
	c.add([]int{x, y}, []int{dst}, func() { f.each(g.n, grain, run) })
}

// matmulColumns: y's columns are summed side by side; work is split over the
// result's rows, a run of rows of one batch at a time.
func (c *compiler) matmulColumns(x, y, dst int, g product) {
	f := c.fn
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for r := lo; r < hi; {
			m := r % g.m
			rows := min(g.m-m, hi-r)
			atX, atY := g.operands(r / g.m)
			kernel.MatMul(out[r*g.n:(r+rows)*g.n], xs[atX+m*g.k:atX+(m+rows)*g.k], ys[atY:atY+g.k*g.n], rows, g.k, g.n)
			r += rows
		}
	}
	grain := 1 + productGrain/g.k/g.n
	c.add([]int{x, y}, []int{dst}, func() { f.each(g.m*g.batches, grain, run) })
}
