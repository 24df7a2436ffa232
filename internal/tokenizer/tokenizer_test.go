package tokenizer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/tokenizer"
)

// edited is the committed file after an edit of its top object.
func edited(t testing.TB, edit func(top map[string]any)) []byte {
	t.Helper()
	var top map[string]any
	readJSON(t, filepath.Join(fixture, tokenizer.File), &top)
	edit(top)
	text, err := json.Marshal(top)
	require.NoError(t, err)
	return text
}

func parse(t testing.TB, text []byte) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Parse("tokenizer.json", text)
	require.NoError(t, err)
	return tok
}

// plain is the committed file without added tokens, of which some take the
// white space beside them.
func plain(t testing.TB) *tokenizer.Tokenizer {
	return parse(t, edited(t, func(top map[string]any) { top["added_tokens"] = nil }))
}

// token is an added token that no rule applies to.
func token(id int, content string) map[string]any {
	return map[string]any{
		"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
	}
}

// model is a BPE model of the 256 bytes and, from id 256 on, what merges make.
func model(t testing.TB, merges ...[2]string) map[string]any {
	t.Helper()
	var top map[string]any
	readJSON(t, filepath.Join(fixture, tokenizer.File), &top)
	vocab := map[string]any{}
	for token, id := range top["model"].(map[string]any)["vocab"].(map[string]any) {
		if id.(float64) < 256 {
			vocab[token] = id
		}
	}
	require.Len(t, vocab, 256)
	for _, m := range merges {
		if made := m[0] + m[1]; vocab[made] == nil {
			vocab[made] = len(vocab)
		}
	}
	return map[string]any{"type": "BPE", "vocab": vocab, "merges": append([][2]string{}, merges...)}
}

// small is a file of such a model, without added tokens.
func small(t testing.TB, merges ...[2]string) []byte {
	return edited(t, func(top map[string]any) {
		top["added_tokens"] = []any{}
		top["model"] = model(t, merges...)
	})
}

func encode(t testing.TB, tok *tokenizer.Tokenizer, text string) []int {
	t.Helper()
	ids, err := tok.Encode(text)
	require.NoError(t, err)
	return ids
}

// TestAddedTokenIDs holds what is taken and refused against what the tokenizers
// package counts, whatever the file says: on from the vocabulary's size.
func TestAddedTokenIDs(t *testing.T) {
	with := func(added ...any) []byte {
		return edited(t, func(top map[string]any) {
			m := model(t)
			m["vocab"].(map[string]any)["<x>"] = 258
			top["model"], top["added_tokens"] = m, added
		})
	}
	tok := parse(t, with(token(257, "<a>"), token(258, "<x>")))
	assert.Equal(t, []int{257, 258, 257}, encode(t, tok, "<a><x><a>"))
	assert.True(t, tok.Special(258))
	assert.False(t, tok.Special(65))
	assert.True(t, tok.Has(258))
	assert.False(t, tok.Has(256), "a gap")

	for _, tt := range []struct {
		name  string
		added []any
		says  string
	}{
		{"counted from elsewhere", []any{token(259, "<a>")}, `added_tokens[0].id: want 257, by the vocabulary, found 259`},
		{"not the vocabulary's", []any{token(257, "<x>")}, `added_tokens[0].id: want 258, by the vocabulary, found 257`},
		{"meets a token", []any{token(257, "<a>"), token(258, "<b>")}, `another one of id 258`},
		{"twice", []any{token(257, "<a>"), token(257, "<a>")}, `added_tokens[1].content`},
		{"empty", []any{token(257, "")}, `added_tokens[0].content`},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			_, err := tokenizer.Parse("f.json", with(tt.added...))
			require.ErrorIs(t, err, tokenizer.ErrFormat)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

// TestStreaming shows that bytes of a character wait for the rest of it.
func TestStreaming(t *testing.T) {
	tok := parse(t, small(t))
	ids := encode(t, tok, "é😀!")
	require.Len(t, ids, 7)
	d := tok.Decoder()
	var got []string
	for _, id := range append(ids, ids[2], ids[6]) {
		got = append(got, d.Next(id))
	}
	// "!" after part of a character may, to the decoder, be more of it.
	assert.Equal(t, []string{"", "é", "", "", "", "😀", "!", "", ""}, got)
	assert.Equal(t, "\ufffd!", d.End())
	assert.Empty(t, d.End())

	d = tok.Decoder()
	assert.Empty(t, d.Next(ids[0]))
	assert.Equal(t, "\ufffd", d.End())
	assert.Empty(t, tok.Decode([]int{5000, -1}), "ids without a token")
}

// TestStreamedIsDecoded draws ids: what comes in parts is what comes at once, and
// is UTF-8.
func TestStreamedIsDecoded(t *testing.T) {
	tok := plain(t)
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.IntRange(0, 900)).Draw(t, "ids")
		d := tok.Decoder()
		var b strings.Builder
		for _, id := range ids {
			part := d.Next(id)
			require.True(t, utf8.ValidString(part))
			b.WriteString(part)
		}
		b.WriteString(d.End())
		require.Equal(t, tok.Decode(ids), b.String())
	})
}

