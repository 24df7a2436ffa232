package reference

// sliceBySize takes a box. One with a constant begin that is a run of memory
// stays where it is.
func (c *compiler) sliceBySize() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	if c.params.Ints("begin") == nil {
		return c.dynamicBox(x)
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
	dst := c.result(0)
	c.gather(x, dst, base, from)
	return nil
}

// sliceUpdate copies x with a strided box replaced. What constant bounds replace
// altogether is not looked at.
func (c *compiler) sliceUpdate() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	update, err := c.operand("update")
	if err != nil {
		return err
	}
	if c.params.Ints("begin") == nil || c.params.Ints("end") == nil {
		return c.dynamicUpdate(x, update)
	}
	shape := c.values[x].typ.Shape
	axes, err := c.params.Slice(shape)
	if err != nil {
		return err
	}
	dst := c.result(0)
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
	scatter := c.scatter(x, update, dst, w)
	c.add([]int{x, update}, []int{dst}, func() { scatter(base) })
	return nil
}

// scatter returns what copies x to dst and update over it, to base plus the
// walk's offsets.
func (c *compiler) scatter(x, update, dst int, w walk) func(base int) {
	outer, inner, step := w.cut()
	f, n, rows, base := c.fn, c.values[x].elements, c.values[update].elements/inner, 0
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
	return func(at int) {
		base = at
		f.each(n, 1<<16, keep)
		f.each(rows, 1+elementGrain/inner, replace)
	}
}

// tile repeats x along its axes.
func (c *compiler) tile() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst := c.result(0)
	shape := c.values[x].typ.Shape
	strides := rowMajor(shape)
	var sizes, from []int // each axis of the result is two: the repeats, then x's
	for d, reps := range c.params.Ints("reps") {
		sizes, from = append(sizes, reps, shape[d]), append(from, 0, strides[d])
	}
	c.gatherWalk(x, dst, 0, newWalk(sizes, from))
	return nil
}
