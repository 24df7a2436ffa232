package manifest

// RecordSchema is the schema version that this package writes and reads.
const RecordSchema = "lockstep.record/1"

// RecordFile is the record's file name inside an output directory.
const RecordFile = "lockstep.json"

// Record is the content of lockstep.json: one checkpoint, one recipe, and the
// packages made of them in one output directory. It holds no time, host or
// absolute path, so the same exports give the same bytes on every machine.
type Record struct {
	Schema string `json:"schema"` // RecordSchema
	Model  Model  `json:"model"`
	// Anchors tie the checkpoint to commits elsewhere, as the user gave them;
	// sorted by tag.
	Anchors []Anchor `json:"anchors"`
	// Layout is the number of layers of each shard, in layer order; it sums to
	// the model's layers.
	Layout []int  `json:"layout"`
	Recipe Recipe `json:"recipe"`
	// RecipeSHA256 is Recipe.Digest().
	RecipeSHA256 string `json:"recipe_sha256"`
	// Shards are sorted by start, then end; a range stands once.
	Shards []Shard `json:"shards"`
	// LMHead are the vocabulary shards of the LM head, sorted by start.
	LMHead []LMHeadShard `json:"lm_head"`
	// Embedding is the host's embedding file, nil while there is none.
	Embedding *Embedding `json:"embedding"`
}

// Model identifies the checkpoint by digests and states the numbers of its
// config that the packages depend on.
type Model struct {
	// Name starts the packages' names: letters, digits and underscores.
	Name string `json:"name"`
	// ConfigSHA256 is the digest of config.json's bytes; for a GGUF file, of
	// the config.json that its keys stand for.
	ConfigSHA256 string  `json:"config_sha256"`
	Dims         Dims    `json:"dims"`
	RMSNormEps   float64 `json:"rms_norm_eps"`
	Rope         Rope    `json:"rope"`
	// Tied says that the LM head uses the embedding's weights.
	Tied bool `json:"tied"`
	// Tensors are the checkpoint's tensors, or rows of them, that the shards used,
	// sorted by name.
	Tensors []TensorDigest `json:"tensors"`
}

// Dims are the model's dimensions. HeadDim is Hidden/Heads; RotaryDim is how
// many leading dimensions of a head RoPE turns.
type Dims struct {
	Layers       int `json:"layers"`
	Hidden       int `json:"hidden"`
	Intermediate int `json:"intermediate"`
	Heads        int `json:"heads"`
	KVHeads      int `json:"kv_heads"`
	HeadDim      int `json:"head_dim"`
	RotaryDim    int `json:"rotary_dim"`
	Vocab        int `json:"vocab"`
}

// The factor tables of Rope.Table.
const (
	RopeNone  = "none"  // plain RoPE, no factors
	RopeShort = "short" // longrope's short factors
	RopeLong  = "long"  // longrope's long factors
)

// Rope is what the host computes RoPE rows from.
type Rope struct {
	Theta float64 `json:"theta"`
	Dim   int     `json:"dim"` // Dims.RotaryDim
	// Table names the factors' list in the config; Factors are its Dim/2
	// values, none for RopeNone.
	Table   string    `json:"table"`
	Factors []float64 `json:"factors"`
	// AttentionFactor is what the host multiplies cos and sin by: the model's
	// factor, 1 for plain RoPE, and 1 where the recipe has it in the weights
	// (Recipe.RopeFactor).
	AttentionFactor float64 `json:"attention_factor"`
	// OriginalMax is the original maximum of positions, 0 if the config has
	// none (plain RoPE); Max is max_position_embeddings.
	OriginalMax int `json:"original_max"`
	Max         int `json:"max"`
}

// TensorDigest is one checkpoint tensor by name and the SHA-256 of its raw
// bytes in the checkpoint's own format. Rows of a tensor have a digest of their
// own, under NAME[START:END]: an LM head shard reads no others.
type TensorDigest struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Anchor ties the checkpoint to a tag and a commit (7 to 40 hex digits).
type Anchor struct {
	Tag    string `json:"tag"`
	Commit string `json:"commit"`
}

// The values of Recipe.Precision.
const (
	PrecisionInt8 = "int8"
	PrecisionFP16 = "fp16"
)

// The values of Recipe.Norm.
const (
	NormLayerNormConcat = "layernorm_concat"
	NormClamped         = "clamped"
	NormPrescaled       = "prescaled"
)

// RopeFactorFolded is the one value of Recipe.RopeFactor.
const RopeFactorFolded = "folded"

// Recipe is everything but the checkpoint and the layers that decides a
// package's bytes.
type Recipe struct {
	Slots int `json:"slots"` // S, the KV cache's slots
	// Functions are "t<T>", T the rows of a pass, ascending.
	Functions []string `json:"functions"`
	Precision string   `json:"precision"`
	Norm      string   `json:"norm"`
	// RopeFactor says where RoPE's attention factor is: absent, in the host's
	// RoPE rows; RopeFactorFolded, in the turned rows of the q and k weights.
	RopeFactor string `json:"rope_factor,omitempty"`
	// Writer is the version of the exporter's output.
	Writer string `json:"writer"`
}

// Shard is one exported package of decoder layers [Start,End).
type Shard struct {
	Start int `json:"start"`
	End   int `json:"end"`
	// OffLadder says that the ladder did not guard this export.
	OffLadder bool `json:"off_ladder"`
	// AcceptedPartial names the checks that were accepted as not measured in
	// the smaller shards' verdicts; sorted.
	AcceptedPartial []string   `json:"accepted_partial"`
	Package         Package    `json:"package"`
	Functions       []Function `json:"functions"`
	// Notes count what rounding did: weights_underflowed, int8_scales_raised
	// and the like; names in lower_snake.
	Notes map[string]int64 `json:"notes"`
}

// LMHeadShard is one exported package of the LM head for the vocabulary rows
// [Start,End).
type LMHeadShard struct {
	Start     int              `json:"start"`
	End       int              `json:"end"`
	Package   Package          `json:"package"`
	Functions []Function       `json:"functions"`
	Notes     map[string]int64 `json:"notes"`
}

// Embedding is the host's embedding file: Rows rows of float16.
type Embedding struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Rows   int    `json:"rows"` // Dims.Vocab
}

// Package is a package directory by its files.
type Package struct {
	// Path is relative to the record, with slashes.
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // the files' sum
	// Digest is PackageDigest of Files.
	Digest string `json:"digest"`
	// Files are sorted by path.
	Files []File `json:"files"`
}

// File is one file of a package; Path is relative to the package.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Function is one function of a package. With a single function in the recipe
// its name is "main", else "t<T>".
type Function struct {
	Name    string    `json:"name"`
	T       int       `json:"t"`
	Inputs  []Feature `json:"inputs"`
	Outputs []Feature `json:"outputs"`
	States  []Feature `json:"states"`
	// OpCounts counts the program's operations by type.
	OpCounts map[string]int `json:"op_counts"`
}

// Feature is a named float16 tensor in declared order.
type Feature struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}
