package mutant

import (
	"context"
	"encoding/binary"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// FoldedCatalogue lists the mutants of a shard of int8 weights that carry RoPE's
// attention factor.
func FoldedCatalogue() []Mutant {
	scaled := func(name, models, killer string, factor func(d manifest.Dims, head, dim int, m float64) float64) Mutant {
		return Mutant{
			Name: name, Models: models, KilledBy: killer,
			seed: func(_ context.Context, s *specimen) error { return s.scaleHeads(factor) },
		}
	}
	turned := func(d manifest.Dims, head, dim int) bool { return head < d.Heads+d.KVHeads && dim < d.RotaryDim }
	return []Mutant{
		scaled("factor_on_q_only", "one of the two that turning multiplies", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if head >= d.Heads && turned(d, head, dim) {
				return 1 / m
			}
			return 1
		}),
		scaled("factor_on_k_only", "one of the two that turning multiplies", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if head < d.Heads && dim < d.RotaryDim {
				return 1 / m
			}
			return 1
		}),
		scaled("factor_left_out", "nobody multiplies by it", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if turned(d, head, dim) {
				return 1 / m
			}
			return 1
		}),
		scaled("factor_squared", "folded into weights that carry it already", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if turned(d, head, dim) {
				return m
			}
			return 1
		}),
		scaled("factor_on_unturned_rows", "whole heads multiplied, not what is turned of them", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if head < d.Heads+d.KVHeads && dim >= d.RotaryDim {
				return m
			}
			return 1
		}),
		scaled("factor_on_values", "the whole fused projection multiplied", "oracle/seeded_cache", func(d manifest.Dims, head, dim int, m float64) float64 {
			if head >= d.Heads+d.KVHeads && dim < d.RotaryDim {
				return m
			}
			return 1
		}),
		scaled("factor_on_half_a_pair", "pairs read as neighbours: the second half of a head's turned rows left as they are", "oracle/seeded_cache",
			func(d manifest.Dims, head, dim int, m float64) float64 {
				if turned(d, head, dim) && dim >= d.RotaryDim/2 {
					return 1 / m
				}
				return 1
			}),
		{
			Name: "factor_of_host_too", Models: "a host that multiplies by the factor that the weights carry", KilledBy: "oracle/seeded_cache",
			seed: factorOfHostToo,
		},
	}
}

// scaleHeads multiplies the scales of the qkv projection's rows in every layer,
// which is what another factor on them comes to.
func (s *specimen) scaleHeads(factor func(d manifest.Dims, head, dim int, m float64) float64) error {
	d, m := s.record.Model.Dims, s.base.Export.Checkpoint.Config().AttentionFactor()
	return s.eachLayer(func(p string) error {
		blobs, err := s.stored(p + "qkv_weight")
		if err != nil {
			return err
		}
		scales := blobs[1]
		for r := range scales.rows {
			row := scales.row(r)
			scale := half.ToFloat64(float16.Float16(binary.LittleEndian.Uint16(row)))
			binary.LittleEndian.PutUint16(row, uint16(half.FromFloat64(scale*factor(d, r/d.HeadDim, r%d.HeadDim, m))))
		}
		return nil
	})
}

// factorOfHostToo multiplies the host's cosines and sines.
func factorOfHostToo(_ context.Context, s *specimen) error {
	m := s.base.Export.Checkpoint.Config().AttentionFactor()
	s.spoilHost(func(_ int, in map[string]coreml.Tensor, _ coreml.State) bool {
		for _, name := range []string{contract.RopeCos, contract.RopeSin} {
			for i, h := range in[name].Data {
				in[name].Data[i] = half.FromFloat64(m * half.ToFloat64(h))
			}
		}
		return m != 1
	})
	return nil
}
