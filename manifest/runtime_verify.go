package manifest

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Verify checks that the manifest agrees with itself: the ranges cover the model
// once, the verifier has the same packages, each .mlmodelc is that of a package
// with a digest, the functions are ascending and one of them is the default. The
// error is ErrInvalid or ErrIncomplete with the JSON path, or ErrSchemaVersion.
func (r Runtime) Verify() error {
	if r.Lockstep.Schema != RuntimeSchema {
		return otherRuntime(r.Lockstep.Schema)
	}
	v := &verifier{}
	v.check(r.ArtifactsVersion == RuntimeArtifacts, "$.artifacts_version", "wanted %d, found %d", RuntimeArtifacts, r.ArtifactsVersion)
	v.line("$.model_family", r.ModelFamily)
	v.runtimeDims(r)
	v.tokens(r)
	v.relative("$.embed_bin", r.EmbedBin)
	v.digest("$.lockstep.config_sha256", r.Lockstep.ConfigSHA256)
	v.digest("$.lockstep.recipe_sha256", r.Lockstep.RecipeSHA256)
	v.digest("$.lockstep.embed_sha256", r.Lockstep.EmbedSHA256)
	v.runtimeFunctions(r)
	v.runtimeRope(r)
	v.runtimePackages(r)
	v.covers("$.layers", spansOf(r.Layers, func(l RuntimeLayers) span { return span{l.Start, l.End} }), r.NLayers)
	v.covers("$.lm_head_shards", spansOf(r.LMHeadShards, func(h RuntimeHead) span { return span{h.VocabStart, h.VocabEnd} }), r.VocabSize)
	v.runtimeVerifier(r)
	return v.err
}

// covers records an ErrIncomplete unless the spans cover 0 to n once.
func (v *verifier) covers(at string, spans []span, n int) {
	if v.err != nil {
		return
	}
	if what := uncovered(spans, n); what != "" {
		v.err = fmt.Errorf("%s: %w: %s", at, ErrIncomplete, what)
	}
}

func (v *verifier) runtimeDims(r Runtime) {
	for _, d := range []struct {
		key   string
		value int
	}{
		{"d_model", r.DModel},
		{"n_heads", r.NHeads},
		{"n_kv_heads", r.NKVHeads},
		{"d_head", r.DHead},
		{"rope_dim", r.RopeDim},
		{"d_ff", r.DFF},
		{"vocab_size", r.VocabSize},
		{"n_layers", r.NLayers},
		{"max_seq_len", r.MaxSeqLen},
	} {
		v.positive("$."+d.key, d.value)
	}
	if v.err != nil {
		return
	}
	v.check(r.DModel%r.NHeads == 0 && r.DModel/r.NHeads == r.DHead, "$.d_head", "wanted d_model/n_heads = %d/%d, found %d", r.DModel, r.NHeads, r.DHead)
	v.check(r.NHeads%r.NKVHeads == 0, "$.n_kv_heads", "%d does not divide %d heads", r.NKVHeads, r.NHeads)
	v.check(r.RopeDim%2 == 0 && r.RopeDim <= r.DHead, "$.rope_dim", "wanted an even number up to %d, found %d", r.DHead, r.RopeDim)
	v.positiveFloat("$.rms_norm_eps", r.RMSNormEps)
	v.positiveFloat("$.rope_freq_base", r.RopeFreqBase)
	v.check(r.QuantBits == 8 || r.QuantBits == 16, "$.quant_bits", "wanted 8 or 16, found %d", r.QuantBits)
}

// tokens wants ids of the vocabulary.
func (v *verifier) tokens(r Runtime) {
	id := func(at string, n int) {
		v.check(0 <= n && n < r.VocabSize, at, "wanted an id from 0 to %d, found %d", r.VocabSize-1, n)
	}
	id("$.eos_token_id", r.EOSTokenID)
	id("$.bos_token_id", r.BOSTokenID)
	for i, n := range r.Lockstep.StopTokenIDs {
		at := fmt.Sprintf("$.lockstep.stop_token_ids[%d]", i)
		id(at, n)
		v.check(i == 0 || r.Lockstep.StopTokenIDs[i-1] < n, at, "%d stands twice or is not sorted", n)
	}
	v.check(slices.Contains(r.Lockstep.StopTokenIDs, r.EOSTokenID), "$.lockstep.stop_token_ids", "eos_token_id %d is not among them", r.EOSTokenID)
}

