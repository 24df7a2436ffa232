package checkpoint_test

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// keys is a config.json in pieces, so that a test can change one of them.
type keys map[string]string

func plainConfig() keys {
	return keys{
		"model_type": `"phi3"`, "hidden_act": `"silu"`,
		"hidden_size": "32", "intermediate_size": "48", "num_hidden_layers": "2", "num_attention_heads": "4",
		"num_key_value_heads": "2", "vocab_size": "20", "max_position_embeddings": "512", "rms_norm_eps": "1e-5",
		"rope_theta": "10000.0", "tie_word_embeddings": "true", "partial_rotary_factor": "0.75",
	}
}

// longConfig: head_dim 8, rotary dimension 6, so three factors.
func longConfig() keys {
	return plainConfig().with("original_max_position_embeddings", "128").
		with("rope_scaling", `{"type": "longrope", "short_factor": [1, 1.5, 2], "long_factor": [1, 2.5, 4.0]}`)
}

// with sets a key; an empty value removes it.
func (k keys) with(key, value string) keys {
	k = maps.Clone(k)
	k[key] = value
	if value == "" {
		delete(k, key)
	}
	return k
}

func (k keys) text() []byte {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(k)) {
		lines = append(lines, fmt.Sprintf("%q: %s", key, k[key]))
	}
	return []byte("{" + strings.Join(lines, ",\n") + "}")
}

func TestParseConfig(t *testing.T) {
	c, err := checkpoint.ParseConfig("c.json", longConfig().with("sliding_window", "256").text())
	require.NoError(t, err)
	assert.Equal(t, checkpoint.Config{
		HiddenSize: 32, IntermediateSize: 48, Layers: 2, Heads: 4, KVHeads: 2, VocabSize: 20,
		MaxPositions: 512, OriginalMaxPositions: 128, SlidingWindow: 256,
		RMSNormEps: 1e-5, RopeTheta: 10000, PartialRotaryFactor: 0.75, TieWordEmbeddings: true,
		Rope: checkpoint.Rope{Type: "longrope", ShortFactor: []float64{1, 1.5, 2}, LongFactor: []float64{1, 2.5, 4}},
	}, c)
	assert.Equal(t, 8, c.HeadDim())
	assert.Equal(t, 6, c.RotaryDim())
	assert.Equal(t, 64, c.QKVRows())
}

