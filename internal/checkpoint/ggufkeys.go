package checkpoint

// ggufPrefix is what the keys of the architecture begin with.
const ggufPrefix = "phi3."

// Keys of a GGUF file that are read for themselves.
const (
	ggufArchitecture = "general.architecture"
	ggufContent      = "general.type"
	ggufSplits       = "split.count"
	ggufSplit        = "split.no"
	ggufTokens       = "tokenizer.ggml.tokens"
	ggufVocab        = ggufPrefix + "vocab_size"
	ggufHidden       = ggufPrefix + "embedding_length"
	ggufHeads        = ggufPrefix + "attention.head_count"
	ggufKeyLength    = ggufPrefix + "attention.key_length"
	ggufValueLength  = ggufPrefix + "attention.value_length"
	ggufWindow       = ggufPrefix + "attention.sliding_window"
	ggufRotary       = ggufPrefix + "rope.dimension_count"
	ggufScaling      = ggufPrefix + "rope.scaling.type"
	ggufAttnFactor   = ggufPrefix + "rope.scaling.attn_factor"
)

// The keys of config.json's RoPE section that a GGUF file has.
const (
	ropeSection     = "rope_scaling"
	ropeAttnFactor  = "attention_factor"
	ropeShortFactor = "short_factor"
	ropeLongFactor  = "long_factor"
)

// ggufInts and ggufFloats are the keys that mean what one key of config.json
// does.
var (
	ggufInts = map[string]string{
		ggufHidden:                                          "hidden_size",
		ggufPrefix + "feed_forward_length":                  "intermediate_size",
		ggufPrefix + "block_count":                          "num_hidden_layers",
		ggufHeads:                                           "num_attention_heads",
		ggufPrefix + "attention.head_count_kv":              "num_key_value_heads",
		ggufPrefix + "context_length":                       "max_position_embeddings",
		ggufPrefix + "rope.scaling.original_context_length": "original_max_position_embeddings",
		ggufWindow:                                          "sliding_window",
	}
	ggufFloats = map[string]string{
		ggufPrefix + "attention.layer_norm_rms_epsilon": "rms_norm_eps",
		ggufPrefix + "rope.freq_base":                   "rope_theta",
	}
	ggufOthers = []string{ggufVocab, ggufKeyLength, ggufValueLength, ggufRotary, ggufScaling, ggufAttnFactor}
)

// ggufSpelling is config.json's keys as a GGUF file writes them.
func ggufSpelling() spelling {
	s := spelling{
		"partial_rotary_factor":             ggufRotary,
		"vocab_size":                        ggufNames[Embedding],
		ropeSection + ".type":               ggufScaling,
		ropeSection + "." + ropeAttnFactor:  ggufAttnFactor,
		ropeSection + "." + ropeShortFactor: ggufShortFactors,
		ropeSection + "." + ropeLongFactor:  ggufLongFactors,
	}
	for _, table := range []map[string]string{ggufInts, ggufFloats} {
		for key, config := range table {
			s[config] = key
		}
	}
	return s
}
