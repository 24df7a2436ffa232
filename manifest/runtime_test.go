package manifest_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/manifest"
)

// wholeRecord is sampleRecord with all of the layout's shards beside the one off
// the ladder, an LM head of two shards, and an embedding.
func wholeRecord(t testing.TB, functions ...string) manifest.Record {
	t.Helper()
	r := sampleRecord(t)
	for _, s := range []struct {
		start, end int
		path       string
	}{{0, 20, "nano_layers0_20_int8.mlpackage"}, {20, 24, "nano_layers20_24_int8.mlpackage"}, {24, 30, "nano_layers24_30_int8.mlpackage"}} {
		r.Shards = append(r.Shards, sampleShard(t, s.start, s.end, s.path, false))
	}
	slices.SortFunc(r.Shards, func(a, b manifest.Shard) int { return 100*(a.Start-b.Start) + a.End - b.End })
	for _, rows := range [][2]int{{0, 100}, {100, 256}} {
		s := sampleShard(t, 0, 1, "nano_head"+string(rune('a'+rows[0]/100))+".mlpackage", false)
		for i := range s.Functions {
			s.Functions[i].States = nil
		}
		r.LMHead = append(r.LMHead, manifest.LMHeadShard{Start: rows[0], End: rows[1], Package: s.Package, Functions: s.Functions, Notes: s.Notes})
	}
	r.Embedding = &manifest.Embedding{Path: "nano_embedding_fp16.bin", Bytes: 32768, SHA256: hexOf("f"), Rows: 256}
	if len(functions) == 1 {
		r.Recipe.Functions = functions
		only := func(fns []manifest.Function) []manifest.Function {
			i := slices.IndexFunc(fns, func(f manifest.Function) bool { return f.Name == functions[0] })
			f := fns[i]
			f.Name = "main"
			return []manifest.Function{f}
		}
		for i := range r.Shards {
			r.Shards[i].Functions = only(r.Shards[i].Functions)
		}
		for i := range r.LMHead {
			r.LMHead[i].Functions = only(r.LMHead[i].Functions)
		}
	}
	var err error
	r.RecipeSHA256, err = r.Recipe.Digest()
	require.NoError(t, err)
	require.NoError(t, r.Verify())
	return r
}

// choice is what the samples are made with.
var choice = manifest.RuntimeChoice{Family: "nano", EOS: 20, BOS: 19, Stops: []int{20, 19}}

func sampleRuntime(t testing.TB) manifest.Runtime {
	t.Helper()
	r, err := manifest.NewRuntime(wholeRecord(t), choice)
	require.NoError(t, err)
	return r
}

func runtimeDocument(t testing.TB) document {
	t.Helper()
	text, err := manifest.EncodeRuntime(sampleRuntime(t))
	require.NoError(t, err)
	return document{
		text:   text,
		decode: func(b []byte) error { _, err := manifest.DecodeRuntime(b); return err },
		schema: compile(t, manifest.RuntimeJSONSchema()),
	}
}

// TestRuntimeFunctions: a reader learns which function to run, and whether there
// is a block at all.
func TestRuntimeFunctions(t *testing.T) {
	both := sampleRuntime(t)
	assert.Equal(t, []manifest.RuntimeFunction{{Rows: 1, Name: "t1", Default: true}, {Rows: 4, Name: "t4"}}, both.Lockstep.Functions)
	require.NotNil(t, both.SpeculativeVerifier)
	assert.Equal(t, 4, both.SpeculativeVerifier.BatchTokens)
	assert.Equal(t, both.Layers, both.SpeculativeVerifier.Layers)

	single, err := manifest.NewRuntime(wholeRecord(t, "t1"), choice)
	require.NoError(t, err)
	assert.Equal(t, []manifest.RuntimeFunction{{Rows: 1, Name: "main", Default: true}}, single.Lockstep.Functions)
	assert.Nil(t, single.SpeculativeVerifier)
	text, err := manifest.EncodeRuntime(single)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "speculative_verifier")

	block, err := manifest.NewRuntime(wholeRecord(t, "t4"), choice)
	require.NoError(t, err)
	assert.Equal(t, []manifest.RuntimeFunction{{Rows: 4, Name: "main", Default: true}}, block.Lockstep.Functions)
	assert.Equal(t, 4, block.SpeculativeVerifier.BatchTokens)
}

