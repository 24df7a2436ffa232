package conformance_test

import (
	"context"
	"math/bits"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// drifting is a plane whose block function computes a little off the singles'
// one, as a compiler that fuses each program its own way may: hidden states
// move by up to a bound, relative to themselves, and with them what later
// shards cache. How depends on the value and its channel alone, so the block
// function agrees with itself. With caches, the slots that a pass wrote move
// too once it is over; then a row in a block and the same row alone part.
type drifting struct {
	coreml.Plane
	bound  float64
	caches bool
}

func (p drifting) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return driftingPackage{pkg, p}, err
}

type driftingPackage struct {
	coreml.Package
	drifting
}

func (p driftingPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil || len(f.Signature().States) == 0 || name != "t4" {
		return f, err
	}
	return driftingFunction{f, p.drifting}, nil
}

type driftingFunction struct {
	coreml.Function
	drifting
}

func (f driftingFunction) Predict(ctx context.Context, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error {
	if err := f.Function.Predict(ctx, in, st, out); err != nil {
		return err
	}
	hidden := out[contract.Hidden]
	rows := hidden.Shape[2]
	for i, h := range hidden.Data {
		hidden.Data[i] = f.moved(h, i/rows)
	}
	if !f.caches {
		return nil
	}
	written := writtenSlots(in[contract.WriteMask])
	for _, feature := range f.Signature().States {
		slots, dim := feature.Shape[2], feature.Shape[3]
		data := make([]float16.Float16, feature.Shape[1]*slots*dim)
		if err := st.Read(feature.Name, data); err != nil {
			return err
		}
		for i, h := range data {
			if slices.Contains(written, i/dim%slots) {
				data[i] = f.moved(h, i%dim)
			}
		}
		if err := st.Write(feature.Name, data); err != nil {
			return err
		}
	}
	return nil
}

// moved is h times 1 plus or minus up to the bound.
func (p drifting) moved(h float16.Float16, place int) float16.Float16 {
	mixed := bits.RotateLeft64((uint64(h)+uint64(place)<<16+1)*0x9E3779B97F4A7C15, 31) * 0xD1B54A32D192ED03
	part := float64(int64(mixed>>11)-1<<52) / (1 << 52)
	return half.FromFloat64(half.ToFloat64(h) * (1 + p.bound*part))
}

func writtenSlots(mask coreml.Tensor) []int {
	var slots []int
	rows := mask.Shape[3]
	for i, h := range mask.Data {
		if h != 0 {
			slots = append(slots, i/rows)
		}
	}
	return slots
}
