package reference

import (
	"fmt"

	"lockstep/internal/mil"
)

// value is what the compiler knows of one value.
type value struct {
	name     string
	typ      mil.Type
	elements int
	kind     valueKind
	step     int // the step that writes it; -1 for what no step writes

	// A value may lie in another's buffer, from element offset on. parent is
	// itself if it has its own.
	parent, offset int
}

type valueKind uint8

const (
	ofPass     valueKind = iota // made anew by each pass
	ofConstant                  // decoded once
	ofState                     // the content of the caller's state
)

// usage is what a step reads and writes, for liveness.
type usage struct{ reads, writes []int }

// budget is what may still be allocated.
type budget struct{ left, limit int64 }

func (b *budget) take(bytes int64) error {
	if bytes > b.left {
		return fmt.Errorf("%w: want at most %d bytes, found at least %d", ErrMemory, b.limit, b.limit-b.left+bytes)
	}
	b.left -= bytes
	return nil
}

// floatBytes is the size of n elements of a value, 4 bytes each whatever their
// type. n, an element count of a checked program, is below 2^56.
func floatBytes(n int) int64 { return 4 * int64(n) }

func (c *compiler) addValue(name string, t mil.Type) int {
	v := len(c.values)
	c.values = append(c.values, value{name: name, typ: t, elements: mil.NumElements(t.Shape), step: -1, parent: v})
	c.fn.values = append(c.fn.values, nil)
	return v
}

// define adds a run-time value with a buffer of its own.
func (c *compiler) define(name string, t mil.Type) int {
	v := c.addValue(name, t)
	c.index[name] = v
	return v
}

// result defines the op's i-th output, in a buffer of its own.
func (c *compiler) result(i int) int {
	out := c.op.Outputs[i]
	return c.define(out.Name, out.Type)
}

// share defines the op's i-th output as a part of v's buffer. mayShare has to
// know of the op.
func (c *compiler) share(i, v, offset int) {
	out := c.define(c.op.Outputs[i].Name, c.op.Outputs[i].Type)
	root, base := c.root(v)
	c.values[out].parent, c.values[out].offset = root, base+offset
	c.stand(out)
}

// root is the value whose buffer v lies in, and where it begins there.
func (c *compiler) root(v int) (root, offset int) {
	for c.values[v].parent != v {
		offset += c.values[v].offset
		v = c.values[v].parent
	}
	return v, offset
}

// add appends a step for the op at hand.
func (c *compiler) add(reads, writes []int, run func()) {
	at := len(c.steps)
	c.fn.steps = append(c.fn.steps, step{op: c.text, run: run})
	c.steps = append(c.steps, usage{reads, writes})
	for _, v := range reads {
		c.touch(v, at)
	}
	for _, v := range writes {
		c.values[v].step = at
		c.touch(v, at)
	}
}

// touch notes an access to a state's content.
func (c *compiler) touch(v, step int) {
	if root, _ := c.root(v); c.values[root].kind == ofState {
		c.accessed[root] = step
	}
}

// needShared makes the function's shared buffer hold n elements; needScratch,
// each worker's own.
func (c *compiler) needShared(n int) { c.shared = max(c.shared, n) }

func (c *compiler) needScratch(n int) { c.scratch = max(c.scratch, n) }

// allocate gives each value of a pass a buffer, used again once the value is
// dead, and makes the buffers.
func (c *compiler) allocate() error {
	plan := bufferPlan{c: c, last: c.lastReads(), of: make([]int, len(c.values)), free: map[int][]int{}}
	for _, p := range c.fn.inputs {
		if err := plan.take(p.value); err != nil {
			return err
		}
	}
	for s, u := range c.steps {
		for _, v := range u.writes {
			if err := plan.take(v); err != nil {
				return err
			}
		}
		// Only now: a result must not lie in an operand's buffer.
		for _, v := range u.reads {
			plan.giveBack(v, s)
		}
		for _, v := range u.writes {
			plan.giveBack(v, s)
		}
	}
	workers := c.fn.pkg.pool.workers
	if err := c.room.take(floatBytes(c.shared)); err != nil {
		return err
	}
	for range workers {
		if err := c.room.take(floatBytes(c.scratch)); err != nil {
			return err
		}
	}
	c.fn.shared = make([]float32, c.shared)
	c.fn.scratch = make([][]float32, workers)
	for w := range c.fn.scratch {
		c.fn.scratch[w] = make([]float32, c.scratch)
	}
	c.bindBuffers(plan)
	return nil
}

// lastReads is the last step that reads each root, or -1; a function output is
// read after all steps.
func (c *compiler) lastReads() []int {
	last := make([]int, len(c.values))
	for v := range last {
		last[v] = -1
	}
	for s, u := range c.steps {
		for _, v := range u.reads {
			root, _ := c.root(v)
			last[root] = s
		}
	}
	for _, p := range c.fn.outputs {
		root, _ := c.root(p.value)
		last[root] = len(c.steps)
	}
	return last
}

// bufferPlan assigns buffers to roots before any is made.
type bufferPlan struct {
	c     *compiler
	last  []int
	sizes []int         // elements of each buffer
	of    []int         // each value's buffer, counted from 1
	free  map[int][]int // buffers to be had, by size
}

// take assigns a buffer to v if it is to have one.
func (p *bufferPlan) take(v int) error {
	info := p.c.values[v]
	if info.parent != v || info.kind != ofPass {
		return nil
	}
	if free := p.free[info.elements]; len(free) > 0 {
		p.of[v], p.free[info.elements] = free[len(free)-1], free[:len(free)-1]
		return nil
	}
	if err := p.c.room.take(floatBytes(info.elements)); err != nil {
		return fmt.Errorf("value %q %s: %w", info.name, info.typ, err)
	}
	p.sizes = append(p.sizes, info.elements)
	p.of[v] = len(p.sizes)
	return nil
}

// giveBack frees the buffer in which v lies if nothing after step reads it. A
// value that is written and never read is dead at once.
func (p *bufferPlan) giveBack(v, step int) {
	root, _ := p.c.root(v)
	if p.last[root] > step || p.of[root] == 0 {
		return
	}
	size := p.c.values[root].elements
	p.free[size] = append(p.free[size], p.of[root])
	p.last[root] = len(p.c.steps) + 1 // once is enough
}

// bindBuffers makes the buffers and points every value at its place. What lies
// in a state is listed for bind, which runs on every pass.
func (c *compiler) bindBuffers(plan bufferPlan) {
	buffers := make([][]float32, len(plan.sizes))
	for i, n := range plan.sizes {
		buffers[i] = make([]float32, n)
	}
	stateAt := map[int]int{}
	for i, v := range c.fn.states {
		stateAt[v] = i
	}
	for v, info := range c.values {
		root, offset := c.root(v)
		switch c.values[root].kind {
		case ofState:
			c.fn.views = append(c.fn.views, view{value: v, state: stateAt[root], lo: offset, hi: offset + info.elements})
		case ofConstant:
			c.fn.values[v] = c.fn.values[root][offset : offset+info.elements]
		default:
			if plan.of[root] > 0 {
				c.fn.values[v] = buffers[plan.of[root]-1][offset : offset+info.elements]
			}
		}
	}
}
