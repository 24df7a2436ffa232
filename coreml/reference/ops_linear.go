package reference

import (
	"slices"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// productGrain is how many products make a range worth a worker.
const productGrain = 1 << 14

// conv is in most programs a 1x1 convolution: a product of the stored weight
// [out, in] with the columns of x, one per row of the pass. Work is split over
// output channels.
func (c *compiler) conv() error {
	if !c.pointwise() {
		return c.windowed()
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
	dst := c.result(0)
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

// pointwise reports whether the conv at hand is a plain 1x1 of a stored float16
// weight. With a kernel of 1, dilations and the pad types but custom change
// nothing.
func (c *compiler) pointwise() bool {
	p := c.params
	return c.stored("weight") && allEqual(p.Type("weight").Shape[2:], 1) && p.Type("x").Shape[0] == 1 &&
		p.Int("groups", 1) == 1 && allEqual(p.Ints("strides"), 1) && allEqual(p.Ints("pad"), 0)
}

// stored reports whether a parameter is a weight of float16 that lies in the
// package, to be converted while it is used.
func (c *compiler) stored(param string) bool {
	name, _ := c.params.Value(param)
	if _, ok := c.weights[name]; ok {
		return true
	}
	lit := c.params.Literal(param)
	return lit != nil && lit.Type.DType == mil.Float16
}

func allEqual(ints []int, want int) bool {
	return !slices.ContainsFunc(ints, func(i int) bool { return i != want })
}

// linear is the product of each row of x with the stored weight [out, in].
// Work is split over output channels; the results of a range of them pass
// through the shared buffer unless x is one row, as they do not lie together.
func (c *compiler) linear() error {
	if !c.stored("weight") {
		return c.wideLinear()
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
	dst := c.result(0)
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

// wideLinear is linear of float32 or int32 values: the products of x's rows with
// the weight's, plus the bias. Work is split over x's rows.
func (c *compiler) wideLinear() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	w, err := c.operand("weight")
	if err != nil {
		return err
	}
	bias, err := c.optional("bias")
	if err != nil {
		return err
	}
	d := c.values[x].typ.DType
	plus, err := binaryKernels("add", d)
	if err != nil {
		return err
	}
	dst, multiply := c.result(0), rowProducts(d)
	n, k := c.values[w].typ.Shape[0], c.values[w].typ.Shape[1]
	f, rows := c.fn, c.values[x].elements/k
	run := func(_, lo, hi int) {
		out := f.values[dst]
		multiply(out[lo*n:hi*n], f.values[x][lo*k:hi*k], f.values[w], hi-lo, n, k)
		for r := lo; r < hi && bias != nil; r++ {
			plus.VV(out[r*n:(r+1)*n], out[r*n:(r+1)*n], bias)
		}
	}
	c.add([]int{x, w}, []int{dst}, func() { f.each(rows, 1+productGrain/n/k, run) })
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
	d, rows := c.values[x].typ.DType, c.params.Bool("transpose_y", false)
	dst := c.result(0)
	g := newProduct(c.values[x].typ.Shape, c.values[y].typ.Shape, c.values[dst].typ.Shape)
	switch {
	case rows || d != mil.Float16:
		if !rows {
			y = c.transposed(y)
		}
		c.matmulRows(x, y, dst, g, rowProducts(d))
	default:
		c.matmulColumns(x, y, dst, g)
	}
	return nil
}

// rowProducts multiplies rows of a type with rows: a product with a transposed
// matrix.
func rowProducts(d mil.DType) func(dst, a, b []float32, m, n, k int) {
	switch d {
	case mil.Float16:
		return kernel.MatMulTransposed
	case mil.Float32:
		return kernel.MatMulTransposedFloat32
	}
	return kernel.MatMulTransposedInt32
}

// transposed adds a step that swaps the last two axes of x, and returns its
// result.
func (c *compiler) transposed(x int) int {
	shape, strides := slices.Clone(c.values[x].typ.Shape), rowMajor(c.values[x].typ.Shape)
	a, b := len(shape)-2, len(shape)-1
	shape[a], shape[b] = shape[b], shape[a]
	strides[a], strides[b] = strides[b], strides[a]
	v := c.addValue("", mil.Tensor(c.values[x].typ.DType, shape...))
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
func (c *compiler) matmulRows(x, y, dst int, g product, multiply func(dst, a, b []float32, m, n, k int)) {
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
				multiply(to[lo:hi], rows, columns, 1, hi-lo, g.k)
				continue
			}
			part := f.shared[lo*g.m : hi*g.m]
			multiply(part, rows, columns, g.m, hi-lo, g.k)
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