func (v *verifier) runtimeFunctions(r Runtime) {
	fns := r.Lockstep.Functions
	v.check(len(fns) > 0, "$.lockstep.functions", "has no function")
	for i, f := range fns {
		at := fmt.Sprintf("$.lockstep.functions[%d]", i)
		name := fmt.Sprintf("t%d", f.Rows)
		if len(fns) == 1 {
			name = "main"
		}
		v.check(f.Rows > 0 && f.Rows <= r.MaxSeqLen, at+".rows", "wanted 1 to max_seq_len %d, found %d", r.MaxSeqLen, f.Rows)
		v.check(i == 0 || fns[i-1].Rows < f.Rows, at+".rows", "%d stands twice or is not sorted", f.Rows)
		v.check(f.Name == name, at+".name", "wanted %q, found %.80q", name, f.Name)
		v.check(f.Default == (i == 0), at+".default", "wanted the first function, and no other, to be the default")
	}
}

// runtimeVerifier wants the verifier to be the same packages, which have its
// function.
func (v *verifier) runtimeVerifier(r Runtime) {
	if v.err != nil {
		return
	}
	rows, verifier := r.Lockstep.Functions[len(r.Lockstep.Functions)-1].Rows, r.SpeculativeVerifier
	v.check((verifier != nil) == (rows > 1), "$.speculative_verifier", "wanted exactly where a function has more than one row; the largest has %d", rows)
	if verifier == nil || v.err != nil {
		return
	}
	v.check(verifier.BatchTokens == rows, "$.speculative_verifier.batch_tokens", "wanted the largest function's rows %d, found %d", rows, verifier.BatchTokens)
	v.check(reflect.DeepEqual(verifier.Layers, r.Layers), "$.speculative_verifier.layers", "differ from $.layers")
	v.check(reflect.DeepEqual(verifier.LMHeadShards, r.LMHeadShards), "$.speculative_verifier.lm_head_shards", "differ from $.lm_head_shards")
}

func (v *verifier) runtimeRope(r Runtime) {
	rope, factors := r.Lockstep.Rope, r.RopeDim/2
	v.oneOf("$.lockstep.rope.table", rope.Table, RopeNone, RopeShort, RopeLong)
	if rope.Table == RopeNone {
		factors = 0
	}
	v.check(len(rope.Factors) == factors, "$.lockstep.rope.factors", "wanted %d factors, found %d", factors, len(rope.Factors))
	for i, f := range rope.Factors {
		v.positiveFloat(fmt.Sprintf("$.lockstep.rope.factors[%d]", i), f)
	}
	v.positiveFloat("$.lockstep.rope.attention_factor", rope.AttentionFactor)
	v.check(!rope.Folded || rope.AttentionFactor == 1, "$.lockstep.rope.attention_factor", "wanted 1, since the weights carry it, found %v", rope.AttentionFactor)
}

// runtimePackages checks that what the lists name is compiled from the packages,
// each from another one.
func (v *verifier) runtimePackages(r Runtime) {
	pkgs := r.Lockstep.Packages
	left := map[string]bool{}
	for i, p := range pkgs {
		at := fmt.Sprintf("$.lockstep.packages[%d]", i)
		v.relative(at+".path", p.Path)
		v.check(strings.HasSuffix(p.Path, ".mlpackage"), at+".path", "wanted a name that ends in .mlpackage, found %.80q", p.Path)
		v.digest(at+".digest", p.Digest)
		left[compiled(p.Path)] = true
	}
	v.ascending("$.lockstep.packages", keysOf(pkgs, func(p RuntimePackage) string { return p.Path }))
	take := func(at, name string) {
		v.check(left[name], at, "%.80q is compiled from none of lockstep.packages, or named twice", name)
		delete(left, name)
	}
	for i, l := range r.Layers {
		at := fmt.Sprintf("$.layers[%d]", i)
		v.span(at, l.Start, l.End, r.NLayers, "layers")
		take(at+".path", l.Path)
	}
	for i, h := range r.LMHeadShards {
		at := fmt.Sprintf("$.lm_head_shards[%d]", i)
		v.check(h.ShardIdx == i, at+".shard_idx", "wanted %d, found %d", i, h.ShardIdx)
		v.span(at, h.VocabStart, h.VocabEnd, r.VocabSize, "vocabulary rows")
		take(at+".mlmodelc", h.MLModelC)
	}
	for _, name := range sortedKeys(left) {
		v.check(false, "$.lockstep.packages", "the package of %.80q is in no list", name)
	}
}

// relative wants a clean relative path with slashes, which may lead up.
func (v *verifier) relative(at, p string) {
	v.check(isLine(p) && !path.IsAbs(p) && path.Clean(p) == p && p != "." && !strings.Contains(p, `\`), at,
		"wanted a relative path with slashes, found %.80q", p)
}
