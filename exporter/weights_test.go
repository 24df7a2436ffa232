package exporter_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// graphNames are the names under which the graph knows a layer's tensors.
var graphNames = map[checkpoint.Role]string{
	checkpoint.AttnNorm: "attn_norm", checkpoint.QKV: "qkv", checkpoint.AttnOut: "attn_out",
	checkpoint.MLPNorm: "mlp_norm", checkpoint.GateUp: "gate_up", checkpoint.Down: "down",
}

// TestWeightsAreTheCheckpoints reads packages back and compares every weight of
// every function with the tensor that it must be, for each element type.
func TestWeightsAreTheCheckpoints(t *testing.T) {
	for _, name := range []string{"grouped", "odd_dimensions"} {
		files := synthFiles(t, preset(t, name))
		for _, dtype := range []checkpoint.DType{checkpoint.BF16, checkpoint.F16, checkpoint.F32} {
			source := files
			if dtype != checkpoint.BF16 {
				source = retyped(t, files, dtype)
			}
			for _, precision := range []exporter.Precision{exporter.Int8, exporter.FP16} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, dtype, precision), func(t *testing.T) {
					opt := exporter.Options{
						Checkpoint: open(t, source), Dir: filepath.Join(t.TempDir(), "out"), Layers: exporter.Range{Start: 1, End: 3},
						Layout: exporter.Layout{1, 2}, OffLadder: true, Recipe: nanoRecipe(precision, exporter.Clamped), Name: "made",
					}
					res := export(t, opt)
					pkg, err := mlpackage.Open(res.Dir)
					require.NoError(t, err)
					t.Cleanup(func() { assert.NoError(t, pkg.Close()) })
					require.NoError(t, mlpackage.Check(pkg))
					for _, f := range pkg.Model.Program.Functions {
						stored := weightsOf(t, f)
						assert.Len(t, stored, opt.Layers.Len()*len(graphNames))
						for layer := range opt.Layers.Len() {
							for role, op := range graphNames {
								source, err := opt.Checkpoint.Tensor(role, opt.Layers.Start+layer)
								require.NoError(t, err)
								checkWeight(t, pkg, source, stored[fmt.Sprintf("layers_%d_%s_weight", layer, op)], precision)
							}
						}
					}
				})
			}
		}
	}
}

// TestManyChunks exports tensors that are read in several pieces, the last one
// shorter: weights, digests and the place of a bad value are as with one.
func TestManyChunks(t *testing.T) {
	spec := preset(t, "plain_rope_one_layer")
	spec.Config.HiddenSize, spec.Config.IntermediateSize = 512, 2500 // gate_up 5.1 MB, down 2.6 MB
	spec.ModelWide = false
	files := synthFiles(t, spec)
	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		t.Run(string(p), func(t *testing.T) {
			opt := oneLayerOf(t, files, p)
			opt.FS, opt.Dir = nil, filepath.Join(t.TempDir(), "out")
			res := export(t, opt)
			pkg, err := mlpackage.Open(res.Dir)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, pkg.Close()) })
			record, err := exporter.ReadRecord(opt.Dir)
			require.NoError(t, err)
			digests := map[string]string{}
			for _, d := range record.Model.Tensors {
				digests[d.Name] = d.SHA256
			}
			require.Len(t, digests, len(graphNames))
			stored := weightsOf(t, pkg.Model.Program.Functions[0])
			for role, op := range graphNames {
				source, err := opt.Checkpoint.Tensor(role, 0)
				require.NoError(t, err)
				checkWeight(t, pkg, source, stored["layers_0_"+op+"_weight"], p)
				assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(tensor(t, files, source.Name))), digests[source.Name], source.Name)
			}
		})
	}
	name := checkpoint.TensorName(checkpoint.GateUp, 0)
	setBF16(t, files, name, 4999*512+511, 65536)
	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		_, err := exporter.Export(context.Background(), oneLayerOf(t, files, p))
		var bad *checkpoint.ValueError
		require.ErrorAs(t, err, &bad)
		assert.Equal(t, []any{name, 4999, 511}, []any{bad.Tensor, bad.Row, bad.Col})
	}
}

