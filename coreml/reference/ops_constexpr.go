package reference

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// blockwise takes in a constexpr_blockwise_shift_scale: scale*(data-offset),
// with a scale, and an offset if there is one, for each block. int8 data without
// offset and with one float16 scale, or one per row, stays where it is;
// everything else becomes what it stands for now.
func (c *compiler) blockwise() error {
	data := c.params.Literal("data")
	if data == nil || !integer(data.Type.DType) || c.op.Outputs[0].Type.DType != mil.Float16 || c.params.Type("offset").DType == mil.Float32 {
		return c.blockwiseOfAny()
	}
	scales, err := c.constantHalfs("scale")
	if err != nil {
		return err
	}
	offsets, err := c.offsets()
	if err != nil {
		return err
	}
	q, err := c.integers(data)
	if err != nil {
		return fmt.Errorf("parameter data: %w", err)
	}
	scale, out := c.params.Type("scale").Shape, c.op.Outputs[0]
	if data.Type.DType == mil.Int8 && offsets == nil && perRow(data.Type.Shape, scale) {
		c.weights[out.Name] = convWeight{typ: out.Type, quants: q.values, scales: scales}
		return nil
	}
	halfs, err := c.newWeight()
	if err != nil {
		return err
	}
	forBlocks(data.Type.Shape, scale, func(lo, hi, block int) {
		s, offset := half.ToFloat64(scales[block]), 0.0
		if offsets != nil {
			offset = half.ToFloat64(offsets[block])
		}
		for i := lo; i < hi; i++ {
			// The difference has at most 41 bits and the product 52: both exact.
			halfs[i] = half.FromFloat64(s * (float64(q.at(i)) - offset))
		}
	})
	return nil
}

func integer(d mil.DType) bool {
	return d == mil.Int4 || d == mil.UInt4 || d == mil.Int8 || d == mil.UInt8
}

// perRow reports whether blocks of this shape are rows of axis 0, or all.
func perRow(data, blocks []int) bool {
	for d, n := range blocks {
		if n != 1 && (d != 0 || n != data[0]) {
			return false
		}
	}
	return true
}

// offsets are the offsets of the blocks, nil if there are none. float16 holds
// those of the integer types exactly.
func (c *compiler) offsets() ([]float16.Float16, error) {
	switch {
	case !c.params.Has("offset"):
		return nil, nil
	case !integer(c.params.Type("offset").DType):
		return c.constantHalfs("offset")
	}
	offset, err := c.numbers("offset")
	if err != nil {
		return nil, err
	}
	n := mil.NumElements(c.params.Type("offset").Shape)
	if err := c.room.take(2 * int64(n)); err != nil {
		return nil, err
	}
	out := make([]float16.Float16, n)
	for i := range out {
		out[i] = half.FromFloat64(offset(i))
	}
	return out, nil
}

// blockwiseOfAny is blockwise of data, scale and offset of any type: in float64,
// then rounded to the result's type.
func (c *compiler) blockwiseOfAny() error {
	data, err := c.numbers("data")
	if err != nil {
		return err
	}
	scale, err := c.numbers("scale")
	if err != nil {
		return err
	}
	offset := func(int) float64 { return 0 }
	if c.params.Has("offset") {
		if offset, err = c.numbers("offset"); err != nil {
			return err
		}
	}
	set, err := c.newConstant()
	if err != nil {
		return err
	}
	forBlocks(c.op.Outputs[0].Type.Shape, c.params.Type("scale").Shape, func(lo, hi, block int) {
		for i := lo; i < hi; i++ {
			set(i, scale(block)*(data(i)-offset(block)))
		}
	})
	return nil
}

// numbers are the elements of a constant or of a constexpr op's result.
func (c *compiler) numbers(param string) (at func(i int) float64, err error) {
	v, err := c.operand(param)
	if err != nil {
		return nil, err
	}
	values := c.fn.values[v]
	if d := c.values[v].typ.DType; d == mil.Float16 || d == mil.Float32 {
		return func(i int) float64 { return float64(values[i]) }, nil
	}
	words := kernel.Ints(values)
	return func(i int) float64 { return float64(words[i]) }, nil
}

// newConstant makes the result of the constexpr op at hand, to be filled in with
// numbers that are rounded to its type.
func (c *compiler) newConstant() (set func(i int, v float64), err error) {
	out := c.op.Outputs[0]
	if out.Type.DType == mil.Float16 {
		halfs, err := c.newWeight()
		return func(i int, v float64) { halfs[i] = half.FromFloat64(v) }, err
	}
	v, values, err := c.addConstant(out.Name, out.Type)
	if err != nil {
		return nil, fmt.Errorf("value %q %s: %w", out.Name, out.Type, err)
	}
	c.index[out.Name] = v
	if out.Type.DType == mil.Float32 {
		return func(i int, v float64) {
			if values[i] = float32(v); v != v {
				values[i] = float32(math.NaN())
			}
		}, nil
	}
	words := kernel.Ints(values)
	return func(i int, v float64) { words[i] = int32(v) }, nil
}

