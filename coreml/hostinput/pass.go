package hostinput

import (
	"errors"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// ErrShape is wrapped by errors about sizes that do not fit the pass.
var ErrShape = errors.New("misshapen input")

const (
	visible = float16.Float16(0)      // added to the score of a slot that a row sees
	hidden  = float16.Float16(0xF0E2) // -1e4: exp of a score this far below the largest is 0
	one     = float16.Float16(0x3C00)
)

// Shape is the static shape of a pass.
type Shape struct {
	Hidden   int // hidden size of the model, channels of x
	Rows     int // T, rows of a pass
	Slots    int // S, slots of the KV cache
	RopeHalf int // half the turned dimensions
}

// Pass holds the inputs of one pass, filled again for each pass. It is not safe
// for concurrent use.
type Pass struct {
	X     coreml.Tensor // [1, Hidden, Rows, 1], channel-major
	Cos   coreml.Tensor // [Rows, RopeHalf]
	Sin   coreml.Tensor // [Rows, RopeHalf]
	Mask  coreml.Tensor // [1, 1, Rows, Slots], 0 for a visible slot, -1e4 for a hidden one
	Write coreml.Tensor // [1, 1, Slots, Rows], column t one-hot in the slot that row t writes

	shape  Shape
	inputs map[string]coreml.Tensor
}

// NewPass allocates the inputs of a pass; every size of s is positive.
func NewPass(s Shape) *Pass {
	p := &Pass{
		X:     tensor(1, s.Hidden, s.Rows, 1),
		Cos:   tensor(s.Rows, s.RopeHalf),
		Sin:   tensor(s.Rows, s.RopeHalf),
		Mask:  tensor(1, 1, s.Rows, s.Slots),
		Write: tensor(1, 1, s.Slots, s.Rows),
		shape: s,
	}
	p.inputs = map[string]coreml.Tensor{contract.X: p.X, contract.RopeCos: p.Cos, contract.RopeSin: p.Sin, contract.AttnMask: p.Mask, contract.WriteMask: p.Write}
	return p
}

func tensor(shape ...int) coreml.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return coreml.Tensor{Shape: shape, Data: make([]float16.Float16, n)}
}

// Inputs returns the tensors by their names in the contract. The map and the
// tensors belong to p and keep their identity over Fill.
func (p *Pass) Inputs() map[string]coreml.Tensor { return p.inputs }

// Shape returns what NewPass was given.
func (p *Pass) Shape() Shape { return p.shape }

// Fill sets the inputs for the tokens at positions pos to pos+live-1, whose
// hidden states are the rows of x. Row t sees the slots 0 to pos+t and writes
// slot pos+t. The rows from live on are dead: copies of the last live row that
// write nothing.
//
// Errors: ErrContext where 1 <= live <= Rows and 0 <= pos <= Slots-live does
// not hold, ErrShape for rows of another size, and coreml.ErrNonFinite, naming
// row and channel, for a NaN or an infinity in x. After an error the inputs are
// not to be used.
func (p *Pass) Fill(rope *Rows, pos, live int, x [][]float16.Float16) error {
	if err := p.check(rope, pos, live, x); err != nil {
		return err
	}
	clear(p.Write.Data)
	for t := range p.shape.Rows {
		token := min(t, live-1)
		p.fillHidden(t, x[token])
		p.fillMask(t, pos+token)
		if err := p.fillRope(rope, t, pos+token); err != nil {
			return err
		}
		if t < live {
			p.Write.Data[(pos+t)*p.shape.Rows+t] = one
		}
	}
	return nil
}

func (p *Pass) check(rope *Rows, pos, live int, x [][]float16.Float16) error {
	s := p.shape
	switch {
	case live < 1 || live > s.Rows:
		return fmt.Errorf("%w: %d live rows, want 1 to %d", ErrContext, live, s.Rows)
	case pos < 0 || pos > s.Slots-live:
		return fmt.Errorf("%w: %d live rows at position %d, want positions 0 to %d of %d slots", ErrContext, live, pos, s.Slots-live, s.Slots)
	case rope.Half() != s.RopeHalf:
		return fmt.Errorf("%w: RoPE rows of %d elements, want %d", ErrShape, rope.Half(), s.RopeHalf)
	case len(x) != live:
		return fmt.Errorf("%w: %d rows of hidden states, want %d, one per live row", ErrShape, len(x), live)
	}
	for t, row := range x {
		if len(row) != s.Hidden {
			return fmt.Errorf("%w: hidden states of row %d have %d channels, want %d", ErrShape, t, len(row), s.Hidden)
		}
		if c := half.FirstNonFinite(row); c >= 0 {
			return fmt.Errorf("%w: %v in hidden states of row %d, channel %d", coreml.ErrNonFinite, row[c], t, c)
		}
	}
	return nil
}

func (p *Pass) fillHidden(t int, row []float16.Float16) {
	for c, h := range row {
		p.X.Data[c*p.shape.Rows+t] = h
	}
}

// fillMask lets row t see the slots up to last.
func (p *Pass) fillMask(t, last int) {
	mask := p.Mask.Data[t*p.shape.Slots : (t+1)*p.shape.Slots]
	for s := range mask {
		mask[s] = hidden
		if s <= last {
			mask[s] = visible
		}
	}
}

func (p *Pass) fillRope(rope *Rows, t, pos int) error {
	n := p.shape.RopeHalf
	return rope.Row(pos, p.Cos.Data[t*n:(t+1)*n], p.Sin.Data[t*n:(t+1)*n])
}
