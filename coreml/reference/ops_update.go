package reference

import (
	"fmt"

	"lockstep/internal/mil"
)

// bounds reports what keeps begin or end of a slice from being read now.
func (c *compiler) bounds(params ...string) error {
	for _, param := range params {
		lit := c.params.Literal(param)
		switch {
		case lit == nil:
			return fmt.Errorf("%w: parameter %s: want a constant, found a run-time value", ErrProgram, param)
		case lit.Blob != nil:
			return fmt.Errorf("%w: parameter %s: want a value in the program, found one in the weight file", ErrProgram, param)
		}
	}
	return nil
}

// sliceBySize takes a box with a constant begin. One that is a run of memory
// stays where it is.
func (c *compiler) sliceBySize() error {
	if err := c.bounds("begin"); err != nil {
		return err
	}
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	base, strides := 0, rowMajor(c.values[x].typ.Shape)
	for d, begin := range c.params.Ints("begin") {
		base += begin * strides[d]
	}
	return c.box(x, base, strides)
}

// box makes the op's output from x at base plus the strides from, one per axis
// of the output.
func (c *compiler) box(x, base int, from []int) error {
	if newWalk(c.op.Outputs[0].Type.Shape, from).dense() {
		c.share(0, x, base)
		return nil
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	c.gather(x, dst, base, from)
	return nil
}

// sliceUpdate copies x with a strided box of constant bounds replaced. What is
// replaced altogether is not looked at.
func (c *compiler) sliceUpdate() error {
	if err := c.bounds("begin", "end"); err != nil {
		return err
	}
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	update, err := c.operand("update")
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	axes, err := c.params.Slice(shape)
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	base, to, strides := 0, []int{}, rowMajor(shape)
	for d, a := range axes {
		base += a.Begin * strides[d]
		if !a.Squeeze {
			to = append(to, strides[d]*a.Stride)
		}
	}
	w := newWalk(c.values[update].typ.Shape, to)
	if w.dense() && c.values[update].elements == c.values[x].elements {
		c.copyStep(dst, update)
		return nil
	}
	c.scatter(x, update, dst, base, w)
	return nil
}

// scatter copies x to dst and update over it, to base plus the walk's offsets.
func (c *compiler) scatter(x, update, dst, base int, w walk) {
	outer, inner, step := w.cut()
	f, n, rows := c.fn, c.values[x].elements, c.values[update].elements/inner
	keep := func(_, lo, hi int) { copy(f.values[dst][lo:hi], f.values[x][lo:hi]) }
	replace := func(_, lo, hi int) {
		src, out := f.values[update], f.values[dst]
		for r := lo; r < hi; r++ {
			at := base + outer.offset(r)
			for i, v := range src[r*inner : (r+1)*inner] {
				out[at+i*step] = v
			}
		}
	}
	c.add([]int{x, update}, []int{dst}, func() {
		f.each(n, 1<<16, keep)
		f.each(rows, 1+elementGrain/inner, replace)
	})
}

// tile repeats x along its axes.
func (c *compiler) tile() error {
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
	var sizes, from []int // each axis of the result is two: the repeats, then x's
	for d, reps := range c.params.Ints("reps") {
		sizes, from = append(sizes, reps, shape[d]), append(from, 0, strides[d])
	}
	c.gatherWalk(x, dst, 0, newWalk(sizes, from))
	return nil
}

// pow is x*x for the constant exponent 2, the one that programs have.
func (c *compiler) pow() error {
	x, y, lit := c.params.Type("x"), c.params.Type("y"), c.params.Literal("y")
	switch {
	case lit == nil:
		return fmt.Errorf("%w: parameter y: want the constant 2, found a run-time value", ErrProgram)
	case mil.NumElements(y.Shape) != 1 || len(y.Shape) > len(x.Shape):
		return fmt.Errorf("%w: parameter y: want the constant 2 as a scalar, found %s", ErrProgram, y)
	}
	exponent, err := c.operand("y")
	if err != nil {
		return err
	}
	if v := c.fn.values[exponent][0]; v != 2 {
		return fmt.Errorf("%w: parameter y: want the constant 2, found %v", ErrProgram, v)
	}
	return c.tabulated(tableKey{op: "square"})
}
