package reference

import (
	"fmt"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// lanes lists, for a reduction over some axes, where each reduced vector
// begins and where its elements lie from there, in row-major order.
type lanes struct {
	begin []int
	step  []int
}

func newLanes(shape, axes []int) lanes {
	strides := rowMajor(shape)
	reduced := make([]bool, len(shape))
	for _, a := range axes {
		reduced[a] = true
	}
	var outerSizes, outerSteps, innerSizes, innerSteps []int
	for d := range shape {
		if reduced[d] {
			innerSizes, innerSteps = append(innerSizes, shape[d]), append(innerSteps, strides[d])
		} else {
			outerSizes, outerSteps = append(outerSizes, shape[d]), append(outerSteps, strides[d])
		}
	}
	return lanes{begin: offsets(outerSizes, outerSteps), step: offsets(innerSizes, innerSteps)}
}

// offsets lists the offset of each index over the axes, row-major.
func offsets(sizes, strides []int) []int {
	w := newWalk(sizes, strides)
	out := make([]int, mil.NumElements(sizes))
	for i := range out {
		out[i] = w.offset(i)
	}
	return out
}

// contiguous reports whether each vector is a run of memory.
func (l lanes) contiguous() bool {
	return len(l.step) == 0 || l.step[len(l.step)-1] == len(l.step)-1
}

// load returns vector i of src, gathered into scratch unless it is contiguous.
func (l lanes) load(scratch, src []float32, i int) []float32 {
	at := l.begin[i]
	if l.contiguous() {
		return src[at : at+len(l.step)]
	}
	for k, s := range l.step {
		scratch[k] = src[at+s]
	}
	return scratch
}

// store writes vector i of dst.
func (l lanes) store(dst, vector []float32, i int) {
	at := l.begin[i]
	for k, s := range l.step {
		dst[at+s] = vector[k]
	}
}

// vectorOp runs body on every reduced vector, in parallel over vectors. body
// gets two scratch vectors of its worker.
func (c *compiler) vectorOp(x, dst int, reads []int, l lanes, body func(src, dst []float32, i int, in, out []float32)) {
	f, n := c.fn, len(l.step)
	scratch := make([][]float32, f.pkg.pool.workers)
	for w := range scratch {
		scratch[w] = make([]float32, 2*n)
	}
	run := func(worker, lo, hi int) {
		in, out := scratch[worker][:n], scratch[worker][n:]
		for i := lo; i < hi; i++ {
			body(f.values[x], f.values[dst], i, in, out)
		}
	}
	c.add(reads, []int{dst}, func() { f.pkg.pool.each(&f.work, len(l.begin), 1+elementGrain/max(1, n), run) })
}

// softmax along one axis.
func (c *compiler) softmax() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	l := newLanes(shape, []int{c.params.Axis("axis", -1, len(shape))})
	c.vectorOp(x, dst, []int{x}, l, func(src, dst []float32, i int, in, out []float32) {
		kernel.Softmax(out, l.load(in, src, i))
		l.store(dst, out, i)
	})
	return nil
}

// layerNorm over some axes, with optional gamma and beta.
func (c *compiler) layerNorm() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	reads := []int{x}
	gamma, beta := -1, -1
	for _, p := range []struct {
		param string
		value *int
	}{{"gamma", &gamma}, {"beta", &beta}} {
		if c.params.Has(p.param) {
			if *p.value, err = c.operand(p.param); err != nil {
				return err
			}
			reads = append(reads, *p.value)
		}
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	f, eps := c.fn, c.params.Half("epsilon", 1e-5)
	shape := c.values[x].typ.Shape
	l := newLanes(shape, c.params.Axes("axes", len(shape)))
	vector := func(v int) []float32 {
		if v < 0 {
			return nil
		}
		return f.values[v]
	}
	c.vectorOp(x, dst, reads, l, func(src, dst []float32, i int, in, out []float32) {
		kernel.LayerNorm(out, l.load(in, src, i), vector(gamma), vector(beta), eps)
		l.store(dst, out, i)
	})
	return nil
}

// reduce folds axes by sum, mean or maximum.
func (c *compiler) reduce() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	fold, err := foldOf(c.op.Type)
	if err != nil {
		return err
	}
	shape := c.values[x].typ.Shape
	l := newLanes(shape, c.params.Axes("axes", len(shape)))
	c.vectorOp(x, dst, []int{x}, l, func(src, dst []float32, i int, in, _ []float32) {
		dst[i] = fold(l.load(in, src, i))
	})
	return nil
}

// foldOf is the op's reduction of one vector, rounded to float16.
func foldOf(op string) (func([]float32) float32, error) {
	switch op {
	case "reduce_sum":
		return func(v []float32) float32 { return rounded(kernel.Sum(v)) }, nil
	case "reduce_mean":
		return func(v []float32) float32 { return rounded(kernel.Sum(v) / float32(len(v))) }, nil
	case "reduce_max":
		return kernel.MaxOf, nil
	}
	return nil, fmt.Errorf("%w: unknown reduction", ErrProgram)
}

// rounded is v as float16 has it.
func rounded(v float32) float32 { return half.ToFloat32(half.FromFloat32(v)) }