// TestParseConfigDialects: what each spelling means.
func TestParseConfigDialects(t *testing.T) {
	long := `"short_factor": [1, 1.5, 2], "long_factor": [1, 2.5, 4]`
	for _, tc := range []struct {
		name string
		keys keys
		want func(c *checkpoint.Config) // changes the longConfig's result
	}{
		{"rope_type", longConfig().with("rope_scaling", `{"rope_type": "longrope", `+long+`}`), nil},
		{"both names of the type", longConfig().with("rope_scaling", `{"rope_type": "longrope", "type": "longrope", `+long+`}`), nil},
		{"rope_parameters", longConfig().with("rope_scaling", "").with("rope_theta", "").with("partial_rotary_factor", "").
			with("rope_parameters", `{"rope_type": "longrope", "rope_theta": 10000, "partial_rotary_factor": 0.75, `+long+`}`), nil},
		{"rope_parameters beside null", longConfig().with("rope_scaling", "null").
			with("rope_parameters", `{"rope_type": "longrope", "rope_theta": 1e4, "factor": null, `+long+`}`), nil},
		{"original maximum within", longConfig().with("original_max_position_embeddings", "").
			with("rope_scaling", `{"type": "longrope", "original_max_position_embeddings": 128, `+long+`}`), nil},
		{"original maximum in both", longConfig().with("rope_scaling", `{"type": "longrope", "original_max_position_embeddings": 128.0, `+long+`}`), nil},
		{"integral numbers however spelled", longConfig().with("hidden_size", "32.0").with("vocab_size", "2e1"), nil},
		{"false biases", longConfig().with("attention_bias", "false").with("mlp_bias", "null").with("lm_head_bias", "false"), nil},
		{"head_dim that agrees", longConfig().with("head_dim", "8"), nil},
		{"defaults of the model", longConfig().with("model_type", "").with("hidden_act", ""), nil},
		{"no sliding window", longConfig().with("sliding_window", "null"), nil},
		{"other keys", longConfig().with("torch_dtype", `"bfloat16"`).with("auto_map", `{"a": []}`), nil},
		{
			"attention_factor and factor",
			longConfig().with("rope_scaling", `{"type": "longrope", "attention_factor": 1.5, "factor": 8, `+long+`}`),
			func(c *checkpoint.Config) { c.Rope.AttentionFactor, c.Rope.Factor = 1.5, 8 },
		},
		{
			"whole head without partial_rotary_factor",
			longConfig().with("partial_rotary_factor", "").with("rope_scaling", `{"type": "longrope", "short_factor": [1,1,1,2], "long_factor": [1,1,1,3]}`),
			func(c *checkpoint.Config) {
				c.PartialRotaryFactor = 1
				c.Rope.ShortFactor, c.Rope.LongFactor = []float64{1, 1, 1, 2}, []float64{1, 1, 1, 3}
			},
		},
		{
			"null scaling is plain RoPE",
			longConfig().with("rope_scaling", "null"),
			func(c *checkpoint.Config) { c.Rope = checkpoint.Rope{Type: "default"} },
		},
		{
			"absent scaling is plain RoPE",
			plainConfig(),
			func(c *checkpoint.Config) {
				c.Rope, c.OriginalMaxPositions = checkpoint.Rope{Type: "default"}, 0
			},
		},
		{
			"default by name",
			plainConfig().with("rope_theta", "").with("rope_parameters", `{"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.75}`),
			func(c *checkpoint.Config) {
				c.Rope, c.OriginalMaxPositions, c.RopeTheta = checkpoint.Rope{Type: "default"}, 0, 5e5
			},
		},
		{
			"untied",
			longConfig().with("tie_word_embeddings", "false"),
			func(c *checkpoint.Config) { c.TieWordEmbeddings = false },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, err := checkpoint.ParseConfig("c.json", longConfig().text())
			require.NoError(t, err)
			if tc.want != nil {
				tc.want(&want)
			}
			got, err := checkpoint.ParseConfig("c.json", tc.keys.text())
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// TestParseConfigRefuses: the message names the file, the key, what was wanted
// and what was found.
func TestParseConfigRefuses(t *testing.T) {
	scaling := func(text string) keys { return longConfig().with("rope_scaling", text) }
	type bad struct {
		name string
		keys keys
		says []string
	}
	cases := []bad{
		{"other model", longConfig().with("model_type", `"llama"`), []string{"model_type", `"phi3"`, `"llama"`}},
		{"model_type not a string", longConfig().with("model_type", `{}`), []string{"model_type", "an object"}},
		{"other activation", longConfig().with("hidden_act", `"gelu"`), []string{"hidden_act", `"gelu"`}},
		{"attention bias", longConfig().with("attention_bias", "true"), []string{"attention_bias", "true"}},
		{"mlp bias", longConfig().with("mlp_bias", "true"), []string{"mlp_bias"}},
		{"head bias", longConfig().with("lm_head_bias", "true"), []string{"lm_head_bias"}},
		{"bias not a boolean", longConfig().with("mlp_bias", "0"), []string{"mlp_bias", "0"}},
		{"quantized", longConfig().with("quantization_config", `{"bits": 4}`), []string{"quantization_config"}},
		{"string for a count", longConfig().with("hidden_size", `"32"`), []string{"hidden_size", `"32"`}},
		{"fraction", longConfig().with("num_hidden_layers", "2.5"), []string{"num_hidden_layers", "2.5"}},
		{"zero", longConfig().with("vocab_size", "0"), []string{"vocab_size", "found 0"}},
		{"negative", longConfig().with("intermediate_size", "-48"), []string{"intermediate_size", "-48"}},
		{"huge layers", longConfig().with("num_hidden_layers", "1000000000"), []string{"num_hidden_layers", "4096"}},
		{"beyond int64", longConfig().with("hidden_size", "1e300"), []string{"hidden_size", "1e300"}},
		{"zero window", longConfig().with("sliding_window", "0"), []string{"sliding_window"}},
		{"zero eps", longConfig().with("rms_norm_eps", "0"), []string{"rms_norm_eps"}},
		{"negative eps", longConfig().with("rms_norm_eps", "-1e-5"), []string{"rms_norm_eps"}},
		{"eps beyond float64", longConfig().with("rms_norm_eps", "1e999"), []string{"rms_norm_eps", "1e999"}},
		{"eps below float64", longConfig().with("rms_norm_eps", "1e-999"), []string{"rms_norm_eps"}},
		{"tie flag a number", longConfig().with("tie_word_embeddings", "1"), []string{"tie_word_embeddings", "true or false"}},
		{"heads do not divide", longConfig().with("num_attention_heads", "5"), []string{"num_attention_heads", "32", "found 5"}},
		{"KV heads do not divide", longConfig().with("num_key_value_heads", "3"), []string{"num_key_value_heads", "found 3"}},
		{"more KV heads than heads", longConfig().with("num_key_value_heads", "8"), []string{"num_key_value_heads", "found 8"}},
		{"another head_dim", longConfig().with("head_dim", "16"), []string{"head_dim", "8", "16"}},
		{"odd rotary dimension", longConfig().with("partial_rotary_factor", "0.625"), []string{"partial_rotary_factor", "even", "found 5"}},
		{"no rotary dimension", longConfig().with("partial_rotary_factor", "0.1"), []string{"partial_rotary_factor", "found 0"}},
		{"rotary factor above 1", longConfig().with("partial_rotary_factor", "1.25"), []string{"partial_rotary_factor", "1.25"}},
		{"rotary factor 0", longConfig().with("partial_rotary_factor", "0"), []string{"partial_rotary_factor"}},
		{"negative theta", longConfig().with("rope_theta", "-1"), []string{"rope_theta"}},
		{"scaling a string", scaling(`"longrope"`), []string{"rope_scaling", "an object or null"}},
		{"two sections", longConfig().with("rope_parameters", `{"rope_type": "default"}`), []string{"rope_parameters", "both"}},
		{"yarn", scaling(`{"type": "yarn", "factor": 4}`), []string{"rope_scaling.type", `"yarn"`}},
		{"su", scaling(`{"type": "su", "short_factor": [1,1,1], "long_factor": [1,1,1]}`), []string{"rope_scaling.type", `"su"`}},
		{"linear by rope_type", scaling(`{"rope_type": "linear", "factor": 4}`), []string{"rope_scaling.rope_type", `"linear"`}},
		{"types that disagree", scaling(`{"type": "longrope", "rope_type": "default"}`), []string{"rope_scaling.rope_type", `"longrope"`, `"default"`}},
		{"type not a string", scaling(`{"type": 1}`), []string{"rope_scaling.type", "found 1"}},
		{"factors without a type", scaling(`{"short_factor": [1,1,1], "long_factor": [1,1,1]}`), []string{"rope_scaling.long_factor"}},
		{"unknown scaling key", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1], "long_mscale": 1.2}`), []string{"rope_scaling.long_mscale", "1.2"}},
		{"no short factors", scaling(`{"type": "longrope", "long_factor": [1,1,1]}`), []string{"rope_scaling.short_factor", "no such key"}},
		{"no long factors", scaling(`{"type": "longrope", "short_factor": [1,1,1]}`), []string{"rope_scaling.long_factor", "no such key"}},
		{"too few factors", scaling(`{"type": "longrope", "short_factor": [1,1], "long_factor": [1,1,1]}`), []string{"rope_scaling.short_factor", "array of 3", "array of 2"}},
		{"too many factors", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1,1]}`), []string{"rope_scaling.long_factor", "array of 4"}},
		{"factor 0", scaling(`{"type": "longrope", "short_factor": [1,0,1], "long_factor": [1,1,1]}`), []string{"rope_scaling.short_factor[1]", "found 0"}},
		{"factor null", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,null]}`), []string{"rope_scaling.long_factor[2]", "null"}},
		{"factors not an array", scaling(`{"type": "longrope", "short_factor": 1, "long_factor": [1,1,1]}`), []string{"rope_scaling.short_factor", "found 1"}},
		{"attention factor 0", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1], "attention_factor": 0}`), []string{"rope_scaling.attention_factor"}},
		{"scaling factor negative", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1], "factor": -2}`), []string{"rope_scaling.factor"}},
		{"no original maximum", longConfig().with("original_max_position_embeddings", ""), []string{"original_max_position_embeddings", "no such key"}},
		{"original maximum 1", longConfig().with("original_max_position_embeddings", "1"), []string{"original_max_position_embeddings", "at least 2"}},
		{"original maxima that disagree", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1], "original_max_position_embeddings": 64}`), []string{"rope_scaling.original_max_position_embeddings", "128", "64"}},
		{"thetas that disagree", scaling(`{"type": "longrope", "short_factor": [1,1,1], "long_factor": [1,1,1], "rope_theta": 500000}`), []string{"rope_scaling.rope_theta", "500000"}},
	}
	for _, key := range []string{
		"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
		"vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
	} {
		cases = append(cases,
			bad{"without " + key, longConfig().with(key, ""), []string{key + ": want", "no such key"}},
			bad{"null " + key, longConfig().with(key, "null"), []string{key + ": want", "found null"}})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, err := checkpoint.ParseConfig("c.json", tc.keys.text())
			require.ErrorIs(t, err, checkpoint.ErrConfig)
			assert.Zero(t, c)
			for _, text := range append(tc.says, "c.json: ", "want ", "found ") {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

func TestParseConfigSyntax(t *testing.T) {
	good := string(longConfig().text())
	for name, text := range map[string]string{
		"empty":           "",
		"truncated":       good[:len(good)/2],
		"an array":        "[" + good + "]",
		"key twice":       strings.Replace(good, "{", `{"hidden_size": 64,`, 1),
		"key twice below": strings.Replace(good, `"type":`, `"type": "default", "type":`, 1),
		"trailing text":   good + good,
		"not UTF-8":       strings.Replace(good, "phi3", "\xff", 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checkpoint.ParseConfig("c.json", []byte(text))
			require.ErrorIs(t, err, checkpoint.ErrConfig)
			assert.ErrorContains(t, err, "c.json: ")
		})
	}
}

func TestAttentionFactor(t *testing.T) {
	c, err := checkpoint.ParseConfig("c.json", longConfig().text())
	require.NoError(t, err)
	assert.InDelta(t, math.Sqrt(1+math.Log(4)/math.Log(128)), c.AttentionFactor(), 1e-14)
	c.Rope.Factor = 16
	assert.InDelta(t, math.Sqrt(1+math.Log(16)/math.Log(128)), c.AttentionFactor(), 1e-14)
	c.Rope.AttentionFactor = 1.5
	assert.Equal(t, 1.5, c.AttentionFactor(), "the config's own comes first")
	c.Rope.AttentionFactor, c.Rope.Factor = 0, 0.5
	assert.Equal(t, 1.0, c.AttentionFactor(), "no extension")
	c.Rope.Factor, c.MaxPositions = 0, 128
	assert.Equal(t, 1.0, c.AttentionFactor(), "maxima that are equal")
	c.MaxPositions, c.Rope.Type = 512, checkpoint.RopeDefault
	assert.Equal(t, 1.0, c.AttentionFactor(), "plain RoPE")
}

func TestReadConfig(t *testing.T) {
	c, err := checkpoint.ReadConfig(fixtures.Nano())
	require.NoError(t, err)
	assert.Equal(t, 32, c.Layers)
	assert.Equal(t, 24, c.RotaryDim())

	only := fstest.MapFS{"config.json": {Data: longConfig().text()}}
	_, err = checkpoint.ReadConfig(only)
	assert.NoError(t, err, "needs no weights")

	_, err = checkpoint.ReadConfig(fstest.MapFS{})
	require.ErrorIs(t, err, checkpoint.ErrConfig)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "config.json")

	_, err = checkpoint.ReadConfig(fstest.MapFS{"config.json/x": {}})
	require.ErrorIs(t, err, checkpoint.ErrConfig)
	assert.ErrorContains(t, err, "regular file")

	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<40)) // sparse: no disk, but not to be read
	require.NoError(t, f.Close())
	_, err = checkpoint.ReadConfig(os.DirFS(dir))
	require.ErrorIs(t, err, checkpoint.ErrConfig)
	assert.ErrorContains(t, err, "found 1099511627776")
}

// FuzzConfig: whatever is accepted is consistent enough to be computed with.
func FuzzConfig(f *testing.F) {
	f.Add(longConfig().text())
	f.Add(plainConfig().text())
	f.Add(fixtures.Phi4MiniConfig())
	f.Add([]byte(`{"hidden_size": 1e9, "rope_parameters": {"rope_type": []}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := checkpoint.ParseConfig("c.json", text)
		if err != nil {
			require.ErrorIs(t, err, checkpoint.ErrConfig)
			return
		}
		require.Equal(t, c.HiddenSize, c.HeadDim()*c.Heads)
		require.Zero(t, c.Heads%c.KVHeads)
		require.Zero(t, c.RotaryDim()%2)
		require.LessOrEqual(t, c.RotaryDim(), c.HeadDim())
		m := c.AttentionFactor()
		require.True(t, m > 0 && !math.IsInf(m, 0), "attention factor %v", m)
		if c.Rope.Type == checkpoint.RopeLongRope {
			require.Len(t, c.Rope.ShortFactor, c.RotaryDim()/2)
			require.Len(t, c.Rope.LongFactor, c.RotaryDim()/2)
		}
	})
}
