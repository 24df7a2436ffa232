package conformance_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
)

// bisectBase exports nano's tail, to plant faults in.
func bisectBase(t *testing.T, n exporter.Norm) (subject, mutant.Base) {
	t.Helper()
	s := nanoSubject(t, exporter.Int8, n)
	s.export(t, tail)
	return s, mutant.Base{
		Source: fixtures.Nano(), Golden: s.golden, Plane: s.plane,
		Export: exporter.Options{Checkpoint: s.checkpoint, Dir: s.dir, Layers: tail, Layout: s.layout, Recipe: s.recipe, Name: s.name},
	}
}

// sideOf is a subject's export as a side.
func sideOf(s subject) conformance.BisectSide {
	opt := conformance.BisectSide{Options: s.options(tail)}
	opt.Golden = nil
	return opt
}

// plant makes a mutant and returns it as a side.
func plant(t *testing.T, s subject, b mutant.Base, name string) conformance.BisectSide {
	t.Helper()
	for _, m := range mutant.Catalogue() {
		if m.Name == name {
			dir := filepath.Join(t.TempDir(), "mutant")
			plane, err := mutant.Make(context.Background(), b, m, dir)
			require.NoError(t, err)
			opt := sideOf(s)
			opt.Dir, opt.Plane = dir, plane
			return opt
		}
	}
	require.Fail(t, "no such mutant", name)
	return conformance.BisectSide{}
}

func bisect(t *testing.T, opt conformance.BisectOptions) *conformance.Bisection {
	t.Helper()
	if opt.Position == 0 {
		opt.Position = 128
	}
	out, err := conformance.Bisect(context.Background(), opt)
	require.NoError(t, err)
	return out
}

// against is how a planted fault is looked for.
type against string

const (
	good    against = "the sound package"
	singles against = "four single passes of the same package"
	truth   against = "the oracle"
)

