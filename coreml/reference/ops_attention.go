package reference

import (
	"math"
	"slices"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// attention is softmax(query key^T / sqrt(E) + mask) value, row by row, with
// float32 between its steps and one rounding of the result: see
// kernel.Attention. 1/sqrt(E) is rounded once to float32. A bool mask is -Inf
// where it is false. Work is split over the rows of all heads.
func (c *compiler) attention() error {
	q, err := c.operand("query")
	if err != nil {
		return err
	}
	k, err := c.operand("key")
	if err != nil {
		return err
	}
	v, err := c.operand("value")
	if err != nil {
		return err
	}
	reads := []int{q, k, v}
	scores := slices.Clone(c.values[q].typ.Shape)
	last := len(scores) - 1
	rows, size := scores[last-1], scores[last]
	scores[last] = c.values[k].typ.Shape[last-1]
	slots, width := scores[last], c.values[v].typ.Shape[last]
	m, err := c.mask(scores)
	if err != nil {
		return err
	}
	if m.value >= 0 {
		reads = append(reads, m.value)
	}
	dst := c.result(0)
	f, toHalf := c.fn, c.values[dst].typ.DType == mil.Float16
	scale := float32(1 / math.Sqrt(float64(size)))
	c.needScratch(2 * slots)
	run := func(worker, lo, hi int) {
		scratch := f.scratch[worker]
		for r := lo; r < hi; r++ {
			head := r / rows
			out := f.values[dst][r*width : (r+1)*width]
			kernel.Attention(out, scratch[:slots], f.values[q][r*size:(r+1)*size],
				f.values[k][head*slots*size:(head+1)*slots*size], f.values[v][head*slots*width:(head+1)*slots*width],
				m.row(f, scratch[slots:2*slots], r), scale)
			if toHalf {
				half.Round(out)
			}
		}
	}
	c.add(reads, []int{dst}, func() { f.each(mil.NumElements(scores[:last]), 1+productGrain/slots/(size+width), run) })
	return nil
}

// maskRows are the rows of an attention mask under the scores' shape.
type maskRows struct {
	value int // -1 for none
	bools bool
	walk  walk // over the scores' rows
}

func (c *compiler) mask(scores []int) (maskRows, error) {
	if !c.params.Has("attn_mask") {
		return maskRows{value: -1}, nil
	}
	v, err := c.operand("attn_mask")
	if err != nil {
		return maskRows{}, err
	}
	last := len(scores) - 1
	strides := broadcastStrides(c.values[v].typ.Shape, scores)
	return maskRows{value: v, bools: c.values[v].typ.DType == mil.Bool, walk: newWalk(scores[:last], strides[:last])}, nil
}

// row is what is added to row r of the scores.
func (m *maskRows) row(f *function, scratch []float32, r int) []float32 {
	if m.value < 0 {
		return nil
	}
	at := m.walk.offset(r)
	row := f.values[m.value][at : at+len(scratch)]
	if !m.bools {
		return row
	}
	for j, visible := range kernel.Ints(row) {
		scratch[j] = 0
		if visible == 0 {
			scratch[j] = float32(math.Inf(-1))
		}
	}
	return scratch
}
