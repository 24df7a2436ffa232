package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lockstep/internal/strictjson"
)

// Bounds on the config's counts, far above any model of this family: a typo
// or a hostile file is refused before anything is sized by it.
const (
	maxLayers    = 1 << 12
	maxHeads     = 1 << 16
	maxWidth     = 1 << 24 // hidden, intermediate, vocabulary
	maxPositions = 1 << 40
)

// ParseConfig reads a config.json; file names it in errors. Keys that do not
// change the model's meaning are ignored; a key that describes another model
// (a bias, another activation, another RoPE type) is a [ConfigError].
func ParseConfig(file string, text []byte) (Config, error) {
	top, err := strictjson.Object(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w: %w", file, ErrConfig, err)
	}
	return readValues(&configReader{file: file}, top)
}

// readValues reads a config's decoded values.
func readValues(r *configReader, top map[string]any) (Config, error) {
	s := section{r: r, values: top}
	s.refuseOtherModels()
	c := Config{
		HiddenSize:           s.count("hidden_size", maxWidth),
		IntermediateSize:     s.count("intermediate_size", maxWidth),
		Layers:               s.count("num_hidden_layers", maxLayers),
		Heads:                s.count("num_attention_heads", maxHeads),
		KVHeads:              s.count("num_key_value_heads", maxHeads),
		VocabSize:            s.count("vocab_size", maxWidth),
		MaxPositions:         s.count("max_position_embeddings", maxPositions),
		OriginalMaxPositions: s.optionalCount("original_max_position_embeddings", maxPositions),
		SlidingWindow:        s.optionalCount("sliding_window", maxPositions),
		RMSNormEps:           s.positive("rms_norm_eps"),
		TieWordEmbeddings:    s.flag("tie_word_embeddings"),
	}
	s.heads(c)
	s.rope(&c)
	if r.err != nil {
		return Config{}, r.err
	}
	return c, nil
}

// configReader keeps the first error; after it every read gives a zero.
type configReader struct {
	file string
	keys spelling
	err  error
}

// spelling is how another container than config.json writes its keys, for
// messages. A key that is not in it is written as in config.json.
type spelling map[string]string

// of spells a key, which may have an index: "rope_scaling.short_factor[3]".
func (s spelling) of(key string) string {
	name, index, indexed := strings.Cut(key, "[")
	if other, ok := s[name]; ok {
		name = other
	}
	if indexed {
		name += "[" + index
	}
	return name
}

// section is one object of the config.
type section struct {
	r      *configReader
	prefix string // "" or "rope_scaling."
	values map[string]any
}

func (s section) fail(key, want, found string) {
	if s.r.err == nil {
		s.r.err = &ConfigError{File: s.r.file, Key: s.r.keys.of(s.prefix + key), Want: want, Found: found}
	}
}

// has tells whether key has a value; null is none, as in the model's own code.
func (s section) has(key string) bool { return s.values[key] != nil }

func (s section) found(key string) string {
	v, ok := s.values[key]
	if !ok {
		return "no such key"
	}
	return strictjson.Describe(v)
}

// count reads a required integer in [1, limit].
func (s section) count(key string, limit int64) int {
	n, ok := integer(s.values[key])
	if !ok || n < 1 || n > limit {
		s.fail(key, fmt.Sprintf("an integer in [1, %d]", limit), s.found(key))
		return 0
	}
	return int(n)
}

func (s section) optionalCount(key string, limit int64) int {
	if !s.has(key) {
		return 0
	}
	return s.count(key, limit)
}

// positive reads a required finite number above zero.
func (s section) positive(key string) float64 {
	v, ok := number(s.values[key])
	if !ok || v <= 0 {
		s.fail(key, "a finite number above 0", s.found(key))
		return 0
	}
	return v
}

func (s section) optionalPositive(key string) float64 {
	if !s.has(key) {
		return 0
	}
	return s.positive(key)
}

