package reference

import (
	"lockstep/coreml/reference/kernel"
	"lockstep/internal/mil"
)

// cast changes the element type. Each element is converted once: to a float to
// nearest even; from a float to an integer without its fraction, the nearest
// bound where it lies outside the type, 0 for NaN; between integers by their
// low bits; to bool whether it is not 0.
func (c *compiler) cast() error {
	return c.mapped(conversion(c.params.Type("x").DType, c.op.Outputs[0].Type.DType))
}

func conversion(from, to mil.DType) func(dst, src []float32) {
	if from == mil.Float16 || from == mil.Float32 {
		return floatConversion(to)
	}
	unsigned := from == mil.UInt32
	switch to {
	case mil.Float16:
		return func(dst, src []float32) { kernel.IntsToHalves(dst, kernel.Ints(src), unsigned) }
	case mil.Float32:
		return func(dst, src []float32) { kernel.IntsToFloats(dst, kernel.Ints(src), unsigned) }
	case mil.Bool:
		return func(dst, src []float32) { kernel.IntsToBools(kernel.Ints(dst), kernel.Ints(src)) }
	}
	return func(dst, src []float32) { kernel.WrapInts(kernel.Ints(dst), kernel.Ints(src), to.Bits(), signed(to)) }
}

func floatConversion(to mil.DType) func(dst, src []float32) {
	switch to {
	case mil.Float16:
		return kernel.FloatsToHalves
	case mil.Float32:
		return func(dst, src []float32) { copy(dst, src) }
	case mil.Bool:
		return func(dst, src []float32) { kernel.FloatsToBools(kernel.Ints(dst), src) }
	}
	low, high := int32(0), int32(1<<to.Bits()-1)
	if signed(to) {
		low, high = -1<<(to.Bits()-1), 1<<(to.Bits()-1)-1
	}
	return func(dst, src []float32) { kernel.FloatsToInts(kernel.Ints(dst), src, low, high) }
}

func signed(d mil.DType) bool { return d == mil.Int8 || d == mil.Int16 || d == mil.Int32 }

// selection is select: a where cond holds, else b, all three broadcast.
func (c *compiler) selection() error {
	cond, err := c.operand("cond")
	if err != nil {
		return err
	}
	a, err := c.operand("a")
	if err != nil {
		return err
	}
	b, err := c.operand("b")
	if err != nil {
		return err
	}
	dst := c.result(0)
	shape := c.values[dst].typ.Shape
	at := func(v int) walk { return newWalk(shape, broadcastStrides(c.values[v].typ.Shape, shape)) }
	atCond, atA, atB := at(cond), at(a), at(b)
	f := c.fn
	run := func(_, lo, hi int) {
		out, choose := f.values[dst], kernel.Ints(f.values[cond])
		for i := lo; i < hi; i++ {
			if choose[atCond.offset(i)] != 0 {
				out[i] = f.values[a][atA.offset(i)]
			} else {
				out[i] = f.values[b][atB.offset(i)]
			}
		}
	}
	n := c.values[dst].elements
	c.add([]int{cond, a, b}, []int{dst}, func() { f.each(n, elementGrain, run) })
	return nil
}
