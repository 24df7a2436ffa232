package safetensors_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/safetensors"
)

func TestEncodeHeaderText(t *testing.T) {
	got, err := safetensors.EncodeHeader([]safetensors.Info{
		{Name: "b", DType: "BF16", Shape: []int{2, 3}},
		{Name: "a\"<", DType: "F32"},
	}, map[string]string{"z": "1", "format": "pt"})
	require.NoError(t, err)
	want := `{"__metadata__":{"format":"pt","z":"1"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"a\"\u003c":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}`
	assert.Equal(t, want, string(bytes.TrimRight(got[8:], " ")))
	assert.Zero(t, len(got)%8)

	empty, err := safetensors.EncodeHeader(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "\x08\x00\x00\x00\x00\x00\x00\x00{}      ", string(empty))
}

func TestEncodeHeaderRefuses(t *testing.T) {
	ok := safetensors.Info{Name: "a", DType: "F32", Shape: []int{1}}
	var nine []safetensors.Info // 2^60-1 bytes each
	for i := range 9 {
		nine = append(nine, safetensors.Info{Name: fmt.Sprint(i), DType: "U8", Shape: []int{1<<60 - 1}})
	}
	_, err := safetensors.EncodeHeader(nine[:8], nil)
	require.NoError(t, err)
	for _, tc := range []struct {
		name     string
		tensors  []safetensors.Info
		metadata map[string]string
	}{
		{"twice", []safetensors.Info{ok, ok}, nil},
		{"dtype", []safetensors.Info{{Name: "a", DType: "F12"}}, nil},
		{"negative", []safetensors.Info{{Name: "a", DType: "F32", Shape: []int{-1}}}, nil},
		{"overflow", []safetensors.Info{{Name: "a", DType: "F32", Shape: []int{1 << 31, 1 << 31}}}, nil},
		{"sum overflows", nine, nil},
		{"rank", []safetensors.Info{{Name: "a", DType: "F32", Shape: make([]int, safetensors.MaxRank+1)}}, nil},
		{"metadata's name", []safetensors.Info{{Name: "__metadata__", DType: "F32"}}, nil},
		{"name not UTF-8", []safetensors.Info{{Name: "\xff", DType: "F32"}}, nil},
		{"metadata not UTF-8", nil, map[string]string{"k": "\xff"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := safetensors.EncodeHeader(tc.tensors, tc.metadata)
			assert.ErrorIs(t, err, safetensors.ErrFormat)
		})
	}
}

// TestRoundTrip: what EncodeHeader writes, Parse reads back, and the offsets
// follow the order given.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringMatching(`[a-z."\\é\n]{0,12}`), rapid.ID[string]).Draw(t, "names")
		var tensors []safetensors.Info
		var data int64
		for i, name := range names {
			info := safetensors.Info{
				Name:  name,
				DType: rapid.SampledFrom([]string{"BF16", "F32", "I8", "F64", "BOOL"}).Draw(t, fmt.Sprint("dtype", i)),
				Shape: rapid.SliceOfN(rapid.IntRange(0, 5), 0, 4).Draw(t, fmt.Sprint("shape", i)),
			}
			size, err := safetensors.Size(info.DType, info.Shape)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, info)
			data += size
		}
		metadata := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata")
		header, err := safetensors.EncodeHeader(tensors, metadata)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parse(append(bytes.Clone(header), make([]byte, data)...))
		if err != nil {
			t.Fatal(err)
		}
		at := int64(len(header))
		for _, want := range tensors {
			got, ok := file.Lookup(want.Name)
			if !ok || got.DType != want.DType || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) || got.Begin != at {
				t.Fatalf("want %+v at %d, found %+v", want, at, got)
			}
			at = got.End
		}
		if len(file.Tensors) != len(tensors) || fmt.Sprint(file.Metadata) != fmt.Sprint(metadata) {
			t.Fatalf("want %d tensors and %v, found %d and %v", len(tensors), metadata, len(file.Tensors), file.Metadata)
		}
	})
}
