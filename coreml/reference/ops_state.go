package reference

import "slices"

// readState shows the state's content. The value is the state's own buffer,
// or a copy if it is still needed when the state is written next.
func (c *compiler) readState() error {
	name, _ := c.params.Value("input")
	src := c.states[name]
	if !c.outlivesContent(name, c.lastUse[c.op.Outputs[0].Name]) {
		c.share(0, src, 0)
		return nil
	}
	dst := c.result(0)
	c.copyStep(dst, src)
	return nil
}

// outlivesContent reports whether a write to the state lies between the op at
// hand and op last.
func (c *compiler) outlivesContent(state string, last int) bool {
	writes := c.writes[state]
	next, _ := slices.BinarySearch(writes, c.at)
	return next < len(writes) && writes[next] < last
}

// writeState replaces the state's content: by letting the step that makes the
// data make it there, or else by copying.
func (c *compiler) writeState() error {
	name, _ := c.params.Value("input")
	dst := c.states[name]
	src, err := c.operand("data")
	if err != nil {
		return err
	}
	if root, ok := c.madeForState(src, dst); ok {
		c.values[root].parent = dst
		c.accessed[dst] = len(c.steps) - 1 // steps since then may have read the value
		return nil
	}
	c.copyStep(dst, src)
	return nil
}

// madeForState reports whether the step that makes src may write it into the
// state dst instead of a buffer: it makes the whole of a buffer that has no
// use after the op at hand, and neither it nor a step since then looks at the
// state's old content.
func (c *compiler) madeForState(src, dst int) (root int, ok bool) {
	root, _ = c.root(src)
	v := c.values[root]
	last, touched := c.accessed[dst]
	return root, v.kind == ofPass && v.step >= 0 && v.elements == c.values[dst].elements &&
		c.lastUse[v.name] <= c.at && (!touched || last < v.step)
}

func (c *compiler) copyStep(dst, src int) {
	f := c.fn
	run := func(_, lo, hi int) { copy(f.values[dst][lo:hi], f.values[src][lo:hi]) }
	n := c.values[dst].elements
	c.add([]int{src}, []int{dst}, func() { f.each(n, 1<<16, run) })
}
