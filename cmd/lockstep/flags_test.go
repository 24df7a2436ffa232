package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "2147483648": 2 << 30, "12B": 12,
		"3kB": 3000, "3KB": 3000, "500MB": 500e6, "2GB": 2e9, "1TB": 1e12,
		"3KiB": 3 << 10, "7MiB": 7 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
		"9223372036854775807": math.MaxInt64, "8388607TiB": 8388607 << 40,
	} {
		var b byteSize
		require.NoError(t, b.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, int64(b), text)
	}
	for _, text := range []string{
		"", "B", "GiB", "-1", "+1", "1.5GiB", "2 GiB", "2gib", "2G", "2iB", "2GiBB", "0x10", "1e9",
		"9223372036854775808", "8388608TiB", "99999999999999999999GB",
	} {
		b := byteSize(7)
		require.Error(t, b.UnmarshalText([]byte(text)), text)
		assert.Equal(t, byteSize(7), b, "%q leaves the value alone", text)
	}
}

func TestByteCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 357696: "357.7 kB", 201609052: "201.6 MB", 3225713808: "3.23 GB",
	} {
		assert.Equal(t, want, byteCount(n))
	}
}

func TestCommandLine(t *testing.T) {
	assert.Equal(t, `lockstep gate --out build/a_b-1 --layers 30:32`, commandLine("lockstep", "gate", "--out", "build/a_b-1", "--layers", "30:32"))
	assert.Equal(t, `'a b' 'it'\''s' '$x' ''`, commandLine("a b", "it's", "$x", ""))
}

func TestModelName(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"given", "/models/Phi-4-mini", "given"},
		{"", "/models/Phi-4-mini", "Phi_4_mini"},
		{"", "/models/Phi-4-mini/", "Phi_4_mini"},
		{"", "/models/Phi-4-mini/x/..", "Phi_4_mini"},
	} {
		got, err := modelName(tt.name, tt.path, t.TempDir())
		require.NoError(t, err)
		assert.Equal(t, tt.want, got)
	}
}

func TestAnchors(t *testing.T) {
	got, err := anchors([]string{"spec=b366672", "pass=290e3d3"})
	require.NoError(t, err)
	assert.Equal(t, []manifest.Anchor{{Tag: "spec", Commit: "b366672"}, {Tag: "pass", Commit: "290e3d3"}}, got)
	for _, pair := range []string{"", "=", "spec", "spec=", "=b366672", "spec=b36667", "spec=B366672", "spec=main", "spec=a=b366672"} {
		_, err := anchors([]string{pair})
		assert.ErrorIs(t, err, errFlag, pair)
	}
	_, err = anchors([]string{"spec=b366672", "spec=290e3d3"})
	assert.ErrorIs(t, err, errFlag)
}

// TestWantTwoPrograms: guarded decoding needs singles and blocks.
func TestWantTwoPrograms(t *testing.T) {
	assert.NoError(t, wantTwoPrograms([]int{1, 4}))
	for _, rows := range [][]int{{1}, {4}, {}, {2, 4}} {
		assert.ErrorIs(t, wantTwoPrograms(rows), errFlag, rows)
	}
}
