package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// RuntimeSchema is the version of what this program adds to a runtime manifest.
const RuntimeSchema = "lockstep.runtime/1"

// RuntimeArtifacts is the one artifacts_version that is written and read.
const RuntimeArtifacts = 1

// ErrIncomplete means that a record has no package for some layers or rows of
// the vocabulary, more than one for others, or no embedding.
var ErrIncomplete = errors.New("the packages are not one whole model")

// Runtime is a whole model as a public Swift runtime reads it: everything but
// the key "lockstep" has that runtime's names and meaning. Paths are relative to
// the manifest's file, with slashes.
type Runtime struct {
	ArtifactsVersion int     `json:"artifacts_version"` // RuntimeArtifacts
	ModelFamily      string  `json:"model_family"`
	DModel           int     `json:"d_model"`
	NHeads           int     `json:"n_heads"`
	NKVHeads         int     `json:"n_kv_heads"`
	DHead            int     `json:"d_head"`
	RopeDim          int     `json:"rope_dim"` // leading dimensions of a head that RoPE turns
	DFF              int     `json:"d_ff"`
	VocabSize        int     `json:"vocab_size"`
	NLayers          int     `json:"n_layers"`
	MaxSeqLen        int     `json:"max_seq_len"` // S, the slots of the KV cache
	RMSNormEps       float64 `json:"rms_norm_eps"`
	RopeFreqBase     float64 `json:"rope_freq_base"`
	EOSTokenID       int     `json:"eos_token_id"`
	BOSTokenID       int     `json:"bos_token_id"`
	TieWordEmbedding bool    `json:"tie_word_embeddings"`
	QuantBits        int     `json:"quant_bits"` // of conv weights: 8 or 16
	// EmbedBin is vocab_size x d_model float16, little-endian, row-major.
	EmbedBin string `json:"embed_bin"`
	// Layers cover 0 to n_layers, in order.
	Layers []RuntimeLayers `json:"layers"`
	// LMHeadShards cover 0 to vocab_size, in order.
	LMHeadShards []RuntimeHead `json:"lm_head_shards"`
	// SpeculativeVerifier is there where the packages have a function of more
	// than one row.
	SpeculativeVerifier *RuntimeVerifier `json:"speculative_verifier,omitempty"`
	// Lockstep says what the keys above have no place for.
	Lockstep RuntimeReader `json:"lockstep"`
}

// RuntimeLayers is a compiled package of decoder layers [Start,End).
type RuntimeLayers struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Path  string `json:"path"` // of the .mlmodelc
}

// RuntimeHead is a compiled package of the LM head's rows [VocabStart,VocabEnd).
type RuntimeHead struct {
	ShardIdx   int    `json:"shard_idx"` // from 0 on
	VocabStart int    `json:"vocab_start"`
	VocabEnd   int    `json:"vocab_end"`
	MLModelC   string `json:"mlmodelc"` // path of the .mlmodelc
}

// RuntimeVerifier are the packages that take a block of tokens.
type RuntimeVerifier struct {
	BatchTokens  int             `json:"batch_tokens"` // T of the largest function
	Layers       []RuntimeLayers `json:"layers"`
	LMHeadShards []RuntimeHead   `json:"lm_head_shards"`
}

// RuntimeReader is what a reader must do that the runtime's own keys do not say,
// and what ties the manifest to the record.
type RuntimeReader struct {
	Schema       string `json:"schema"` // RuntimeSchema
	ConfigSHA256 string `json:"config_sha256"`
	RecipeSHA256 string `json:"recipe_sha256"`
	// Functions are the functions of every package, ascending by rows. A reader
	// that sets no function name runs the default one.
	Functions []RuntimeFunction `json:"functions"`
	Rope      RuntimeRope       `json:"rope"`
	// StopTokenIDs end a text, each of them; eos_token_id is among them.
	StopTokenIDs []int `json:"stop_token_ids"`
	// Packages are what the .mlmodelc must be compiled from, by path.
	Packages []RuntimePackage `json:"packages"`
	// EmbedSHA256 is embed_bin's.
	EmbedSHA256 string `json:"embed_sha256"`
}