// TestRuntimeFactor: the factor is the reader's to multiply, or in the weights.
func TestRuntimeFactor(t *testing.T) {
	r := wholeRecord(t)
	host, err := manifest.NewRuntime(r, choice)
	require.NoError(t, err)
	assert.Equal(t, manifest.RuntimeRope{Table: manifest.RopeShort, Factors: []float64{1, 1, 1, 1.25, 1.5, 2}, AttentionFactor: 1.19}, host.Lockstep.Rope)
	fold(t, &r)
	folded, err := manifest.NewRuntime(r, choice)
	require.NoError(t, err)
	assert.Equal(t, 1.0, folded.Lockstep.Rope.AttentionFactor)
	assert.True(t, folded.Lockstep.Rope.Folded)
}

// TestRuntimePaths: paths lead from the manifest's directory to the record's.
func TestRuntimePaths(t *testing.T) {
	for root, want := range map[string]string{
		"": "nano_layers0_20_int8.mlmodelc", "out": "out/nano_layers0_20_int8.mlmodelc", "../a b/out": "../a b/out/nano_layers0_20_int8.mlmodelc",
	} {
		c := choice
		c.Root = root
		r, err := manifest.NewRuntime(wholeRecord(t), c)
		require.NoError(t, err)
		assert.Equal(t, want, r.Layers[0].Path)
		assert.True(t, strings.HasSuffix(r.EmbedBin, "nano_embedding_fp16.bin"))
		text, err := manifest.EncodeRuntime(r)
		require.NoError(t, err)
		assert.NoError(t, runtimeDocument(t).validate(t, text))
	}
	c := choice
	c.Root = "/abs"
	_, err := manifest.NewRuntime(wholeRecord(t), c)
	assert.ErrorIs(t, err, manifest.ErrInvalid)
}

// TestIncompleteModels: what is missing or there twice is named.
func TestIncompleteModels(t *testing.T) {
	without := func(start, end int) func(*manifest.Record) {
		return func(r *manifest.Record) {
			r.Shards = slices.DeleteFunc(r.Shards, func(s manifest.Shard) bool { return s.Start == start && s.End == end })
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*manifest.Record)
		words  string
	}{
		{"first layers", without(0, 20), "layers 0:20 are in no package"},
		{"layers between, and more than one package for later ones", without(20, 24), "layers 20:24 are in no package"},
		{"last layers, others twice", without(30, 32), "layers 28:30 are in more than one package"},
		{"last layers", func(r *manifest.Record) { without(30, 32)(r); without(28, 32)(r) }, "layers 30:32 are in no package"},
		{"no layers", func(r *manifest.Record) { r.Shards = nil }, "layers 0:32 are in no package"},
		{"first rows of the head", func(r *manifest.Record) { r.LMHead = r.LMHead[1:] }, "LM head rows 0:100 are in no package"},
		{"last rows of the head", func(r *manifest.Record) { r.LMHead = r.LMHead[:1] }, "LM head rows 100:256 are in no package"},
		{"no head", func(r *manifest.Record) { r.LMHead = nil }, "LM head rows 0:256 are in no package"},
		{"no embedding", func(r *manifest.Record) { r.Embedding = nil }, "embedding"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := wholeRecord(t)
			tt.change(&r)
			require.NoError(t, r.Verify())
			_, err := manifest.NewRuntime(r, choice)
			require.ErrorIs(t, err, manifest.ErrIncomplete)
			assert.ErrorContains(t, err, tt.words)
		})
	}
}

