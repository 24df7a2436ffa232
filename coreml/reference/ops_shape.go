package reference

import (
	"slices"

	"lockstep/internal/mil"
)

// reshape, expand_dims, squeeze and identity give the operand's buffer another
// shape or name.
func (c *compiler) reshape() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	c.share(0, x, 0)
	return nil
}

// transpose permutes axes.
func (c *compiler) transpose() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst := c.result(0)
	strides := rowMajor(c.values[x].typ.Shape)
	perm := c.params.Ints("perm")
	from := make([]int, len(perm))
	for d, axis := range perm {
		if axis < 0 {
			axis += len(strides)
		}
		from[d] = strides[axis]
	}
	c.gather(x, dst, 0, from)
	return nil
}

// slice takes a strided box with constant bounds. One that is a run of memory
// stays where it is.
func (c *compiler) slice() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	strides := rowMajor(shape)
	axes, err := c.params.Slice(shape)
	if err != nil {
		return err
	}
	base, from := 0, []int{}
	for d, a := range axes {
		base += a.Begin * strides[d]
		if !a.Squeeze {
			from = append(from, strides[d]*a.Stride)
		}
	}
	return c.box(x, base, from)
}

// gather copies dst from x at base plus the strides from, one per axis of dst.
func (c *compiler) gather(x, dst, base int, from []int) {
	c.gatherWalk(x, dst, base, newWalk(c.values[dst].typ.Shape, from))
}

// gatherWalk copies dst from x at base plus the walk's offsets.
func (c *compiler) gatherWalk(x, dst, base int, w walk) {
	copyBox := c.copyBox(x, dst, w)
	c.add([]int{x}, []int{dst}, func() { copyBox(base) })
}

// copyBox returns what copies dst from x at base plus the walk's offsets.
func (c *compiler) copyBox(x, dst int, w walk) func(base int) {
	outer, inner, step := w.cut()
	f, rows, base := c.fn, c.values[dst].elements/inner, 0
	run := func(_, lo, hi int) {
		src, out := f.values[x], f.values[dst]
		for r := lo; r < hi; r++ {
			at := base + outer.offset(r)
			row := out[r*inner : (r+1)*inner]
			if step == 1 {
				copy(row, src[at:at+inner])
				continue
			}
			for i := range row {
				row[i] = src[at+i*step]
			}
		}
	}
	return func(at int) {
		base = at
		f.each(rows, 1+elementGrain/inner, run)
	}
}

// split cuts an axis into consecutive pieces. Pieces that are runs of memory
// stay where they are.
func (c *compiler) split() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	axis := c.params.Axis("axis", 0, len(shape))
	strides := rowMajor(shape)
	outer, base := mil.NumElements(shape[:axis]), 0
	for i, out := range c.op.Outputs {
		if outer == 1 {
			c.share(i, x, base)
		} else {
			dst := c.result(i)
			c.gather(x, dst, base, strides)
		}
		base += out.Type.Shape[axis] * strides[axis]
	}
	return nil
}

// concat joins values along an axis, optionally interleaved.
func (c *compiler) concat() error {
	var xs []int
	for _, arg := range c.op.Args {
		if arg.Param != "values" {
			continue
		}
		for _, b := range arg.Bindings {
			x, err := c.binding(b)
			if err != nil {
				return err
			}
			xs = append(xs, x)
		}
	}
	dst := c.result(0)
	shape := c.values[dst].typ.Shape
	axis := c.params.Axis("axis", 0, len(shape))
	outer, inner := mil.NumElements(shape[:axis]), mil.NumElements(shape[axis+1:])
	f, whole := c.fn, shape[axis]*inner
	if c.params.Bool("interleave", false) {
		c.add(slices.Clone(xs), []int{dst}, func() {
			for i, x := range xs { // row r of value i lands at row r*len(xs)+i
				rows := len(f.values[x]) / inner
				for r := range rows {
					copy(f.values[dst][(r*len(xs)+i)*inner:], f.values[x][r*inner:(r+1)*inner])
				}
			}
		})
		return nil
	}
	c.add(slices.Clone(xs), []int{dst}, func() {
		begin := 0
		for _, x := range xs {
			n := len(f.values[x]) / outer
			for o := range outer {
				copy(f.values[dst][o*whole+begin:], f.values[x][o*n:(o+1)*n])
			}
			begin += n
		}
	})
	return nil
}

// rowMajor are the strides of a dense tensor.
func rowMajor(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		strides[d] = n
		n *= shape[d]
	}
	return strides
}

// walk maps a row-major index over some axes to an offset by strides.
type walk struct{ sizes, strides []int }

// newWalk drops axes of one element and merges neighbours that are contiguous
// under the strides.
func newWalk(sizes, strides []int) walk {
	var w walk
	for d, n := range sizes {
		if n == 1 {
			continue
		}
		if k := len(w.sizes) - 1; k >= 0 && w.strides[k] == n*strides[d] {
			w.sizes[k] *= n
			w.strides[k] = strides[d]
			continue
		}
		w.sizes, w.strides = append(w.sizes, n), append(w.strides, strides[d])
	}
	return w
}

// dense reports whether the walk is a run of memory.
func (w walk) dense() bool {
	return len(w.sizes) == 0 || len(w.sizes) == 1 && w.strides[0] == 1
}

// cut splits off the innermost axis: runs of inner elements, step apart.
func (w walk) cut() (outer walk, inner, step int) {
	last := len(w.sizes) - 1
	if last < 0 {
		return w, 1, 1
	}
	return walk{w.sizes[:last], w.strides[:last]}, w.sizes[last], w.strides[last]
}

func (w walk) offset(index int) int {
	at := 0
	for d := len(w.sizes) - 1; d > 0; d-- {
		at += index % w.sizes[d] * w.strides[d]
		index /= w.sizes[d]
	}
	if len(w.sizes) > 0 {
		at += index * w.strides[0]
	}
	return at
}