// RuntimeFunction is how a function of so many rows is called.
type RuntimeFunction struct {
	Rows    int    `json:"rows"` // T: tokens of a pass
	Name    string `json:"name"`
	Default bool   `json:"default"`
}

// RuntimeRope is what a reader builds its RoPE rows from, beside rope_freq_base
// and rope_dim.
type RuntimeRope struct {
	// Table names the factors' list in the config; Factors are its rope_dim/2
	// divisors of the frequencies, none for plain RoPE.
	Table   string    `json:"table"`
	Factors []float64 `json:"factors"`
	// AttentionFactor is what the reader multiplies every cosine and sine by: 1
	// where the weights carry the model's own.
	AttentionFactor float64 `json:"attention_factor"`
	// Folded says that the weights carry it.
	Folded bool `json:"folded"`
}

// RuntimePackage is a package before it is compiled.
type RuntimePackage struct {
	Path   string `json:"path"`
	Digest string `json:"digest"` // PackageDigest
}

// RuntimeChoice is what a runtime manifest needs beyond the record.
type RuntimeChoice struct {
	// Root is the way from the manifest's directory to the record's, with
	// slashes; empty if they are the same.
	Root   string
	Family string // model_family
	EOS    int    // eos_token_id
	BOS    int    // bos_token_id
	// Stops are further tokens that end a text.
	Stops []int
}

// NewRuntime describes a record's whole model to a runtime. Where the record has
// more packages of layers than one model needs, those of its layout are taken.
// Layers or rows of the vocabulary without a package, or with two, and a missing
// embedding are ErrIncomplete with the range; it knows nothing of what is on the
// disk.
func NewRuntime(r Record, c RuntimeChoice) (Runtime, error) {
	if err := r.Verify(); err != nil {
		return Runtime{}, err
	}
	shards, err := wholeModel(r)
	if err != nil {
		return Runtime{}, err
	}
	if r.Embedding == nil {
		return Runtime{}, fmt.Errorf("%w: the embedding is not exported", ErrIncomplete)
	}
	d := r.Model.Dims
	out := Runtime{
		ArtifactsVersion: RuntimeArtifacts, ModelFamily: c.Family,
		DModel: d.Hidden, NHeads: d.Heads, NKVHeads: d.KVHeads, DHead: d.HeadDim, RopeDim: d.RotaryDim, DFF: d.Intermediate,
		VocabSize: d.Vocab, NLayers: d.Layers, MaxSeqLen: r.Recipe.Slots, RMSNormEps: r.Model.RMSNormEps, RopeFreqBase: r.Model.Rope.Theta,
		EOSTokenID: c.EOS, BOSTokenID: c.BOS, TieWordEmbedding: r.Model.Tied, QuantBits: 16,
		EmbedBin: path.Join(c.Root, r.Embedding.Path),
		Lockstep: RuntimeReader{
			Schema: RuntimeSchema, ConfigSHA256: r.Model.ConfigSHA256, RecipeSHA256: r.RecipeSHA256,
			Functions: runtimeFunctions(r.Recipe),
			Rope: RuntimeRope{
				Table: r.Model.Rope.Table, Factors: r.Model.Rope.Factors,
				AttentionFactor: r.Model.Rope.AttentionFactor, Folded: r.Recipe.RopeFactor == RopeFactorFolded,
			},
			StopTokenIDs: stopTokens(c), EmbedSHA256: r.Embedding.SHA256,
		},
	}
	if r.Recipe.Precision == PrecisionInt8 {
		out.QuantBits = 8
	}
	add := func(p Package) string {
		at := path.Join(c.Root, p.Path)
		out.Lockstep.Packages = append(out.Lockstep.Packages, RuntimePackage{Path: at, Digest: p.Digest})
		return compiled(at)
	}
	for _, s := range shards {
		out.Layers = append(out.Layers, RuntimeLayers{s.Start, s.End, add(s.Package)})
	}
	for i, h := range r.LMHead {
		out.LMHeadShards = append(out.LMHeadShards, RuntimeHead{i, h.Start, h.End, add(h.Package)})
	}
	slices.SortFunc(out.Lockstep.Packages, func(a, b RuntimePackage) int { return strings.Compare(a.Path, b.Path) })
	if rows := rowsOf(r.Recipe.Functions[len(r.Recipe.Functions)-1]); rows > 1 {
		out.SpeculativeVerifier = &RuntimeVerifier{BatchTokens: rows, Layers: out.Layers, LMHeadShards: out.LMHeadShards}
	}
	return out, out.Verify()
}

