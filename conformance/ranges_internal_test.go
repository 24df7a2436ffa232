package conformance

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"pgregory.net/rapid"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/manifest"
)

// TestRangeTallyEqualsBruteForce holds a tally of drawn values, any bits, over
// drawn positions against a walk over all of them in float64.
func TestRangeTallyEqualsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := []rangeRun{
			{rows: make([][]float16.Float16, rapid.IntRange(1, 4).Draw(t, "rows"))},
			{pos: rapid.IntRange(0, 6).Draw(t, "pos"), rows: make([][]float16.Float16, 1)},
		}
		tally := newRangeTally(runs)
		name := rapid.SampledFrom([]string{"layers_0_a", "layers_0_b", "layers_1_a", "mask"})
		value := rapid.OneOf(rapid.Uint16Range(0, 0x0500), rapid.Uint16()) // of which a third is subnormal
		type seen struct {
			top                           float64
			at                            int
			nonZero, subnormal, nonFinite int
		}
		want := map[string]*seen{}
		tops := map[string]map[int]float64{} // by layer and position
		for range rapid.IntRange(1, 12).Draw(t, "values") {
			n := name.Draw(t, "name")
			at := rapid.IntRange(0, len(tally.positions)-1).Draw(t, "at")
			data := make([]float16.Float16, rapid.IntRange(1, 9).Draw(t, "elements"))
			w, layer := want[n], LayerName(nil)
			if n != "mask" {
				layer = n[:8]
			}
			if w == nil {
				w = &seen{at: -1}
				want[n] = w
			}
			if tops[layer] == nil {
				tops[layer] = map[int]float64{}
			}
			for i := range data {
				data[i] = float16.Float16(value.Draw(t, "bits"))
				abs := math.Abs(half.ToFloat64(data[i]))
				switch {
				case math.IsNaN(abs) || math.IsInf(abs, 0):
					w.nonFinite++
					continue
				case abs > 0 && abs < math.Ldexp(1, -14):
					w.subnormal++
				}
				if abs > 0 {
					w.nonZero++
				}
				if pos := tally.positions[at]; abs > w.top || abs == w.top && abs > 0 && pos < w.at {
					w.top, w.at = abs, pos
				}
				tops[layer][at] = max(tops[layer][at], abs)
			}
			tally.add(coreml.Observed{Op: "add", Name: n, Tensor: coreml.Tensor{Shape: []int{len(data)}, Data: data}}, at)
		}
		tally.passes = 1
		r := tally.report(places{by: "name", of: func(n string) place { return placeByName(n, 30, 2) }})
		rows := 0
		for _, l := range r.Layers {
			layer := LayerName(nil)
			if l.Layer != nil {
				layer = []string{"layers_0", "layers_1"}[*l.Layer-30]
			}
			for i := range tally.positions {
				require.InDelta(t, tops[layer][i], float64(l.MaxByPosition[i]), 0)
			}
			for _, v := range l.Values {
				rows++
				full := v.Value
				if l.Layer != nil {
					full = layer + "_" + v.Value
				}
				w := want[full]
				require.NotNil(t, w, full)
				require.InDelta(t, w.top, float64(v.MaxAbs), 0)
				if w.top > 0 {
					require.Equal(t, w.at, v.Position, full)
				}
				require.Equal(t, w.nonFinite, v.NonFinite)
				if w.nonZero > 0 {
					require.InDelta(t, float64(w.subnormal)/float64(w.nonZero), float64(v.SubnormalShare), 0)
				}
			}
		}
		require.Equal(t, len(want), rows)
	})
}

func TestWarning(t *testing.T) {
	layer := 31
	row := func(value string, top float64, bad int) manifest.ValueRange {
		return manifest.ValueRange{Op: "conv", Value: value, MaxAbs: manifest.Figure(top), Position: 7, NonFinite: bad, Headroom: manifest.HeadroomOf(manifest.Figure(top), bad)}
	}
	for _, tt := range []struct {
		name, want string
		values     []manifest.ValueRange
	}{
		{"masked scores are no warning", "", []manifest.ValueRange{row("masked", 10008, 0), row("just enough", 16376, 0)}},
		{"too little", "layer 31: down (conv) reaches 16384 at position 7, headroom 3.998 to 65504, under 4", []manifest.ValueRange{row("down", 16384, 0)}},
		{
			"the worst of several", "layer 31: down (conv) reaches 40000 at position 7, headroom 1.638 to 65504, under 4; 1 more of its 3 values are under 4",
			[]manifest.ValueRange{row("up", 20000, 0), row("down", 40000, 0), row("small", 1, 0)},
		},
		{"left float16", "layer 31: down (conv) left float16: 3 elements are NaN or infinite", []manifest.ValueRange{row("down", 5, 3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, warning(manifest.LayerRanges{Layer: &layer, Values: tt.values}))
		})
	}
}

func TestPlaceByName(t *testing.T) {
	for name, want := range map[string]place{
		"layers_0_qkv":     {20, "qkv"},
		"layers_3_q_proj":  {23, "q_proj"},
		"layers_4_qkv":     {noLayer, "layers_4_qkv"}, // the shard has four
		"layers_-1_qkv":    {noLayer, "layers_-1_qkv"},
		"layers_x_qkv":     {noLayer, "layers_x_qkv"},
		"layers_0":         {noLayer, "layers_0"},
		"kv_keep":          {noLayer, "kv_keep"},
		"hidden":           {23, "hidden"},
		"my_layers_0_qkv ": {noLayer, "my_layers_0_qkv "},
	} {
		assert.Equal(t, want, placeByName(name, 20, 4), name)
	}
}

// TestLayersByFlow: a value belongs to the last layer that it was computed
// from, whatever it is called and wherever it stands.
func TestLayersByFlow(t *testing.T) {
	b := mil.NewBuilder("main", "CoreML8")
	half := mil.Tensor(mil.Float16, 4)
	x, kv0, kv1 := b.Input("x", half), b.State("cache_a", half), b.State("cache_b", half)
	w := b.Const("w", mil.Halfs([]int{4}, make([]float16.Float16, 4)))
	b.Op("tanh", "before", mil.Arg("x", x))
	b.Op("read_state", "second", mil.Arg("input", kv1))
	b.Op("read_state", "first", mil.Arg("input", kv0))
	b.Op("add", "attended", mil.Arg("x", "first"), mil.Arg("y", "before"))
	b.Op("mul", "weighed", mil.Arg("x", "attended"), mil.Arg("y", w))
	b.Op("add", "both", mil.Arg("x", "second"), mil.Arg("y", "attended"))
	f, err := b.Finish("both", "weighed")
	require.NoError(t, err)
	states := map[string]int{kv0: 0, kv1: 1}
	assert.Equal(t, map[string]int{"first": 0, "second": 1, "attended": 0, "weighed": 0, "both": 1}, layersByFlow(f, states))
	states[w] = 1
	assert.Equal(t, 1, layersByFlow(f, states)["weighed"])
}
