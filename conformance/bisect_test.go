package conformance_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/coreml"
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
func sideOf(s subject) conformance.Options {
	opt := s.options(tail)
	opt.Golden = nil
	return opt
}

// plant makes a mutant and returns it as a side.
func plant(t *testing.T, s subject, b mutant.Base, name string) conformance.Options {
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
	return conformance.Options{}
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
			out := bisect(t, conformance.BisectOptions{A: sideOf(s), B: &faulty, Work: t.TempDir()})
			require.NotNil(t, out.Found)
			assert.Equal(t, tt.value, out.Found.Step.Name)
			assert.Equal(t, "cut", out.WayA)
		})
	}
}

// TestBisectAgrees: sound packages have no difference to find, however deep one
// looks.
func TestBisectAgrees(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	itself := sideOf(s)
	norms := map[exporter.Norm]conformance.Options{}
	for _, n := range []exporter.Norm{exporter.Clamped, exporter.Prescaled} {
		other, _ := bisectBase(t, n)
		norms[n] = sideOf(other)
	}
	clamped, prescaled := norms[exporter.Clamped], norms[exporter.Prescaled]
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
		{"the oracle, a block", conformance.BisectOptions{Oracle: true}},
		{"the oracle, a single", conformance.BisectOptions{Oracle: true, Rows: 1}},
		{"the oracle, two live rows", conformance.BisectOptions{Oracle: true, Live: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opt.A, tt.opt.Deep = itself, true
			out := bisect(t, tt.opt)
			assert.Nil(t, out.Found)
			require.Len(t, out.Path, 2)
			for _, l := range out.Path {
				require.Len(t, l.Values, 3)
				for _, v := range l.Values {
					require.NotNil(t, v.Measure, v.Name)
					assert.Positive(t, v.Measure.Compared, v.Name)
					t.Logf("%s %s largest %.4g relative %.4g", l.Name, v.Name, float64(v.Measure.Largest), float64(v.Measure.Relative))
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

// noTrace hides that a plane can trace.
type noTrace struct{ coreml.Plane }

type noTracePackage struct{ coreml.Package }

type noTraceFunction struct{ coreml.Function }

func (p noTrace) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return noTracePackage{pkg}, err
}

func (p noTracePackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	fn, err := p.Package.Function(ctx, name)
	return noTraceFunction{fn}, err
}