// TestShardsOutsideTheLayout cover the model, too, where the layout's do not.
func TestShardsOutsideTheLayout(t *testing.T) {
	r := wholeRecord(t)
	r.Shards = []manifest.Shard{sampleShard(t, 0, 28, "a.mlpackage", true), sampleShard(t, 28, 32, "b.mlpackage", true)}
	out, err := manifest.NewRuntime(r, choice)
	require.NoError(t, err)
	assert.Equal(t, []manifest.RuntimeLayers{{Start: 0, End: 28, Path: "a.mlmodelc"}, {Start: 28, End: 32, Path: "b.mlmodelc"}}, out.Layers)

	out = sampleRuntime(t)
	assert.Len(t, out.Layers, 4, "28:32 is recorded, too")
	assert.Len(t, out.Lockstep.Packages, 6)
}

// TestCoverage cuts n into ranges, drops one or lets one grow: whole covers
// alone are accepted.
func TestCoverage(t *testing.T) {
	base := wholeRecord(t)
	rapid.Check(t, func(t *rapid.T) {
		cuts := rapid.SliceOfNDistinct(rapid.IntRange(1, 255), 1, 6, rapid.ID).Draw(t, "cuts")
		slices.Sort(cuts)
		r := base
		r.LMHead = nil
		at := 0
		for i, c := range append(cuts, 256) {
			h := base.LMHead[0]
			h.Start, h.End = at, c
			h.Package.Path = "h" + string(rune('a'+i)) + ".mlpackage"
			r.LMHead = append(r.LMHead, h)
			at = c
		}
		out, err := manifest.NewRuntime(r, choice)
		require.NoError(t, err)
		rows := 0
		for i, h := range out.LMHeadShards {
			require.Equal(t, i, h.ShardIdx)
			require.Equal(t, rows, h.VocabStart)
			rows = h.VocabEnd
		}
		require.Equal(t, 256, rows)

		drop := rapid.IntRange(0, len(cuts)).Draw(t, "drop")
		r.LMHead = slices.Delete(slices.Clone(r.LMHead), drop, drop+1)
		_, err = manifest.NewRuntime(r, choice)
		require.ErrorIs(t, err, manifest.ErrIncomplete)
	})
}

func TestRuntimeRoundTrip(t *testing.T) {
	d := runtimeDocument(t)
	require.NoError(t, d.validate(t, d.text))
	back, err := manifest.DecodeRuntime(d.text)
	require.NoError(t, err)
	again, err := manifest.EncodeRuntime(*back)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(d.text, again))
	assert.Equal(t, sampleRuntime(t), *back)
}

