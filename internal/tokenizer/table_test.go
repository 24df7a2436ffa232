package tokenizer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/tokenizer"
)

// table holds what the tokenizers package made of texts, by
// fixtures/oracle/tokenizers_table.py.
type table struct {
	Variants []variant `json:"variants"`
}

// variant is a tokenizer.json by the keys that it replaces in the base.
type variant struct {
	Name    string                     `json:"name"`
	Replace map[string]json.RawMessage `json:"replace"`
	Cases   []tableCase                `json:"cases"`
}

type tableCase struct {
	Text    *string `json:"text"` // absent if ids are to be decoded alone
	IDs     []int   `json:"ids"`
	Decoded *string `json:"decoded"` // absent if it is the text
}

// wrong says what of a case the tokenizer gets otherwise; nothing if all is
// right.
func (c tableCase) wrong(t *tokenizer.Tokenizer) string {
	decoded := c.Decoded
	if c.Text != nil {
		ids, err := t.Encode(*c.Text)
		if err != nil || !slices.Equal(ids, c.IDs) {
			return fmt.Sprintf("%.200q: want ids %v, found %v, %v", *c.Text, c.IDs, ids, err)
		}
		if decoded == nil {
			decoded = c.Text
		}
	}
	if found := t.Decode(c.IDs); found != *decoded {
		return fmt.Sprintf("ids %v: want %.200q, found %.200q", c.IDs, *decoded, found)
	}
	return ""
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// apply is the base with a variant's keys; "model" is replaced key by key.
func apply(t testing.TB, base, replace map[string]json.RawMessage) []byte {
	t.Helper()
	out := maps.Clone(base)
	maps.Copy(out, replace)
	if _, ok := replace["model"]; ok {
		var model map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(base["model"], &model))
		require.NoError(t, json.Unmarshal(replace["model"], &model))
		text, err := json.Marshal(model)
		require.NoError(t, err)
		out["model"] = text
	}
	text, err := json.Marshal(out)
	require.NoError(t, err)
	return text
}

// fixture is the committed file with its tables.
const fixture = "../../fixtures/tokenizer"

// tables is the directory of a base and its table: the committed one, or one
// that make crosscheck has just written.
func tables() string {
	if dir := os.Getenv("LOCKSTEP_TOKENIZERS"); dir != "" {
		return dir
	}
	return fixture
}

// TestTable holds ids and text of every variant against the tokenizers package.
func TestTable(t *testing.T) {
	var base map[string]json.RawMessage
	readJSON(t, filepath.Join(tables(), tokenizer.File), &base)
	var all table
	readJSON(t, filepath.Join(tables(), "table.json"), &all)
	require.GreaterOrEqual(t, len(all.Variants), 10)
	for _, v := range all.Variants {
		t.Run(v.Name, func(t *testing.T) {
			tok, err := tokenizer.Parse(v.Name, apply(t, base, v.Replace))
			require.NoError(t, err)
			require.Greater(t, len(v.Cases), 50)
			wrong := 0
			for _, c := range v.Cases {
				if found := c.wrong(tok); found != "" && wrong < 10 {
					wrong++
					assert.Fail(t, "differs", found)
				}
			}
			t.Logf("%d cases", len(v.Cases))
		})
	}
}

// TestTableSeesADifference damages cases that hold: the comparison must see it.
func TestTableSeesADifference(t *testing.T) {
	tok := plain(t)
	text, other := "It's 12 o'clock", "It's 12 o'clock."
	ids, err := tok.Encode(text)
	require.NoError(t, err)
	assert.Empty(t, tableCase{Text: &text, IDs: ids}.wrong(tok))
	assert.Empty(t, tableCase{IDs: ids, Decoded: &text}.wrong(tok))
	assert.NotEmpty(t, tableCase{Text: &other, IDs: ids}.wrong(tok))
	assert.NotEmpty(t, tableCase{Text: &text, IDs: ids[1:]}.wrong(tok))
	assert.NotEmpty(t, tableCase{Text: &text, IDs: ids, Decoded: &other}.wrong(tok))
	assert.NotEmpty(t, tableCase{IDs: ids, Decoded: &other}.wrong(tok))
}