// checkWeight recomputes a weight from its tensor by the rule as it is stated.
func checkWeight(t *testing.T, pkg *mlpackage.Package, source *checkpoint.Tensor, stored []mil.Literal, p exporter.Precision) {
	t.Helper()
	checkRows(t, pkg, source, exporter.Range{End: source.Rows()}, stored, p)
}

// checkRows is checkWeight of a range of a tensor's rows.
func checkRows(t *testing.T, pkg *mlpackage.Package, source *checkpoint.Tensor, of exporter.Range, stored []mil.Literal, p exporter.Precision) {
	t.Helper()
	values := make([]float32, of.Len()*source.RowLen())
	require.NoError(t, source.ReadRows(values, of.Start))
	checkValues(t, pkg, source, values, stored, p)
}

// checkValues is checkRows of values that may be others than the tensor's.
func checkValues(t *testing.T, pkg *mlpackage.Package, source *checkpoint.Tensor, values []float32, stored []mil.Literal, p exporter.Precision) {
	t.Helper()
	cols := source.RowLen()
	rows := len(values) / cols
	require.NotEmpty(t, stored, source.Name)
	data, err := pkg.Bytes(&stored[0])
	require.NoError(t, err)
	if p == exporter.FP16 || len(source.Shape) == 1 {
		require.Len(t, stored, 1, source.Name)
		require.Equal(t, mil.Float16, stored[0].Type.DType)
		for i, v := range values {
			if want := float16.Fromfloat32(v).Bits(); binary.LittleEndian.Uint16(data[2*i:]) != want {
				require.Equal(t, want, binary.LittleEndian.Uint16(data[2*i:]), "%s [%d]", source.Name, i)
			}
		}
		return
	}
	require.Len(t, stored, 2, source.Name)
	require.Equal(t, mil.Int8, stored[0].Type.DType)
	scales, err := pkg.Bytes(&stored[1])
	require.NoError(t, err)
	require.Len(t, scales, 2*rows)
	for r := range rows {
		row := values[r*cols : (r+1)*cols]
		peak := 0.0
		for _, v := range row {
			peak = max(peak, math.Abs(float64(v)))
		}
		scale := float64(float16.Frombits(binary.LittleEndian.Uint16(scales[2*r:])).Float32())
		require.InEpsilon(t, peak/127, scale, 0x1p-11, "%s row %d", source.Name, r)
		for i, v := range row {
			want := int8(max(-127, min(127, math.RoundToEven(float64(v)/scale))))
			if found := int8(data[r*cols+i]); found != want {
				require.Equal(t, want, found, "%s [%d, %d]", source.Name, r, i)
			}
		}
	}
}

