package oracle_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/oracle"
)

// TestTrace: every step of every layer is shown once, in order, with its size;
// what is shown hangs together, and changes nothing of the outcome.
func TestTrace(t *testing.T) {
	const hidden, heads, kvHeads, dim, intermediate, pos = 128, 4, 2, 32, 192, 2
	m := load(t, openNano(t), 30, 32)
	plain, traced := m.NewCache(4), m.NewCache(4)
	x := make([]float64, hidden)
	var order []oracle.Step
	seen := map[int]map[oracle.Step][]float64{30: {}, 31: {}}
	for p := range pos + 1 {
		for i := range x {
			x[i] = float64((i+p)%7) - 3
		}
		want := forward(t, m, plain, x, p)
		order = nil
		got, err := m.Trace(context.Background(), x, p, traced, func(layer int, step oracle.Step, values []float64) {
			order = append(order, step)
			seen[layer][step] = slices.Clone(values)
		})
		require.NoError(t, err)
		assert.InDeltaSlice(t, want, got, 0)
	}
	var want []oracle.Step
	for range 2 {
		want = append(want, oracle.AttnNorm, oracle.QKV, oracle.Q, oracle.NewK, oracle.NewV, oracle.Probs, oracle.Context, oracle.AttnOut, oracle.AttnResidual,
			oracle.MLPNorm, oracle.GateUp, oracle.Gate, oracle.Up, oracle.Act, oracle.Down, oracle.Out)
	}
	assert.Equal(t, want, order)
	for layer, in := range map[int][]float64{30: x, 31: seen[30][oracle.Out]} {
		s := seen[layer]
		for step, size := range map[oracle.Step]int{
			oracle.AttnNorm: hidden, oracle.QKV: (heads + 2*kvHeads) * dim, oracle.Q: heads * dim, oracle.NewK: kvHeads * dim, oracle.NewV: kvHeads * dim,
			oracle.Probs: heads * (pos + 1), oracle.Context: heads * dim, oracle.AttnOut: hidden, oracle.AttnResidual: hidden, oracle.MLPNorm: hidden,
			oracle.GateUp: 2 * intermediate, oracle.Gate: intermediate, oracle.Up: intermediate, oracle.Act: intermediate, oracle.Down: hidden, oracle.Out: hidden,
		} {
			assert.Len(t, s[step], size, "layer %d, %s", layer, step)
		}
		assert.InDeltaSlice(t, s[oracle.GateUp], append(slices.Clone(s[oracle.Gate]), s[oracle.Up]...), 0)
		assert.InDeltaSlice(t, s[oracle.QKV][(heads+kvHeads)*dim:], s[oracle.NewV], 0)
		for h := range heads {
			sum := 0.0
			for _, p := range s[oracle.Probs][h*(pos+1):][:pos+1] {
				sum += p
			}
			assert.InDelta(t, 1, sum, 1e-12)
		}
		for i := range hidden {
			assert.InDelta(t, in[i]+s[oracle.AttnOut][i], s[oracle.AttnResidual][i], 0)
			assert.InDelta(t, s[oracle.AttnResidual][i]+s[oracle.Down][i], s[oracle.Out][i], 0)
		}
		for i, g := range s[oracle.Gate] {
			assert.InDelta(t, s[oracle.Up][i]*g/(1+math.Exp(-g)), s[oracle.Act][i], 1e-9)
		}
		k, err := traced.Values(oracle.K, layer)
		require.NoError(t, err)
		for h := range kvHeads {
			assert.InDeltaSlice(t, k[(h*4+pos)*dim:][:dim], s[oracle.NewK][h*dim:][:dim], 0, "after RoPE")
		}
	}
}
