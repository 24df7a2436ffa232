package conformance_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/exporter"
)

// foreignSide is a package of fixtures/foreign as a side.
func foreignSide(t *testing.T, file string, names map[string]string) conformance.BisectSide {
	t.Helper()
	opt := sideOf(nanoSubject(t, exporter.Int8, exporter.LayerNormConcat))
	opt.Dir, opt.Package, opt.Names = "", filepath.Join(foreignPackages, file+".mlpackage"), names
	return opt
}

// TestBisectForeignTwin: the faulty twin is right at T=1, and its op names are
// numbered anew; the reshape that mixes rows is found all the same.
func TestBisectForeignTwin(t *testing.T) {
	built, twin := foreignSide(t, "built", nil), foreignSide(t, "built_head_token_dim", nil)
	for name, opt := range map[string]conformance.BisectOptions{
		"against its sound twin": {A: built, B: &twin},
		"against its singles":    {A: twin, Singles: true},
	} {
		t.Run(name, func(t *testing.T) {
			out := bisect(t, opt)
			require.NotNil(t, out.Found)
			assert.Equal(t, "layer 30", out.Found.Layer)
			assert.Equal(t, "reshape", out.Found.Step.Op)
			assert.Equal(t, "reshape_3", out.Found.Step.Name)
			assert.Equal(t, []int{0, 0, 1, 0}, out.Found.Step.Measure.First.At)
			assert.Equal(t, 1, out.Found.Step.Measure.First.Row)
			assert.Equal(t, 129, out.Found.Step.Measure.First.Position)
		})
	}
	out := bisect(t, conformance.BisectOptions{A: built, B: &twin, Rows: 1, Deep: true})
	assert.Nil(t, out.Found, "at T=1 both are right")
}

// TestBisectForeignAgrees: sound packages that lockstep did not write agree with
// themselves, row by row, in every form.
func TestBisectForeignAgrees(t *testing.T) {
	for _, tt := range []struct {
		file  string
		names map[string]string
		inner int // values compared inside, at least
	}{
		{"built", nil, 150},
		{"built_int4_block", nil, 150},
		{"built_lut6", nil, 150},
		{"traced", tracedNames(), 100},
	} {
		t.Run(tt.file, func(t *testing.T) {
			side := foreignSide(t, tt.file, tt.names)
			out := bisect(t, conformance.BisectOptions{A: side, Singles: true, Deep: true, Position: 32})
			assert.Nil(t, out.Found)
			assert.GreaterOrEqual(t, len(out.Values), tt.inner)
			compared := 0
			for _, v := range out.Values {
				if v.NotCompared == "" {
					compared++
				}
			}
			assert.GreaterOrEqual(t, compared, tt.inner, "of %d", len(out.Values))
			require.Len(t, out.Path, 2)
			for _, l := range out.Path {
				require.Len(t, l.Values, 3)
				assert.Empty(t, l.Values[0].NotCompared)
			}
		})
	}
}

// TestBisectForeignAgainst: packages of different hands are compared where they
// agree on what is what: what leaves the layers always is.
func TestBisectForeignAgainst(t *testing.T) {
	s, _ := bisectBase(t, exporter.LayerNormConcat)
	own, built, traced := sideOf(s), foreignSide(t, "built", nil), foreignSide(t, "traced", tracedNames())
	for name, opt := range map[string]conformance.BisectOptions{
		"an export and a float16 package": {A: own, B: &built},
		"a package and the oracle":        {A: built, Oracle: true},
		"int8 and the oracle":             {A: foreignSide(t, "built_int8_tensor", nil), Oracle: true},
		"int4 and the oracle":             {A: foreignSide(t, "built_int4_block", nil), Oracle: true},
		"traced and the oracle":           {A: traced, Oracle: true, Position: 32},
	} {
		t.Run(name, func(t *testing.T) {
			out := bisect(t, opt)
			assert.Nil(t, out.Found)
			require.Len(t, out.Path, 2)
			for _, l := range out.Path {
				for _, v := range l.Values {
					require.NotNil(t, v.Measure, v.Name)
					assert.Positive(t, float64(v.Measure.Relative), v.Name)
				}
			}
			t.Logf("%s, relative %.3g", out.Tolerance, float64(out.Path[1].Values[0].Measure.Relative))
		})
	}
}

// TestBisectForeignFaults: faults in packages that coremltools built are found
// where they were put, too.
func TestBisectForeignFaults(t *testing.T) {
	type place struct{ op, value, operand string }
	want := map[string]place{
		"rope_turned_back":       {"sub", "sub_0", ""},
		"mask_ignored":           {"add", "add_4", "attn_mask"},
		"weight_transposed":      {"conv", "conv_1", "conv_1_weight_0"},
		"linear_transposed":      {"linear", "linear_1_cast_fp16", "attention_0_out_weight_to_fp16"},
		"score_scale_larger":     {"mul", "mul_6", "mul_6_y_0"},
		"block_scales_shifted":   {"conv", "conv_0", "conv_0_weight_0_quantized"},
		"table_entries_swapped":  {"conv", "conv_1", "conv_1_weight_0_palettized"},
		"tables_shifted":         {"linear", "linear_1_cast_fp16", "attention_0_out_weight_to_fp16_palettized"},
		"table_scale_larger":     {"linear", "linear_0_cast_fp16", "attention_0_qkv_weight_to_fp16_palettized"},
		"scales_of_neighbour":    {"linear", "linear_0_cast_fp16", "attention_0_qkv_weight_to_fp16_quantized"},
		"scales_a_little_larger": {"linear", "linear_0_cast_fp16", "attention_0_qkv_weight_to_fp16_quantized"},
		"zero_points_off_by_one": {"linear", "linear_0_cast_fp16", "attention_0_qkv_weight_to_fp16_quantized"},
	}
	for _, m := range mutant.ForeignCatalogue() {
		place, ok := want[m.Name]
		if !ok {
			continue
		}
		delete(want, m.Name)
		t.Run(m.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), m.Package+".mlpackage")
			names, err := mutant.MakeForeign(os.DirFS(foreignPackages), m, dir)
			require.NoError(t, err)
			faulty := foreignSide(t, m.Package, names)
			faulty.Package = dir
			out := bisect(t, conformance.BisectOptions{A: foreignSide(t, m.Package, m.Names), B: &faulty, Position: 32})
			require.NotNil(t, out.Found)
			assert.Equal(t, place.op, out.Found.Step.Op)
			assert.Equal(t, place.value, out.Found.Step.Name)
			for _, o := range out.Found.Operands {
				assert.Equal(t, o.A != place.operand, o.Agrees, "%s: %s", o.A, o.What)
			}
		})
	}
	assert.Empty(t, want, "faults that the catalogue does not have")
}
