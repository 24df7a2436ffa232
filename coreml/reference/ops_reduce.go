package reference

import (
	"fmt"
	"math"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// vectors is the geometry of a reduction: count vectors of length elements,
// outer giving where each begins and inner where its elements lie from there,
// in row-major order.
type vectors struct {
	outer, inner  walk
	count, length int
}

func newVectors(shape, axes []int) vectors {
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
	return vectors{
		outer: newWalk(outerSizes, outerSteps), inner: newWalk(innerSizes, innerSteps),
		count: mil.NumElements(outerSizes), length: mil.NumElements(innerSizes),
	}
}

// stride is the distance of a vector's elements; ok is false if that is not
// one number.
func (g *vectors) stride() (stride int, ok bool) {
	switch len(g.inner.sizes) {
	case 0:
		return 1, true
	case 1:
		return g.inner.strides[0], true
	}
	return 0, false
}

// contiguous reports whether each vector is a run of memory.
func (g *vectors) contiguous() bool {
	stride, ok := g.stride()
	return ok && stride == 1
}

// load returns vector i of src, gathered into scratch unless it is contiguous.
func (g *vectors) load(scratch, src []float32, i int) []float32 {
	at := g.outer.offset(i)
	stride, ok := g.stride()
	switch {
	case stride == 1:
		return src[at : at+g.length]
	case ok:
		for k := range scratch {
			scratch[k] = src[at+k*stride]
		}
	default:
		for k := range scratch {
			scratch[k] = src[at+g.inner.offset(k)]
		}
	}
	return scratch
}

// slot returns where the results of vector i are to go: its place in dst if it
// is contiguous, else scratch, which store then distributes.
func (g *vectors) slot(scratch, dst []float32, i int) []float32 {
	if !g.contiguous() {
		return scratch
	}
	at := g.outer.offset(i)
	return dst[at : at+g.length]
}

// store distributes what slot gave, if that was scratch.
func (g *vectors) store(dst, scratch []float32, i int) {
	if g.contiguous() {
		return
	}
	at := g.outer.offset(i)
	stride, ok := g.stride()
	for k, v := range scratch {
		if ok {
			dst[at+k*stride] = v
		} else {
			dst[at+g.inner.offset(k)] = v
		}
	}
}

// forVectors adds a step that runs body on every vector, in parallel. body gets
// scratch vectors for what is not contiguous.
func (c *compiler) forVectors(reads []int, dst int, g vectors, body func(i int, in, out []float32)) {
	f, n := c.fn, g.length
	if g.contiguous() {
		n = 0
	}
	c.needScratch(2 * n)
	run := func(worker, lo, hi int) {
		scratch := f.scratch[worker]
		for i := lo; i < hi; i++ {
			body(i, scratch[:n], scratch[n:2*n])
		}
	}
	grain := 1 + elementGrain/max(1, g.length)
	c.add(reads, []int{dst}, func() { f.each(g.count, grain, run) })
}

// softmax along one axis.
func (c *compiler) softmax() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst := c.result(0)
	f, shape, softmax := c.fn, c.values[x].typ.Shape, kernel.Softmax
	if c.values[x].typ.DType == mil.Float32 {
		softmax = kernel.SoftmaxFloat32
	}
	g := newVectors(shape, []int{c.params.Axis("axis", -1, len(shape))})
	c.forVectors([]int{x}, dst, g, func(i int, in, out []float32) {
		out = g.slot(out, f.values[dst], i)
		softmax(out, g.load(in, f.values[x], i))
		g.store(f.values[dst], out, i)
	})
	return nil
}

// layerNorm over some axes, with optional gamma and beta.
func (c *compiler) layerNorm() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	gamma, err := c.optional("gamma")
	if err != nil {
		return err
	}
	beta, err := c.optional("beta")
	if err != nil {
		return err
	}
	dst := c.result(0)
	f, shape, norm := c.fn, c.values[x].typ.Shape, kernel.LayerNorm
	if c.values[x].typ.DType == mil.Float32 {
		norm = kernel.LayerNormFloat32
	}
	eps := c.params.Half("epsilon", 1e-5)
	g := newVectors(shape, c.params.Axes("axes", len(shape)))
	c.forVectors([]int{x}, dst, g, func(i int, in, out []float32) {
		out = g.slot(out, f.values[dst], i)
		norm(out, g.load(in, f.values[x], i), gamma, beta, eps)
		g.store(f.values[dst], out, i)
	})
	return nil
}

// optional is the data of a constant that may be absent, then nil.
func (c *compiler) optional(param string) ([]float32, error) {
	if !c.params.Has(param) {
		return nil, nil
	}
	v, err := c.operand(param)
	if err != nil {
		return nil, err
	}
	return c.fn.values[v], nil
}

// reduce folds axes to one element.
func (c *compiler) reduce() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst := c.result(0)
	fold, err := foldOf(c.op.Type, c.values[x].typ.DType)
	if err != nil {
		return err
	}
	f, shape := c.fn, c.values[x].typ.Shape
	g := newVectors(shape, c.params.Axes("axes", len(shape)))
	c.forVectors([]int{x}, dst, g, func(i int, in, _ []float32) {
		f.values[dst][i] = fold(g.load(in, f.values[x], i))
	})
	return nil
}

// foldOf is the op's reduction of one vector, rounded to its type.
func foldOf(op string, d mil.DType) (func([]float32) float32, error) {
	switch d {
	case mil.Float32:
		return floatFold(op), nil
	case mil.Int32:
		return intFold(op)
	}
	switch op {
	case "reduce_sum":
		return func(v []float32) float32 { return rounded(kernel.Sum(v)) }, nil
	case "reduce_mean":
		return func(v []float32) float32 { return rounded(kernel.Sum(v) / float32(len(v))) }, nil
	case "reduce_max":
		return kernel.MaxOf, nil
	case "reduce_sum_square":
		return func(v []float32) float32 { return rounded(kernel.SumSquares(v)) }, nil
	case "reduce_l2_norm":
		return func(v []float32) float32 {
			root := math.Sqrt(float64(kernel.SumSquares(v))) // of 24 bits, so that only exact roots are midpoints
			return half.ToFloat32(half.FromFloat64(root))
		}, nil
	}
	return nil, fmt.Errorf("%w: unknown reduction", ErrProgram)
}

// rounded is v as float16 has it.
func rounded(v float32) float32 { return half.ToFloat32(half.FromFloat32(v)) }

// floatFold is the op's reduction of float32 values.
func floatFold(op string) func([]float32) float32 {
	switch op {
	case "reduce_sum":
		return kernel.Sum
	case "reduce_mean":
		return func(v []float32) float32 { return kernel.Sum(v) / float32(len(v)) }
	case "reduce_max":
		return kernel.MaxOf
	case "reduce_sum_square":
		return kernel.SumSquares
	}
	return func(v []float32) float32 { return float32(math.Sqrt(float64(kernel.SumSquares(v)))) }
}

// intFold is the op's reduction of int32 values.
func intFold(op string) (func([]float32) float32, error) {
	var fold func([]int32) int32
	switch op {
	case "reduce_sum":
		fold = kernel.SumInt32
	case "reduce_max":
		fold = kernel.MaxOfInt32
	case "reduce_sum_square":
		fold = func(v []int32) int32 { return kernel.DotInt32(v, v) }
	default:
		return nil, fmt.Errorf("%w: parameter x: want floats, as the result of integers may be a fraction, found int32", ErrProgram)
	}
	return func(v []float32) float32 { return math.Float32frombits(uint32(fold(kernel.Ints(v)))) }, nil
}
