package checkpoint

import (
	"fmt"
	"io"
	"math"
)

// Tensor reads one weight tensor, row by row. It keeps no buffer and may be
// used by several goroutines at a time, until its Checkpoint is closed.
type Tensor struct {
	Name  string // as the file spells it
	File  string // the file's name within the checkpoint
	DType DType
	Shape []int // as the config gives it, which the file was held against

	source io.ReaderAt
	begin  int64 // first byte within source
}

// Rows is the number of rows: the first dimension of a matrix, 1 for a vector.
func (t *Tensor) Rows() int {
	if len(t.Shape) < 2 {
		return 1
	}
	return t.Shape[0]
}

// RowLen is the number of elements of a row: all but the first dimension of a
// matrix, the whole of a vector.
func (t *Tensor) RowLen() int {
	n := 1
	for i, d := range t.Shape {
		if i > 0 || len(t.Shape) < 2 {
			n *= d
		}
	}
	return n
}

// RowBytes is the stored size of a row in bytes. A row is whole blocks.
func (t *Tensor) RowBytes() int {
	elements, bytes := t.DType.Block()
	return t.RowLen() / elements * bytes
}

// ReadRaw fills dst with the stored bytes of len(dst)/RowBytes() rows, which
// must be whole, from firstRow on.
func (t *Tensor) ReadRaw(dst []byte, firstRow int) error {
	rows, err := t.checkRows(len(dst), t.RowBytes(), firstRow, "bytes")
	if err != nil || rows == 0 {
		return err
	}
	n, err := t.source.ReadAt(dst, t.begin+int64(firstRow)*int64(t.RowBytes()))
	if n == len(dst) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF // the file has shrunk since it was opened
	}
	return fmt.Errorf("%s: tensor %q: rows [%d, %d): %w", t.File, t.Name, firstRow, firstRow+rows, err)
}

// Float32 decodes raw, the bytes of whole rows from firstRow on, into dst,
// which has one float32 per element. Every value is exact. A NaN or an
// infinity, also as a block's scale, is a [ValueError] with its place; dst then
// has unspecified values.
func (t *Tensor) Float32(dst []float32, raw []byte, firstRow int) error {
	rows, err := t.checkRows(len(raw), t.RowBytes(), firstRow, "bytes")
	if err != nil {
		return err
	}
	if want := rows * t.RowLen(); len(dst) != want {
		return &TensorError{File: t.File, Tensor: t.Name, Field: "rows", Want: fmt.Sprintf("%d elements for %d bytes", want, len(raw)), Found: fmt.Sprint(len(dst))}
	}
	switch bad := t.DType.decode(dst, raw); {
	case bad < 0:
		return nil
	case t.DType == Q8_0:
		return t.valueError(bad, firstRow, "a finite scale of the block that begins here", q8Scale(raw, bad))
	default:
		return t.valueError(bad, firstRow, "a finite value", dst[bad])
	}
}

// ReadRows fills dst with the values of len(dst)/RowLen() whole rows from
// firstRow on: ReadRaw and Float32 in one. It allocates a buffer; who reads
// much keeps one and calls the two.
func (t *Tensor) ReadRows(dst []float32, firstRow int) error {
	rows, err := t.checkRows(len(dst), t.RowLen(), firstRow, "elements")
	if err != nil {
		return err
	}
	raw := make([]byte, rows*t.RowBytes())
	if err := t.ReadRaw(raw, firstRow); err != nil {
		return err
	}
	return t.Float32(dst, raw, firstRow)
}

// float16Limit is the least magnitude that rounds to infinity in float16,
// halfway between 65504 and 65536.
const float16Limit = 65520

// CheckFloat16 refuses a value that float16 cannot hold: src is whole rows
// from firstRow on, finite. The error is a [ValueError] with the value's place.
func (t *Tensor) CheckFloat16(src []float32, firstRow int) error {
	for i, v := range src {
		if v >= float16Limit || v <= -float16Limit {
			return t.valueError(i, firstRow, "a value that rounds to a finite float16", v)
		}
	}
	return nil
}

// valueError names the element that lies index elements after the start of
// firstRow.
func (t *Tensor) valueError(index, firstRow int, want string, v float32) error {
	found := fmt.Sprint(v)
	if math.IsNaN(float64(v)) {
		found = fmt.Sprintf("NaN (float32 bits %08x)", math.Float32bits(v))
	}
	return &ValueError{File: t.File, Tensor: t.Name, Row: firstRow + index/t.RowLen(), Col: index % t.RowLen(), Want: want, Found: found}
}

// checkRows wants n units (bytes or elements) to be whole rows within the
// tensor and returns their number.
func (t *Tensor) checkRows(n, perRow, firstRow int, unit string) (int, error) {
	if n%perRow != 0 {
		return 0, &TensorError{File: t.File, Tensor: t.Name, Field: "rows", Want: fmt.Sprintf("whole rows of %d %s", perRow, unit), Found: fmt.Sprint(n)}
	}
	rows := n / perRow
	if firstRow < 0 || firstRow > t.Rows() || rows > t.Rows()-firstRow {
		return 0, &TensorError{
			File: t.File, Tensor: t.Name, Field: "rows",
			Want:  fmt.Sprintf("rows within [0, %d)", t.Rows()),
			Found: fmt.Sprintf("%d from row %d", rows, firstRow),
		}
	}
	return rows, nil
}
