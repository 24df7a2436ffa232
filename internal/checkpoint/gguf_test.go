package checkpoint_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/fixtures/togguf"
	"lockstep/internal/checkpoint"
	"lockstep/internal/gguf"
)

func openGGUF(t testing.TB, fsys fs.FS, name string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.OpenGGUF(fsys, name)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// file is a GGUF model in a file system of its own.
func file(t testing.TB, m *togguf.Model) fstest.MapFS {
	t.Helper()
	data, err := m.Encode()
	require.NoError(t, err)
	return fstest.MapFS{"x.gguf": {Data: data}}
}

// small is newModel's checkpoint, whose two layers have 8-dimensional heads, as
// GGUF.
func small(t testing.TB, kind gguf.Type) *togguf.Model {
	t.Helper()
	m := newModel()
	// Columns that Q8_0's blocks divide.
	m.config = m.config.with("intermediate_size", "64")
	for i, part := range []string{"a.safetensors", "b.safetensors"} {
		prefix := fmt.Sprintf("model.layers.%d.mlp.", i)
		m.files[part][prefix+"gate_up_proj.weight"] = bf16(128, 32)
		m.files[part][prefix+"down_proj.weight"] = bf16(32, 64)
	}
	out, err := togguf.New(open(t, m.fs(t)), kind, 0, 2)
	require.NoError(t, err)
	return out
}

func all(t testing.TB, c *checkpoint.Checkpoint, role checkpoint.Role, layer int) (*checkpoint.Tensor, []float32) {
	t.Helper()
	w, err := c.Tensor(role, layer)
	require.NoError(t, err)
	values := make([]float32, w.Rows()*w.RowLen())
	require.NoError(t, w.ReadRows(values, 0))
	return w, values
}

// TestNanoGGUF reads what the Python package wrote: the same config as nano's
// and the same rows in the same order, rounded as each type does. The bound of
// Q8_0 is half a step and the rounding of the scale to float16, which counts up
// to 127 times.
func TestNanoGGUF(t *testing.T) {
	nano := open(t, fixtures.Nano())
	digests := map[string]bool{}
	for _, tc := range []struct {
		file   string
		dtype  checkpoint.DType
		differ int // matrix values that are not nano's, of 278,528; the script prints the same
	}{{fixtures.NanoTailF16, checkpoint.F16, 9}, {fixtures.NanoTailQ8, checkpoint.Q8_0, 277559}} {
		t.Run(tc.file, func(t *testing.T) {
			c := openGGUF(t, fixtures.NanoGGUF(), tc.file)
			assert.Equal(t, nano.Config(), c.Config())
			digests[c.ConfigDigest()] = true
			require.NoError(t, c.RequireLayers(30, 32))
			assert.ErrorIs(t, c.RequireLayers(29, 31), checkpoint.ErrTensor)

			differ, matrices := 0, 0
			check := func(role checkpoint.Role, layer int) {
				_, want := all(t, nano, role, layer)
				w, got := all(t, c, role, layer)
				require.Len(t, got, len(want))
				assert.Equal(t, tc.file, w.File)
				if len(w.Shape) == 1 {
					assert.Equal(t, checkpoint.F32, w.DType, w.Name)
					require.True(t, slices.Equal(want, got), "%s has other values", w.Name)
					return
				}
				assert.Equal(t, tc.dtype, w.DType, w.Name)
				matrices += len(want)
				raw := make([]byte, w.Rows()*w.RowBytes())
				require.NoError(t, w.ReadRaw(raw, 0))
				for i, v := range want {
					if v != got[i] {
						differ++
					}
					bound := 0.0
					if tc.dtype == checkpoint.F16 {
						v = float16.Fromfloat32(v).Float32()
					} else {
						scale := float16.Frombits(binary.LittleEndian.Uint16(raw[i/32*34:])).Float32()
						bound = float64(scale) * (0.5 + 127*0x1p-11)
					}
					if miss := math.Abs(float64(v) - float64(got[i])); miss > bound {
						require.Fail(t, "another value", "%s [%d]: want %v within %v, found %v", w.Name, i, v, bound, got[i])
					}
				}
			}
			for _, role := range checkpoint.LayerRoles() {
				check(role, 30)
				check(role, 31)
			}
			check(checkpoint.Embedding, 0)
			check(checkpoint.FinalNorm, 0)
			assert.Equal(t, 278528, matrices)
			assert.Equal(t, tc.differ, differ)
		})
	}
	assert.Len(t, digests, 1, "a config's digest does not depend on the weights' type")
}

// TestWritersAgree: the test's own writer and the Python package give the same
// values for float16, so a mistake in either shows.
func TestWritersAgree(t *testing.T) {
	m, err := togguf.New(open(t, fixtures.Nano()), gguf.F16, 30, 32)
	require.NoError(t, err)
	ours := openGGUF(t, file(t, m), "x.gguf")
	theirs := openGGUF(t, fixtures.NanoGGUF(), fixtures.NanoTailF16)
	assert.Equal(t, theirs.Config(), ours.Config())
	assert.Equal(t, theirs.ConfigDigest(), ours.ConfigDigest())
	for layer := 30; layer < 32; layer++ {
		for _, role := range checkpoint.LayerRoles() {
			a, want := all(t, theirs, role, layer)
			b, got := all(t, ours, role, layer)
			assert.Equal(t, a.Name, b.Name)
			require.True(t, slices.Equal(want, got), a.Name)
		}
	}
}

// TestGGUFConfig: models of other shapes have one config in both containers,
// but for what GGUF does not say: the factor by which LongRoPE was extended,
// of which only the attention factor is left.
func TestGGUFConfig(t *testing.T) {
	for _, preset := range synth.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made")
			require.NoError(t, synth.Write(t.Context(), dir, preset.Spec))
			source, err := checkpoint.OpenPath(dir)
			require.NoError(t, err)
			defer source.Close()
			m, err := togguf.New(source, gguf.BF16, 0, preset.Spec.Config.Layers)
			require.NoError(t, err)
			c := openGGUF(t, file(t, m), "x.gguf")
			want := source.Config()
			if want.Rope.Factor != 0 {
				assert.InDelta(t, want.AttentionFactor(), c.Config().AttentionFactor(), 1e-7)
				want.Rope.AttentionFactor, want.Rope.Factor = c.Config().Rope.AttentionFactor, 0
			}
			assert.Equal(t, want, c.Config())
			for layer := range want.Layers {
				for _, role := range checkpoint.LayerRoles() {
					_, a := all(t, source, role, layer)
					_, b := all(t, c, role, layer)
					require.True(t, slices.Equal(a, b), "%s of layer %d", role, layer)
				}
			}
			_, a := all(t, source, checkpoint.LMHead, 0)
			_, b := all(t, c, checkpoint.LMHead, 0)
			require.True(t, slices.Equal(a, b), "LM head")
		})
	}
}

