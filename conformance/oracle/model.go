package oracle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"lockstep/internal/checkpoint"
)

var (
	// ErrModel is wrapped by errors about config values or tensor shapes that
	// make no model by the oracle's own reading of them.
	ErrModel = errors.New("oracle: not a model")
	// ErrCache is wrapped by errors about a position, slot, layer or size that
	// a session's cache does not have.
	ErrCache = errors.New("oracle: cache")
	// ErrInput is wrapped by errors about a vector of the wrong length or a
	// token outside the vocabulary.
	ErrInput = errors.New("oracle: input")
	// ErrNonFinite is wrapped by errors about a NaN or an infinity in what the
	// oracle is given or computes.
	ErrNonFinite = errors.New("oracle: non-finite value")
)

// Model is the layers [start,end) of a checkpoint. It is immutable, so that
// several sessions may use it at once.
type Model struct {
	cfg                  checkpoint.Config
	hidden, intermediate int
	heads, kvHeads       int
	headDim              int
	eps                  float64
	start, end           int
	layers               []layer
	short                *table
}

// Load reads the weights of layers [start,end) into memory as float32 (their
// values exactly), in blocks, and derives the model's dimensions from the raw
// config values. The checkpoint is not used afterwards.
func Load(ctx context.Context, ckpt *checkpoint.Checkpoint, start, end int) (*Model, error) {
	m, err := newModel(ckpt.Config(), start, end)
	if err != nil {
		return nil, err
	}
	for i := start; i < end; i++ {
		l, err := m.readLayer(ctx, ckpt, i)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		m.layers = append(m.layers, l)
	}
	return m, nil
}

// newModel is a model without its weights.
func newModel(cfg checkpoint.Config, start, end int) (*Model, error) {
	m := &Model{
		cfg: cfg, hidden: cfg.HiddenSize, intermediate: cfg.IntermediateSize,
		heads: cfg.Heads, kvHeads: cfg.KVHeads, eps: cfg.RMSNormEps, start: start, end: end,
	}
	return m, m.derive()
}

// derive checks the config's numbers and computes what follows from them.
func (m *Model) derive() error {
	for _, d := range []struct {
		name  string
		value int
	}{
		{"hidden_size", m.hidden},
		{"intermediate_size", m.intermediate},
		{"num_attention_heads", m.heads},
		{"num_key_value_heads", m.kvHeads},
	} {
		if d.value < 1 {
			return fmt.Errorf("%w: %s is %d, want at least 1", ErrModel, d.name, d.value)
		}
	}
	switch {
	case m.hidden%m.heads != 0:
		return fmt.Errorf("%w: hidden_size %d is no multiple of num_attention_heads %d", ErrModel, m.hidden, m.heads)
	case m.heads%m.kvHeads != 0:
		return fmt.Errorf("%w: num_attention_heads %d is no multiple of num_key_value_heads %d", ErrModel, m.heads, m.kvHeads)
	case !(m.eps > 0) || math.IsInf(m.eps, 0):
		return fmt.Errorf("%w: rms_norm_eps is %v, want a positive number", ErrModel, m.eps)
	case m.start < 0 || m.end <= m.start || m.end > m.cfg.Layers:
		return fmt.Errorf("%w: layers [%d,%d), want a range within [0,%d)", ErrModel, m.start, m.end, m.cfg.Layers)
	}
	m.headDim = m.hidden / m.heads
	var err error
	m.short, err = newTable(m.cfg, m.headDim, ShortFactors)
	return err
}

// Forward runs one token, x of length hidden_size at position pos, through
// layers [start,end) and returns its hidden states. The token's K and V are
// stored in its slot of cache, replacing what stood there; it sees the slots
// before its own and its own. x is not changed. After an error, only the
// token's own slot may have changed.
func (m *Model) Forward(ctx context.Context, x []float64, pos int, cache *Cache) ([]float64, error) {
	return m.Trace(ctx, x, pos, cache, func(int, Step, []float64) {})
}

// Trace is Forward that hands observe every Step's value, layer by layer
// (layer counts as the checkpoint does), as it is computed. observe must neither
// keep nor change them.
func (m *Model) Trace(ctx context.Context, x []float64, pos int, cache *Cache, observe func(layer int, step Step, values []float64)) ([]float64, error) {
	if cache == nil || cache.model != m {
		return nil, fmt.Errorf("%w: the cache was not made by this model", ErrCache)
	}
	if err := checkVector("input", x, m.hidden); err != nil {
		return nil, err
	}
	slot, err := cache.slot(pos)
	if err != nil {
		return nil, err
	}
	pairs := len(cache.rope.invFreq)
	cos, sin := make([]float64, pairs), make([]float64, pairs)
	cache.rope.row(pos, cos, sin)
	for i := range m.layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x = m.forward(x, i, slot, cos, sin, cache, func(step Step, values []float64) { observe(m.start+i, step, values) })
		if at := firstNonFinite(x); at >= 0 {
			return nil, fmt.Errorf("%w: after layer %d at position %d, channel %d is %v", ErrNonFinite, m.start+i, pos, at, x[at])
		}
	}
	return x, nil
}

func checkVector(what string, x []float64, want int) error {
	if len(x) != want {
		return fmt.Errorf("%w: %s has %d values, want %d", ErrInput, what, len(x), want)
	}
	if at := firstNonFinite(x); at >= 0 {
		return fmt.Errorf("%w: %s channel %d is %v", ErrNonFinite, what, at, x[at])
	}
	return nil
}

// With is the model with another weight in place of the checkpoint's: values,
// row-major, of the tensor that role has in layer. A layer outside the model, a
// role that no layer has, or another count is ErrModel.
func (m *Model) With(role checkpoint.Role, layer int, values []float32) (*Model, error) {
	if layer < m.start || layer >= m.end {
		return nil, fmt.Errorf("%w: layer %d, want one within [%d,%d)", ErrModel, layer, m.start, m.end)
	}
	other := *m
	other.layers = slices.Clone(m.layers)
	l := &other.layers[layer-m.start]
	data := map[checkpoint.Role]*[]float32{
		checkpoint.AttnNorm: &l.attnNorm, checkpoint.QKV: &l.qkv.data, checkpoint.AttnOut: &l.attnOut.data,
		checkpoint.MLPNorm: &l.mlpNorm, checkpoint.GateUp: &l.gateUp.data, checkpoint.Down: &l.down.data,
	}[role]
	if data == nil || len(values) != len(*data) {
		return nil, fmt.Errorf("%w: layer %d: role %v with %d values does not fit", ErrModel, layer, role, len(values))
	}
	*data = values
	return &other, nil
}
