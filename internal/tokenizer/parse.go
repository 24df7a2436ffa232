package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"lockstep/internal/strictjson"
)

// File is the name of the file beside config.json that Parse reads.
const File = "tokenizer.json"

// gpt2Pattern is what ByteLevel splits by if use_regex asks for it.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// Parse reads the text of a tokenizer.json; file names it in errors, which wrap
// ErrFormat. It takes memory in proportion to the text.
func Parse(file string, text []byte) (*Tokenizer, error) {
	top, err := strictjson.Object(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, file, err)
	}
	doc := &document{file: file}
	t := &Tokenizer{alphabet: newAlphabet()}
	o := doc.object("", top)
	if v := o.text("version"); v != "1.0" {
		o.fail("version", `"1.0"`, v)
	}
	o.none("truncation")
	o.none("padding")
	t.model = readModel(o.required("model"), t.alphabet)
	t.nfc = readNormalizer(o.object("normalizer"))
	added := readAdded(o, t.model)
	t.steps = readPreTokenizer(o.required("pre_tokenizer"), true)
	t.before, t.after = readPostProcessor(o.object("post_processor"))
	readDecoder(o.required("decoder"))
	o.done()
	if doc.err != nil {
		return nil, doc.err
	}
	t.index(added)
	return t, nil
}

// kind takes the type of a section.
func kind(o *object) string { return o.text("type") }

// unread refuses a section of a type that is not read.
func unread(o *object, found string, read ...string) {
	o.rest = nil // its keys are of no interest
	o.fail("type", "one of "+strings.Join(read, ", "), found)
}

// readModel reads the vocabulary and the merges. unk_token, fuse_unk and
// byte_fallback are for bytes without a token; there are none.
func readModel(o *object, a *alphabet) *bpe {
	m := &bpe{}
	if k := kind(o); k != "BPE" {
		unread(o, k, "BPE")
	}
	o.none("dropout")
	if v := o.take("unk_token"); v != nil {
		if _, ok := v.(string); !ok {
			o.fail("unk_token", "a string or null", v)
		}
	}
	for _, affix := range []string{"continuing_subword_prefix", "end_of_word_suffix"} {
		if v := o.take(affix); v != nil && v != "" {
			o.fail(affix, "none", v)
		}
	}
	o.bool("fuse_unk", false)
	o.bool("byte_fallback", false)
	m.ignoreMerges = o.bool("ignore_merges", false)
	m.ids = readVocabulary(o.required("vocab"))
	m.readBytes(o, a)
	m.readMerges(o)
	o.done()
	return m
}

// readVocabulary reads the tokens' ids, which need not be without gaps.
func readVocabulary(o *object) map[string]int {
	ids := make(map[string]int, len(o.rest))
	tokens := make(map[int]string, len(o.rest))
	for _, token := range slices.Sorted(maps.Keys(o.rest)) {
		id, err := tokenID(o.rest[token])
		if err != nil {
			o.fail(excerpt(token), err.Error(), o.rest[token])
			continue
		}
		if other, ok := tokens[id]; ok {
			o.doc.fail(o.path, "an id of its own for each token", fmt.Sprintf("%d for %s and %s", id, excerpt(other), excerpt(token)))
		}
		ids[token], tokens[id] = id, token
	}
	return ids
}

// readBytes wants a token for each byte; so every text can be encoded.
func (m *bpe) readBytes(o *object, a *alphabet) {
	for b := range m.bytes {
		id, ok := m.ids[string(a.letters[b])]
		if !ok {
			o.doc.fail(o.field("vocab"), "a token for each of the 256 bytes", fmt.Sprintf("none for byte %d, %q", b, a.letters[b]))
		}
		m.bytes[b] = id
	}
}

func (m *bpe) readMerges(o *object) {
	list := o.array("merges")
	m.merges = make([]merge, 0, len(list))
	m.ranks = make(map[pair]int, len(list))
	for rank, v := range list {
		fail := func(want string, found any) {
			o.fail(fmt.Sprintf("merges[%d]", rank), want, found)
		}
		left, right, ok := mergedPair(v)
		if !ok {
			fail("two tokens, as [a, b] or as one string with one space", v)
			return
		}
		p := pair{m.token(left, fail), m.token(right, fail)}
		if _, ok := m.ranks[p]; ok {
			fail("each pair once", left+" "+right)
		}
		m.ranks[p] = rank
		m.merges = append(m.merges, merge{p, m.token(left+right, fail)})
	}
}

