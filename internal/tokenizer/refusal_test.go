package tokenizer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/tokenizer"
)

type object = map[string]any

// TestRefusals edits one field; the error names it, and what it wants and found.
func TestRefusals(t *testing.T) {
	set := func(path string, value any) func(object) {
		return func(top object) {
			keys := strings.Split(path, ".")
			for _, key := range keys[:len(keys)-1] {
				top = top[key].(object)
			}
			top[keys[len(keys)-1]] = value
		}
	}
	stages := func(stages ...any) func(object) {
		return set("pre_tokenizer", object{"type": "Sequence", "pretokenizers": append([]any{}, stages...)})
	}
	bytes := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
	template := func(single ...any) object {
		return object{
			"type": "TemplateProcessing", "single": single, "pair": []any{},
			"special_tokens": object{"<s>": object{"id": "<s>", "ids": []int{1}, "tokens": []string{"<s>"}}},
		}
	}
	text, bos := object{"Sequence": object{"id": "A", "type_id": 0}}, object{"SpecialToken": object{"id": "<s>", "type_id": 0}}

	for _, tt := range []struct {
		name string
		edit func(object)
		says []string
	}{
		{"no version", set("version", nil), []string{"version: want a string, found null"}},
		{"another version", set("version", "2.0"), []string{`version: want "1.0", found "2.0"`}},
		{"unknown key", set("future", 1), []string{"future: want no such key, found 1"}},
		{"truncation", set("truncation", object{}), []string{"truncation: want null, found an object"}},
		{"padding", set("padding", object{}), []string{"padding: want null"}},

		{"no model", set("model", nil), []string{"model: want an object, found null"}},
		{"model type", set("model.type", "WordPiece"), []string{"model.type: want one of BPE", `"WordPiece"`}},
		{"dropout", set("model.dropout", 0.1), []string{"model.dropout: want null, found 0.1"}},
		{"unknown token", set("model.unk_token", 3), []string{"model.unk_token: want a string or null, found 3"}},
		{"prefix", set("model.continuing_subword_prefix", "##"), []string{"model.continuing_subword_prefix: want none", `"##"`}},
		{"suffix", set("model.end_of_word_suffix", "</w>"), []string{"model.end_of_word_suffix: want none", `"</w>"`}},
		{"model's unknown key", set("model.scores", []int{}), []string{"model.scores: want no such key"}},
		{"flag", set("model.ignore_merges", "yes"), []string{"model.ignore_merges: want true or false", `"yes"`}},
		{"vocabulary", set("model.vocab", []int{}), []string{"model.vocab: want an object, found an array"}},
		{"id", set("model.vocab.a", -1), []string{`model.vocab."a": want a token id`, "found -1"}},
		{"fraction", set("model.vocab.a", 1.5), []string{"found 1.5"}},
		{"large id", set("model.vocab.a", 1<<31), []string{"found 2147483648"}},
		{"id twice", set("model.vocab.zzz", 0), []string{"model.vocab: want an id of its own for each token", "0 for", `"zzz"`}},
		{"no byte", func(top object) { delete(top["model"].(object)["vocab"].(object), "!") }, []string{"model.vocab: want a token for each of the 256 bytes", "byte 33"}},
		{"no merges", set("model.merges", nil), []string{"model.merges: want an array, found null"}},
		{"merge of three", set("model.merges", []string{"a b c"}), []string{"model.merges[0]: want two tokens", `"a b c"`}},
		{"merge of one", set("model.merges", []any{[]string{"a"}}), []string{"model.merges[0]: want two tokens", "an array of 1"}},
		{"merge of numbers", set("model.merges", []any{[]any{"a", 1}}), []string{"model.merges[0]: want two tokens"}},
		{"merge of no token", set("model.merges", []string{"a ☃"}), []string{"model.merges[0]: want tokens of the vocabulary", `"☃"`}},
		{"merge into no token", set("model.merges", []string{"z q"}), []string{"model.merges[0]", `"zq"`}},
		{"merge twice", set("model.merges", []string{"t h", "t h"}), []string{"model.merges[1]: want each pair once"}},

		{"added token", set("added_tokens", []any{object{"id": 0, "content": "!"}}), []string{"added_tokens[0].single_word: want true or false, found null"}},
		{"normalizer", set("normalizer", object{"type": "NFKC"}), []string{"normalizer.type: want one of NFC, Sequence", `"NFKC"`}},
		{"normalizers", set("normalizer", object{"type": "Sequence", "normalizers": []any{object{"type": "Lowercase"}}}), []string{"normalizer.normalizers[0].type", `"Lowercase"`}},

		{"no pre-tokenizer", set("pre_tokenizer", nil), []string{"pre_tokenizer: want an object, found null"}},
		{"no stages", stages(), []string{"pre_tokenizer.pretokenizers: want ByteLevel at its end"}},
		{"another pre-tokenizer", set("pre_tokenizer", object{"type": "Metaspace"}), []string{"pre_tokenizer.type: want one of ByteLevel at the end", `"Metaspace"`}},
		{"another stage", stages(object{"type": "Digits", "individual_digits": true}, bytes), []string{"pre_tokenizer.pretokenizers[0].type: want one of Split", `"Digits"`}},
		{"bytes before the end", stages(bytes, bytes), []string{"pretokenizers[0].type: want one of Split", `"ByteLevel"`}},
		{"behavior", func(top object) { split(top)["behavior"] = "isolated" }, []string{"pretokenizers[0].behavior: want one of Removed, Isolated", `"isolated"`}},
		{"no inversion", func(top object) { delete(split(top), "invert") }, []string{"pretokenizers[0].invert: want true or false, found null"}},
		{"unknown pattern", func(top object) { split(top)["pattern"] = object{"Glob": "*"} }, []string{"pretokenizers[0].pattern.Regex: want a string"}},
		{"two patterns", func(top object) { split(top)["pattern"] = object{"Regex": "a", "String": "a"} }, []string{"pattern.Regex: want no such key"}},
		{"empty pattern", func(top object) { split(top)["pattern"] = object{"String": ""} }, []string{"pattern.String: want a text that is not empty"}},
		{"pattern", func(top object) { split(top)["pattern"] = object{"Regex": "^a"} }, []string{"pattern.Regex: want a pattern of", "found ^ before"}},

		{"post-processor", set("post_processor", object{"type": "BertProcessing"}), []string{"post_processor.type: want one of ByteLevel, TemplateProcessing, Sequence"}},
		{"no text", set("post_processor", template(bos)), []string{"post_processor.single: want the text once, found 0"}},
		{"text twice", set("post_processor", template(text, bos, text)), []string{"post_processor.single: want the text once, found 2"}},
		{"second text", set("post_processor", template(object{"Sequence": object{"id": "B", "type_id": 0}})), []string{`single[0].Sequence.id: want "A", found "B"`}},
		{"template of no token", set("post_processor", template(object{"SpecialToken": object{"id": "</s>", "type_id": 0}}, text)), []string{`post_processor.special_tokens."</s>": want an entry with ids`}},
		{"two templates", set("post_processor", object{"type": "Sequence", "processors": []any{template(bos, text), template(bos, text)}}), []string{"post_processor.processors: want one TemplateProcessing at most, found 2"}},

		{"no decoder", set("decoder", nil), []string{"decoder: want an object, found null"}},
		{"decoder", set("decoder", object{"type": "Metaspace"}), []string{"decoder.type: want one of ByteLevel", `"Metaspace"`}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			_, err := tokenizer.Parse("some/tokenizer.json", edited(t, tt.edit))
			require.ErrorIs(t, err, tokenizer.ErrFormat)
			assert.ErrorContains(t, err, "some/tokenizer.json: ")
			for _, says := range tt.says {
				assert.ErrorContains(t, err, says)
			}
		})
	}
	for _, text := range []string{"", "[]", `{"version": "1.0", "version": "1.0"}`, "{} x"} {
		_, err := tokenizer.Parse("some/tokenizer.json", []byte(text))
		require.ErrorIs(t, err, tokenizer.ErrFormat)
		assert.ErrorContains(t, err, "some/tokenizer.json: ")
	}
}

