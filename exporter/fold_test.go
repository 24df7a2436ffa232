package exporter_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// TestFoldedWeights exports with the attention factor in the weights, for each
// element type: the turned rows of q and k are the checkpoint's times the factor,
// rounded like any other weight; everything else has the bytes that it has
// without.
func TestFoldedWeights(t *testing.T) {
	for _, name := range []string{"grouped", "ungrouped_full_rotary", "one_kv_head_untied", "odd_dimensions"} {
		files := synthFiles(t, preset(t, name))
		for _, dtype := range []checkpoint.DType{checkpoint.BF16, checkpoint.F32} {
			source := files
			if dtype != checkpoint.BF16 {
				source = retyped(t, files, dtype)
			}
			for _, precision := range []exporter.Precision{exporter.Int8, exporter.FP16} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, dtype, precision), func(t *testing.T) {
					ck := open(t, source)
					host, folded := exportBoth(t, ck, precision)
					for op, lits := range weightsOf(t, host.Model.Program.Functions[0]) {
						stored := weightsOf(t, folded.Model.Program.Functions[0])[op]
						if op == "layers_0_qkv_weight" {
							checkFolded(t, folded, ck, lits[0].Type.Shape[0], precision)
							continue
						}
						for i := range lits {
							want, err := host.Bytes(&lits[i])
							require.NoError(t, err)
							found, err := folded.Bytes(&stored[i])
							require.NoError(t, err)
							require.True(t, bytes.Equal(want, found), op)
						}
					}
				})
			}
		}
	}
}

// exportBoth exports layer 0 with the factor left to the host, and folded.
func exportBoth(t *testing.T, ck *checkpoint.Checkpoint, p exporter.Precision) (host, folded *mlpackage.Package) {
	t.Helper()
	layers := ck.Config().Layers
	for _, to := range []**mlpackage.Package{&host, &folded} {
		opt := exporter.Options{
			Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "out"), Layers: exporter.Range{End: 1},
			Layout: exporter.Layout{1, layers - 1}, OffLadder: true, Recipe: nanoRecipe(p, exporter.Clamped), Name: "made",
		}
		opt.Recipe.FoldRope = to == &folded
		pkg, err := mlpackage.Open(export(t, opt).Dir)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, pkg.Close()) })
		*to = pkg
	}
	return host, folded
}

// checkFolded recomputes a folded projection from its tensor.
func checkFolded(t *testing.T, pkg *mlpackage.Package, ck *checkpoint.Checkpoint, rows int, p exporter.Precision) {
	t.Helper()
	cfg := ck.Config()
	m := float32(cfg.AttentionFactor())
	require.NotEqual(t, float32(1), m, "a factor of 1 shows nothing")
	source, err := ck.Tensor(checkpoint.QKV, 0)
	require.NoError(t, err)
	values := make([]float32, rows*source.RowLen())
	require.NoError(t, source.ReadRows(values, 0))
	changed := 0
	for head := range cfg.Heads + cfg.KVHeads {
		for dim := range cfg.RotaryDim() {
			row := head*cfg.HeadDim() + dim
			for i := range source.RowLen() {
				values[row*source.RowLen()+i] *= m
			}
			changed++
		}
	}
	require.Positive(t, changed)
	checkValues(t, pkg, source, values, weightsOf(t, pkg.Model.Program.Functions[0])["layers_0_qkv_weight"], p)
}

// TestFoldedValues: what leaves float16 by the factor alone is an error that
// names its place; what the factor lifts above float16's smallest is no
// underflow.
func TestFoldedValues(t *testing.T) {
	name := checkpoint.TensorName(checkpoint.QKV, 0)
	cfg := preset(t, "one_kv_head_untied").Config // attention_factor 1.25
	for _, tt := range []struct {
		what  string
		row   int
		value float32
		errs  []string
		notes int64
	}{
		{"overflow in a turned row of q", 3, 57344, []string{name, "[3, 5]", "71680"}, 0},
		{"a row of q that passes", cfg.HeadDim() - 1, 57344, nil, 0},
		{"overflow in a turned row of k", cfg.Heads * cfg.HeadDim(), -57344, []string{name, "-71680"}, 0},
		{"a row of v", (cfg.Heads + cfg.KVHeads) * cfg.HeadDim(), 57344, nil, 0},
		{"lifted above 2^-25", 3, 0x1p-25, nil, 0},
		{"underflow", 3, 0x1p-26, nil, 1},
		{"underflow where nothing is turned", cfg.HeadDim() - 1, 0x1p-25, nil, 1},
	} {
		t.Run(tt.what, func(t *testing.T) {
			files := synthFiles(t, preset(t, "one_kv_head_untied"))
			setBF16(t, files, name, tt.row*cfg.HiddenSize+5, tt.value)
			opt, _ := inMemory(exporter.Options{
				Checkpoint: open(t, files), Layers: exporter.Range{End: 1}, Layout: exporter.Layout{1, 4}, OffLadder: true,
				Recipe: nanoRecipe(exporter.FP16, exporter.LayerNormConcat), Name: "made",
			})
			opt.Recipe.FoldRope = true
			res, err := exporter.Export(context.Background(), opt)
			if tt.errs != nil {
				var bad *checkpoint.ValueError
				require.ErrorAs(t, err, &bad)
				for _, w := range tt.errs {
					assert.ErrorContains(t, err, w)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.notes, res.Shard.Notes["weights_underflowed"])
		})
	}
}

// TestFoldedRecord: the record of a folded export names the choice and leaves the
// host no factor; its recipe is another one, for the resume key, too.
func TestFoldedRecord(t *testing.T) {
	opt, _ := inMemory(nanoOptions(t, ""))
	hosted := opt.Recipe
	opt.Recipe.FoldRope = true
	opt.Dir, opt.FS = filepath.Join(t.TempDir(), "out"), nil
	export(t, opt)
	record, err := exporter.ReadRecord(opt.Dir)
	require.NoError(t, err)
	assert.Equal(t, manifest.RopeFactorFolded, record.Recipe.RopeFactor)
	assert.Equal(t, 1.0, record.Model.Rope.AttentionFactor, "the host's")
	back, err := exporter.RecipeOf(record.Recipe)
	require.NoError(t, err)
	assert.Equal(t, opt.Recipe, back)
	assert.NotEqual(t, hosted.Digest(opt.Layers, "a"), opt.Recipe.Digest(opt.Layers, "a"))

	assert.True(t, export(t, opt).UpToDate)
}
