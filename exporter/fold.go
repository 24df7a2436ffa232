package exporter

import "lockstep/internal/checkpoint"

// fold is RoPE's attention factor m on its way into a qkv projection: the turned
// rows of every query and key head are stored times m, so that the host's cosines
// and sines carry none. Turning is linear, so that is the same model. m is taken
// in float32, which makes a folded weight the float32 product of two float32
// numbers: the same bits on every machine, rounded to float16 or int8 like any
// other weight.
type fold struct {
	factor  float32
	headDim int
	turned  int // leading dimensions of a head
	end     int // rows of q and k; those of v follow
}

func newFold(cfg checkpoint.Config) *fold {
	return &fold{
		factor: float32(cfg.AttentionFactor()), headDim: cfg.HeadDim(), turned: cfg.RotaryDim(),
		end: (cfg.Heads + cfg.KVHeads) * cfg.HeadDim(),
	}
}

// apply multiplies in place the turned ones among the projection's rows from
// firstRow on; a nil fold leaves them all.
func (f *fold) apply(values []float32, cols, firstRow int) {
	if f == nil {
		return
	}
	for at := 0; at < len(values); at += cols {
		row := firstRow + at/cols
		if row >= f.end || row%f.headDim >= f.turned {
			continue
		}
		for i, v := range values[at : at+cols] {
			values[at+i] = f.factor * v
		}
	}
}