// palette takes in a constexpr_lut_to_dense: each index stands for an element
// of its block's table.
func (c *compiler) palette() error {
	indices := c.params.Literal("indices")
	if indices == nil || c.op.Outputs[0].Type.DType != mil.Float16 {
		return c.paletteOfAny()
	}
	lut, err := c.constantHalfs("lut")
	if err != nil {
		return err
	}
	q, err := c.integers(indices)
	if err != nil {
		return fmt.Errorf("parameter indices: %w", err)
	}
	halfs, err := c.newWeight()
	if err != nil {
		return err
	}
	shape, size := indices.Type.Shape, 1<<indices.Type.DType.Bits()
	forBlocks(shape, c.params.Type("lut").Shape[:len(shape)], func(lo, hi, block int) {
		table := lut[block*size : (block+1)*size]
		for i := lo; i < hi; i++ {
			halfs[i] = table[q.at(i)]
		}
	})
	return nil
}

// paletteOfAny is palette of indices and tables of any type.
func (c *compiler) paletteOfAny() error {
	indices, err := c.numbers("indices")
	if err != nil {
		return err
	}
	lut, err := c.numbers("lut")
	if err != nil {
		return err
	}
	set, err := c.newConstant()
	if err != nil {
		return err
	}
	shape, size := c.op.Outputs[0].Type.Shape, 1<<c.params.Type("indices").DType.Bits()
	forBlocks(shape, c.params.Type("lut").Shape[:len(shape)], func(lo, hi, block int) {
		for i := lo; i < hi; i++ {
			set(i, lut(block*size+int(indices(i))))
		}
	})
	return nil
}

// newWeight makes the result of the constexpr op at hand a weight of float16
// values, to be filled in.
func (c *compiler) newWeight() ([]float16.Float16, error) {
	out := c.op.Outputs[0]
	n := mil.NumElements(out.Type.Shape)
	if err := c.room.take(2 * int64(n)); err != nil {
		return nil, fmt.Errorf("value %q %s: %w", out.Name, out.Type, err)
	}
	halfs := make([]float16.Float16, n)
	c.weights[out.Name] = convWeight{typ: out.Type, halfs: halfs}
	return halfs, nil
}

// constantHalfs are the float16 values of a constant or of a constexpr op's
// result.
func (c *compiler) constantHalfs(param string) ([]float16.Float16, error) {
	w, err := c.weight(param)
	if err != nil || w.quants == nil {
		return w.halfs, err
	}
	if err := c.room.take(2 * int64(len(w.quants))); err != nil {
		return nil, err
	}
	out := make([]float16.Float16, len(w.quants))
	row := max(1, len(out)/len(w.scales))
	for i, q := range w.quants {
		out[i] = half.FromFloat32(half.ToFloat32(w.scales[i/row]) * float32(q))
	}
	return out, nil
}

// integers are elements of an integer type of at most 8 bits.
type integers struct {
	values   []int8 // those of uint8 wrapped around
	unsigned bool
}

func (q integers) at(i int) int {
	if q.unsigned {
		return int(uint8(q.values[i]))
	}
	return int(q.values[i])
}

// integers returns a literal's elements: in place unless they are packed.
func (c *compiler) integers(lit *mil.Literal) (integers, error) {
	raw, err := c.fn.pkg.files.Bytes(lit)
	if err != nil {
		return integers{}, err
	}
	q := integers{unsigned: lit.Type.DType != mil.Int8 && lit.Type.DType != mil.Int4}
	if lit.Type.DType.Bits() == 8 {
		q.values = unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw))
		return q, nil
	}
	n := mil.NumElements(lit.Type.Shape)
	if err := c.room.take(int64(n)); err != nil {
		return integers{}, err
	}
	if q.values, err = mlpackage.Unpack(lit.Type.DType, raw, n); err != nil {
		return integers{}, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	return q, nil
}

// forBlocks cuts a tensor into equal blocks, blocks[d] of them along axis d,
// and visits its runs of memory of one block each. A block's number is
// row-major.
func forBlocks(shape, blocks []int, visit func(lo, hi, block int)) {
	strides := rowMajor(blocks)
	var sizes, lengths, steps []int // of axes: elements, elements of a block, step of its number
	for d, n := range shape {
		if n == 1 {
			continue
		}
		if k := len(sizes) - 1; k >= 0 && lengths[k] == sizes[k] && blocks[d] == 1 {
			sizes[k], lengths[k] = sizes[k]*n, sizes[k]*n // two axes that are not cut
			continue
		}
		sizes, lengths, steps = append(sizes, n), append(lengths, n/blocks[d]), append(steps, strides[d])
	}
	last := len(sizes) - 1
	if last < 0 {
		visit(0, 1, 0)
		return
	}
	n, length := sizes[last], lengths[last]
	for r := range mil.NumElements(sizes[:last]) {
		block, rest := 0, r
		for d := last - 1; d >= 0; d-- {
			block += rest % sizes[d] / lengths[d] * steps[d]
			rest /= sizes[d]
		}
		for at := 0; at < n; at += length {
			visit(r*n+at, r*n+at+length, block+at/length) // no axis after this one is cut
		}
	}
}
