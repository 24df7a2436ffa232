package decode

import (
	"context"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// Program is the chain's function of T rows over one Cache. It is a Passer; the
// programs of a cache see each other's slots. Its buffers are made once, and
// those that a prediction fills belong to that prediction's package alone.
type Program struct {
	cache  *Cache
	size   Size
	layers []stage
	heads  []stage

	inputs *hostinput.Pass
	rows   [][]float16.Float16 // hidden states between shards, [T][hidden]
	hidden coreml.Tensor       // the heads' input, [1, hidden, T, 1]
	feeds  map[string]coreml.Tensor
	floats []float32   // logits of a head shard as they come, [rows of it, T]
	logits [][]float32 // [T][vocabulary]
}

var _ Passer = (*Program)(nil)

// stage is one package's part of a program.
type stage struct {
	*link
	function coreml.Function
	state    coreml.State
	out      coreml.Tensor
	outputs  map[string]coreml.Tensor
}

// Program opens the function of t rows in every package.
func (c *Cache) Program(ctx context.Context, t int) (*Program, error) {
	m := c.model
	hidden := m.record.Model.Dims.Hidden
	p := &Program{cache: c, size: m.size(t)}
	var err error
	if p.layers, err = newStages(ctx, m.layers, c.layers, t, contract.Hidden, func(*link) int { return hidden }); err != nil {
		return nil, err
	}
	if p.heads, err = newStages(ctx, m.heads, c.heads, t, contract.Logits, func(l *link) int { return l.end - l.start }); err != nil {
		return nil, err
	}
	p.inputs = hostinput.NewPass(hostinput.Shape{Hidden: hidden, Rows: t, Slots: p.size.Slots, RopeHalf: m.rope.Half()})
	p.hidden = newTensor(hidden, t)
	p.feeds = map[string]coreml.Tensor{contract.Hidden: p.hidden}
	for range t {
		p.rows = append(p.rows, make([]float16.Float16, hidden))
		p.logits = append(p.logits, make([]float32, p.size.Vocab))
	}
	for _, h := range p.heads {
		p.floats = make([]float32, max(len(p.floats), len(h.out.Data)))
	}
	return p, nil
}

func newStages(ctx context.Context, links []*link, states []coreml.State, t int, output string, channels func(*link) int) ([]stage, error) {
	stages := make([]stage, len(links))
	for i, l := range links {
		f, err := l.function(ctx, t)
		if err != nil {
			return nil, err
		}
		out := newTensor(channels(l), t)
		stages[i] = stage{link: l, function: f, state: states[i], out: out, outputs: map[string]coreml.Tensor{output: out}}
	}
	return stages, nil
}

// newTensor is [1, channels, t, 1].
func newTensor(channels, t int) coreml.Tensor {
	return coreml.Tensor{Shape: []int{1, channels, t, 1}, Data: make([]float16.Float16, channels*t)}
}

// Size implements Passer.
func (p *Program) Size() Size { return p.size }

// Feed implements Passer.
func (p *Program) Feed(ctx context.Context, pos int, ids []int) error {
	if err := p.size.check(pos, ids); err != nil {
		return err
	}
	for t, id := range ids {
		if err := p.cache.model.embedding.read(p.rows[t], id); err != nil {
			return err
		}
	}
	for _, s := range p.layers {
		if err := p.through(ctx, s, pos, len(ids)); err != nil {
			return fmt.Errorf("%s: %w", s.label, err)
		}
	}
	return nil
}

// through runs the first live rows of p.rows through a shard, in place.
func (p *Program) through(ctx context.Context, s stage, pos, live int) error {
	if err := p.inputs.Fill(p.cache.model.rope, pos, live, p.rows[:live]); err != nil {
		return err
	}
	if err := s.function.Predict(ctx, p.inputs.Inputs(), s.state, s.outputs); err != nil {
		return err
	}
	for t, row := range p.rows[:live] {
		for c := range row {
			row[c] = s.out.Data[c*p.size.Rows+t]
		}
		if c := half.FirstNonFinite(row); c >= 0 {
			return fmt.Errorf("%w: %v in hidden states at position %d, channel %d", coreml.ErrNonFinite, row[c], pos+t, c)
		}
	}
	return nil
}

// Pass implements Passer.
func (p *Program) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	if err := p.Feed(ctx, pos, ids); err != nil {
		return nil, err
	}
	p.fillHeads(len(ids))
	for _, s := range p.heads {
		if err := p.project(ctx, s, pos, len(ids)); err != nil {
			return nil, fmt.Errorf("%s: %w", s.label, err)
		}
	}
	return p.logits[:len(ids)], nil
}

// fillHeads lays out the heads' input; dead rows are copies of the last live
// one, as in the shards.
func (p *Program) fillHeads(live int) {
	for t := range p.size.Rows {
		for c, v := range p.rows[min(t, live-1)] {
			p.hidden.Data[c*p.size.Rows+t] = v
		}
	}
}

// project fills a head shard's range of the logits.
func (p *Program) project(ctx context.Context, s stage, pos, live int) error {
	if err := s.function.Predict(ctx, p.feeds, s.state, s.outputs); err != nil {
		return err
	}
	if i := half.FirstNonFinite(s.out.Data); i >= 0 {
		return fmt.Errorf("%w: %v in logits at position %d, id %d", coreml.ErrNonFinite, s.out.Data[i], pos+min(i%p.size.Rows, live-1), s.start+i/p.size.Rows)
	}
	half.Decode(p.floats, s.out.Data)
	for t, row := range p.logits[:live] {
		for i := range s.end - s.start {
			row[s.start+i] = p.floats[i*p.size.Rows+t]
		}
	}
	return nil
}
