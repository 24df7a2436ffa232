package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

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