// TestGGUFPhi4Mini: the real model's numbers survive the keys. Its long factors
// have ten digits, of which float32 keeps seven; the model itself holds them in
// float32.
func TestGGUFPhi4Mini(t *testing.T) {
	want, err := checkpoint.ParseConfig("c.json", fixtures.Phi4MiniConfig())
	require.NoError(t, err)
	m := togguf.Empty(want)
	// A vocabulary without width: shapes are held against the keys when asked for.
	m.Tensors = append(m.Tensors, togguf.NewTensor("token_embd.weight", gguf.F32, []int{want.VocabSize, 1}, make([]float32, want.VocabSize)))
	c := openGGUF(t, file(t, m), "x.gguf")
	got := c.Config()
	require.Len(t, got.Rope.LongFactor, len(want.Rope.LongFactor))
	for i, f := range want.Rope.LongFactor {
		assert.Equal(t, float32(f), float32(got.Rope.LongFactor[i]), "long factor %d", i)
	}
	got.Rope.LongFactor = want.Rope.LongFactor
	assert.Equal(t, want, got)
	assert.ErrorIs(t, c.RequireLayers(0, 1), checkpoint.ErrTensor)
}

// TestGGUFForms: other keys of the same meaning.
func TestGGUFForms(t *testing.T) {
	base := openGGUF(t, file(t, small(t, gguf.F16)), "x.gguf")
	for _, tc := range []struct {
		name   string
		change func(m *togguf.Model)
		want   func(c *checkpoint.Config)
	}{
		{"64-bit integers", func(m *togguf.Model) { m.Set("phi3.block_count", uint64(2)) }, nil},
		{"signed integers", func(m *togguf.Model) { m.Set("phi3.context_length", int32(512)) }, nil},
		{"float64", func(m *togguf.Model) { m.Set("phi3.attention.layer_norm_rms_epsilon", 1e-5) }, nil},
		{"named scaling", func(m *togguf.Model) { m.Set("phi3.rope.scaling.type", "longrope") }, nil},
		{"derived attention factor left out", func(m *togguf.Model) { m.Drop("phi3.rope.scaling.attn_factor") }, nil},
		{"lengths that agree", func(m *togguf.Model) {
			m.Set("phi3.attention.key_length", uint32(8))
			m.Set("phi3.attention.value_length", uint32(8))
			m.Set("phi3.vocab_size", uint32(20))
		}, nil},
		{"tokens", func(m *togguf.Model) { m.Set("tokenizer.ggml.tokens", make([]string, 20)) }, nil},
		{"one part", func(m *togguf.Model) { m.Set("split.count", uint16(1)) }, nil},
		{"keys of others", func(m *togguf.Model) {
			m.Set("general.type", "model")
			m.Set("general.name", "x")
			m.Set("quantize.imatrix.file", "y")
		}, nil},
		{"wide alignment", func(m *togguf.Model) { m.Set("general.alignment", uint32(256)) }, nil},
		{"another attention factor", func(m *togguf.Model) { m.Set("phi3.rope.scaling.attn_factor", float32(1.1)) }, func(c *checkpoint.Config) {
			c.Rope.AttentionFactor = 1.1
		}},
		{"no rotary count", func(m *togguf.Model) {
			m.Drop("phi3.rope.dimension_count")
			for _, name := range []string{"rope_factors_short.weight", "rope_factors_long.weight"} {
				*m.Tensor(name) = togguf.NewTensor(name, gguf.F32, []int{4}, []float32{1, 1, 1, 1})
			}
		}, func(c *checkpoint.Config) {
			c.PartialRotaryFactor = 1
			c.Rope.ShortFactor, c.Rope.LongFactor = []float64{1, 1, 1, 1}, []float64{1, 1, 1, 1}
		}},
		{"plain RoPE", func(m *togguf.Model) {
			m.Drop("rope_factors_short.weight")
			m.Drop("rope_factors_long.weight")
			m.Drop("phi3.rope.scaling.attn_factor")
			m.Set("phi3.rope.scaling.type", "none")
		}, func(c *checkpoint.Config) { c.Rope = checkpoint.Rope{Type: checkpoint.RopeDefault} }},
		{"no window", func(m *togguf.Model) { m.Drop("phi3.attention.sliding_window") }, nil}, // small's is 0
		{"window", func(m *togguf.Model) { m.Set("phi3.attention.sliding_window", uint32(300)) }, func(c *checkpoint.Config) { c.SlidingWindow = 300 }},
		{"untied", func(m *togguf.Model) {
			m.Tensors = append(m.Tensors, togguf.NewTensor("output.weight", gguf.F16, []int{20, 32}, make([]float32, 640)))
		}, func(c *checkpoint.Config) { c.TieWordEmbeddings = false }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := small(t, gguf.F16)
			tc.change(m)
			c := openGGUF(t, file(t, m), "x.gguf")
			want := base.Config()
			if tc.want == nil {
				assert.Equal(t, base.ConfigDigest(), c.ConfigDigest())
			} else {
				tc.want(&want)
				assert.NotEqual(t, base.ConfigDigest(), c.ConfigDigest())
			}
			assert.Equal(t, want, c.Config())
			assert.NoError(t, c.RequireLayers(0, 2))
		})
	}
}

