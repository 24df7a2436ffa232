package reference

import (
	"slices"

	"lockstep/internal/mil"
)

// alias gives the operand's buffer another shape.
func (c *compiler) alias() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	c.share(x)
	return nil
}

// transpose permutes axes.
func (c *compiler) transpose() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	strides := rowMajor(c.values[x].typ.Shape)
	perm := c.params.Ints("perm")
	from := make([]int, len(perm))
	for d, axis := range perm {
		from[d] = strides[axis]
		if axis < 0 {
			from[d] = strides[axis+len(strides)]
		}
	}
	c.gather(x, dst, 0, from)
	return nil
}

// slice takes a strided box with constant bounds.
func (c *compiler) slice() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
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
	c.gather(x, dst, base, from)
	return nil
}

// gather copies dst from x at base plus the strides from, one per axis of dst.
func (c *compiler) gather(x, dst, base int, from []int) {
	f, shape := c.fn, c.values[dst].typ.Shape
	outer, inner, step := len(shape), 1, 1
	if outer > 0 {
		outer--
		inner, step = shape[outer], from[outer]
	}
	walk := newWalk(shape[:outer], from[:outer])
	rows := mil.NumElements(shape[:outer])
	run := func(_, lo, hi int) {
		src, out := f.values[x], f.values[dst]
		for r := lo; r < hi; r++ {
			at := base + walk.offset(r)
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
	c.add([]int{x}, []int{dst}, func() { f.pkg.pool.each(&f.work, rows, 1+(1<<14)/max(1, inner), run) })
}

// split cuts an axis into consecutive pieces.
func (c *compiler) split() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	axis := c.params.Axis("axis", 0, len(shape))
	outer, inner := mil.NumElements(shape[:axis]), mil.NumElements(shape[axis+1:])
	dsts, begins := make([]int, len(c.op.Outputs)), make([]int, len(c.op.Outputs))
	sizes := make([]int, len(dsts))
	begin := 0
	for i := range dsts {
		if dsts[i], err = c.result(i); err != nil {
			return err
		}
		begins[i], sizes[i] = begin*inner, c.op.Outputs[i].Type.Shape[axis]*inner
		begin += c.op.Outputs[i].Type.Shape[axis]
	}
	f, whole := c.fn, shape[axis]*inner
	c.add([]int{x}, dsts, func() {
		for i, dst := range dsts {
			for o := range outer {
				copy(f.values[dst][o*sizes[i]:(o+1)*sizes[i]], f.values[x][o*whole+begins[i]:])
			}
		}
	})
	return nil
}

// concat joins values along an axis, optionally interleaved.
func (c *compiler) concat() error {
	var xs []int
	for _, name := range c.params.Values("values") {
		x, err := c.valueOf(name)
		if err != nil {
			return err
		}
		xs = append(xs, x)
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	shape := c.values[dst].typ.Shape
	axis := c.params.Axis("axis", 0, len(shape))
	outer, inner := mil.NumElements(shape[:axis]), mil.NumElements(shape[axis+1:])
	interleave := c.params.Bool("interleave", false)
	f, whole := c.fn, shape[axis]*inner
	c.add(slices.Clone(xs), []int{dst}, func() {
		out, begin := f.values[dst], 0
		for i, x := range xs {
			src := f.values[x]
			n := len(src) / max(1, outer)
			for o := range outer {
				if !interleave {
					copy(out[o*whole+begin:], src[o*n:(o+1)*n])
					continue
				}
				for r := range n / inner { // row r of value i lands at r*len(xs)+i
					copy(out[o*whole+(r*len(xs)+i)*inner:], src[o*n+r*inner:o*n+(r+1)*inner])
				}
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
