package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/strictjson"
)

func TestObject(t *testing.T) {
	got, err := strictjson.Object([]byte(` {"a": [1, 2.50, {"b": null}], "c": "x", "d": true} ` + "\n"))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"a": []any{json.Number("1"), json.Number("2.50"), map[string]any{"b": nil}},
		"c": "x",
		"d": true,
	}, got)
}

func TestObjectRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, says string }{
		{"empty", ``, "end of JSON"},
		{"array", `[1]`, "an array of 1"},
		{"truncated", `{"a": 1`, "byte 7"},
		{"trailing", `{} {}`, "byte 4"},
		{"repeated key", `{"a": 1, "a": 1}`, `"a" twice`},
		{"repeated by escape", `{"a": 1, "\u0061": 1}`, `"a" twice`},
		{"repeated within", `{"r": [{"x": {"k": 1, "k": 2}}]}`, `r[0].x: want each key once`},
		{"not UTF-8", "{\"a\": \"\xff\"}", "UTF-8"},
		{"too deep", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "levels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := strictjson.Object([]byte(tc.text))
			require.ErrorIs(t, err, strictjson.ErrSyntax)
			assert.ErrorContains(t, err, tc.says)
		})
	}
}

func TestDescribe(t *testing.T) {
	for value, want := range map[any]string{nil: "null", true: "true", "x": `"x"`, json.Number("1.0"): "1.0"} {
		assert.Equal(t, want, strictjson.Describe(value))
	}
	assert.Less(t, len(strictjson.Describe(strings.Repeat("é", 1000))), 100)
}

// FuzzObject holds what is accepted against encoding/json: the same value.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,{"b":null}]}`, `{"a":1,"a":2}`, `{"a"`, `[]`, `{} x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := strictjson.Object(text)
		if err != nil {
			require.ErrorIs(t, err, strictjson.ErrSyntax)
			return
		}
		again, err := json.Marshal(got)
		require.NoError(t, err)
		var loose map[string]any
		require.NoError(t, json.Unmarshal(text, &loose))
		second, err := strictjson.Object(again)
		require.NoError(t, err)
		require.Equal(t, got, second)
		require.Len(t, got, len(loose))
	})
}
