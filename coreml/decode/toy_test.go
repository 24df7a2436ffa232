package decode_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"lockstep/coreml/decode"
)

// toy is an autoregressive model that hashes: the logits after a token depend
// on it and the window-1 tokens before. They are few small whole numbers, so
// ties are frequent.
type toy struct {
	seed   uint64
	window int
	levels int
	size   decode.Size
}

// logits is the model's meaning, apart from any cache.
func (m toy) logits(history []int) []float32 {
	h := fnv.New64a()
	put := func(v uint64) { _, _ = h.Write(binary.LittleEndian.AppendUint64(nil, v)) }
	put(m.seed)
	for _, id := range history[max(0, len(history)-m.window):] {
		put(uint64(id))
	}
	row := make([]float32, m.size.Vocab)
	for id := range row {
		put(uint64(id))
		row[id] = float32(h.Sum64() >> 7 % uint64(m.levels))
	}
	return row
}

// greedy is what greedy decoding means: the truth that sessions are held
// against, written without any of their code.
func (m toy) greedy(prompt []int, limit int, stop []int) ([]int, decode.Reason) {
	history := append([]int(nil), prompt...)
	for {
		best := 0
		row := m.logits(history)
		for id := range row {
			if row[id] > row[best] {
				best = id
			}
		}
		history = append(history, best)
		out := history[len(prompt):]
		for _, s := range stop {
			if s == best {
				return out, decode.StopToken
			}
		}
		if len(out) == limit {
			return out, decode.Length
		}
		if len(history) > m.size.Slots {
			return out, decode.FullContext
		}
	}
}

// cache is a KV cache whose slots hold tokens, and how each was made.
type cache struct {
	ids    []int
	single []bool
}

// toyPasser is a toy over a cache. It answers from what the slots hold, so a
// token in a wrong slot is seen, and a slot that nobody filled is an error.
type toyPasser struct {
	toy
	*cache
	calls int
	// drift bounds by how much the blocks' function moves each logit; singles
	// move a tenth of that where the history has slots made in blocks.
	drift float32
	alone bool // the function of singles
	edit  func(call int, rows [][]float32)
	err   error
}

func (m toy) begin() *toyPasser {
	c := &cache{ids: make([]int, m.size.Slots), single: make([]bool, m.size.Slots)}
	for i := range c.ids {
		c.ids[i] = -1
	}
	return &toyPasser{toy: m, cache: c}
}

// singles is the function of one row over the same cache.
func (p *toyPasser) singles() *toyPasser {
	s := *p
	s.alone, s.size.Rows = true, 1
	return &s
}

func (p *toyPasser) Size() decode.Size { return p.size }

func (p *toyPasser) Feed(_ context.Context, pos int, ids []int) error {
	p.calls++
	if p.err != nil {
		return p.err
	}
	if len(ids) < 1 || len(ids) > p.size.Rows || pos < 0 || pos+len(ids) > p.size.Slots {
		return fmt.Errorf("toy: %d tokens at %d", len(ids), pos)
	}
	for t, id := range ids {
		if id < 0 || id >= p.size.Vocab {
			return fmt.Errorf("toy: id %d", id)
		}
		p.ids[pos+t], p.single[pos+t] = id, p.alone
	}
	return nil
}

func (p *toyPasser) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	if err := p.Feed(ctx, pos, ids); err != nil {
		return nil, err
	}
	rows := make([][]float32, len(ids))
	for t := range ids {
		history := p.ids[:pos+t+1]
		for slot, id := range history {
			if id < 0 {
				return nil, fmt.Errorf("toy: position %d sees the empty slot %d", pos+t, slot)
			}
		}
		rows[t] = p.logits(history)
		p.shift(rows[t], p.single[:pos+t+1])
	}
	if p.edit != nil {
		p.edit(p.calls, rows)
	}
	return rows, nil
}

// shift moves logits by amounts that the slots' origins hash to.
func (p *toyPasser) shift(row []float32, single []bool) {
	if p.drift == 0 {
		return
	}
	h := fnv.New64a()
	blocks := 0
	for _, s := range single {
		b := byte(1)
		if s {
			b = 0
		}
		blocks += int(b)
		_, _ = h.Write([]byte{b})
	}
	drift := p.drift
	switch {
	case p.alone && blocks == 0:
		return
	case p.alone:
		drift /= 10
	}
	for id := range row {
		_, _ = h.Write([]byte{byte(id)})
		row[id] += drift * (float32(h.Sum64()>>11%1000)/500 - 1)
	}
}

// The draft sources. Each wants to know the sequence as greedy decoding has it.

// oracleDraft proposes the truth, changed by spoil.
type oracleDraft struct {
	truth []int // prompt and continuation
	spoil func(i, id int) int
	more  int // ids beyond what was asked for
}

func (d oracleDraft) Draft(history []int, n int) []int {
	var out []int
	for i := range n + d.more {
		at := len(history) + i
		if at >= len(d.truth) {
			break
		}
		out = append(out, d.spoil(i, d.truth[at]))
	}
	return out
}

type draftFunc func(history []int, n int) []int

func (f draftFunc) Draft(history []int, n int) []int { return f(history, n) }