func mergedPair(v any) (left, right string, ok bool) {
	switch v := v.(type) {
	case string:
		left, right, ok = strings.Cut(v, " ")
		return left, right, ok && !strings.Contains(right, " ")
	case []any:
		if len(v) == 2 {
			left, ok = v[0].(string)
			right, _ = v[1].(string)
			_, second := v[1].(string)
			return left, right, ok && second
		}
	}
	return "", "", false
}

func (m *bpe) token(token string, fail func(want string, found any)) int {
	id, ok := m.ids[token]
	if !ok {
		fail("tokens of the vocabulary, apart and together", token)
	}
	return id
}

// readAdded reads the added tokens. The file's own library heeds no id of a token
// that the vocabulary has not, but counts on from the vocabulary's size; a file
// with other ids, or one where that meets a token, would mean other tokens to it
// than to us.
func readAdded(o *object, m *bpe) []*addedToken {
	if o.rest["added_tokens"] == nil {
		o.take("added_tokens")
		return nil
	}
	taken := map[int]bool{}
	for _, id := range m.ids {
		taken[id] = true
	}
	var out []*addedToken
	seen := map[string]bool{}
	next := len(m.ids)
	for _, e := range o.objects("added_tokens") {
		t := readToken(e)
		if t.content == "" || seen[t.content] {
			e.fail("content", "a text of its own", t.content)
		}
		seen[t.content] = true
		want, ok := m.ids[t.content]
		if !ok {
			want = next
			next++
			if taken[want] {
				e.fail("content", fmt.Sprintf("a token of the vocabulary, which has another one of id %d", want), t.content)
			}
		}
		if t.id != want {
			e.doc.fail(e.field("id"), fmt.Sprintf("%d, by the vocabulary", want), fmt.Sprint(t.id))
		}
		out = append(out, t)
	}
	return out
}

func readToken(e *object) *addedToken {
	t := &addedToken{
		id: e.id("id"), content: e.text("content"), singleWord: e.flag("single_word"),
		lstrip: e.flag("lstrip"), rstrip: e.flag("rstrip"), normalized: e.flag("normalized"), special: e.flag("special"),
	}
	e.done()
	return t
}

// readNormalizer reports whether text is normalized to NFC.
func readNormalizer(o *object) (nfc bool) {
	if o == nil {
		return false
	}
	switch k := kind(o); k {
	case "NFC":
		nfc = true
	case "Sequence":
		for _, part := range o.objects("normalizers") {
			if readNormalizer(part) {
				nfc = true
			}
		}
	default:
		unread(o, k, "NFC", "Sequence")
	}
	o.done()
	return nfc
}

// readPreTokenizer reads the stages of splitting. The last must be ByteLevel:
// the model is written in its alphabet.
func readPreTokenizer(o *object, last bool) (steps []step) {
	k := kind(o)
	switch {
	case k == "Sequence":
		parts := o.objects("pretokenizers")
		if last && len(parts) == 0 {
			o.doc.fail(o.field("pretokenizers"), "ByteLevel at its end", "nothing")
		}
		for i, part := range parts {
			steps = append(steps, readPreTokenizer(part, last && i == len(parts)-1)...)
		}
	case k == "Split" && !last:
		steps = append(steps, readSplit(o))
	case k == "ByteLevel" && last:
		steps = readByteLevel(o)
	case last:
		unread(o, k, "ByteLevel at the end of the stages")
	default:
		unread(o, k, "Split", "Sequence", "before the last stage")
	}
	o.done()
	return steps
}

func readByteLevel(o *object) (steps []step) {
	if o.flag("add_prefix_space") {
		steps = append(steps, prefixSpace{})
	}
	o.flag("trim_offsets") // moves offsets, which are not computed here
	if o.bool("use_regex", true) {
		re, err := compile(gpt2Pattern)
		if err != nil {
			o.doc.fail(o.field("use_regex"), "a pattern that compiles", err.Error())
			return nil
		}
		steps = append(steps, splitter{find: patternFinder(re), behavior: isolated})
	}
	return steps
}

