package exporter_test

import (
	"maps"
	"path"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/togguf"
	"lockstep/internal/checkpoint"
	"lockstep/internal/gguf"
	"lockstep/manifest"
)

// asGGUF is nano's tail as GGUF, by the test's own writer.
func asGGUF(t testing.TB, kind gguf.Type, change func(m *togguf.Model)) *checkpoint.Checkpoint {
	t.Helper()
	m, err := togguf.New(open(t, nanoFiles(t)), kind, 30, 32)
	require.NoError(t, err)
	if change != nil {
		change(m)
	}
	data, err := m.Encode()
	require.NoError(t, err)
	return openGGUF(t, fstest.MapFS{"nano.gguf": {Data: data}}, "nano.gguf")
}

func openGGUF(t testing.TB, fsys fstest.MapFS, name string) *checkpoint.Checkpoint {
	t.Helper()
	ck, err := checkpoint.OpenGGUF(fsys, name)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	return ck
}

// committed is a GGUF file that the Python package wrote.
func committed(t testing.TB, name string) *checkpoint.Checkpoint {
	t.Helper()
	ck, err := checkpoint.OpenGGUF(fixtures.NanoGGUF(), name)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	return ck
}

// exportOf exports nano's tail from another container and returns the
// package's files and the record.
func exportOf(t testing.TB, ck *checkpoint.Checkpoint, p exporter.Precision) (map[string]string, *manifest.Record) {
	t.Helper()
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Recipe.Precision = p
	if ck != nil {
		opt.Checkpoint = ck
	}
	export(t, opt)
	files := map[string]string{}
	for name, content := range mem.Content() {
		if base := path.Base(name); base == "weight.bin" || base == "model.mlmodel" || base == "Manifest.json" {
			files[base] = content
		}
	}
	require.Len(t, files, 3)
	record, err := manifest.DecodeRecord([]byte(mem.Content()[path.Join(out, manifest.RecordFile)]))
	require.NoError(t, err)
	return files, record
}

// TestGGUFGivesTheSamePackage: a model in GGUF gives the package that it gives
// in safetensors, byte for byte, wherever the values are the same. Nine values
// of nano's tail are not float16's. An fp16 package rounds them to what GGUF has
// already; that int8's bytes are equal too is so because none of them is a
// row's peak or near a half step.
func TestGGUFGivesTheSamePackage(t *testing.T) {
	for _, p := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		want, record := exportOf(t, nil, p)
		for name, ck := range map[string]*checkpoint.Checkpoint{
			"F32":           asGGUF(t, gguf.F32, nil),
			"BF16":          asGGUF(t, gguf.BF16, nil),
			"F16":           asGGUF(t, gguf.F16, nil),
			"F16 by Python": committed(t, fixtures.NanoTailF16),
		} {
			t.Run(string(p)+" "+name, func(t *testing.T) {
				got, other := exportOf(t, ck, p)
				for file, content := range want {
					assert.True(t, content == got[file], "%s has other bytes", file)
				}
				assert.Equal(t, record.Model.Rope, other.Model.Rope)
				assert.Equal(t, record.Shards[0].Package, other.Shards[0].Package)
				assert.NotEqual(t, record.Model.ConfigSHA256, other.Model.ConfigSHA256, "of the container's own text")
				assert.True(t, slices.ContainsFunc(other.Model.Tensors, func(d manifest.TensorDigest) bool { return d.Name == "blk.31.ffn_up.weight" }))
			})
		}
		q8, _ := exportOf(t, committed(t, fixtures.NanoTailQ8), p)
		assert.True(t, q8["model.mlmodel"] == want["model.mlmodel"], "a program does not depend on values")
		assert.False(t, q8["weight.bin"] == want["weight.bin"], "Q8_0 rounds")
	}
}

// TestGGUFConfigIsIdentity: a checkpoint that computes with another epsilon is
// another one, and cannot share a directory; the same keys with another type of
// weights are told apart by the weights.
func TestGGUFConfigIsIdentity(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Checkpoint = asGGUF(t, gguf.F16, nil)
	export(t, opt)
	opt.Layers, opt.OffLadder = exporter.Range{Start: 31, End: 32}, true

	opt.Checkpoint = asGGUF(t, gguf.F16, func(m *togguf.Model) { m.Set("phi3.attention.layer_norm_rms_epsilon", float32(2e-5)) })
	refused(t, opt, mem, exporter.ErrConflict, "config")
	opt.Checkpoint = asGGUF(t, gguf.Q8_0, nil)
	refused(t, opt, mem, exporter.ErrConflict, "nano.gguf", "another checkpoint")
	opt.Checkpoint = nanoOptions(t, "").Checkpoint
	refused(t, opt, mem, exporter.ErrConflict)
	opt.Checkpoint = asGGUF(t, gguf.F16, nil)
	export(t, opt)
}

// TestGGUFBadScale: a value that shows when it is read stops the export, and
// its place is named.
func TestGGUFBadScale(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Checkpoint = asGGUF(t, gguf.Q8_0, func(m *togguf.Model) {
		data := m.Tensor("blk.31.ffn_down.weight").Data
		data[(3*6+2)*34+1] = 0x7E // row 3 has six blocks
	})
	for _, p := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		opt.Recipe.Precision = p
		_, err := exporter.Export(t.Context(), opt)
		require.ErrorIs(t, err, checkpoint.ErrValue)
		for _, text := range []string{"nano.gguf", "blk.31.ffn_down.weight", "[3, 64]", "scale"} {
			assert.ErrorContains(t, err, text)
		}
		assert.False(t, slices.ContainsFunc(slices.Collect(maps.Keys(mem.Content())), func(name string) bool { return path.Base(name) == manifest.RecordFile }))
	}
}
