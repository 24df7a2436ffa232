package reference

import (
	"fmt"
	"slices"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
)

// conv is a 1x1 convolution: a product of the stored weight [out, in] with the
// columns of x, one per row of the pass. Work is split over output channels.
func (c *compiler) conv() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	w, err := c.weight("weight")
	if err != nil {
		return err
	}
	if err := c.pointwise(); err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	in, out := c.values[x].typ.Shape, c.values[dst].typ.Shape
	k, rows, cols := in[1], out[1], mil.NumElements(in[2:])

	f := c.fn
	columns := make([]float32, k*cols) // x with each column contiguous
	run := func(_, lo, hi int) {
		part := f.values[dst][lo*cols : hi*cols]
		if w.quants != nil {
			scales := w.scales
			if len(scales) > 1 {
				scales = scales[lo:hi]
			}
			kernel.ConvInt8(part, w.quants[lo*k:hi*k], scales, columns, k, cols)
			return
		}
		kernel.ConvHalf(part, w.halfs[lo*k:hi*k], columns, k, cols)
	}
	c.add([]int{x}, []int{dst}, func() {
		transposeInto(columns, f.values[x], k, cols)
		f.pkg.pool.each(&f.work, rows, 1+(1<<14)/max(1, k), run)
	})
	return nil
}

// pointwise reports what keeps the conv at hand from being a plain 1x1.
func (c *compiler) pointwise() error {
	p := c.params
	weight := c.scope.Type(firstName(p, "weight")).Shape
	plain := len(weight) == 4 && weight[2] == 1 && weight[3] == 1 && !p.Has("bias") && p.Int("groups", 1) == 1 &&
		allEqual(p.Ints("strides"), 1) && allEqual(p.Ints("pad"), 0) && allEqual(p.Ints("dilations"), 1)
	name, _ := p.Value("x")
	if x := c.scope.Type(name).Shape; !plain || len(x) != 4 || x[0] != 1 {
		return fmt.Errorf("%w: want a 1x1 conv of one image, stride 1, no pad, no groups, no bias", ErrProgram)
	}
	return nil
}

func firstName(p mil.Params, param string) string {
	name, _ := p.Value(param)
	return name
}

func allEqual(ints []int, want int) bool {
	return !slices.ContainsFunc(ints, func(i int) bool { return i != want })
}

// transposeInto writes src [rows, cols] as dst [cols, rows].
func transposeInto(dst, src []float32, rows, cols int) {
	if cols == 1 {
		copy(dst, src)
		return
	}
	for r := range rows {
		for t, v := range src[r*cols : (r+1)*cols] {
			dst[t*rows+r] = v
		}
	}
}

// product is the geometry of a batched matmul: per batch, x [m, k] times
// y [k, n], or y [n, k] transposed.
type product struct {
	m, n, k int
	batches []struct{ x, y int } // offsets of each batch's operands
}

// matmul multiplies the last two axes, broadcasting the others.
func (c *compiler) matmul() error {
	if c.params.Bool("transpose_x", false) {
		return fmt.Errorf("%w: transpose_x is not executed", ErrProgram)
	}
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	y, err := c.operand("y")
	if err != nil {
		return err
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

func newProduct(x, y, out []int) product {
	r := len(out)
	g := product{m: out[r-2], n: out[r-1], k: x[len(x)-1]}
	b := newBroadcast(x[:len(x)-2], y[:len(y)-2], out[:r-2])
	for i := range mil.NumElements(out[:r-2]) {
		ox, oy := b.offsets(i / b.inner)
		ox, oy = ox+i%b.inner*b.innerX, oy+i%b.inner*b.innerY
		g.batches = append(g.batches, struct{ x, y int }{ox * g.m * g.k, oy * g.k * g.n})
	}
	return g
}

// matmulRows: y's rows are contiguous vectors; work is split over them.
func (c *compiler) matmulRows(x, y, dst int, g product) {
	f := c.fn
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for b, at := range g.batches {
			for m := range g.m {
				row := xs[at.x+m*g.k : at.x+(m+1)*g.k]
				part := out[(b*g.m+m)*g.n+lo : (b*g.m+m)*g.n+hi]
				kernel.MatMulTransposed(part, row, ys[at.y+lo*g.k:at.y+hi*g.k], 1, hi-lo, g.k)
			}
		}
	}
	grain := 1 + (1<<14)/max(1, g.k*g.m*len(g.batches))
	c.add([]int{x, y}, []int{dst}, func() { f.pkg.pool.each(&f.work, g.n, grain, run) })
}

// matmulColumns: y's columns are summed side by side; work is split over the
// result's rows, a run of rows of one batch at a time.
func (c *compiler) matmulColumns(x, y, dst int, g product) {
	f := c.fn
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for r := lo; r < hi; {
			at, m := g.batches[r/g.m], r%g.m
			rows := min(g.m-m, hi-r)
			kernel.MatMul(out[r*g.n:(r+rows)*g.n], xs[at.x+m*g.k:at.x+(m+rows)*g.k], ys[at.y:at.y+g.k*g.n], rows, g.k, g.n)
			r += rows
		}
	}
	rows := g.m * len(g.batches)
	c.add([]int{x, y}, []int{dst}, func() { f.pkg.pool.each(&f.work, rows, 1+(1<<14)/max(1, g.k*g.n), run) })
}
