package oracle

import (
	"fmt"
	"math"

	"github.com/x448/float16"
)

// Kind names one of a layer's two caches.
type Kind int

const (
	// K holds keys, after RoPE.
	K Kind = iota
	// V holds values.
	V
)

// String is "k" or "v".
func (k Kind) String() string {
	switch k {
	case K:
		return "k"
	case V:
		return "v"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Cache is the KV cache of one session: per layer and kind an array
// [n_kv, slots, head_dim]. The token at position p occupies slot p - first.
// A Cache serves one goroutine at a time.
type Cache struct {
	model   *Model
	slots   int
	first   int
	rope    *table
	layers  [][2][]float64 // by layer - start, then Kind
	written [][2][]bool    // by layer - start, then Kind, then slot
}

// NewCache returns an empty cache of a session that starts at position 0 and
// uses the short factors (plain RoPE if the config has no factors). A cache
// with no slot (slots < 1) refuses every pass.
func (m *Model) NewCache(slots int) *Cache {
	return m.newCache(slots, 0, m.short)
}

// NewCacheAt returns an empty cache of a session whose slot 0 holds the token
// at position first, with the given factor list. Nothing before first is
// visible. A session of short factors refuses positions from the original
// maximum on: the list is never changed within a session.
func (m *Model) NewCacheAt(slots, first int, choice Factors) (*Cache, error) {
	if slots < 1 || first < 0 {
		return nil, fmt.Errorf("%w: %d slots from position %d, want at least 1 from 0 or later", ErrCache, slots, first)
	}
	rope, err := newTable(m.cfg, m.headDim, choice)
	if err != nil {
		return nil, err
	}
	return m.newCache(slots, first, rope), nil
}

func (m *Model) newCache(slots, first int, rope *table) *Cache {
	slots = max(slots, 0)
	c := &Cache{model: m, slots: slots, first: first, rope: rope}
	for range m.layers {
		var values [2][]float64
		var written [2][]bool
		for kind := range values {
			values[kind] = make([]float64, m.kvHeads*slots*m.headDim)
			written[kind] = make([]bool, slots)
		}
		c.layers = append(c.layers, values)
		c.written = append(c.written, written)
	}
	return c
}

// Slots is the number of slots.
func (c *Cache) Slots() int { return c.slots }

// SetHalf seeds one layer's keys or values, all slots of them, from a float16
// state laid out [n_kv, slots, head_dim]. layer counts as the checkpoint does
// (30, not 0, for the first layer of [30,32)). A value that is not finite is
// ErrNonFinite, and nothing is changed.
func (c *Cache) SetHalf(kind Kind, layer int, data []float16.Float16) error {
	dst, err := c.find(kind, layer)
	if err != nil {
		return err
	}
	if len(data) != len(dst) {
		return fmt.Errorf("%w: %v of layer %d has %d values, want %d", ErrCache, kind, layer, len(data), len(dst))
	}
	for i, h := range data {
		if !h.IsFinite() {
			return fmt.Errorf("%w: %v of layer %d, element %d of [n_kv, slots, head_dim] is %v", ErrNonFinite, kind, layer, i, h)
		}
	}
	for i, h := range data {
		dst[i] = float64(h.Float32())
	}
	for slot := range c.slots {
		c.written[layer-c.model.start][kind][slot] = true
	}
	return nil
}

// Values returns a copy of one layer's keys or values, [n_kv, slots, head_dim]
// in row-major order; slots that nothing was written to are zero.
func (c *Cache) Values(kind Kind, layer int) ([]float64, error) {
	src, err := c.find(kind, layer)
	if err != nil {
		return nil, err
	}
	return append([]float64(nil), src...), nil
}

func (c *Cache) find(kind Kind, layer int) ([]float64, error) {
	if kind != K && kind != V {
		return nil, fmt.Errorf("%w: unknown kind %v", ErrCache, kind)
	}
	if layer < c.model.start || layer >= c.model.end {
		return nil, fmt.Errorf("%w: layer %d is not in [%d,%d)", ErrCache, layer, c.model.start, c.model.end)
	}
	return c.layers[layer-c.model.start][kind], nil
}

// slot returns the slot of a position, or says why the session cannot take it.
// Every earlier slot must hold something: a token that looks at slots nobody
// filled has no defined result.
func (c *Cache) slot(pos int) (int, error) {
	slot := pos - c.first
	if slot < 0 || slot >= c.slots {
		return 0, fmt.Errorf("%w: position %d, want one of the %d from %d on", ErrCache, pos, c.slots, c.first)
	}
	if pos >= c.rope.limit {
		return 0, fmt.Errorf("%w: position %d, but this session's RoPE factors serve positions below %d", ErrCache, pos, c.rope.limit)
	}
	for i, written := range c.written {
		for kind, filled := range written {
			for s := range slot {
				if !filled[s] {
					return 0, fmt.Errorf("%w: position %d looks at slot %d, which %v of layer %d does not hold yet",
						ErrCache, pos, s, Kind(kind), c.model.start+i)
				}
			}
		}
	}
	return slot, nil
}

// store writes one token's K or V, [n_kv, head_dim], into a slot.
func (c *Cache) store(kind Kind, index, slot int, data []float64) {
	dim := c.model.headDim
	dst := c.layers[index][kind]
	for h := range c.model.kvHeads {
		copy(dst[(h*c.slots+slot)*dim:][:dim], data[h*dim:][:dim])
	}
	c.written[index][kind][slot] = true
}

// rows returns one KV head's slots, [slots, head_dim].
func (c *Cache) rows(kind Kind, index, head int) []float64 {
	size := c.slots * c.model.headDim
	return c.layers[index][kind][head*size:][:size]
}

// firstNonFinite is the index of the first NaN or infinity, -1 if there is none.
func firstNonFinite(x []float64) int {
	for i, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return i
		}
	}
	return -1
}