// compiled is what compiling a package is named: X.mlmodelc for X.mlpackage.
func compiled(pkg string) string { return strings.TrimSuffix(pkg, ".mlpackage") + ".mlmodelc" }

// runtimeFunctions are the functions of the packages of a recipe; the first is
// the default.
func runtimeFunctions(r Recipe) []RuntimeFunction {
	out := make([]RuntimeFunction, len(r.Functions))
	for i, name := range r.Functions {
		out[i] = RuntimeFunction{Rows: rowsOf(name), Name: name, Default: i == 0}
	}
	if len(out) == 1 {
		out[0].Name = "main"
	}
	return out
}

// stopTokens are eos_token_id and the further ones, ascending.
func stopTokens(c RuntimeChoice) []int {
	all := append([]int{c.EOS}, c.Stops...)
	slices.Sort(all)
	return slices.Compact(all)
}

// span is a range that a package covers.
type span struct{ start, end int }

// wholeModel are the packages of a record's layers that cover the model once:
// the layout's if all of them are there, else all that are recorded.
func wholeModel(r Record) ([]Shard, error) {
	var ofLayout []Shard
	at := 0
	for _, n := range r.Layout {
		if i := slices.IndexFunc(r.Shards, func(s Shard) bool { return s.Start == at && s.End == at+n }); i >= 0 {
			ofLayout = append(ofLayout, r.Shards[i])
		}
		at += n
	}
	shards := r.Shards
	if len(ofLayout) == len(r.Layout) {
		shards = ofLayout
	}
	layers := uncovered(spansOf(shards, func(s Shard) span { return span{s.Start, s.End} }), r.Model.Dims.Layers)
	if layers != "" {
		return nil, fmt.Errorf("%w: layers %s", ErrIncomplete, layers)
	}
	rows := uncovered(spansOf(r.LMHead, func(h LMHeadShard) span { return span{h.Start, h.End} }), r.Model.Dims.Vocab)
	if rows != "" {
		return nil, fmt.Errorf("%w: LM head rows %s", ErrIncomplete, rows)
	}
	return shards, nil
}

func spansOf[E any](list []E, of func(E) span) []span {
	out := make([]span, len(list))
	for i, e := range list {
		out[i] = of(e)
	}
	return out
}

// uncovered says which first range below n no span, or more than one, has; empty
// if each number has one. Spans are sorted by their starts.
func uncovered(spans []span, n int) string {
	at := 0
	for _, s := range append(slices.Clip(spans), span{n, n}) {
		switch {
		case s.start > at:
			return fmt.Sprintf("%d:%d are in no package", at, s.start)
		case s.start < at:
			return fmt.Sprintf("%d:%d are in more than one package", s.start, min(at, s.end))
		}
		at = s.end
	}
	return ""
}

// EncodeRuntime returns the manifest's canonical JSON; one that does not agree
// with itself is an error of Verify.
func EncodeRuntime(r Runtime) ([]byte, error) {
	if err := r.Verify(); err != nil {
		return nil, err
	}
	return encode(r)
}

// DecodeRuntime reads a manifest that EncodeRuntime wrote, as strictly as
// DecodeRecord reads a record.
func DecodeRuntime(text []byte) (*Runtime, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("$: %w: invalid UTF-8", ErrSyntax)
	}
	var version struct {
		Lockstep struct {
			Schema string `json:"schema"`
		} `json:"lockstep"`
	}
	if json.Unmarshal(text, &version) == nil && version.Lockstep.Schema != "" && version.Lockstep.Schema != RuntimeSchema {
		return nil, otherRuntime(version.Lockstep.Schema)
	}
	var r Runtime
	if err := decodeStrictly(text, &r); err != nil {
		return nil, err
	}
	if err := r.Verify(); err != nil {
		return nil, err
	}
	return &r, nil
}

func otherRuntime(found string) error {
	return fmt.Errorf("$.lockstep.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, RuntimeSchema, found)
}
