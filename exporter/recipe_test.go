package exporter_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
)

// phi4Mini is the config of the real model.
func phi4Mini(t testing.TB) checkpoint.Config {
	t.Helper()
	cfg, err := checkpoint.ParseConfig(checkpoint.ConfigFile, fixtures.Phi4MiniConfig())
	require.NoError(t, err)
	return cfg
}

func TestParseRange(t *testing.T) {
	for _, tt := range []struct {
		text string
		want exporter.Range
		fits bool // into 32 layers
	}{
		{"30:32", exporter.Range{Start: 30, End: 32}, true},
		{"0:1", exporter.Range{Start: 0, End: 1}, true},
		{"0:32", exporter.Range{Start: 0, End: 32}, true},
		{"31:30", exporter.Range{Start: 31, End: 30}, false},
		{"30:30", exporter.Range{Start: 30, End: 30}, false},
		{"30:40", exporter.Range{Start: 30, End: 40}, false},
		{"32:33", exporter.Range{Start: 32, End: 33}, false},
	} {
		r, err := exporter.ParseRange(tt.text)
		require.NoError(t, err, tt.text)
		assert.Equal(t, tt.want, r)
		assert.Equal(t, tt.text, r.String())
		if err := r.Check(32); tt.fits {
			assert.NoError(t, err, tt.text)
		} else {
			assert.ErrorIs(t, err, exporter.ErrRange, tt.text)
			assert.ErrorContains(t, err, tt.text)
		}
	}
	assert.ErrorIs(t, exporter.Range{Start: -1, End: 2}.Check(32), exporter.ErrRange)
	for _, text := range []string{"", "30", ":", "30:", ":32", "a:b", "30-32", "30:32:34", " 30:32", "+30:32", "-1:2", "030:32", "30:1e1", "0:99999999999999999999"} {
		_, err := exporter.ParseRange(text)
		assert.ErrorIs(t, err, exporter.ErrRange, "%q", text)
	}
}

func TestParseLayout(t *testing.T) {
	for _, tt := range []struct {
		text string
		want exporter.Layout
		fits bool // 32 layers
	}{
		{"20+4+6+2", exporter.DefaultLayout(), true},
		{"32", exporter.Layout{32}, true},
		{"31+2", exporter.Layout{31, 2}, false},
		{"31", exporter.Layout{31}, false},
		{"9223372036854775807+9223372036854775807+34", exporter.Layout{1<<63 - 1, 1<<63 - 1, 34}, false}, // 32 mod 2^64
	} {
		l, err := exporter.ParseLayout(tt.text)
		require.NoError(t, err, tt.text)
		assert.Equal(t, tt.want, l)
		assert.Equal(t, tt.text, l.String())
		if err := l.Check(32); tt.fits {
			assert.NoError(t, err, tt.text)
		} else {
			assert.ErrorIs(t, err, exporter.ErrLayout, tt.text)
			assert.ErrorContains(t, err, "32")
		}
	}
	for _, l := range []exporter.Layout{nil, {}, {40, -8}, {32, 0}} {
		assert.ErrorIs(t, l.Check(32), exporter.ErrLayout, "%v", []int(l))
	}
	for _, text := range []string{"", "+", "20+", "+20", "20++12", "20-4", "0+32", "-1+33", "20 + 12", "020+12", "a", "1e1"} {
		_, err := exporter.ParseLayout(text)
		assert.ErrorIs(t, err, exporter.ErrLayout, "%q", text)
	}
}

// TestBuildOrder holds the ladder's order: by size, equals in model order.
func TestBuildOrder(t *testing.T) {
	r := func(a, b int) exporter.Range { return exporter.Range{Start: a, End: b} }
	assert.Equal(t, []exporter.Range{r(0, 20), r(20, 24), r(24, 30), r(30, 32)}, exporter.DefaultLayout().Shards())
	assert.Equal(t, []exporter.Range{r(30, 32), r(20, 24), r(24, 30), r(0, 20)}, exporter.DefaultLayout().BuildOrder())
	assert.Equal(t, []exporter.Range{r(0, 2), r(5, 7), r(2, 5)}, exporter.Layout{2, 3, 2}.BuildOrder())
}