// TestBisectNamesThePlantedFault: every fault in a program or a weight is found
// where it was put: the op, or the first reader of the weight.
func TestBisectNamesThePlantedFault(t *testing.T) {
	s, b := bisectBase(t, exporter.LayerNormConcat)
	for _, tt := range []struct {
		mutant  string
		against against
		op      string
		value   string
		operand string // that differs, "" if it is the op itself
		rows    int
		scale   float64
	}{
		{mutant: "heads_as_head_token_dim", against: good, op: "transpose", value: "layers_0_heads_columns", operand: "layers_0_heads_columns_perm"},
		{mutant: "heads_as_head_token_dim", against: singles, op: "reshape", value: "layers_0_heads_channels"},
		{mutant: "heads_as_head_token_dim", against: truth, op: "reshape", value: "layers_0_heads_channels"},
		{mutant: "gate_and_up_swapped", against: good, op: "split", value: "layers_0_gate"},
		{mutant: "gate_and_up_swapped", against: truth, op: "split", value: "layers_0_up"},
		{mutant: "weights_of_another_layer", against: good, op: "conv", value: "layers_0_qkv", operand: "layers_0_qkv_weight"},
		{mutant: "weights_of_another_layer", against: truth, op: "conv", value: "layers_0_qkv"},
		{mutant: "t4_with_other_weights", against: good, op: "conv", value: "layers_0_down", operand: "layers_0_down_weight"},
		{mutant: "t4_with_other_weights", against: singles, op: "conv", value: "layers_0_down", operand: "layers_0_down_weight"},
		{mutant: "residual_left_out", against: good, op: "add", value: "layers_0_attn_residual", operand: "x"},
		{mutant: "residual_left_out", against: truth, op: "maximum", value: "layers_0_attn_residual"},
		{mutant: "attention_uses_old_cache", against: good, op: "split", value: "layers_0_k_head_0", operand: "layers_0_k_cache"},
		{mutant: "score_scale_left_out", against: good, op: "mul", value: "layers_0_q_scaled", operand: "layers_0_q_scaled_y"},
		{mutant: "score_scale_left_out", against: truth, op: "mul", value: "layers_0_q_scaled"},
		{mutant: "score_scale_twice", against: truth, op: "mul", value: "layers_0_q_scaled"},
		{mutant: "epsilon_tenfold", against: good, op: "layer_norm", value: "layers_0_attn_norm_ln", operand: "layers_0_attn_norm_ln_epsilon", scale: 1.0 / 256},
		{mutant: "epsilon_tenfold", against: truth, op: "mul", value: "layers_0_attn_norm", scale: 1.0 / 256},
		{mutant: "epsilon_lost", against: good, op: "layer_norm", value: "layers_0_attn_norm_ln", operand: "layers_0_attn_norm_ln_epsilon", scale: 1.0 / 256},
		{mutant: "constant_infinite", against: good, op: "mul", value: "layers_1_q_scaled", operand: "layers_1_q_scaled_y"},
		{mutant: "norms_swapped", against: good, op: "mul", value: "layers_0_attn_norm", operand: "layers_0_attn_norm_weight"},
		{mutant: "norms_swapped", against: truth, op: "mul", value: "layers_0_attn_norm"},
		{mutant: "layers_in_wrong_order", against: good, op: "mul", value: "layers_0_attn_norm", operand: "layers_0_attn_norm_weight"},
		{mutant: "rope_interleaved", against: good, op: "conv", value: "layers_0_qkv", operand: "layers_0_qkv_weight"},
		{mutant: "query_heads_modulo", against: good, op: "conv", value: "layers_0_qkv", operand: "layers_0_qkv_weight"},
		{mutant: "scales_permuted", against: good, op: "conv", value: "layers_0_gate_up", operand: "layers_0_gate_up_weight"},
		{mutant: "scales_permuted", against: truth, op: "conv", value: "layers_0_gate_up"},
		{mutant: "scale_of_neighbour", against: good, op: "conv", value: "layers_0_down", operand: "layers_0_down_weight"},
		{mutant: "scale_of_neighbour", against: truth, op: "conv", value: "layers_0_down"},
		{mutant: "scale_bit_flipped_and_sealed", against: good, op: "conv", value: "layers_1_down", operand: "layers_1_down_weight"},
		{mutant: "scale_bit_flipped_and_sealed", against: truth, op: "conv", value: "layers_1_down"},
		{mutant: "weight_bit_flipped_and_sealed", against: good, op: "conv", value: "layers_0_gate_up", operand: "layers_0_gate_up_weight"},
		{mutant: "blobs_aliased", against: good, op: "mul", value: "layers_0_mlp_norm", operand: "layers_0_mlp_norm_weight"},
		{mutant: "weight_infinite", against: good, op: "mul", value: "layers_0_mlp_norm", operand: "layers_0_mlp_norm_weight"},
		{mutant: "weight_infinite", against: truth, op: "mul", value: "layers_0_mlp_norm"},
	} {
		t.Run(tt.mutant+"_against_"+string(tt.against), func(t *testing.T) {
			faulty := plant(t, s, b, tt.mutant)
			opt := conformance.BisectOptions{A: sideOf(s), B: &faulty, Scale: tt.scale}
			switch tt.against {
			case singles:
				opt = conformance.BisectOptions{A: faulty, Singles: true}
			case truth:
				opt = conformance.BisectOptions{A: faulty, Oracle: true, Scale: tt.scale}
			}
			out := bisect(t, opt)
			require.NotNil(t, out.Found)
			assert.Equal(t, tt.value, out.Found.Step.Name)
			assert.Equal(t, tt.op, out.Found.Step.Op)
			for _, o := range out.Found.Operands {
				if o.A == tt.operand {
					assert.False(t, o.Agrees, "%s: %s", o.A, o.What)
				} else if tt.operand != "" {
					assert.True(t, o.Agrees, "%s: %s", o.A, o.What)
				}
			}
		})
	}
}

// TestBisectHost: what a host hands over wrongly shows in the first op that
// reads it, on a plane that cannot trace.
func TestBisectHost(t *testing.T) {
	s, b := bisectBase(t, exporter.LayerNormConcat)
	for _, tt := range []struct{ mutant, value string }{
		{"rope_row_of_neighbour", "rope_cos_4d"},
		{"attention_factor_left_out", "rope_cos_4d"},
		{"write_columns_swapped", "layers_0_k_cache_new"},
		{"future_slot_visible", "layers_0_masked_0"},
	} {
		t.Run(tt.mutant, func(t *testing.T) {
			faulty := plant(t, s, b, tt.mutant)
			_, err := conformance.Bisect(context.Background(), conformance.BisectOptions{A: sideOf(s), B: &faulty})
			require.ErrorIs(t, err, conformance.ErrOutputsOnly)
			faulty.Work = t.TempDir()
			out := bisect(t, conformance.BisectOptions{A: sideOf(s), B: &faulty})
			require.NotNil(t, out.Found)
			assert.Equal(t, tt.value, out.Found.Step.Name)
			assert.Equal(t, []string{"traced", "cut"}, []string{out.WayA, out.WayB})
		})
	}
}