func (s section) flag(key string) bool {
	v, ok := s.values[key].(bool)
	if !ok {
		s.fail(key, "true or false", s.found(key))
	}
	return v
}

// refuseOtherModels refuses keys that change the computation.
func (s section) refuseOtherModels() {
	for _, k := range []struct{ key, value string }{{"model_type", "phi3"}, {"hidden_act", "silu"}} {
		if s.has(k.key) && s.values[k.key] != k.value {
			s.fail(k.key, strconv.Quote(k.value), s.found(k.key))
		}
	}
	for _, key := range []string{"attention_bias", "mlp_bias", "lm_head_bias"} {
		if s.has(key) && s.values[key] != false {
			s.fail(key, "false: biases are not supported", s.found(key))
		}
	}
	if s.has("quantization_config") {
		s.fail("quantization_config", "no such key: quantized checkpoints are not supported", s.found("quantization_config"))
	}
}

// heads checks how the head counts divide.
func (s section) heads(c Config) {
	if s.r.err != nil {
		return
	}
	if c.HiddenSize%c.Heads != 0 {
		s.fail("num_attention_heads", fmt.Sprintf("a divisor of %s %d", s.r.keys.of("hidden_size"), c.HiddenSize), fmt.Sprint(c.Heads))
	}
	if c.Heads%c.KVHeads != 0 {
		s.fail("num_key_value_heads", fmt.Sprintf("a divisor of %s %d", s.r.keys.of("num_attention_heads"), c.Heads), fmt.Sprint(c.KVHeads))
	}
	if n, ok := integer(s.values["head_dim"]); s.has("head_dim") && (!ok || n != int64(c.HiddenSize/c.Heads)) {
		s.fail("head_dim", fmt.Sprintf("hidden_size / num_attention_heads = %d", c.HiddenSize/c.Heads), s.found("head_dim"))
	}
}

// integer accepts a JSON number with an integral value, however it is spelled.
func integer(value any) (int64, bool) {
	text, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return n, true
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || v != math.Trunc(v) || math.Abs(v) >= 1<<53 {
		return 0, false
	}
	return int64(v), true
}

// number accepts a JSON number that float64 can hold.
func number(value any) (float64, bool) {
	text, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(text), 64)
	return v, err == nil
}

// ropeKeys are the keys that a RoPE section of each type may have. Any other
// key belongs to a scaling that this package does not know.
var ropeKeys = map[string][]string{
	RopeDefault: {"type", "rope_type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"},
	RopeLongRope: {
		"type", "rope_type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings",
		"short_factor", "long_factor", "attention_factor", "factor",
	},
}

