package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

func sampleRanges() *manifest.Ranges {
	row := func(op, value string, top manifest.Figure, position int, subnormal manifest.Figure, bad int) manifest.ValueRange {
		return manifest.ValueRange{
			Op: op, Value: value, MaxAbs: top, Position: position, Headroom: manifest.HeadroomOf(top, bad), SubnormalShare: subnormal, NonFinite: bad,
		}
	}
	layer := 31
	return &manifest.Ranges{
		Function: "t1", Inputs: "golden vectors", LayersBy: "names", Passes: 3, Positions: []int{0, 1, 255},
		Layers: []manifest.LayerRanges{
			{MaxByPosition: []manifest.Figure{1, 1, 1}, Values: []manifest.ValueRange{row("reduce_sum", "kv_written", 0, 0, 0, 0), row("sub", "kv_keep", 1, 0, 0, 0)}},
			{
				Layer: &layer, MaxByPosition: []manifest.Figure{3, 40000, 10},
				Values: []manifest.ValueRange{row("mul", "attn_norm_square", 3, 0, 0.625, 0), row("conv", "down", 40000, 1, 0, 0), row("add", "hidden", 10, 255, 0, 2)},
			},
		},
		Warnings: []string{"layer 31: hidden (add) left float16: 2 elements are NaN or infinite; 1 more of its 3 values are under 4"},
	}
}

func TestPrintRanges(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printRanges(&out, sampleRanges(), 2))
	assert.Equal(t, `inputs   golden vectors
layers   names
bar      from 2^-14 to 2^16, a factor of 4 for each mark; full is a headroom under 4

no layer [########.......]  largest 1 at position 0, of 2 values
  op          value       largest |x|  at  subnormal  headroom  
  sub         kv_keep     1            0   -          6.55e+04  [########.......]
  reduce_sum  kv_written  0            0   -          all zero  [...............]

layer 31 [###############]  largest 40000 at position 1, of 3 values
  op    value   largest |x|  at   subnormal  headroom         
  add   hidden  10           255  -          0, 2 not finite  [#########......]
  conv  down    40000        1    -          1.64             [###############]
warning  layer 31: hidden (add) left float16: 2 elements are NaN or infinite; 1 more of its 3 values are under 4
`, out.String())

	out.Reset()
	require.NoError(t, printRanges(&out, sampleRanges(), 0))
	assert.Less(t, strings.Index(out.String(), "attn_norm_square"), strings.Index(out.String(), "down"), "all, in program order")
	assert.Contains(t, out.String(), "62 %")
}

// Values of one kind take one row of the top, unless their headroom differs.
func TestLeastHeadroom(t *testing.T) {
	row := func(op, value string, headroom manifest.Figure) manifest.ValueRange {
		return manifest.ValueRange{Op: op, Value: value, Headroom: headroom}
	}
	var got []string
	for _, r := range leastHeadroom(rowsOf([]manifest.ValueRange{
		row("add", "out", 50), row("add", "masked_1", 6.5), row("add", "masked_0", 6.4), row("mul", "masked_2", 6.6),
		row("add", "masked_3", 13), row("add", "masked_12", 12), row("add", "masked_4", manifest.Figure(math.Inf(1))),
	})) {
		got = append(got, r.Op+" "+r.name())
	}
	assert.Equal(t, []string{"add masked_0, 2 alike", "mul masked_2", "add masked_3", "add out", "add masked_4"}, got)
}

// A full bar is a headroom under 4, an empty one is below the normal numbers.
func TestBar(t *testing.T) {
	for _, tt := range []struct {
		magnitude float64
		marks     int
	}{
		{0, 0},
		{math.Ldexp(1, -24), 0},
		{math.Ldexp(1023, -24), 0},
		{math.Ldexp(1, -14), 1},
		{1, 8},
		{16376, 14},
		{16384, 15},
		{65504, 15},
	} {
		got := strings.Count(bar(manifest.Figure(tt.magnitude)), "#")
		assert.Equal(t, tt.marks, got, "%g", tt.magnitude)
		assert.Equal(t, got == marks, manifest.HeadroomOf(manifest.Figure(tt.magnitude), 0) < manifest.LeastHeadroom, "%g", tt.magnitude)
		assert.Len(t, bar(manifest.Figure(tt.magnitude)), marks+2)
	}
}

// The gate prints a warning as one calm line before what it wrote.
func TestPrintVerdictWarns(t *testing.T) {
	v := &manifest.Verdict{
		Result: manifest.Pass, Ranges: sampleRanges(),
		Checks: []manifest.Check{{Name: "package", Result: manifest.Pass, Cases: []manifest.Case{{Name: "digests", Result: manifest.Pass}}}},
	}
	var out bytes.Buffer
	require.NoError(t, printVerdict(&out, v, artifacts{verdict: "v.json"}, false))
	assert.True(t, strings.HasSuffix(out.String(), "are under 4\nwritten  v.json\nverdict  pass\n"), out.String())
	assert.Equal(t, 1, strings.Count(out.String(), "warning  "))
}