// TestFraction: a count of rotary dimensions comes back from the fraction of the
// head that stands for it, also where the plain quotient is a little small.
func TestFraction(t *testing.T) {
	short := 0
	for _, head := range []int{8, 22, 50, 98, 128, 172, 250} {
		for n := 2; n <= head; n += 2 {
			if quotient := float64(n) / float64(head); int(float64(head)*quotient) < n {
				short++
			}
			m := small(t, gguf.F32)
			m.Set("phi3.embedding_length", uint32(4*head))
			m.Set("phi3.rope.dimension_count", uint32(n))
			for _, name := range []string{"rope_factors_short.weight", "rope_factors_long.weight"} {
				*m.Tensor(name) = togguf.NewTensor(name, gguf.F32, []int{n / 2}, slices.Repeat([]float32{1}, n/2))
			}
			require.Equal(t, n, openGGUF(t, file(t, m), "x.gguf").Config().RotaryDim(), "of %d", head)
		}
	}
	assert.Positive(t, short, "the heads have none where it matters")
}

// TestOpenGGUFRefuses: each message names the file, the key or tensor, what was
// wanted and what was found.
func TestOpenGGUFRefuses(t *testing.T) {
	type bad struct {
		name   string
		change func(m *togguf.Model)
		is     error
		says   []string
	}
	set := func(key string, value any) func(m *togguf.Model) {
		return func(m *togguf.Model) { m.Set(key, value) }
	}
	drop := func(names ...string) func(m *togguf.Model) {
		return func(m *togguf.Model) {
			for _, name := range names {
				m.Drop(name)
			}
		}
	}
	put := func(name string, kind gguf.Type, shape []int, values ...float32) func(m *togguf.Model) {
		return func(m *togguf.Model) { *m.Tensor(name) = togguf.NewTensor(name, kind, shape, values) }
	}
	add := func(name string) func(m *togguf.Model) {
		return func(m *togguf.Model) {
			m.Tensors = append(m.Tensors, togguf.NewTensor(name, gguf.F32, []int{32}, make([]float32, 32)))
		}
	}
	nan := float32(math.NaN())
	cases := []bad{
		{"other architecture", set("general.architecture", "llama"), checkpoint.ErrConfig, []string{"general.architecture", `"phi3"`, `"llama"`}},
		{"no architecture", drop("general.architecture"), checkpoint.ErrConfig, []string{"general.architecture", "no such key"}},
		{"an adapter", set("general.type", "adapter"), checkpoint.ErrConfig, []string{"general.type", `"adapter"`}},
		{"a part", func(m *togguf.Model) {
			m.Set("split.count", uint16(3))
			m.Set("split.no", uint16(1))
		}, checkpoint.ErrConfig, []string{"split.count", "--merge", "part 2 of 3"}},
		{"unknown key", set("phi3.attention.scale", float32(1)), checkpoint.ErrConfig, []string{"phi3.attention.scale", "not supported", "found 1"}},
		{"experts", set("phi3.expert_count", uint32(8)), checkpoint.ErrConfig, []string{"phi3.expert_count", "found 8"}},
		{"yarn", set("phi3.rope.scaling.type", "yarn"), checkpoint.ErrConfig, []string{"phi3.rope.scaling.type", `"longrope"`, `"yarn"`}},
		{"scaled positions", set("phi3.rope.scaling.factor", float32(32)), checkpoint.ErrConfig, []string{"phi3.rope.scaling.factor", "found 32"}},
		{"string for a count", set("phi3.embedding_length", "32"), checkpoint.ErrConfig, []string{"phi3.embedding_length", "an integer", `"32"`}},
		{"float for a count", set("phi3.block_count", float32(2)), checkpoint.ErrConfig, []string{"phi3.block_count", "an integer"}},
		{"a count per layer", set("phi3.attention.head_count_kv", []int32{2, 2}), checkpoint.ErrConfig, []string{"phi3.attention.head_count_kv", "an array of 2 int32"}},
		{"huge layers", set("phi3.block_count", uint32(1<<30)), checkpoint.ErrConfig, []string{"phi3.block_count", "4096", "1073741824"}},
		{"beyond int64", set("phi3.embedding_length", uint64(math.MaxUint64)), checkpoint.ErrConfig, []string{"phi3.embedding_length", "an integer"}},
		{"negative", set("phi3.feed_forward_length", int32(-1)), checkpoint.ErrConfig, []string{"phi3.feed_forward_length", "-1"}},
		{"integer for eps", set("phi3.attention.layer_norm_rms_epsilon", uint32(1)), checkpoint.ErrConfig, []string{"layer_norm_rms_epsilon", "float32"}},
		{"eps NaN", set("phi3.attention.layer_norm_rms_epsilon", nan), checkpoint.ErrConfig, []string{"layer_norm_rms_epsilon", "NaN"}},
		{"eps 0", set("phi3.attention.layer_norm_rms_epsilon", float32(0)), checkpoint.ErrConfig, []string{"layer_norm_rms_epsilon", "above 0"}},
		{"infinite base", set("phi3.rope.freq_base", float32(math.Inf(1))), checkpoint.ErrConfig, []string{"phi3.rope.freq_base", "Inf"}},
		{"heads do not divide", set("phi3.attention.head_count", uint32(5)), checkpoint.ErrConfig, []string{"phi3.attention.head_count", "phi3.embedding_length 32", "found 5"}},
		{"KV heads do not divide", set("phi3.attention.head_count_kv", uint32(3)), checkpoint.ErrConfig, []string{"phi3.attention.head_count_kv", "phi3.attention.head_count 4"}},
		{"no heads", set("phi3.attention.head_count", uint32(0)), checkpoint.ErrConfig, []string{"phi3.attention.head_count", "found 0"}},
		{"another head", set("phi3.attention.key_length", uint32(16)), checkpoint.ErrConfig, []string{"key_length", "want 8", "found 16"}},
		{"another value head", set("phi3.attention.value_length", uint32(16)), checkpoint.ErrConfig, []string{"value_length", "want 8", "found 16"}},
		{"odd rotary count", set("phi3.rope.dimension_count", uint32(5)), checkpoint.ErrConfig, []string{"phi3.rope.dimension_count", "[2, 8]", "found 5"}},
		{"rotary count beyond the head", set("phi3.rope.dimension_count", uint32(10)), checkpoint.ErrConfig, []string{"phi3.rope.dimension_count", "found 10"}},
		{"no original length", drop("phi3.rope.scaling.original_context_length"), checkpoint.ErrConfig, []string{"phi3.rope.scaling.original_context_length", "no such key"}},
		{"no short factors", drop("rope_factors_short.weight"), checkpoint.ErrConfig, []string{"rope_factors_short.weight", "no such key"}},
		{"no long factors", drop("rope_factors_long.weight"), checkpoint.ErrConfig, []string{"rope_factors_long.weight", "no such key"}},
		{"attention factor alone", drop("rope_factors_short.weight", "rope_factors_long.weight"), checkpoint.ErrConfig, []string{"phi3.rope.scaling.attn_factor"}},
		{"attention factor negative", set("phi3.rope.scaling.attn_factor", float32(-1)), checkpoint.ErrConfig, []string{"phi3.rope.scaling.attn_factor", "found -1"}},
		{"longrope without factors", func(m *togguf.Model) {
			drop("rope_factors_short.weight", "rope_factors_long.weight", "phi3.rope.scaling.attn_factor")(m)
			m.Set("phi3.rope.scaling.type", "longrope")
		}, checkpoint.ErrConfig, []string{"phi3.rope.scaling.type", `"none"`, "not there", `"longrope"`}},
		{"half factors", put("rope_factors_short.weight", gguf.F16, []int{3}, 1, 1, 1), checkpoint.ErrTensor, []string{"rope_factors_short.weight", "F32", "F16"}},
		{"factors of another number", put("rope_factors_long.weight", gguf.F32, []int{2}, 1, 1), checkpoint.ErrConfig, []string{"rope_factors_long.weight", "array of 3", "array of 2"}},
		{"factors in a matrix", put("rope_factors_long.weight", gguf.F32, []int{3, 1}, 1, 1, 1), checkpoint.ErrTensor, []string{"rope_factors_long.weight", "one dimension", "[3 1]"}},
		{"factor NaN", put("rope_factors_long.weight", gguf.F32, []int{3}, 1, nan, 1), checkpoint.ErrConfig, []string{"rope_factors_long.weight[1]", "NaN"}},
		{"factor 0", put("rope_factors_short.weight", gguf.F32, []int{3}, 1, 1, 0), checkpoint.ErrConfig, []string{"rope_factors_short.weight[2]", "above 0", "found 0"}},
		{"no embedding", drop("token_embd.weight"), checkpoint.ErrTensor, []string{"token_embd.weight", "vocabulary"}},
		{"flat embedding", put("token_embd.weight", gguf.F32, []int{64}, make([]float32, 64)...), checkpoint.ErrTensor, []string{"token_embd.weight", "two dimensions", "[64]"}},
		{"another vocabulary", set("phi3.vocab_size", uint32(21)), checkpoint.ErrConfig, []string{"phi3.vocab_size", "want 20", "found 21"}},
		{"tokens of another number", set("tokenizer.ggml.tokens", make([]string, 21)), checkpoint.ErrConfig, []string{"tokenizer.ggml.tokens", "20 tokens", "21"}},
		{"tokens not a list", set("tokenizer.ggml.tokens", uint32(20)), checkpoint.ErrConfig, []string{"tokenizer.ggml.tokens", "found 20"}},
		{"split projections", add("blk.0.attn_q.weight"), checkpoint.ErrTensor, []string{"blk.0.attn_q.weight", "phi3"}},
		{"bias", add("blk.0.attn_qkv.bias"), checkpoint.ErrTensor, []string{"attn_qkv.bias", "without biases"}},
		{"layer beyond the keys", add("blk.2.attn_norm.weight"), checkpoint.ErrTensor, []string{"blk.2.attn_norm.weight", "phi3.block_count 2"}},
		{"safetensors names", add("model.norm.weight"), checkpoint.ErrTensor, []string{"model.norm.weight"}},
	}
	for _, key := range []string{
		"phi3.embedding_length", "phi3.feed_forward_length", "phi3.block_count", "phi3.attention.head_count", "phi3.attention.head_count_kv",
		"phi3.context_length", "phi3.attention.layer_norm_rms_epsilon", "phi3.rope.freq_base",
	} {
		cases = append(cases, bad{"without " + key, drop(key), checkpoint.ErrConfig, []string{key + ": want", "no such key"}})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			m := small(t, gguf.F16)
			tc.change(m)
			c, err := checkpoint.OpenGGUF(file(t, m), "x.gguf")
			require.ErrorIs(t, err, tc.is)
			assert.Nil(t, c)
			for _, text := range append(tc.says, "x.gguf: ", "want ", "found ") {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

// TestGGUFFiles: what is no GGUF file, and files that cannot be read.
func TestGGUFFiles(t *testing.T) {
	whole := file(t, small(t, gguf.F16))["x.gguf"].Data
	for name, tc := range map[string]struct {
		data []byte
		says string
	}{
		"empty":      {nil, "magic"},
		"other":      {[]byte("PK\x03\x04 and so on"), "magic"},
		"cut header": {whole[:200], "tensor count"},
		"cut data":   {whole[:len(whole)-33], "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := checkpoint.OpenGGUF(fstest.MapFS{"x.gguf": {Data: tc.data}}, "x.gguf")
			require.ErrorIs(t, err, gguf.ErrFormat)
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			assert.Nil(t, c)
			assert.ErrorContains(t, err, "x.gguf: ")
			assert.ErrorContains(t, err, tc.says)
		})
	}
	_, err := checkpoint.OpenGGUF(fstest.MapFS{"x.gguf/y": {}}, "x.gguf")
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, "regular file")
	_, err = checkpoint.OpenGGUF(fstest.MapFS{}, "x.gguf")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = checkpoint.OpenGGUF(unseekable{file(t, small(t, gguf.F16))}, "x.gguf")
	assert.ErrorIs(t, err, checkpoint.ErrTensor)
}

// TestGGUFTensorRefuses: tensors that the keys or the element type rule out
// stop who asks for them.
func TestGGUFTensorRefuses(t *testing.T) {
	const qkv = "blk.1.attn_qkv.weight"
	for _, tc := range []struct {
		name   string
		change func(m *togguf.Model)
		says   []string
	}{
		{"transposed", func(m *togguf.Model) { slices.Reverse(m.Tensor(qkv).Dims) }, []string{"shape", "[64 32] by x.gguf", "[32 64]"}},
		{"missing", func(m *togguf.Model) { m.Drop(qkv) }, []string{"x.gguf", "the model's qkv", "no such tensor"}},
		{"another quantization", func(m *togguf.Model) {
			w := m.Tensor(qkv)
			w.Type, w.Data = gguf.Type(2), make([]byte, 64*18)
		}, []string{"dtype", "Q8_0", "found Q4_0"}},
		{"float64", func(m *togguf.Model) {
			w := m.Tensor(qkv)
			w.Type, w.Data = gguf.Type(28), make([]byte, 64*32*8)
		}, []string{"dtype", "found F64"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := small(t, gguf.Q8_0)
			tc.change(m)
			c := openGGUF(t, file(t, m), "x.gguf")
			err := c.RequireLayers(0, 2)
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			for _, text := range append(tc.says, "x.gguf: ", qkv) {
				assert.ErrorContains(t, err, text)
			}
			assert.NoError(t, c.RequireLayers(0, 1), "the other layer is not in the way")
		})
	}
}

// TestQ8 holds the decoder against the definition at every scale and int8.
func TestQ8(t *testing.T) {
	raw, want := []byte(nil), []float32(nil)
	for _, bits := range []uint16{0x3C00, 0xBC00, 0x0001, 0x83FF, 0x7BFF, 0x2E66, 0, 0x8000} {
		for first := -128; first < 128; first += 32 {
			raw = binary.LittleEndian.AppendUint16(raw, bits)
			for q := first; q < first+32; q++ {
				raw = append(raw, byte(int8(q)))
				want = append(want, float32(float64(float16.Frombits(bits).Float32())*float64(q)))
			}
		}
	}
	w := &checkpoint.Tensor{Name: "t", File: "f", DType: checkpoint.Q8_0, Shape: []int{len(want) / 64, 64}}
	assert.Equal(t, 68, w.RowBytes())
	got := make([]float32, len(want))
	require.NoError(t, w.Float32(got, raw, 0))
	for i := range want {
		require.Equal(t, want[i], got[i], "element %d", i)
	}
	assert.ErrorIs(t, w.Float32(got[:32], raw[:34], 0), checkpoint.ErrTensor, "half a row")
	assert.ErrorIs(t, w.Float32(got[:63], raw[:68], 0), checkpoint.ErrTensor, "lengths that differ")
}

// TestQ8Scales puts one bad scale in a block and wants the block's place named,
// also where the products would be NaN.
func TestQ8Scales(t *testing.T) {
	for i, tc := range []struct {
		bits uint16
		says string
	}{{0x7C00, "+Inf"}, {0xFC00, "-Inf"}, {0x7E00, "NaN"}, {0xFFFF, "NaN"}} {
		raw := make([]byte, 6*2*34)
		block := 5 + i
		binary.LittleEndian.PutUint16(raw[block*34:], tc.bits)
		binary.LittleEndian.PutUint16(raw[11*34:], 0x7C00) // a second one, further on
		w := &checkpoint.Tensor{Name: "t", File: "f", DType: checkpoint.Q8_0, Shape: []int{9, 64}}
		err := w.Float32(make([]float32, 6*64), raw, 3)
		var v *checkpoint.ValueError
		require.ErrorAs(t, err, &v)
		assert.Equal(t, [2]int{3 + block/2, block % 2 * 32}, [2]int{v.Row, v.Col})
		assert.Contains(t, v.Want, "scale")
		assert.Contains(t, v.Found, tc.says)
	}
}

// TestQ8Rows: rows are where they are in the whole.
func TestQ8Rows(t *testing.T) {
	c := openGGUF(t, fixtures.NanoGGUF(), fixtures.NanoTailQ8)
	w, whole := all(t, c, checkpoint.QKV, 31)
	assert.Equal(t, "blk.31.attn_qkv.weight", w.Name)
	assert.Equal(t, 128/32*34, w.RowBytes())
	part := make([]float32, 3*128)
	require.NoError(t, w.ReadRows(part, 200))
	assert.True(t, slices.Equal(whole[200*128:203*128], part))
	assert.ErrorIs(t, w.ReadRaw(make([]byte, 34), 0), checkpoint.ErrTensor, "a block is no row")
}

func TestOpenPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.gguf")
	require.NoError(t, os.WriteFile(path, file(t, small(t, gguf.Q8_0))["x.gguf"].Data, 0o600))
	c, err := checkpoint.OpenPath(path)
	require.NoError(t, err)
	require.NoError(t, c.RequireLayers(0, 2))
	config, digest, err := checkpoint.ReadConfigPath(path)
	require.NoError(t, err)
	assert.Equal(t, c.Config(), config)
	assert.Equal(t, c.ConfigDigest(), digest)
	require.NoError(t, c.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), longConfig().text(), 0o600))
	config, _, err = checkpoint.ReadConfigPath(dir)
	require.NoError(t, err, "a directory needs no weights")
	assert.Equal(t, 48, config.IntermediateSize)

	for name, path := range map[string]string{"absent": filepath.Join(dir, "none"), "a text": filepath.Join(dir, "config.json")} {
		t.Run(name, func(t *testing.T) {
			_, err := checkpoint.OpenPath(path)
			require.Error(t, err)
			assert.ErrorContains(t, err, path)
			_, _, err = checkpoint.ReadConfigPath(path)
			require.Error(t, err)
			assert.ErrorContains(t, err, path)
		})
	}
}

// FuzzGGUF: whatever the file holds, OpenGGUF gives an error of this package or
// a checkpoint whose tensors can be asked for.
func FuzzGGUF(f *testing.F) {
	whole := file(f, small(f, gguf.Q8_0))["x.gguf"].Data
	f.Add(whole)
	m := small(f, gguf.F32)
	m.Set("phi3.rope.scaling.type", "longrope")
	m.Set("phi3.rope.dimension_count", uint32(6))
	f.Add(file(f, m)["x.gguf"].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := checkpoint.OpenGGUF(fstest.MapFS{"x.gguf": {Data: data}}, "x.gguf")
		if err != nil {
			require.True(t, errors.Is(err, checkpoint.ErrConfig) || errors.Is(err, checkpoint.ErrTensor), "%v", err)
			return
		}
		for layer := range min(4, c.Config().Layers) {
			for _, role := range checkpoint.LayerRoles() {
				w, err := c.Tensor(role, layer)
				if err != nil {
					require.ErrorIs(t, err, checkpoint.ErrTensor)
					continue
				}
				require.NoError(t, w.ReadRaw(make([]byte, w.RowBytes()), 0))
			}
		}
		require.NoError(t, c.Close())
	})
}
