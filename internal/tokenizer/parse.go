package tokenizer

import (
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"lockstep/internal/strictjson"
)

// File is the name of the file beside config.json that Parse reads.
const File = "tokenizer.json"

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
