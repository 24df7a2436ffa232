package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math"
	"os"

	"lockstep/internal/elementary"
)

// ConfigFile is the config's name within a checkpoint directory.
const ConfigFile = "config.json"

// The RoPE types that a config may name.
const (
	RopeDefault  = "default"
	RopeLongRope = "longrope"
)

// Config is the part of config.json, or of a GGUF file's keys, that gives the
// model its meaning. A Config that this package returned is consistent: heads divide the hidden size, the
// factor lists fit the rotary dimensions, every number is finite and in range.
type Config struct {
	HiddenSize           int // hidden_size
	IntermediateSize     int // intermediate_size
	Layers               int // num_hidden_layers
	Heads                int // num_attention_heads
	KVHeads              int // num_key_value_heads
	VocabSize            int // vocab_size
	MaxPositions         int // max_position_embeddings
	OriginalMaxPositions int // original_max_position_embeddings; 0 if absent
	SlidingWindow        int // sliding_window in tokens; 0: none

	RMSNormEps          float64 // rms_norm_eps
	RopeTheta           float64 // rope_theta
	PartialRotaryFactor float64 // partial_rotary_factor; 1 if absent
	TieWordEmbeddings   bool    // tie_word_embeddings

	Rope Rope // rope_scaling or rope_parameters
}

// Rope is the scaling of the rotary embedding.
type Rope struct {
	Type            string    // RopeDefault or RopeLongRope
	ShortFactor     []float64 // RotaryDim()/2 divisors, for sequences up to OriginalMaxPositions; nil for RopeDefault
	LongFactor      []float64 // RotaryDim()/2 divisors, for longer sequences; nil for RopeDefault
	AttentionFactor float64   // attention_factor; 0: derived
	Factor          float64   // factor; 0: MaxPositions/OriginalMaxPositions
}

// HeadDim is the number of dimensions of one attention head.
func (c Config) HeadDim() int { return c.HiddenSize / c.Heads }

// RotaryDim is the number of leading dimensions of a head that RoPE turns, an
// even number. As in the model's own definition, a fraction is cut off.
func (c Config) RotaryDim() int { return int(float64(c.HeadDim()) * c.PartialRotaryFactor) }

// QKVRows is the number of rows of the fused projection: all queries, then the
// keys, then the values.
func (c Config) QKVRows() int { return (c.Heads + 2*c.KVHeads) * c.HeadDim() }

// AttentionFactor is the factor m on RoPE's cosines and sines: what the config
// states, else LongRoPE's sqrt(1 + ln(s)/ln(original maximum)) where s is the
// config's factor or the ratio of the two maxima, and 1 if s does not exceed 1
// (Ding et al. 2024, as transformers computes it). It is 1 for plain RoPE. The
// result has the same bits on every machine.
func (c Config) AttentionFactor() float64 {
	switch {
	case c.Rope.Type != RopeLongRope:
		return 1
	case c.Rope.AttentionFactor != 0:
		return c.Rope.AttentionFactor
	}
	s := c.Rope.Factor
	if s == 0 {
		s = float64(c.MaxPositions) / float64(c.OriginalMaxPositions)
	}
	if s <= 1 {
		return 1
	}
	return math.Sqrt(1 + elementary.Log(s)/elementary.Log(float64(c.OriginalMaxPositions)))
}

// ReadConfig reads and checks config.json at the root of fsys, and nothing
// else.
func ReadConfig(fsys fs.FS) (Config, error) {
	config, _, err := readConfig(fsys)
	return config, err
}

// ReadConfigPath reads the config of the checkpoint at path, as [OpenPath]
// takes it, and its digest, as [Checkpoint.ConfigDigest]. A directory needs no
// weights; of a GGUF file the header is read.
func ReadConfigPath(path string) (Config, string, error) {
	dir, err := isDir(path)
	if err != nil {
		return Config{}, "", err
	}
	if dir {
		config, digest, err := readConfig(os.DirFS(path))
		if err != nil {
			return Config{}, "", fmt.Errorf("checkpoint %s: %w", path, err)
		}
		return config, digest, nil
	}
	c, err := OpenPath(path)
	if err != nil {
		return Config{}, "", err
	}
	return c.Config(), c.ConfigDigest(), c.Close()
}

// readConfig reads config.json and its digest.
func readConfig(fsys fs.FS) (Config, string, error) {
	text, err := readText(fsys, ConfigFile)
	if err != nil {
		return Config{}, "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	config, err := ParseConfig(ConfigFile, text)
	return config, hexDigest(text), err
}

func hexDigest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