func TestBrokenRuntimes(t *testing.T) {
	judge(t, runtimeDocument(t), []broken{
		{"version", set("lockstep.schema", "lockstep.runtime/2"), manifest.ErrSchemaVersion, "$.lockstep.schema", false},
		{"artifacts", set("artifacts_version", 2), manifest.ErrInvalid, "$.artifacts_version", false},
		{"family", set("model_family", ""), manifest.ErrInvalid, "$.model_family", false},
		{"head size", set("d_head", 8), manifest.ErrInvalid, "$.d_head", true},
		{"context", set("max_seq_len", 0), manifest.ErrInvalid, "$.max_seq_len", false},
		{"epsilon", set("rms_norm_eps", 0), manifest.ErrInvalid, "$.rms_norm_eps", false},
		{"bits", set("quant_bits", 4), manifest.ErrInvalid, "$.quant_bits", false},
		{"eos beyond the vocabulary", set("eos_token_id", 256), manifest.ErrInvalid, "$.eos_token_id", true},
		{"bos negative", set("bos_token_id", -1), manifest.ErrInvalid, "$.bos_token_id", false},
		{"eos does not stop", set("eos_token_id", 7), manifest.ErrInvalid, "$.lockstep.stop_token_ids", true},
		{"stops unsorted", swap("lockstep.stop_token_ids"), manifest.ErrInvalid, "$.lockstep.stop_token_ids[1]", true},
		{"absolute path", set("embed_bin", "/x.bin"), manifest.ErrInvalid, "$.embed_bin", false},
		{"layers missing", func(root map[string]any) {
			drop("layers", 1)(root)
			drop("speculative_verifier.layers", 1)(root)
			drop("lockstep.packages", 3)(root)
		}, manifest.ErrIncomplete, "$.layers", true},
		{"layers shorter", set("layers.0.end", 19), manifest.ErrIncomplete, "$.layers", true},
		{"layers shorter in both", func(root map[string]any) {
			set("layers.0.end", 19)(root)
			set("speculative_verifier.layers.0.end", 19)(root)
		}, manifest.ErrIncomplete, "$.layers", true},
		{"verifier of other packages", swap("speculative_verifier.layers"), manifest.ErrInvalid, "$.speculative_verifier.layers", true},
		{"a package without a digest", drop("lockstep.packages", 0), manifest.ErrInvalid, "$.lm_head_shards[0].mlmodelc", true},
		{"a package in no list", func(root map[string]any) {
			list := at(root, "lockstep.packages").([]any)
			set("lockstep.packages", append(list, map[string]any{"path": "z.mlpackage", "digest": hexOf("1")}))(root)
		}, manifest.ErrInvalid, "$.lockstep.packages", true},
		{"one package twice", set("layers.1.path", "nano_layers0_20_int8.mlmodelc"), manifest.ErrInvalid, "$.layers[1].path", true},
		{"index", set("lm_head_shards.1.shard_idx", 0), manifest.ErrInvalid, "$.lm_head_shards[1].shard_idx", true},
		{"verifier missing", func(root map[string]any) { delete(root, "speculative_verifier") }, manifest.ErrInvalid, "$.speculative_verifier", false},
		{"verifier of other rows", set("speculative_verifier.batch_tokens", 8), manifest.ErrInvalid, "$.speculative_verifier.batch_tokens", true},
		{"verifier null", set("speculative_verifier", nil), manifest.ErrType, "$.speculative_verifier", false},
		{"function name", set("lockstep.functions.0.name", "main"), manifest.ErrInvalid, "$.lockstep.functions[0].name", true},
		{"no default", set("lockstep.functions.0.default", false), manifest.ErrInvalid, "$.lockstep.functions[0].default", true},
		{"folded and multiplied", set("lockstep.rope.folded", true), manifest.ErrInvalid, "$.lockstep.rope.attention_factor", true},
		{"factor infinite", set("lockstep.rope.attention_factor", "+Inf"), manifest.ErrType, "$.lockstep.rope.attention_factor", false},
		{"factors", set("lockstep.rope.factors", []any{1}), manifest.ErrInvalid, "$.lockstep.rope.factors", true},
		{"unknown key", set("tokenizer_json", "t.json"), manifest.ErrUnknownField, "$.tokenizer_json", false},
		{"no lockstep", func(root map[string]any) { delete(root, "lockstep") }, manifest.ErrMissingField, "$.lockstep", false},
	})
}

// drop returns an edit that removes element i of a list.
func drop(path string, i int) func(map[string]any) {
	return func(root map[string]any) {
		list := slices.Clone(at(root, path).([]any))
		set(path, slices.Delete(list, i, i+1))(root)
	}
}

func TestEncodeRuntimeRefuses(t *testing.T) {
	r := sampleRuntime(t)
	r.RopeFreqBase = math.Inf(1)
	text, err := manifest.EncodeRuntime(r)
	require.ErrorIs(t, err, manifest.ErrInvalid)
	assert.Nil(t, text)
}

func FuzzDecodeRuntime(f *testing.F) {
	text, err := manifest.EncodeRuntime(sampleRuntime(f))
	if err != nil {
		f.Fatal(err)
	}
	seed(f, text)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := manifest.DecodeRuntime(text)
		if err != nil {
			return
		}
		first, err := manifest.EncodeRuntime(*r)
		if err != nil {
			t.Fatalf("accepted, but has no text: %v", err)
		}
		if again, err := manifest.DecodeRuntime(first); err != nil {
			t.Fatalf("refuses its own text: %v", err)
		} else if second, err := manifest.EncodeRuntime(*again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("two canonical texts (%v):\n%s\n%s", err, first, second)
		}
	})
}
