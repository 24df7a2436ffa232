package reference

import (
	"fmt"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
)

// elementGrain is how many elements make a range worth a worker.
const elementGrain = 1 << 13

// binaryKernels are an op's inner loops: vector by vector, and with the scalar
// on the right or on the left.
type binaryKernels struct {
	vv func(dst, a, b []float32)
	vs func(dst, a []float32, b float32)
	sv func(dst []float32, a float32, b []float32)
}

func kernelsOf(op string) binaryKernels {
	switch op {
	case "add":
		return binaryKernels{kernel.Add, kernel.AddScalar, func(dst []float32, a float32, b []float32) { kernel.AddScalar(dst, b, a) }}
	case "mul":
		return binaryKernels{kernel.Mul, kernel.MulScalar, func(dst []float32, a float32, b []float32) { kernel.MulScalar(dst, b, a) }}
	case "sub":
		return binaryKernels{kernel.Sub, kernel.SubScalar, kernel.ScalarSub}
	case "real_div":
		return binaryKernels{kernel.Div, kernel.DivScalar, kernel.ScalarDiv}
	case "maximum":
		return binaryKernels{kernel.Max, kernel.MaxScalar, func(dst []float32, a float32, b []float32) { kernel.MaxScalar(dst, b, a) }}
	default:
		return binaryKernels{kernel.Min, kernel.MinScalar, func(dst []float32, a float32, b []float32) { kernel.MinScalar(dst, b, a) }}
	}
}

// binary is an elementwise op with NumPy broadcasting.
func (c *compiler) binary() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	y, err := c.operand("y")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	b := newBroadcast(c.values[x].typ.Shape, c.values[y].typ.Shape, c.values[dst].typ.Shape)
	k, f := kernelsOf(c.op.Type), c.fn
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for r := lo; r < hi; r++ {
			ox, oy := b.offsets(r)
			row := out[r*b.inner : (r+1)*b.inner]
			switch {
			case b.innerX == 1 && b.innerY == 1:
				k.vv(row, xs[ox:ox+b.inner], ys[oy:oy+b.inner])
			case b.innerX == 1:
				k.vs(row, xs[ox:ox+b.inner], ys[oy])
			default:
				k.sv(row, xs[ox], ys[oy:oy+b.inner])
			}
		}
	}
	if b.rows == 1 { // one contiguous run: cut the run itself
		run = func(_, lo, hi int) {
			xs, ys, out := f.values[x], f.values[y], f.values[dst][lo:hi]
			switch {
			case b.innerX == 1 && b.innerY == 1:
				k.vv(out, xs[lo:hi], ys[lo:hi])
			case b.innerX == 1:
				k.vs(out, xs[lo:hi], ys[0])
			default:
				k.sv(out, xs[0], ys[lo:hi])
			}
		}
		c.add([]int{x, y}, []int{dst}, func() { f.pkg.pool.each(&f.work, b.inner, elementGrain, run) })
		return nil
	}
	c.add([]int{x, y}, []int{dst}, func() { f.pkg.pool.each(&f.work, b.rows, 1+elementGrain/b.inner, run) })
	return nil
}

// broadcast walks two operands in step with a result: rows of inner elements,
// in which each operand is contiguous (step 1) or one scalar (step 0).
type broadcast struct {
	rows, inner    int
	innerX, innerY int
	sizes          []int // of the outer axes
	stepX, stepY   []int
}

func newBroadcast(x, y, out []int) broadcast {
	sx, sy := broadcastStrides(x, out), broadcastStrides(y, out)
	b := broadcast{rows: 1, inner: 1, innerX: 1, innerY: 1}
	// Merge axes that are walked alike, from the innermost outwards.
	var sizes, stepX, stepY []int // innermost first
	for d := len(out) - 1; d >= 0; d-- {
		if out[d] == 1 {
			continue
		}
		if k := len(sizes) - 1; k >= 0 && sx[d] == stepX[k]*sizes[k] && sy[d] == stepY[k]*sizes[k] {
			sizes[k] *= out[d]
			continue
		}
		sizes, stepX, stepY = append(sizes, out[d]), append(stepX, sx[d]), append(stepY, sy[d])
	}
	if len(sizes) == 0 {
		return b
	}
	b.inner, b.innerX, b.innerY = sizes[0], stepX[0], stepY[0]
	b.sizes, b.stepX, b.stepY = sizes[1:], stepX[1:], stepY[1:]
	b.rows = mil.NumElements(b.sizes)
	return b
}

// offsets are where row r of the result begins in each operand.
func (b *broadcast) offsets(r int) (x, y int) {
	for d, n := range b.sizes {
		i := r % n
		r /= n
		x += i * b.stepX[d]
		y += i * b.stepY[d]
	}
	return x, y
}

// broadcastStrides are the strides of a tensor seen under the result's shape:
// 0 along the axes in which it repeats.
func broadcastStrides(shape, out []int) []int {
	own := rowMajor(shape)
	strides := make([]int, len(out))
	for d := range shape {
		if shape[d] != 1 {
			strides[len(out)-len(shape)+d] = own[d]
		}
	}
	return strides
}

// unary is an op with one float16 operand: a table of all its values.
func (c *compiler) unary() error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst, err := c.result(0)
	if err != nil {
		return err
	}
	name := c.op.Type
	if name == "gelu" {
		name += "/" + c.params.String("mode", "EXACT")
	}
	table, err := c.fn.pkg.table(name, c.params.Half("epsilon", defaultEpsilon(name)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProgram, err)
	}
	f := c.fn
	run := func(_, lo, hi int) { table.Apply(f.values[dst][lo:hi], f.values[x][lo:hi]) }
	n := mil.NumElements(c.values[x].typ.Shape)
	c.add([]int{x}, []int{dst}, func() { f.pkg.pool.each(&f.work, n, elementGrain, run) })
	return nil
}

// defaultEpsilon is the op's epsilon where a program leaves it out.
func defaultEpsilon(op string) float32 {
	if op == "rsqrt" {
		return 1e-12
	}
	return 0
}

// tableKey names a unary table.
type tableKey struct {
	op      string
	epsilon float32
}

// table returns the package's table of a unary op, made once.
func (p *pkg) table(op string, epsilon float32) (*kernel.Table, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := tableKey{op, epsilon}
	if t, ok := p.tables[key]; ok {
		return t, nil
	}
	t, err := kernel.Unary(op, epsilon)
	if err != nil {
		return nil, err
	}
	p.tables[key] = t
	return t, nil
}
