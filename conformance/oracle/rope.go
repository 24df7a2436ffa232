package oracle

import (
	"fmt"
	"math"

	"lockstep/internal/checkpoint"
)

// Factors says which of a LongRoPE config's factor lists a session uses. The
// choice holds for a whole session, since cached keys carry their rotation.
type Factors int

const (
	// ShortFactors serves sessions that stay within the original maximum
	// position; it is also the choice for plain RoPE.
	ShortFactors Factors = iota
	// LongFactors serves sessions that go beyond it.
	LongFactors
)

// String is the name used in messages: "short" or "long".
func (f Factors) String() string {
	switch f {
	case ShortFactors:
		return "short"
	case LongFactors:
		return "long"
	}
	return fmt.Sprintf("Factors(%d)", int(f))
}

// table is the rotation of one session: the turned dimensions of a head are
// pairs (i, i+len(invFreq)), and the dimensions from 2*len(invFreq) on pass.
type table struct {
	invFreq []float32
	scale   float64 // attention factor, on cosine and sine alike
	limit   int     // first position that the factor list does not serve
}

// newTable derives the rotation from the raw config values: the turned
// dimensions are int(head_dim * partial_rotary_factor), and
// inv_freq[i] = 1 / (f[i] * theta^(2i/turned)), computed in float64 and rounded
// to float32, the type that the model holds them in.
func newTable(cfg checkpoint.Config, headDim int, choice Factors) (*table, error) {
	if !(cfg.RopeTheta > 0) || math.IsInf(cfg.RopeTheta, 0) {
		return nil, fmt.Errorf("%w: rope_theta is %v, want a positive number", ErrModel, cfg.RopeTheta)
	}
	if !(cfg.PartialRotaryFactor > 0 && cfg.PartialRotaryFactor <= 1) {
		return nil, fmt.Errorf("%w: partial_rotary_factor is %v, want more than 0 and at most 1", ErrModel, cfg.PartialRotaryFactor)
	}
	turned := int(float64(headDim) * cfg.PartialRotaryFactor)
	if turned == 0 || turned%2 != 0 {
		return nil, fmt.Errorf("%w: partial_rotary_factor %v of head dimension %d turns %d dimensions, want a positive even number",
			ErrModel, cfg.PartialRotaryFactor, headDim, turned)
	}
	t := &table{invFreq: make([]float32, turned/2), scale: 1, limit: cfg.MaxPositions}
	factors, err := chooseFactors(cfg, choice, turned/2)
	if err != nil {
		return nil, err
	}
	for i := range t.invFreq {
		f := 1.0
		if factors != nil {
			f = factors[i]
		}
		t.invFreq[i] = float32(1 / (f * math.Pow(cfg.RopeTheta, float64(2*i)/float64(turned))))
	}
	if factors == nil {
		return t, nil
	}
	if choice == ShortFactors {
		t.limit = cfg.OriginalMaxPositions
	}
	t.scale, err = longRopeScale(cfg)
	return t, err
}

// chooseFactors returns the factor list of a LongRoPE config, nil for plain
// RoPE.
func chooseFactors(cfg checkpoint.Config, choice Factors, pairs int) ([]float64, error) {
	var list []float64
	switch {
	case choice != ShortFactors && choice != LongFactors:
		return nil, fmt.Errorf("%w: unknown factor choice %v", ErrModel, choice)
	case cfg.Rope.Type == "default":
		if choice == LongFactors {
			return nil, fmt.Errorf("%w: long factors are asked for, but the RoPE type is %q", ErrModel, cfg.Rope.Type)
		}
		return nil, nil
	case cfg.Rope.Type != "longrope":
		return nil, fmt.Errorf("%w: RoPE type %q, want \"default\" or \"longrope\"", ErrModel, cfg.Rope.Type)
	case choice == LongFactors:
		list = cfg.Rope.LongFactor
	default:
		list = cfg.Rope.ShortFactor
	}
	if len(list) != pairs {
		return nil, fmt.Errorf("%w: %v factor list has %d values, want %d", ErrModel, choice, len(list), pairs)
	}
	for i, f := range list {
		if !(f > 0) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%w: %v factor %d is %v, want a positive number", ErrModel, choice, i, f)
		}
	}
	return list, nil
}

// longRopeScale is LongRoPE's attention factor: the config's own if it has one,
// else sqrt(1 + ln(s)/ln(original)), where s is the config's factor or, without
// one, max/original; and 1 where s does not exceed 1. It applies with both
// factor lists.
func longRopeScale(cfg checkpoint.Config) (float64, error) {
	own, stretch := cfg.Rope.AttentionFactor, cfg.Rope.Factor
	for _, v := range []float64{own, stretch} {
		if !(v >= 0) || math.IsInf(v, 0) {
			return 0, fmt.Errorf("%w: attention_factor %v and factor %v, want positive numbers or none", ErrModel, own, stretch)
		}
	}
	if cfg.OriginalMaxPositions < 2 {
		return 0, fmt.Errorf("%w: original maximum position is %d, want at least 2", ErrModel, cfg.OriginalMaxPositions)
	}
	original := float64(cfg.OriginalMaxPositions)
	if stretch == 0 {
		stretch = float64(cfg.MaxPositions) / original
	}
	switch {
	case own != 0:
		return own, nil
	case stretch <= 1:
		return 1, nil
	}
	return math.Sqrt(1 + math.Log(stretch)/math.Log(original)), nil
}

// FoldFactors are what the rows of a layer's qkv projection are multiplied by,
// in float32, where a package carries RoPE's attention factor in its weights: the
// factor for the turned dimensions of every query and key head, 1 for the others
// and for the values. The host's cosines and sines then carry none.
func FoldFactors(cfg checkpoint.Config) ([]float32, error) {
	m, err := newModel(cfg, 0, cfg.Layers)
	if err != nil {
		return nil, err
	}
	factors := make([]float32, 0, (m.heads+2*m.kvHeads)*m.headDim)
	for head := range m.heads + 2*m.kvHeads {
		for dim := range m.headDim {
			if head < m.heads+m.kvHeads && dim < 2*len(m.short.invFreq) {
				factors = append(factors, float32(m.short.scale))
			} else {
				factors = append(factors, 1)
			}
		}
	}
	return factors, nil
}

// row fills cos and sin (one value per pair) for absolute position pos, the
// attention factor included. The angle is the model's own, a float32 product
// of the float32 position and inverse frequency: a float64 angle is another
// model, by up to 2.4e-4 rad at position 4096.
func (t *table) row(pos int, cos, sin []float64) {
	for i, f := range t.invFreq {
		angle := float64(float32(float32(pos) * f))
		cos[i] = t.scale * math.Cos(angle)
		sin[i] = t.scale * math.Sin(angle)
	}
}

// turn rotates one head in place: halves (i with i+pairs), not neighbours.
func turn(head, cos, sin []float64) {
	pairs := len(cos)
	for i := range cos {
		a, b := head[i], head[i+pairs]
		head[i] = float64(a*cos[i]) - float64(b*sin[i])
		head[i+pairs] = float64(b*cos[i]) + float64(a*sin[i])
	}
}