// TestValues puts one value into a checkpoint that rounding must tell of.
func TestValues(t *testing.T) {
	const down, norm = "model.layers.0.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight"
	cols := preset(t, "plain_rope_one_layer").Config.IntermediateSize
	place := 3*cols + 5
	for _, tt := range []struct {
		name      string
		tensor    string
		at        int
		value     float32
		precision exporter.Precision
		errs      []string         // in the error, if any
		notes     map[string]int64 // counted, else
	}{
		{"overflow", down, place, 65536, exporter.FP16, []string{down, "[3, 5]", "65536", ".safetensors"}, nil},
		{"negative overflow", down, place, -65536, exporter.FP16, []string{down, "[3, 5]", "-65536"}, nil},
		{"overflow in a norm", norm, 7, 65536, exporter.Int8, []string{norm, "[0, 7]"}, nil},
		{"overflow of an int8 weight", down, place, 65536, exporter.Int8, []string{down, "[3, 5]", "65536"}, nil},
		{"largest", down, place, 65280, exporter.FP16, nil, map[string]int64{}},
		{"infinity", down, place, float32(math.Inf(1)), exporter.FP16, []string{down, "[3, 5]", "+Inf"}, nil},
		{"NaN in int8", down, place, float32(math.NaN()), exporter.Int8, []string{down, "[3, 5]", "NaN"}, nil},
		{"underflow", down, place, 0x1p-26, exporter.FP16, nil, map[string]int64{"weights_underflowed": 1}},
		{"tie to zero", down, place, 0x1p-25, exporter.FP16, nil, map[string]int64{"weights_underflowed": 1}},
		{"subnormal", down, place, 0x1p-24, exporter.FP16, nil, map[string]int64{}},
		{"underflow in a norm", norm, 7, 0x1p-30, exporter.Int8, nil, map[string]int64{"weights_underflowed": 1}},
		{"small weight of a row in int8", down, place, 0x1p-30, exporter.Int8, nil, map[string]int64{}},
	} {
		for _, dtype := range []checkpoint.DType{checkpoint.BF16, checkpoint.F32} {
			t.Run(tt.name+"/"+string(dtype), func(t *testing.T) {
				files := synthFiles(t, preset(t, "plain_rope_one_layer"))
				if math.IsNaN(float64(tt.value)) {
					binary.LittleEndian.PutUint16(tensor(t, files, tt.tensor)[2*tt.at:], 0x7FC0)
				} else {
					setBF16(t, files, tt.tensor, tt.at, tt.value)
				}
				if dtype != checkpoint.BF16 {
					files = retyped(t, files, dtype)
				}
				checkNotes(t, files, tt.precision, tt.errs, tt.notes)
			})
		}
	}
}

// TestFloat16Limit holds the last float32 that rounds to a float16 and the first
// that does not, which bfloat16 has not.
func TestFloat16Limit(t *testing.T) {
	const down = "model.layers.0.mlp.down_proj.weight"
	for _, tt := range []struct {
		value float32
		words []string
	}{
		{math.Nextafter32(65520, 0), nil},
		{65520, []string{down, "[0, 1]", "65520"}},
		{-65520, []string{down, "[0, 1]", "-65520"}},
	} {
		files := retyped(t, synthFiles(t, preset(t, "plain_rope_one_layer")), checkpoint.F32)
		binary.LittleEndian.PutUint32(tensor(t, files, down)[4:], math.Float32bits(tt.value))
		checkNotes(t, files, exporter.FP16, tt.words, map[string]int64{})
	}
}

// TestRowsOfInt8 puts a whole row into a checkpoint that int8 must tell of.
func TestRowsOfInt8(t *testing.T) {
	const out = "model.layers.0.self_attn.o_proj.weight"
	cols := preset(t, "plain_rope_one_layer").Config.HiddenSize
	for _, tt := range []struct {
		name  string
		value float32
		notes map[string]int64
	}{
		{"zeros", 0, map[string]int64{"int8_zero_rows": 1}},
		{"tiny", 0x1p-30, map[string]int64{"int8_scales_raised": 1}},
		{"ordinary", 0.5, map[string]int64{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := synthFiles(t, preset(t, "plain_rope_one_layer"))
			for i := range cols {
				setBF16(t, files, out, 2*cols+i, tt.value)
			}
			checkNotes(t, files, exporter.Int8, nil, tt.notes)
		})
	}
}

// checkNotes exports a one-layer checkpoint and wants an error with words, or
// the counts.
func checkNotes(t *testing.T, files fstest.MapFS, p exporter.Precision, words []string, notes map[string]int64) {
	t.Helper()
	opt, mem := inMemory(oneLayerOf(t, files, p))
	res, err := exporter.Export(context.Background(), opt)
	if words != nil {
		require.ErrorIs(t, err, checkpoint.ErrValue)
		for _, w := range words {
			assert.ErrorContains(t, err, w)
		}
		for name := range mem.Content() {
			assert.NotContains(t, name, ".mlpackage/", "no package has its finished name")
		}
		return
	}
	require.NoError(t, err)
	want := map[string]int64{"weights_underflowed": 0, "int8_scales_raised": 0, "int8_zero_rows": 0}
	for name, n := range notes {
		want[name] = n
	}
	assert.Equal(t, want, res.Shard.Notes)
	assert.Equal(t, want, readRecord(t, mem).Shards[0].Notes)
}
