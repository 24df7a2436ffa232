package reference

import (
	"fmt"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
)

// elementGrain is how many elements make a range worth a worker.
const elementGrain = 1 << 13

// binaryKernels are the inner loops of an op over operands of a type.
func binaryKernels(op string, d mil.DType) (kernel.Pairs, error) {
	p, ok := kernel.ComparePairs(op, d == mil.Int32)
	switch {
	case ok:
	case d == mil.Float16:
		return halfKernels(op), nil
	case d == mil.Float32:
		p, ok = kernel.PairsFloat32(op)
	default:
		p, ok = kernel.PairsInt32(op)
	}
	if !ok {
		return p, fmt.Errorf("%w: parameter x: want floats, found %s", ErrProgram, d)
	}
	return p, nil
}

func halfKernels(op string) kernel.Pairs {
	switch op {
	case "add":
		return kernel.Pairs{VV: kernel.Add, VS: kernel.AddScalar, SV: swapped(kernel.AddScalar)}
	case "mul":
		return kernel.Pairs{VV: kernel.Mul, VS: kernel.MulScalar, SV: swapped(kernel.MulScalar)}
	case "sub":
		return kernel.Pairs{VV: kernel.Sub, VS: kernel.SubScalar, SV: kernel.ScalarSub}
	case "real_div":
		return kernel.Pairs{VV: kernel.Div, VS: kernel.DivScalar, SV: kernel.ScalarDiv}
	case "maximum":
		return kernel.Pairs{VV: kernel.Max, VS: kernel.MaxScalar, SV: swapped(kernel.MaxScalar)}
	case "minimum":
		return kernel.Pairs{VV: kernel.Min, VS: kernel.MinScalar, SV: swapped(kernel.MinScalar)}
	default:
		return kernel.PowHalf()
	}
}

// swapped makes of a commutative op the form with the scalar on the left.
func swapped(vs func(dst, a []float32, b float32)) func(dst []float32, a float32, b []float32) {
	return func(dst []float32, a float32, b []float32) { vs(dst, b, a) }
}

// applyPairs computes a run of the result. An operand of step 0 is a scalar.
func applyPairs(k *kernel.Pairs, out, xs, ys []float32, stepX, stepY int) {
	switch {
	case stepX == 1 && stepY == 1:
		k.VV(out, xs[:len(out)], ys[:len(out)])
	case stepX == 1:
		k.VS(out, xs[:len(out)], ys[0])
	default:
		k.SV(out, xs[0], ys[:len(out)])
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
	k, err := binaryKernels(c.op.Type, c.values[x].typ.DType)
	if err != nil {
		return err
	}
	dst := c.result(0)
	b := newBroadcast(c.values[x].typ.Shape, c.values[y].typ.Shape, c.values[dst].typ.Shape)
	f := c.fn
	if b.rows == 1 { // one run: cut the run itself
		run := func(_, lo, hi int) {
			applyPairs(&k, f.values[dst][lo:hi], f.values[x][lo*b.innerX:], f.values[y][lo*b.innerY:], b.innerX, b.innerY)
		}
		c.add([]int{x, y}, []int{dst}, func() { f.each(b.inner, elementGrain, run) })
		return nil
	}
	run := func(_, lo, hi int) {
		xs, ys, out := f.values[x], f.values[y], f.values[dst]
		for r := lo; r < hi; r++ {
			ox, oy := b.offsets(r)
			applyPairs(&k, out[r*b.inner:(r+1)*b.inner], xs[ox:], ys[oy:], b.innerX, b.innerY)
		}
	}
	c.add([]int{x, y}, []int{dst}, func() { f.each(b.rows, 1+elementGrain/b.inner, run) })
	return nil
}

// broadcast walks two operands in step with a result: rows of inner elements,
// in which each operand is contiguous (step 1) or one scalar (step 0).
type broadcast struct {
	rows, inner    int
	innerX, innerY int
	sizes          []int // of the outer axes, innermost first
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

// unary is an op with one operand: if that is float16, a table of all its
// values.
func (c *compiler) unary() error {
	key := tableKey{op: c.op.Type}
	switch key.op {
	case "gelu":
		key.op += "/" + c.params.String("mode", mil.GeluExact)
	case "rsqrt":
		key.epsilon = c.params.Half("epsilon", 1e-12)
	}
	switch c.params.Type("x").DType {
	case mil.Float16:
		return c.tabulated(key)
	case mil.Float32:
		apply, err := kernel.UnaryFloat32(key.op, key.epsilon)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProgram, err)
		}
		return c.mapped(apply)
	}
	if key.op == "square" {
		return c.mapped(kernel.SquareInt32)
	}
	return c.mapped(kernel.AbsInt32)
}

// mapped applies a loop to the elements of x.
func (c *compiler) mapped(apply func(dst, src []float32)) error {
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	dst := c.result(0)
	f, n := c.fn, c.values[x].elements
	run := func(_, lo, hi int) { apply(f.values[dst][lo:hi], f.values[x][lo:hi]) }
	c.add([]int{x}, []int{dst}, func() { f.each(n, elementGrain, run) })
	return nil
}

// tabulated looks the op's results up in a table.
func (c *compiler) tabulated(key tableKey) error {
	table, err := c.table(key)
	if err != nil {
		return err
	}
	return c.mapped(table.Apply)
}

// pow with the constant exponent 2, the one that most programs have, is a table.
func (c *compiler) pow() error {
	lit, x, y := c.params.Literal("y"), c.params.Type("x"), c.params.Type("y")
	if lit != nil && x.DType == mil.Float16 && mil.NumElements(y.Shape) == 1 && len(y.Shape) <= len(x.Shape) {
		exponent, err := c.operand("y")
		if err != nil {
			return err
		}
		if c.fn.values[exponent][0] == 2 {
			return c.tabulated(tableKey{op: "square"})
		}
	}
	return c.binary()
}

// tableKey names a unary table.
type tableKey struct {
	op      string
	epsilon float32
}

// tableBytes is the size of a table: 65,536 float32 values.
const tableBytes = 4 << 16

// table returns a table. The package keeps it.
func (c *compiler) table(key tableKey) (*kernel.Table, error) {
	if !c.tables[key] { // whoever made it, so that the outcome does not depend on earlier calls
		if err := c.room.take(tableBytes); err != nil {
			return nil, err
		}
		c.tables[key] = true
	}
	p := c.fn.pkg
	p.tablesMu.Lock()
	defer p.tablesMu.Unlock()
	if t, ok := p.tables[key]; ok {
		return t, nil
	}
	t, err := kernel.Unary(key.op, key.epsilon)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	p.tables[key] = t
	return t, nil
}
