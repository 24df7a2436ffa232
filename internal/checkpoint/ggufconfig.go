package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"lockstep/internal/gguf"
	"lockstep/internal/strictjson"
)

// ggufReader turns a header into the config.json that it stands for. It keeps
// the first error; after it every read gives a zero.
type ggufReader struct {
	*gguf.File
	source io.ReaderAt
	values map[string]any // as strictjson decodes them
	err    error
}

// readGGUFConfig reads the config that a header holds, through the same checks
// as config.json, and its digest.
func readGGUFConfig(file *gguf.File, source io.ReaderAt, keys spelling) (Config, string, error) {
	r := &ggufReader{File: file, source: source, values: map[string]any{"model_type": "phi3"}}
	r.refuseOtherFiles()
	for _, key := range slices.Sorted(maps.Keys(r.Keys)) {
		r.read(key)
	}
	r.rotary()
	r.ropeFactors()
	r.tensors()
	if r.err != nil {
		return Config{}, "", r.err
	}
	config, err := readValues(&configReader{file: r.Name, keys: keys}, r.values)
	if err != nil {
		return Config{}, "", err
	}
	r.derivedFactor(&config)
	r.agree(ggufKeyLength, int64(config.HeadDim()), "the head's dimensions")
	r.agree(ggufValueLength, int64(config.HeadDim()), "the head's dimensions")
	r.agree(ggufVocab, int64(config.VocabSize), "the rows of "+ggufNames[Embedding])
	r.tokens(config)
	if r.err != nil {
		return Config{}, "", r.err
	}
	text, err := json.Marshal(r.values)
	if err != nil {
		return Config{}, "", fmt.Errorf("%s: %w: %w", r.Name, ErrConfig, err)
	}
	return config, hexDigest(text), nil
}

func (r *ggufReader) fail(key, want, found string) {
	if r.err == nil {
		r.err = &ConfigError{File: r.Name, Key: key, Want: want, Found: found}
	}
}

// found describes a key's value.
func (r *ggufReader) found(key string) string {
	v, ok := r.Keys[key]
	if !ok {
		return "no such key"
	}
	if text, ok := v.Text(); ok {
		return strictjson.Describe(text)
	}
	if n, ok := v.Int(); ok {
		return fmt.Sprint(n)
	}
	if f, ok := float(v); ok {
		return string(f)
	}
	if v.Type == gguf.Array {
		return fmt.Sprintf("an array of %d %s values", v.Len, v.Elem)
	}
	return "a " + v.Type.String()
}

// refuseOtherFiles refuses what is no whole model of this architecture.
func (r *ggufReader) refuseOtherFiles() {
	if v, ok := r.Keys[ggufSplits]; ok {
		if n, _ := v.Int(); n != 1 {
			part, _ := r.Keys[ggufSplit].Int()
			r.fail(ggufSplits, "a model in one file (llama-gguf-split --merge joins the parts)", fmt.Sprintf("part %d of %s", part+1, r.found(ggufSplits)))
		}
	}
	if text, _ := r.Keys[ggufArchitecture].Text(); text != "phi3" {
		r.fail(ggufArchitecture, `"phi3"`, r.found(ggufArchitecture))
	}
	if text, _ := r.Keys[ggufContent].Text(); r.has(ggufContent) && text != "model" {
		r.fail(ggufContent, `"model"`, r.found(ggufContent))
	}
}

func (r *ggufReader) has(key string) bool {
	_, ok := r.Keys[key]
	return ok
}

// read takes over one key. Those outside the architecture (the file's author,
// its tokenizer) do not change the computation; one within it that is not
// known here may.
func (r *ggufReader) read(key string) {
	count, isInt := ggufInts[key]
	number, isFloat := ggufFloats[key]
	switch {
	case isInt:
		n := r.integer(key)
		if key == ggufWindow && n == 0 {
			return // the conversion's word for none
		}
		r.values[count] = json.Number(strconv.FormatInt(n, 10))
	case isFloat:
		r.values[number] = r.float(key)
	case strings.HasPrefix(key, ggufPrefix) && !slices.Contains(ggufOthers, key):
		r.fail(key, "no such key: it may change the model in a way that is not supported", r.found(key))
	}
}

func (r *ggufReader) integer(key string) int64 {
	n, ok := r.Keys[key].Int()
	if !ok {
		r.fail(key, "an integer", r.found(key))
	}
	return n
}

func (r *ggufReader) float(key string) json.Number {
	f, ok := float(r.Keys[key])
	if !ok || !finite(f) {
		r.fail(key, "a finite float32 or float64", r.found(key))
	}
	return f
}

// float is a value as config.json would write it: the shortest decimal that
// is the stored number, so that 1e-05 is not the float64 nearest to its
// float32.
func float(v gguf.Value) (json.Number, bool) {
	if f, ok := v.Float32(); ok {
		return decimal(f), true
	}
	if f, ok := v.Float64(); ok {
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), true
	}
	return "", false
}

func decimal(f float32) json.Number {
	return json.Number(strconv.FormatFloat(float64(f), 'g', -1, 32))
}