// TestBisectAgrees: sound packages have no difference to find, however deep one
// looks.
func TestBisectAgrees(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	itself := sideOf(s)
	norms := map[exporter.Norm]conformance.BisectSide{}
	for _, n := range []exporter.Norm{exporter.Clamped, exporter.Prescaled} {
		other, _ := bisectBase(t, n)
		norms[n] = sideOf(other)
	}
	clamped, prescaled := norms[exporter.Clamped], norms[exporter.Prescaled]
	plain := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	plain.export(t, tail)
	float16 := sideOf(plain)
	withFactor := foldedSubject(t, exporter.FP16, 1, 4)
	withFactor.export(t, tail)
	folded := sideOf(withFactor)
	for _, tt := range []struct {
		name string
		opt  conformance.BisectOptions
	}{
		{"itself, a single", conformance.BisectOptions{B: &itself, Rows: 1}},
		{"itself, a block", conformance.BisectOptions{B: &itself, Live: 2}},
		{"a block and singles", conformance.BisectOptions{Singles: true}},
		{"three live rows and singles", conformance.BisectOptions{Singles: true, Live: 3, Position: 1}},
		{"one live row and a single", conformance.BisectOptions{Singles: true, Live: 1, Position: 255}},
		{"the last slots", conformance.BisectOptions{Singles: true, Position: 252}},
		{"clamped norms", conformance.BisectOptions{B: &clamped}},
		{"prescaled norms", conformance.BisectOptions{B: &prescaled}},
		{"float16 weights", conformance.BisectOptions{B: &float16}},
		{"float16 weights and the oracle", conformance.BisectOptions{A: float16, Oracle: true}},
		{"folded weights and the oracle", conformance.BisectOptions{A: folded, Oracle: true}},
		{"folded weights and singles", conformance.BisectOptions{A: folded, Singles: true}},
		{"the oracle, a block", conformance.BisectOptions{Oracle: true}},
		{"the oracle, a single", conformance.BisectOptions{Oracle: true, Rows: 1}},
		{"the oracle, two live rows", conformance.BisectOptions{Oracle: true, Live: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.opt.Deep = true; tt.opt.A.Plane == nil {
				tt.opt.A = itself
			}
			out := bisect(t, tt.opt)
			assert.Nil(t, out.Found)
			require.Len(t, out.Path, 2)
			for _, l := range out.Path {
				require.Len(t, l.Values, 3)
				for _, v := range l.Values {
					require.NotNil(t, v.Measure, v.Name)
					assert.Positive(t, v.Measure.Compared, v.Name)
				}
			}
			require.NotEmpty(t, out.Values)
			worst := conformance.Measure{}
			for _, v := range out.Values {
				assert.Empty(t, v.NotCompared, v.Name)
				if v.Measure.Relative > worst.Relative {
					worst = *v.Measure
				}
			}
			t.Logf("%d values of %s, worst relative %.4g", len(out.Values), out.Cut, float64(worst.Relative))
		})
	}
}

// TestCutsShowWhatTracesShow: every value of a cut package is, bit for bit, the
// one that the reference plane traces in the whole.
func TestCutsShowWhatTracesShow(t *testing.T) {
	sides := map[string]conformance.BisectSide{
		"built": foreignSide(t, "built", nil), "traced": foreignSide(t, "traced", tracedNames()),
		"traced_lut4_group": foreignSide(t, "traced_lut4_group", nil),
	}
	for _, n := range []exporter.Norm{exporter.LayerNormConcat, exporter.Clamped} {
		s, _ := bisectBase(t, n)
		sides[string(n)] = sideOf(s)
	}
	for name, side := range sides {
		t.Run(name, func(t *testing.T) {
			cuts := side
			cuts.Work = filepath.Join(t.TempDir(), "work")
			for _, live := range []int{1, 4} {
				if name == "traced_lut4_group" && live == 1 {
					continue // its one function has four rows
				}
				opt := conformance.BisectOptions{A: side, B: &cuts, Rows: live, Live: live, Position: 32, Deep: true}
				out := bisect(t, opt)
				assert.Nil(t, out.Found)
				assert.Equal(t, []string{"traced", "cut"}, []string{out.WayA, out.WayB})
				assert.Equal(t, "exact: every bit", out.Tolerance)
				require.GreaterOrEqual(t, len(out.Values), 100)
				for _, v := range out.Values {
					assert.NotNil(t, v.Measure, v.Name)
				}
				entries, err := os.ReadDir(cuts.Work)
				require.NoError(t, err)
				assert.Greater(t, len(entries), 3, "the ends of the layers, each layer, and the lock")
			}
		})
	}
}

// otherPlane is the reference plane under another name.
type otherPlane struct{ reference.Plane }

func (otherPlane) Name() string { return "other" }

// TestBisectPlanes: what two planes compute may differ by rounding.
func TestBisectPlanes(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	other := sideOf(s)
	other.Plane = otherPlane{}
	out := bisect(t, conformance.BisectOptions{A: sideOf(s), B: &other})
	assert.Nil(t, out.Found)
	assert.Contains(t, out.Tolerance, "relative: |A-B| at most 0.03 of")
	assert.Contains(t, out.B, "plane other")
}