func TestParseFunctions(t *testing.T) {
	for text, want := range map[string][]int{"t1,t4": {1, 4}, "t4,t1": {1, 4}, "t4": {4}, "t1, t4": {1, 4}, "t2,t16": {2, 16}} {
		rows, err := exporter.ParseFunctions(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, rows)
	}
	for _, text := range []string{"", "t", "t0", "1", "T1", "t-1", "t+1", "t01", "t1,", ",t1", "t1;t4", "t1,t1", "main", "t1.5"} {
		_, err := exporter.ParseFunctions(text)
		assert.ErrorIs(t, err, exporter.ErrRecipe, "%q", text)
	}
}

// FuzzParse wants what parses to print back as it was, and to be in order.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"30:32", "20+4+6+2", "t1,t4", "31:30", "+1:2", "t01", "1++2", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := exporter.ParseRange(text); err == nil {
			assert.Equal(t, text, r.String())
		}
		if l, err := exporter.ParseLayout(text); err == nil {
			assert.Equal(t, text, l.String())
			assert.Len(t, l.Shards(), len(l))
		}
		if rows, err := exporter.ParseFunctions(text); err == nil {
			assert.True(t, slices.IsSorted(rows))
			assert.Equal(t, rows, slices.Compact(slices.Clone(rows)))
			back, err := exporter.ParseFunctions(functionList(rows))
			assert.NoError(t, err)
			assert.Equal(t, rows, back)
		}
	})
}

func functionList(rows []int) string {
	text := ""
	for i, r := range rows {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf("t%d", r)
	}
	return text
}

// TestRecipeCheck changes one thing of a good recipe, or of the model that it
// is for, at a time.
func TestRecipeCheck(t *testing.T) {
	type change func(r *exporter.Recipe, c *checkpoint.Config)
	for _, tt := range []struct {
		name   string
		change change
		want   string // in the error; "" for none
	}{
		{"as it is", func(*exporter.Recipe, *checkpoint.Config) {}, ""},
		{"no slots", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Slots = 0 }, "slots"},
		{"no functions", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = nil }, "functions"},
		{"t0", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = []int{0, 4} }, "t0"},
		{"most rows", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = []int{exporter.MaxRows} }, ""},
		{"too many rows", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = []int{exporter.MaxRows + 1} }, "t65"},
		{"more rows than slots", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Slots = 3 }, "t4"},
		{"rows twice", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = []int{4, 4} }, "t4 after t4"},
		{"rows unsorted", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Rows = []int{4, 1} }, "t1 after t4"},
		{"other precision", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Precision = "int4" }, `"int4"`},
		{"no precision", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Precision = "" }, "precision"},
		{"other norm", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Norm = "rms_norm" }, `"rms_norm"`},
		{"other writer", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Writer = "0" }, `"0"`},
		{"slots at the original maximum", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Slots = 4096 }, ""},
		{"slots above the original maximum", func(r *exporter.Recipe, _ *checkpoint.Config) { r.Slots = 4097 }, "original_max_position_embeddings 4096"},
		{"slots above the maximum", func(r *exporter.Recipe, c *checkpoint.Config) {
			c.MaxPositions, c.Rope.Type = 2047, checkpoint.RopeDefault
		}, "max_position_embeddings 2047"},
		{"window at the slots", func(_ *exporter.Recipe, c *checkpoint.Config) { c.SlidingWindow = 2048 }, ""},
		{"window below the slots", func(_ *exporter.Recipe, c *checkpoint.Config) { c.SlidingWindow = 2047 }, "sliding_window 2047"},
		{"no window", func(_ *exporter.Recipe, c *checkpoint.Config) { c.SlidingWindow = 0 }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec, cfg := exporter.DefaultRecipe(), phi4Mini(t)
			tt.change(&rec, &cfg)
			_, err := exporter.Program(cfg, exporter.Range{Start: 30, End: 32}, rec)
			_, planErr := exporter.PlanShard(cfg, "m", exporter.Range{Start: 30, End: 32}, rec)
			assert.Equal(t, err, planErr)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, exporter.ErrRecipe)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// TestAbsurdCountsAreRefused wants a config that would fill the memory with ops