func finite(n json.Number) bool {
	f, err := n.Float64()
	return err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// rotary turns the count of rotary dimensions into config.json's fraction of a
// head. What is wrong with the heads is said by the config's own checks.
func (r *ggufReader) rotary() {
	if !r.has(ggufRotary) || r.err != nil {
		return
	}
	n := r.integer(ggufRotary)
	hidden, _ := r.Keys[ggufHidden].Int()
	heads, _ := r.Keys[ggufHeads].Int()
	if hidden < 1 || heads < 1 || hidden%heads != 0 {
		return
	}
	head := hidden / heads
	if n < 2 || n > head || n%2 != 0 {
		r.fail(ggufRotary, fmt.Sprintf("an even number in [2, %d], the head's dimensions", head), r.found(ggufRotary))
		return
	}
	r.values["partial_rotary_factor"] = json.Number(strconv.FormatFloat(fraction(n, head), 'g', -1, 64))
}

// fraction is n/d, up by one ulp where its product with d would be cut off to
// n-1.
func fraction(n, d int64) float64 {
	f := float64(n) / float64(d)
	if int64(float64(d)*f) < n {
		f = math.Nextafter(f, 2)
	}
	return f
}

// ropeFactors reads LongRoPE's factors, both or neither, and what else makes
// the RoPE section.
func (r *ggufReader) ropeFactors() {
	section := map[string]any{}
	if list := r.factors(ggufShortFactors); list != nil {
		section[ropeShortFactor] = list
	}
	if list := r.factors(ggufLongFactors); list != nil {
		section[ropeLongFactor] = list
	}
	if len(section) > 0 {
		section["type"] = RopeLongRope
	}
	r.scalingType(len(section) > 0)
	if r.has(ggufAttnFactor) {
		section[ropeAttnFactor] = r.float(ggufAttnFactor)
	}
	if len(section) > 0 {
		r.values[ropeSection] = section
	}
}

// scalingType holds the name of the scaling, if there is one, against the
// factors. The conversion of phi3 writes none.
func (r *ggufReader) scalingType(long bool) {
	want, there := "none", "not there"
	if long {
		want, there = RopeLongRope, "there"
	}
	if text, _ := r.Keys[ggufScaling].Text(); r.has(ggufScaling) && text != want {
		r.fail(ggufScaling, fmt.Sprintf("%q, since the RoPE factors are %s", want, there), r.found(ggufScaling))
	}
}

// lookup finds a tensor.
func (r *ggufReader) lookup(name string) (gguf.Info, bool) {
	i := slices.IndexFunc(r.Tensors, func(t gguf.Info) bool { return t.Name == name })
	if i < 0 {
		return gguf.Info{}, false
	}
	return r.Tensors[i], true
}

// factors reads a vector of float32 as config.json's list; nil if there is
// none.
func (r *ggufReader) factors(name string) []any {
	t, ok := r.lookup(name)
	if !ok || r.err != nil {
		return nil
	}
	fail := func(field, want, found string) []any {
		r.err = &TensorError{File: r.Name, Tensor: name, Field: field, Want: want, Found: found}
		return nil
	}
	switch {
	case t.Type != gguf.F32:
		return fail("dtype", "F32", t.Type.String())
	case len(t.Dims) != 1 || t.Dims[0] > maxWidth:
		return fail("shape", fmt.Sprintf("one dimension of at most %d", maxWidth), fmt.Sprint(t.Shape()))
	}
	raw := make([]byte, t.End-t.Begin)
	if n, err := r.source.ReadAt(raw, t.Begin); n < len(raw) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		r.err = fmt.Errorf("%s: %w: tensor %q: %w", r.Name, ErrTensor, name, err)
		return nil
	}
	list := make([]any, t.Dims[0])
	for i := range list {
		f := decimal(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		if !finite(f) {
			r.fail(fmt.Sprintf("%s[%d]", name, i), "a finite number above 0", string(f))
			return nil
		}
		list[i] = f
	}
	return list
}

// tensors reads what the presence and the shape of tensors say: the size of
// the vocabulary, and whether the LM head is the embedding.
func (r *ggufReader) tensors() {
	_, head := r.lookup(ggufNames[LMHead])
	r.values["tie_word_embeddings"] = !head
	embedding, ok := r.lookup(ggufNames[Embedding])
	switch {
	case r.err != nil:
	case !ok:
		r.err = &TensorError{File: r.Name, Tensor: ggufNames[Embedding], Field: "name", Want: "the token embedding, whose rows are the vocabulary", Found: "no such tensor"}
	case len(embedding.Dims) != 2:
		r.err = &TensorError{File: r.Name, Tensor: embedding.Name, Field: "shape", Want: "two dimensions", Found: fmt.Sprint(embedding.Shape())}
	default:
		r.values["vocab_size"] = json.Number(strconv.Itoa(embedding.Dims[1]))
	}
}

// derivedFactor drops an attention factor that is what LongRoPE derives from
// the maxima: config.json leaves it out then, and the conversion never does.
func (r *ggufReader) derivedFactor(c *Config) {
	derived := *c
	derived.Rope.AttentionFactor = 0
	if c.Rope.AttentionFactor != 0 && float32(derived.AttentionFactor()) == float32(c.Rope.AttentionFactor) {
		*c = derived
		delete(r.values[ropeSection].(map[string]any), ropeAttnFactor)
	}
}

// agree wants an optional integer key to repeat what is known otherwise.
func (r *ggufReader) agree(key string, want int64, what string) {
	if n, ok := r.Keys[key].Int(); r.has(key) && (!ok || n != want) {
		r.fail(key, fmt.Sprintf("%d, %s", want, what), r.found(key))
	}
}

// tokens holds the tokenizer's list, if there is one, against the vocabulary.
func (r *ggufReader) tokens(c Config) {
	if v := r.Keys[ggufTokens]; r.has(ggufTokens) && (v.Type != gguf.Array || v.Len != c.VocabSize) {
		r.fail(ggufTokens, fmt.Sprintf("an array of %d tokens, the rows of %s", c.VocabSize, ggufNames[Embedding]), r.found(ggufTokens))
	}
}
