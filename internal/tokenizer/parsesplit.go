package tokenizer

import (
	"errors"
	"slices"
	"strings"
)

// gpt2Pattern is what ByteLevel splits by if use_regex asks for it.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

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