func readSplit(o *object) splitter {
	s := splitter{behavior: o.text("behavior"), invert: o.flag("invert")}
	if !slices.Contains(behaviors, s.behavior) {
		o.fail("behavior", "one of "+strings.Join(behaviors, ", "), s.behavior)
	}
	p := o.required("pattern")
	if _, ok := p.rest["String"]; ok {
		text := p.text("String")
		if text == "" {
			p.fail("String", "a text that is not empty", text)
		}
		s.find = textFinder(text)
		p.done()
		return s
	}
	pattern := p.text("Regex")
	p.done()
	re, err := compile(pattern)
	if err != nil {
		want, found := "a pattern", err.Error()
		var unreadable *patternError
		if errors.As(err, &unreadable) {
			want, found = unreadable.want, unreadable.found
		}
		p.doc.fail(p.field("Regex"), want, found)
	}
	s.find = patternFinder(re)
	return s
}

// readPostProcessor reads what stands before and after every text.
func readPostProcessor(o *object) (before, after []int) {
	if o == nil {
		return nil, nil
	}
	switch k := kind(o); k {
	case "ByteLevel": // moves offsets alone
		for _, flag := range []string{"add_prefix_space", "trim_offsets", "use_regex"} {
			o.bool(flag, true)
		}
	case "TemplateProcessing":
		before, after = readTemplate(o)
	case "Sequence":
		templates := 0
		for _, part := range o.objects("processors") {
			if part.rest["type"] == "TemplateProcessing" {
				templates++
			}
			b, a := readPostProcessor(part)
			before, after = append(before, b...), append(after, a...)
		}
		if templates > 1 {
			o.doc.fail(o.field("processors"), "one TemplateProcessing at most", fmt.Sprint(templates))
		}
	default:
		unread(o, k, "ByteLevel", "TemplateProcessing", "Sequence")
	}
	o.done()
	return before, after
}

// readTemplate reads the template for one text: special tokens around it.
func readTemplate(o *object) (before, after []int) {
	special := o.required("special_tokens")
	o.take("pair") // for two texts, which are never encoded
	texts := 0
	for _, part := range o.objects("single") {
		if _, ok := part.rest["Sequence"]; ok {
			text := part.required("Sequence")
			if id := text.text("id"); id != "A" {
				text.fail("id", `"A"`, id)
			}
			text.take("type_id") // of the text, not of the tokens
			text.done()
			texts++
		} else {
			token := part.required("SpecialToken")
			ids := specialIDs(special, token.text("id"))
			token.take("type_id")
			token.done()
			if texts == 0 {
				before = append(before, ids...)
			} else {
				after = append(after, ids...)
			}
		}
		part.done()
	}
	if texts != 1 {
		o.doc.fail(o.field("single"), "the text once", fmt.Sprint(texts))
	}
	return before, after
}

// specialIDs are the ids that a template's token stands for.
func specialIDs(special *object, name string) []int {
	v, _ := special.rest[name].(map[string]any)
	list, ok := v["ids"].([]any)
	if !ok {
		special.fail(excerpt(name), "an entry with ids", special.rest[name])
	}
	var ids []int
	for _, v := range list {
		id, err := tokenID(v)
		if err != nil {
			special.fail(excerpt(name)+".ids", err.Error(), v)
		}
		ids = append(ids, id)
	}
	return ids
}

func readDecoder(o *object) {
	if k := kind(o); k != "ByteLevel" {
		unread(o, k, "ByteLevel")
	}
	for _, flag := range []string{"add_prefix_space", "trim_offsets", "use_regex"} {
		o.bool(flag, true) // of the pre-tokenizer; a decoder has no use for them
	}
	o.done()
}

// index makes ready what encoding and decoding look up.
func (t *Tokenizer) index(added []*addedToken) {
	t.spelled = make(map[int]string, len(t.model.ids)+len(added))
	for token, id := range t.model.ids {
		t.spelled[id] = t.alphabet.read(token)
	}
	t.special = map[int]bool{}
	var raw, normalized []*addedToken
	for _, a := range added {
		if a.normalized && t.nfc {
			a.content = norm.NFC.String(a.content)
		}
		if a.normalized {
			normalized = append(normalized, a)
		} else {
			raw = append(raw, a)
		}
		t.spelled[a.id] = t.alphabet.read(a.content)
		if a.special {
			t.special[a.id] = true
		}
	}
	t.raw, t.normalized = newFinder(raw), newFinder(normalized)
}

// excerpt is a text from the file, cut to a length fit for a message.
func excerpt(text string) string { return strictjson.Describe(text) }
