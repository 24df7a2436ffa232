package exporter

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"

	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
)

// Notes counts what rounding did to a shard's weights. They are recorded, not
// judged.
type Notes struct {
	Underflowed  int64 // non-zero weights that float16 rounds to 0
	ScalesRaised int64 // int8 scales that float16 rounds to 0, raised to 2^-24
	ZeroRows     int64 // all-zero int8 rows, stored with scale 1
}

// halfRows converts raw rows of t, starting at firstRow, to little-endian
// float16. A value that float16 cannot hold is an error that names its place.
type halfRows struct {
	tensor  *checkpoint.Tensor
	fold    *fold
	bf16    *bf16Table // if the tensor is bfloat16, and its values are stored as they are
	scratch []float32
	halfs   []float16.Float16
}

// begin starts another tensor with the buffers of the last one.
func (c *halfRows) begin(t *checkpoint.Tensor, f *fold, bf16 *bf16Table) {
	c.tensor, c.fold, c.bf16 = t, f, nil
	if t.DType == checkpoint.BF16 && f == nil {
		c.bf16 = bf16
	}
}

func (c *halfRows) convert(dst, raw []byte, firstRow int, notes *Notes) error {
	if c.bf16 != nil {
		flags, under := c.bf16.convert(dst, raw)
		notes.Underflowed += under
		if flags&(bf16Overflow|bf16NonFinite) == 0 {
			return nil
		}
	}
	// The careful path: it also finds the place of what the table only flagged.
	n := len(dst) / 2
	c.scratch, c.halfs = grow(c.scratch, n), grow(c.halfs, n)
	if err := c.tensor.Float32(c.scratch, raw, firstRow); err != nil {
		return err
	}
	c.fold.apply(c.scratch, c.tensor.RowLen(), firstRow)
	half.Encode(c.halfs, c.scratch)
	for i, h := range c.halfs {
		if h.IsInf(0) {
			return overflow(c.tensor, firstRow, i, c.scratch[i], "|value| below 65520 for float16")
		}
		if h&0x7FFF == 0 && c.scratch[i] != 0 {
			notes.Underflowed++
		}
	}
	half.ToBytes(dst, c.halfs)
	return nil
}

// overflow is the error of element i of the rows from firstRow on.
func overflow(t *checkpoint.Tensor, firstRow, i int, v float32, want string) error {
	return &checkpoint.ValueError{
		File: t.File, Tensor: t.Name, Row: firstRow + i/t.RowLen(), Col: i % t.RowLen(), Want: want, Found: fmt.Sprint(v),
	}
}

// int8Rows quantises rows: symmetric, one scale per row.
type int8Rows struct {
	tensor  *checkpoint.Tensor
	fold    *fold
	scratch []float32
	scales  []float16.Float16 // of the tensor's rows so far
}

// begin starts another tensor with the buffers of the last one.
func (c *int8Rows) begin(t *checkpoint.Tensor, f *fold) {
	c.tensor, c.fold, c.scales = t, f, c.scales[:0]
}

// convert writes one int8 per value of raw's rows to dst and keeps their scales.
func (c *int8Rows) convert(dst, raw []byte, firstRow int, notes *Notes) error {
	c.scratch = grow(c.scratch, len(dst))
	if err := c.tensor.Float32(c.scratch, raw, firstRow); err != nil {
		return err
	}
	cols := c.tensor.RowLen()
	c.fold.apply(c.scratch, cols, firstRow)
	for at := 0; at < len(dst); at += cols {
		scale, bad := quantiseRow(dst[at:at+cols], c.scratch[at:at+cols], notes)
		if bad >= 0 {
			return overflow(c.tensor, firstRow, at+bad, c.scratch[at+bad], "|value| whose int8 form stays below 65520 for float16")
		}
		c.scales = append(c.scales, scale)
	}
	return nil
}

// minScale is the smallest positive float16, 2^-24.
const minScale = float16.Float16(1)

// roundEven added to a number below 2^51 leaves its nearest integer, ties to
// even, in the low bits of the sum.
const roundEven = 0x1.8p52

// quantiseRow stores round-half-even(w/scale) as int8 in dst and returns the
// scale: max|w|/127 in float64, rounded once to float16; 2^-24 where that is
// 0, and 1 for a row of zeros. bad is the place of a value that comes back from
// int8 beyond float16, or -1.
func quantiseRow(dst []byte, row []float32, notes *Notes) (scale float16.Float16, bad int) {
	peak, at := float32(0), 0
	for i, v := range row {
		if a := math.Float32frombits(math.Float32bits(v) &^ (1 << 31)); a > peak {
			peak, at = a, i
		}
	}
	scale = half.FromFloat64(float64(peak) / 127)
	switch {
	case peak == 0:
		notes.ZeroRows++
		scale = half.FromFloat64(1)
	case scale == 0:
		notes.ScalesRaised++
		scale = minScale
	}
	s := half.ToFloat64(scale)
	// Execution computes float16(scale*q), so the product must be one; the
	// largest |q| is peak's.
	if scale.IsInf(0) || half.FromFloat64(float64(s*min(127, math.RoundToEven(float64(peak)/s)))).IsInf(0) {
		return 0, at
	}
	for i, v := range row {
		q := int32(uint32(math.Float64bits(float64(v)/s + roundEven)))
		dst[i] = byte(max(-127, min(127, q)))
	}
	return scale, -1
}

// bf16Table maps every bfloat16 to its float16, with flags above the low 16
// bits: one look-up per weight in place of two conversions.
type bf16Table [1 << 16]uint32

const (
	bf16Underflow = 1 << (16 + iota)
	bf16Overflow
	bf16NonFinite
)

func newBF16Table() *bf16Table {
	t := new(bf16Table)
	for bits := range t {
		v := math.Float32frombits(uint32(bits) << 16)
		h := half.FromFloat32(v)
		t[bits] = uint32(h)
		switch {
		case v-v != 0:
			t[bits] |= bf16NonFinite
		case h.IsInf(0):
			t[bits] |= bf16Overflow
		case h&0x7FFF == 0 && v != 0:
			t[bits] |= bf16Underflow
		}
	}
	return t
}

// convert fills dst from raw, both little-endian, and returns the union of the
// flags seen and the number of underflows.
func (t *bf16Table) convert(dst, raw []byte) (flags uint32, underflowed int64) {
	for len(raw) >= 8 && len(dst) >= 8 {
		in := binary.LittleEndian.Uint64(raw)
		a, b := t[uint16(in)], t[uint16(in>>16)]
		c, d := t[uint16(in>>32)], t[uint16(in>>48)]
		any := a | b | c | d
		flags |= any
		if any&bf16Underflow != 0 {
			underflowed += int64(a>>16&1 + b>>16&1 + c>>16&1 + d>>16&1)
		}
		out := uint64(a&0xFFFF) | uint64(b&0xFFFF)<<16 | uint64(c&0xFFFF)<<32 | uint64(d)<<48
		binary.LittleEndian.PutUint64(dst, out)
		raw, dst = raw[8:], dst[8:]
	}
	for ; len(raw) >= 2; raw, dst = raw[2:], dst[2:] {
		v := t[binary.LittleEndian.Uint16(raw)]
		flags |= v
		underflowed += int64(v >> 16 & 1)
		binary.LittleEndian.PutUint16(dst, uint16(v))
	}
	return flags, underflowed
}

// grow returns a slice of n elements, reusing s where it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
