package reference

import (
	"fmt"
	"slices"

	"lockstep/coreml/reference/kernel"
)

// dynamicBox is slice_by_size with a begin that the pass computes. A box that
// does not lie within x is an error of the pass.
func (c *compiler) dynamicBox(x int) error {
	begin, err := c.operand("begin")
	if err != nil {
		return err
	}
	dst := c.result(0)
	f, shape, size := c.fn, c.values[x].typ.Shape, c.values[dst].typ.Shape
	strides := rowMajor(shape)
	copyBox := c.copyBox(x, dst, newWalk(size, strides))
	c.add([]int{x, begin}, []int{dst}, func() {
		base := 0
		for d, b := range kernel.Ints(f.values[begin]) {
			if b < 0 || int(b) > shape[d]-size[d] {
				f.fault = fmt.Errorf("parameter begin: %w: want 0..%d on axis %d, found %d", ErrIndex, shape[d]-size[d], d, b)
				return
			}
			base += int(b) * strides[d]
		}
		copyBox(base)
	})
	return nil
}

// dynamicUpdate is slice_update with bounds that the pass computes. Bounds that
// do not cut update's shape out of x are an error of the pass.
func (c *compiler) dynamicUpdate(x, update int) error {
	begin, err := c.operand("begin")
	if err != nil {
		return err
	}
	end, err := c.operand("end")
	if err != nil {
		return err
	}
	if slices.Contains(c.params.Ints("stride"), 0) {
		return fmt.Errorf("%w: parameter stride: want no 0, found %v", ErrProgram, c.params.Ints("stride"))
	}
	dst := c.result(0)
	f, s := c.fn, c.cuts(x, update)
	scatter := c.scatter(x, update, dst, newWalk(c.values[update].typ.Shape, s.steps))
	c.add([]int{x, update, begin, end}, []int{dst}, func() {
		base, err := s.base(kernel.Ints(f.values[begin]), kernel.Ints(f.values[end]))
		if err != nil {
			f.fault = err
			return
		}
		scatter(base)
	})
	return nil
}

// cuts is what a slice knows before its bounds: per axis, how many elements it
// has to take, how far apart.
type cuts struct {
	axes  []cut
	steps []int // in memory, of the axes that are not squeezed
}

type cut struct {
	size, count, stride int
	memory              int // of a step along the axis
	fromStart, toEnd    bool
	squeeze             bool
}

func (c *compiler) cuts(x, update int) cuts {
	p, shape := c.params, c.values[x].typ.Shape
	memory, counts := rowMajor(shape), c.values[update].typ.Shape
	mask := func(param string, d int) bool {
		m := p.BoolSlice(param)
		return d < len(m) && m[d]
	}
	var s cuts
	for d, size := range shape {
		a := cut{
			size: size, count: 1, stride: 1, memory: memory[d],
			fromStart: mask("begin_mask", d), toEnd: mask("end_mask", d), squeeze: mask("squeeze_mask", d),
		}
		if strides := p.Ints("stride"); strides != nil {
			a.stride = strides[d]
		}
		if !a.squeeze {
			a.count, counts = counts[0], counts[1:]
			s.steps = append(s.steps, memory[d]*a.stride)
		}
		s.axes = append(s.axes, a)
	}
	return s
}

// base is where the slice begins in memory.
func (s *cuts) base(begin, end []int32) (int, error) {
	base := 0
	for d := range s.axes {
		first, err := s.axes[d].first(int(begin[d]), int(end[d]))
		if err != nil {
			return 0, fmt.Errorf("%w on axis %d", err, d)
		}
		base += first * s.axes[d].memory
	}
	return base, nil
}

// first is the first element that the bounds take, if they take as many as they
// have to. Negative bounds count from the end.
func (a *cut) first(begin, end int) (int, error) {
	first, past := begin, end
	if first < 0 {
		first += a.size
	}
	if past < 0 {
		past += a.size
	}
	low, high := 0, a.size
	if a.stride < 0 {
		low, high = a.size-1, -1
	}
	if a.fromStart {
		first = low
	}
	if a.toEnd {
		past = high
	}
	if first < 0 || first >= a.size {
		return 0, fmt.Errorf("parameter begin: %w: want %d..%d, found %d", ErrIndex, -a.size, a.size-1, begin)
	}
	if a.squeeze {
		return first, nil
	}
	length, step := past-first, a.stride
	if step < 0 {
		length, step = -length, -step
	}
	if past > a.size || past < 0 && !a.toEnd || length < 1 || (length+step-1)/step != a.count {
		return 0, fmt.Errorf("parameter end: %w: want a bound within %d that takes %d elements from %d on, found %d", ErrIndex, a.size, a.count, first, end)
	}
	return first, nil
}