// TestBisectDeep: what has gone again at a layer's end is found by looking
// inside alone.
func TestBisectDeep(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	c, _ := bisectBase(t, exporter.Clamped)
	clamped := sideOf(c)
	opt := conformance.BisectOptions{A: sideOf(s), B: &clamped, Tolerance: &conformance.Tolerance{Relative: 0.007}}
	out := bisect(t, opt)
	assert.Nil(t, out.Found)
	assert.Empty(t, out.Values)
	opt.Deep = true
	out = bisect(t, opt)
	require.NotNil(t, out.Found)
	assert.Len(t, out.Path, 2)
	assert.Greater(t, float64(out.Found.Step.Measure.Relative), 0.007)
}

// TestBisectExplains: a difference inside the second layer names the weight that
// is wrong, what agreed before it, and nothing that is not the fault's.
func TestBisectExplains(t *testing.T) {
	s, b := bisectBase(t, exporter.LayerNormConcat)
	faulty := plant(t, s, b, "scale_bit_flipped_and_sealed")
	out := bisect(t, conformance.BisectOptions{A: sideOf(s), B: &faulty})
	f := out.Found
	require.NotNil(t, f)
	assert.Equal(t, "layer 31", f.Layer)
	assert.True(t, out.Path[0].Agrees)
	assert.Equal(t, 4, f.Step.Measure.First.Count, "one channel of four rows")
	assert.Equal(t, []string{"layers_1_gate_up", "layers_1_gate", "layers_1_up", "layers_1_gate_silu", "layers_1_mlp_act"}, f.Agreed)
	assert.Equal(t, "this op: what it computes on agrees, but for weight layers_1_down_weight", f.Culprit)
	i := slices.IndexFunc(f.Operands, func(o conformance.Operand) bool { return o.Param == "weight" })
	require.GreaterOrEqual(t, i, 0)
	assert.Regexp(t, `^a weight: scale fp16\[128,1,1,1\]: 1 of 128 elements differ, the first is [0-9]+: 0\.0[0-9]+ in A, [0-9.]+ in B$`, f.Operands[i].What)
	assert.Empty(t, f.SuspectsA)
	assert.Contains(t, f.LineA, "layers_1_down fp16[1,128,4,1] = conv(")
	_, err := json.Marshal(out)
	require.NoError(t, err)

	infinite := plant(t, s, b, "constant_infinite")
	_, err = json.Marshal(bisect(t, conformance.BisectOptions{A: sideOf(s), B: &infinite}))
	assert.NoError(t, err, "figures that are not finite are written, too")
}

// TestBisectRefuses are comparisons that cannot begin.
func TestBisectRefuses(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	side := sideOf(s)
	short := s
	short.dir, short.recipe.Slots = filepath.Join(t.TempDir(), "short"), 64
	short.export(t, tail)
	other, unchecked := sideOf(short), side
	withFactor := foldedSubject(t, exporter.Int8, 1, 4)
	withFactor.export(t, tail)
	folded := sideOf(withFactor)
	unchecked.Checkpoint = nil
	for _, tt := range []struct {
		name  string
		opt   conformance.BisectOptions
		found string
	}{
		{"itself", conformance.BisectOptions{A: side}, "a package against itself"},
		{"oracle and B", conformance.BisectOptions{A: side, B: &side, Oracle: true}, "the oracle stands in B's place"},
		{"oracle and singles", conformance.BisectOptions{A: side, Singles: true, Oracle: true}, "the oracle stands in B's place"},
		{"no checkpoint", conformance.BisectOptions{A: unchecked, Oracle: true}, "want one, found none"},
		{"slots", conformance.BisectOptions{A: side, B: &other}, "slots 256 in A and 64 in B"},
		{"attention factor", conformance.BisectOptions{A: side, B: &folded}, "attention factor in the weights of one alone"},
		{"rows", conformance.BisectOptions{A: side, Rows: 2, Singles: true}, "found functions of [1 4]"},
		{"position", conformance.BisectOptions{A: side, Singles: true, Position: 256}, "position: want one of 256 slots, from 0 on, found 256"},
		{"live", conformance.BisectOptions{A: side, Singles: true, Live: 5}, "found 5 at position"},
		{"scale", conformance.BisectOptions{A: side, Singles: true, Scale: 0.3}, "want a power of two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := conformance.Bisect(context.Background(), tt.opt)
			require.ErrorIs(t, err, conformance.ErrBisect)
			assert.ErrorContains(t, err, tt.found)
		})
	}
}
