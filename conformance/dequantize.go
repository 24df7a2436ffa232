package conformance

import (
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// weightReader computes what a function's compile-time values are, by the MIL
// meaning of const and constexpr operations. It shares no code with the planes,
// as the oracle does not.
type weightReader struct {
	pkg   *mlpackage.Package
	scope *mil.Scope
}

// argument is the compile-time value of a parameter, row-major, with its shape.
func (r weightReader) argument(op *mil.Op, param string) ([]float32, []int, error) {
	p := r.scope.Params(op)
	if lit := p.Literal(param); lit != nil {
		values, err := r.literal(lit)
		return values, lit.Type.Shape, err
	}
	name, _ := p.Value(param)
	values, err := r.value(name)
	return values, p.Type(param).Shape, err
}

// value is the result of a const or constexpr operation; float results are
// rounded to the type that the operation declares.
func (r weightReader) value(name string) ([]float32, error) {
	op := r.scope.Producer(name)
	if op == nil {
		return nil, fmt.Errorf("value %q: want a constant, found an input", name)
	}
	var values []float32
	var err error
	switch op.Type {
	case "const":
		return r.literal(op.Val)
	case "constexpr_blockwise_shift_scale":
		values, err = r.blockwise(op)
	case "constexpr_lut_to_dense":
		values, err = r.table(op)
	default:
		err = fmt.Errorf("want a constant, found an %s", op.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", name, err)
	}
	if op.Outputs[0].Type.DType == mil.Float16 {
		for i, v := range values {
			values[i] = half.ToFloat32(half.FromFloat32(v))
		}
	}
	return values, nil
}

// blockwise is scale*(data-offset), with a scale, and an offset, per block.
func (r weightReader) blockwise(op *mil.Op) ([]float32, error) {
	data, shape, err := r.argument(op, "data")
	if err != nil {
		return nil, err
	}
	scale, blocks, err := r.argument(op, "scale")
	if err != nil {
		return nil, err
	}
	offset := make([]float32, len(scale))
	if r.scope.Params(op).Has("offset") {
		if offset, _, err = r.argument(op, "offset"); err != nil {
			return nil, err
		}
	}
	out := make([]float32, len(data))
	eachElement(shape, blocks, func(i, b int) { out[i] = scale[b] * (data[i] - offset[b]) })
	return out, nil
}

// table looks each index up in the table of its block: lut is [blocks..., n, 1].
func (r weightReader) table(op *mil.Op) ([]float32, error) {
	indices, shape, err := r.argument(op, "indices")
	if err != nil {
		return nil, err
	}
	lut, dims, err := r.argument(op, "lut")
	if err != nil {
		return nil, err
	}
	size := dims[len(dims)-2]
	out := make([]float32, len(indices))
	eachElement(shape, dims[:len(dims)-2], func(i, b int) { out[i] = lut[b*size+int(indices[i])] })
	return out, nil
}

// eachElement visits the elements of a row-major tensor that blocks tile, with
// the row-major number of each one's block.
func eachElement(shape, blocks []int, visit func(i, block int)) {
	at := make([]int, len(shape))
	for i := range mil.NumElements(shape) {
		block := 0
		for d, n := range blocks {
			block = block*n + at[d]/(shape[d]/n)
		}
		visit(i, block)
		for d := len(shape) - 1; d >= 0; d-- {
			if at[d]++; at[d] < shape[d] {
				break
			}
			at[d] = 0
		}
	}
}

// literal decodes a constant's elements.
func (r weightReader) literal(lit *mil.Literal) ([]float32, error) {
	raw, err := r.pkg.Bytes(lit)
	if err != nil {
		return nil, err
	}
	out := make([]float32, mil.NumElements(lit.Type.Shape))
	bits := lit.Type.DType.Bits()
	switch d := lit.Type.DType; d {
	case mil.Float16:
		for i := range out {
			out[i] = half.ToFloat32(float16.Float16(uint16(raw[2*i]) | uint16(raw[2*i+1])<<8))
		}
	case mil.UInt1, mil.UInt2, mil.UInt3, mil.UInt4, mil.UInt6, mil.UInt8, mil.Int4, mil.Int8:
		signed := d == mil.Int4 || d == mil.Int8
		for i := range out {
			out[i] = float32(packed(raw, i, bits, signed))
		}
	default:
		return nil, fmt.Errorf("want float16 or an integer of at most 8 bits, found %s", lit.Type)
	}
	return out, nil
}

// packed is element i of elements of a few bits each, the lowest bits first.
func packed(raw []byte, i, bits int, signed bool) int {
	at := i * bits
	v := int(raw[at/8]) >> (at % 8)
	if at%8+bits > 8 { // the upper bits are in the next byte
		v |= int(raw[at/8+1]) << (8 - at%8)
	}
	v &= 1<<bits - 1
	if signed && v >= 1<<(bits-1) {
		v -= 1 << bits
	}
	return v
}

// withoutOnes is a shape without its dimensions of 1.
func withoutOnes(shape []int) []int {
	return slices.DeleteFunc(slices.Clone(shape), func(d int) bool { return d == 1 })
}