// TestPatternRefusals has what two engines take differently, or one does not take.
func TestPatternRefusals(t *testing.T) {
	for pattern, says := range map[string]string{
		``:                   "takes at least one character",
		`a*`:                 "takes at least one character",
		`a|`:                 "takes at least one character",
		`(?=a)`:              "takes at least one character",
		`(?:a?b*)`:           "takes at least one character",
		`a{0,3}`:             "takes at least one character",
		`^a`:                 "found ^",
		`a$`:                 "found $",
		`a.`:                 "found .",
		`*a`:                 "found *",
		`a}`:                 "found }",
		`a]`:                 "found ]",
		`(a)`:                "a capturing group",
		`(?<n>a)`:            "another group",
		`(?m:a)`:             "another group",
		`(?i)a`:              "another group",
		`(?:a`:               "( without )",
		`a)`:                 ") without (",
		`(?=a)+b`:            "a repeated look-around",
		`a**`:                "a repeated repetition",
		`a+++`:               "a repeated repetition",
		`a{2}?`:              "an interval that is lazy or possessive",
		`a{2}+`:              "an interval that is lazy or possessive",
		`a{,3}`:              "an interval other than",
		`a{3,2}`:             "an interval other than",
		`a{1001}`:            "an interval other than",
		`a{x}`:               "an interval other than",
		`a{2`:                "an interval other than",
		`[a`:                 "[ without ]",
		`[]a]`:               "an empty, nested or intersected class",
		`[a[b]]`:             "an empty, nested or intersected class",
		`[a&&b]`:             "an empty, nested or intersected class",
		`[a-c-e]`:            "- amid a class",
		`[z-a]`:              "a range other than",
		`[a-\s]`:             "a range other than",
		`[[:alpha:]]`:        "an empty, nested or intersected class",
		`\h`:                 `the escape \h`,
		`\w`:                 `the escape \w`,
		`\x41`:               `the escape \x`,
		`\1`:                 `the escape \1`,
		`a\`:                 "the escape",
		`\p{C}`:              "a property other than",
		`\p{Cn}`:             "a property other than",
		`\p{Alpha}`:          "a property other than",
		`\pL`:                "a property other than",
		`\p{L`:               "a property other than",
		`(?i:ss)`:            "where case is ignored",
		`(?i:St)`:            "where case is ignored",
		`(?i:é)`:             "where case is ignored",
		`(?i:[é])`:           "where case is ignored",
		`(?i:[^s])`:          "where case is ignored",
		`(?i:[a-z])`:         "where case is ignored",
		`(?i:\s)`:            "where case is ignored",
		`(?i:\p{Lu})`:        "where case is ignored",
		`(?i:a(?:s|s(?:f)))`: "",
		`[\]a^-]+`:           "",
		`\p{Han}\P{^L}\.\-`:  "",
		strings.Repeat(`(?:`, 40) + "a" + strings.Repeat(`)`, 40): "groups too deep",
	} {
		_, err := tokenizer.Parse("f.json", edited(t, func(top object) {
			split(top)["pattern"] = object{"Regex": pattern}
		}))
		if says == "" {
			assert.NoError(t, err, pattern)
			continue
		}
		require.ErrorIs(t, err, tokenizer.ErrFormat, pattern)
		assert.ErrorContains(t, err, says, pattern)
	}
}