// to be refused at once.
func TestAbsurdCountsAreRefused(t *testing.T) {
	cfg := phi4Mini(t)
	cfg.Layers, cfg.HiddenSize, cfg.Heads, cfg.KVHeads = 1<<12, 1<<24, 1<<16, 1<<16
	_, err := exporter.NewPlan(cfg, "m", exporter.Layout{1 << 12}, exporter.DefaultRecipe(), exporter.DefaultHeadShards)
	require.ErrorIs(t, err, exporter.ErrRange)
	assert.ErrorContains(t, err, "65536 KV heads")
}

// TestRecipeDigest wants each part of a recipe, the range and the source to
// name other partial files.
func TestRecipeDigest(t *testing.T) {
	tail := exporter.Range{Start: 30, End: 32}
	seen := map[string]string{exporter.DefaultRecipe().Digest(tail, "a"): "the default"}
	add := func(what, digest string) {
		assert.Empty(t, seen[digest], "%s has the digest of %s", what, seen[digest])
		assert.Len(t, digest, 64)
		seen[digest] = what
	}
	for what, change := range map[string]func(*exporter.Recipe){
		"slots":     func(r *exporter.Recipe) { r.Slots++ },
		"rows":      func(r *exporter.Recipe) { r.Rows = []int{1} },
		"precision": func(r *exporter.Recipe) { r.Precision = exporter.FP16 },
		"norm":      func(r *exporter.Recipe) { r.Norm = exporter.Clamped },
		"writer":    func(r *exporter.Recipe) { r.Writer += "x" },
		"factor":    func(r *exporter.Recipe) { r.FoldRope = true },
	} {
		rec := exporter.DefaultRecipe()
		change(&rec)
		add(what, rec.Digest(tail, "a"))
	}
	add("source", exporter.DefaultRecipe().Digest(tail, "b"))
	add("range", exporter.DefaultRecipe().Digest(exporter.Range{Start: 28, End: 32}, "a"))
}

func TestModelName(t *testing.T) {
	for folder, want := range map[string]string{
		"nano": "nano", "Phi-4-mini-instruct": "Phi_4_mini_instruct", "a b.c/d": "a_b_c_d", "größe": "gr__e", "": "",
	} {
		assert.Equal(t, want, exporter.ModelName(folder), folder)
	}
	assert.Equal(t, "nano_layers30_32_int8.mlpackage", exporter.PackageName("nano", exporter.Range{Start: 30, End: 32}, exporter.Int8))
}

// TestConfigOfRecord wants a record to state enough of a config for the same
// program, and of a recipe for the same recipe.
func TestConfigOfRecord(t *testing.T) {
	configs := map[string]checkpoint.Config{"phi4mini": phi4Mini(t)}
	for _, p := range synth.Presets() {
		configs[p.Name] = p.Spec.Config
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			rec := nanoRecipe(exporter.FP16, exporter.Clamped)
			layers := exporter.Range{Start: cfg.Layers - 1, End: cfg.Layers}
			back := exporter.ConfigOf(exporter.ModelIdentity(cfg, "m", "digest"))
			assert.Equal(t, cfg.RotaryDim(), back.RotaryDim())
			assert.Equal(t, cfg.AttentionFactor(), back.AttentionFactor())
			want, err := exporter.Program(cfg, layers, rec)
			require.NoError(t, err)
			found, err := exporter.Program(back, layers, rec)
			require.NoError(t, err)
			assert.Equal(t, printed(t, want), printed(t, found))
		})
	}
	for head := 2; head <= 512; head += 2 {
		for rotary := 2; rotary <= head; rotary += 2 {
			cfg := checkpoint.Config{HiddenSize: head, Heads: 1, PartialRotaryFactor: float64(rotary+1) / float64(head)}
			model := exporter.ModelIdentity(cfg, "m", "digest")
			model.Dims.RotaryDim = rotary
			if found := exporter.ConfigOf(model).RotaryDim(); found != rotary {
				require.Equal(t, rotary, found, "head_dim %d", head)
			}
		}
	}
}