// TestLongWords encodes words of a million letters, which time in proportion to
// the square of the length would not let end.
func TestLongWords(t *testing.T) {
	const letters = 1 << 20
	tok := parse(t, small(t, [2]string{"a", "a"}, [2]string{"aa", "aa"}, [2]string{"aaaa", "aaaa"}))
	ids := encode(t, tok, strings.Repeat("a", letters+3))
	require.Len(t, ids, letters/8+2)
	assert.Equal(t, 258, ids[letters/8-1])
	assert.Equal(t, []int{256, encode(t, tok, "a")[0]}, ids[letters/8:])

	for _, text := range []string{
		strings.Repeat(" ", letters) + "x",
		strings.Repeat("AB", letters/2),
		strings.Repeat("模", letters/4),
		strings.Repeat("a ", letters/2),
		strings.Repeat("\n ", letters/2) + "x",
	} {
		assert.True(t, tok.Decode(encode(t, tok, text)) == text, "%.4q...", text)
	}
}

func TestTextsThatCannotBeEncoded(t *testing.T) {
	nfc := parse(t, edited(t, func(top map[string]any) { top["normalizer"] = map[string]any{"type": "NFC"} }))
	backs := parse(t, edited(t, func(top map[string]any) {
		split(top)["pattern"] = map[string]any{"Regex": `(?:ab?)+c`}
	}))
	for name, tt := range map[string]struct {
		tok  *tokenizer.Tokenizer
		text string
		says string
	}{
		"not UTF-8":       {plain(t), "a\xff", "want UTF-8"},
		"a surrogate":     {plain(t), "\xed\xa0\x80", "want UTF-8"},
		"marks":           {nfc, "a" + strings.Repeat("\u0301", 31), "at most 30 combining marks"},
		"backtracks much": {backs, strings.Repeat("ab", 1<<20), "places to come back to"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			_, err := tt.tok.Encode(tt.text)
			require.ErrorIs(t, err, tokenizer.ErrText)
			assert.ErrorContains(t, err, tt.says)
		})
	}
	joiner := "a\u034fb" + strings.Repeat("\u0334", 29)
	assert.Equal(t, joiner, nfc.Decode(encode(t, nfc, joiner)), "the text's own joiner is none of ours")
}

// split is the Split of the committed file.
func split(top map[string]any) map[string]any {
	stages := top["pre_tokenizer"].(map[string]any)["pretokenizers"].([]any)
	return stages[0].(map[string]any)
}

// FuzzRoundTrip wants every text back from its ids: bytes are all tokens.
func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{"", "Hello, world!", "it's  12345\r\n\t", "e\u0301 \U0001f469\u200d\U0001f4bb", "\x00\ufffd", "<|end|> "} {
		f.Add(seed)
	}
	tok := plain(f)
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tok.Encode(text)
		if !utf8.ValidString(text) {
			require.ErrorIs(t, err, tokenizer.ErrText)
			return
		}
		require.NoError(t, err)
		require.Equal(t, text, tok.Decode(ids))
	})
}

// FuzzParse edits one section of a file; what is taken encodes and decodes
// without a panic.
func FuzzParse(f *testing.F) {
	var all table
	readJSON(f, filepath.Join(fixture, "table.json"), &all)
	sections := []string{"normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens"}
	for _, v := range all.Variants {
		for i, name := range sections {
			if text, ok := v.Replace[name]; ok {
				f.Add(uint8(i), []byte(text))
			}
		}
	}
	var base map[string]json.RawMessage
	readJSON(f, filepath.Join(fixture, tokenizer.File), &base)
	f.Fuzz(func(t *testing.T, section uint8, text []byte) {
		if !json.Valid(text) {
			return
		}
		name := sections[int(section)%len(sections)]
		tok, err := tokenizer.Parse("f.json", apply(t, base, map[string]json.RawMessage{name: text}))
		if err != nil {
			require.ErrorIs(t, err, tokenizer.ErrFormat)
			return
		}
		ids, err := tok.Encode("It's 12 é\u0301 <|end|>\n模 ")
		if err != nil {
			require.ErrorIs(t, err, tokenizer.ErrText)
			return
		}
		require.True(t, utf8.ValidString(tok.Decode(ids)))
	})
}

// FuzzParseBytes feeds whole files.
func FuzzParseBytes(f *testing.F) {
	base, err := os.ReadFile(filepath.Join(fixture, tokenizer.File))
	require.NoError(f, err)
	f.Add(base)
	f.Add([]byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := tokenizer.Parse("f.json", text); err != nil {
			require.ErrorIs(t, err, tokenizer.ErrFormat)
		}
	})
}