// rope reads the rotary embedding: keys at the top level, in rope_scaling (the
// older dialect) or in rope_parameters (the newer one).
func (s section) rope(c *Config) {
	sub := s.ropeSection()
	if s.r.err != nil {
		return
	}
	c.Rope.Type = sub.ropeType()
	for _, key := range sortedKeys(sub.values) {
		if sub.has(key) && !slices.Contains(ropeKeys[c.Rope.Type], key) {
			sub.fail(key, fmt.Sprintf("no such key in RoPE of type %q", c.Rope.Type), sub.found(key))
		}
	}
	s.agree(sub, "rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
	c.RopeTheta = s.holder(sub, "rope_theta").positive("rope_theta")
	c.PartialRotaryFactor = 1
	if h := s.holder(sub, "partial_rotary_factor"); h.has("partial_rotary_factor") {
		c.PartialRotaryFactor = h.positive("partial_rotary_factor")
	}
	if s.r.err != nil {
		return
	}
	s.rotaryDim(sub, *c)
	if c.Rope.Type == RopeLongRope {
		s.longRope(sub, c)
	} else if h := s.holder(sub, "original_max_position_embeddings"); c.OriginalMaxPositions == 0 {
		c.OriginalMaxPositions = h.optionalCount("original_max_position_embeddings", maxPositions)
	}
}

func (s section) rotaryDim(sub section, c Config) {
	h := s.holder(sub, "partial_rotary_factor")
	switch dim := c.RotaryDim(); {
	case c.PartialRotaryFactor > 1:
		h.fail("partial_rotary_factor", "a number in (0, 1]", h.found("partial_rotary_factor"))
	case dim < 2 || dim%2 != 0:
		h.fail("partial_rotary_factor", fmt.Sprintf("an even number of at least 2 rotary dimensions of head_dim %d", c.HeadDim()), fmt.Sprint(dim))
	}
}

// longRope reads what LongRoPE needs beyond plain RoPE.
func (s section) longRope(sub section, c *Config) {
	const original = "original_max_position_embeddings"
	h := s.holder(sub, original)
	c.OriginalMaxPositions = h.count(original, maxPositions)
	if s.r.err == nil && c.OriginalMaxPositions < 2 {
		h.fail(original, "at least 2", h.found(original)) // ln(1) is 0 and divides
	}
	c.Rope.ShortFactor = sub.factors("short_factor", c.RotaryDim()/2)
	c.Rope.LongFactor = sub.factors("long_factor", c.RotaryDim()/2)
	c.Rope.AttentionFactor = sub.optionalPositive("attention_factor")
	c.Rope.Factor = sub.optionalPositive("factor")
}

// ropeSection finds the one object that describes the rotary embedding; an
// absent or null one is plain RoPE.
func (s section) ropeSection() section {
	sub := section{r: s.r, prefix: "rope_scaling."}
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		if !s.has(key) {
			continue
		}
		values, ok := s.values[key].(map[string]any)
		if !ok {
			s.fail(key, "an object or null", s.found(key))
		}
		if sub.values != nil {
			s.fail(key, "rope_scaling or rope_parameters", "both")
		}
		sub = section{r: s.r, prefix: key + ".", values: values}
	}
	return sub
}

func (s section) ropeType() string {
	kind := RopeDefault
	for i, key := range []string{"type", "rope_type"} {
		if !s.has(key) {
			continue
		}
		text, _ := s.values[key].(string)
		if _, known := ropeKeys[text]; !known {
			s.fail(key, fmt.Sprintf("%q or %q", RopeDefault, RopeLongRope), s.found(key))
			return ""
		}
		if i == 1 && s.has("type") && text != kind {
			s.fail(key, fmt.Sprintf("the same as type, %q", kind), s.found(key))
		}
		kind = text
	}
	return kind
}

// agree refuses a key that stands at the top level and in the RoPE section
// with different values: readers disagree about which one counts.
func (s section) agree(sub section, keys ...string) {
	for _, key := range keys {
		if !s.has(key) || !sub.has(key) {
			continue
		}
		a, aok := number(s.values[key])
		b, bok := number(sub.values[key])
		if !aok || !bok || a != b {
			sub.fail(key, fmt.Sprintf("the same as the top level's, %s", s.found(key)), sub.found(key))
		}
	}
}

// holder is the section that has key: the RoPE section if it does, else s.
func (s section) holder(sub section, key string) section {
	if sub.has(key) {
		return sub
	}
	return s
}

// factors reads a list of exactly n finite numbers above zero.
func (s section) factors(key string, n int) []float64 {
	list, ok := s.values[key].([]any)
	if !ok || len(list) != n {
		s.fail(key, fmt.Sprintf("an array of %d numbers, one per pair of rotary dimensions", n), s.found(key))
		return nil
	}
	out := make([]float64, n)
	for i, value := range list {
		v, ok := number(value)
		if !ok || v <= 0 {
			s.fail(fmt.Sprintf("%s[%d]", key, i), "a finite number above 0", strictjson.Describe(value))
			return nil
		}
		out[i] = v
	}
	return out
}

func sortedKeys(values map[string]any) []string {
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
