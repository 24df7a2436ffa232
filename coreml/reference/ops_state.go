package reference

import (
	"slices"

	"lockstep/internal/mil"
)

// readState shows the state's content. The value shares the state's buffer
// unless it is still needed after a later write to the same state.
func (c *compiler) readState() error {
	name, _ := c.params.Value("input")
	src := c.fn.bound[name]
	if !c.neededAfterWrite(name) {
		c.share(src)
		return nil
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	f := c.fn
	c.add([]int{src}, []int{dst}, func() { copy(f.values[dst], f.values[src]) })
	return nil
}

// writeState replaces the state's content.
func (c *compiler) writeState() error {
	name, _ := c.params.Value("input")
	dst := c.fn.bound[name]
	src, err := c.operand("data")
	if err != nil {
		return err
	}
	f := c.fn
	copyRange := func(_, lo, hi int) { copy(f.values[dst][lo:hi], f.values[src][lo:hi]) }
	n := mil.NumElements(c.values[dst].typ.Shape)
	c.add([]int{src}, nil, func() { f.pkg.pool.each(&f.work, n, 1<<16, copyRange) })
	return nil
}

// neededAfterWrite reports whether the read at hand, under any name that
// shares its buffer, is used after the next write to that state.
func (c *compiler) neededAfterWrite(state string) bool {
	names := []string{c.op.Outputs[0].Name}
	written := false
	for _, op := range c.src.Ops[c.at+1:] {
		uses := usesAny(op, names)
		if uses && written {
			return true
		}
		if uses && isAlias(op.Type) {
			names = append(names, op.Outputs[0].Name)
		}
		if op.Type == "write_state" && usesAny(op, []string{state}) {
			written = true
		}
	}
	return written && slices.ContainsFunc(c.src.Outputs, func(out string) bool { return slices.Contains(names, out) })
}

func isAlias(op string) bool {
	return op == "reshape" || op == "expand_dims" || op == "squeeze"
}

func usesAny(op *mil.Op, names []string) bool {
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if slices.Contains(names, b.Name) {
				return true
			}
		}
	}
	return false
}
