package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/safetensors"
)

// build makes a file from a header's text and n bytes of data.
func build(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, n)...)
}

func parse(file []byte) (*safetensors.File, error) {
	return safetensors.Parse(bytes.NewReader(file), int64(len(file)), "x.safetensors")
}

const two = `{"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`

func TestParse(t *testing.T) {
	f, err := parse(build(`{"__metadata__":{"format":"pt"},`+two[1:]+"   ", 16))
	require.NoError(t, err)
	begin := int64(8 + len(`{"__metadata__":{"format":"pt"},`+two[1:]+"   "))
	assert.Equal(t, map[string]string{"format": "pt"}, f.Metadata)
	assert.Equal(t, []safetensors.Info{
		{Name: "a", DType: "F32", Shape: []int{}, Begin: begin, End: begin + 4},
		{Name: "b", DType: "BF16", Shape: []int{2, 3}, Begin: begin + 4, End: begin + 16},
	}, f.Tensors)
	b, ok := f.Lookup("b")
	require.True(t, ok)
	assert.EqualValues(t, 12, b.Size())
	_, ok = f.Lookup("aa")
	assert.False(t, ok)
}

func TestParseAdmits(t *testing.T) {
	for _, tc := range []struct {
		name, header string
		data         int
	}{
		{"no tensor", `{}`, 0},
		{"empty tensors share a place", `{"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}}`, 1},
		{"nibbles that fill bytes", `{"a":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}`, 3},
		{"keys in another order", `{"a":{"data_offsets":[0,8],"shape":[1],"dtype":"I64"}}`, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(build(tc.header, tc.data))
			assert.NoError(t, err)
		})
	}
}

// TestParseRefuses: one way each in which a file can break the format; the
// message names the file, the tensor and the field.
func TestParseRefuses(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"a":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	good := build(two, 16)
	length := func(n uint64) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint64(b, n)
		return b
	}
	for _, tc := range []struct {
		name string
		file []byte
		says []string
	}{
		{"empty file", nil, []string{"file size"}},
		{"cut in the length", good[:5], []string{"file size"}},
		{"cut in the header", good[:40], []string{"header length"}},
		{"cut in the data", good[:len(good)-1], []string{`"b"`, "data_offsets", "truncated"}},
		{"a byte after the data", append(bytes.Clone(good), 0), []string{"data:", "16", "17"}},
		{"length above the limit", length(safetensors.MaxHeader + 1), []string{"header length", "100000000"}},
		{"length with the top bit", length(1 << 63), []string{"header length"}},
		{"length that wraps", length(math.MaxUint64 - 7), []string{"header length"}},
		{"length one short", length(uint64(len(two) - 1)), []string{"header", "valid JSON"}},
		{"length zero", length(0), []string{"header", "{"}},
		{"leading space", build(" "+two, 16), []string{"header", "{"}},
		{"not an object", build(`[]`, 0), []string{"header", "{"}},
		{"text after the object", build(two+"{}", 16), []string{"valid JSON"}},
		{"not UTF-8", build(strings.Replace(two, `"b"`, "\"\xff\"", 1), 16), []string{"UTF-8"}},
		{"tensor twice", build(strings.Replace(two, `"b"`, `"a"`, 1), 16), []string{"key \"a\" twice"}},
		{"tensor twice by escape", build(strings.Replace(two, `"b"`, `"\u0061"`, 1), 16), []string{"key \"a\" twice"}},
		{"key of an entry twice", build(`{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1), []string{`"a"`, `"dtype" twice`}},
		{"metadata twice", build(`{"__metadata__":{},"__metadata__":{}}`, 0), []string{"twice"}},
		{"metadata key twice", build(`{"__metadata__":{"k":"1","k":"2"}}`, 0), []string{"__metadata__", `"k" twice`}},
		{"metadata not an object", build(`{"__metadata__":"x"}`, 0), []string{"__metadata__"}},
		{"metadata not a string", build(`{"__metadata__":{"k":1}}`, 0), []string{"__metadata__", `"k"`}},
		{"entry not an object", build(`{"a":[1]}`, 0), []string{`"a"`, "entry"}},
		{"unknown key", build(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 1), []string{`"a"`, `"x"`}},
		{"no dtype", build(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, 1), []string{`"a"`, "dtype"}},
		{"no shape", build(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1), []string{`"a"`, "shape"}},
		{"no offsets", build(`{"a":{"dtype":"U8","shape":[1]}}`, 1), []string{`"a"`, "data_offsets"}},
		{"unknown dtype", build(one(`"F12"`, `[1]`, `[0,1]`), 1), []string{`"a"`, "dtype", `"F12"`}},
		{"dtype in lower case", build(one(`"bf16"`, `[1]`, `[0,2]`), 2), []string{"dtype"}},
		{"dtype not a string", build(one(`16`, `[1]`, `[0,2]`), 2), []string{"dtype"}},
		{"shape not an array", build(one(`"U8"`, `1`, `[0,1]`), 1), []string{"shape"}},
		{"negative dimension", build(one(`"U8"`, `[-1]`, `[0,1]`), 1), []string{"shape", "-1"}},
		{"negative zero", build(one(`"U8"`, `[-0]`, `[0,0]`), 0), []string{"shape", "-0"}},
		{"fraction in shape", build(one(`"U8"`, `[1.0]`, `[0,1]`), 1), []string{"shape", "1.0"}},
		{"exponent in shape", build(one(`"U8"`, `[1e0]`, `[0,1]`), 1), []string{"shape"}},
		{"string in shape", build(one(`"U8"`, `["1"]`, `[0,1]`), 1), []string{"shape"}},
		{"nested shape", build(one(`"U8"`, `[[1]]`, `[0,1]`), 1), []string{"shape"}},
		{"dimension beyond int64", build(one(`"U8"`, `[9223372036854775808]`, `[0,1]`), 1), []string{"shape"}},
		{"size that overflows", build(one(`"F32"`, `[4294967296,4294967296]`, `[0,0]`), 0), []string{"shape", "overflow"}},
		{"too many dimensions", build(one(`"U8"`, `[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]`, `[0,1]`), 1), []string{"shape", "16"}},
		{"half a byte", build(one(`"F4"`, `[3]`, `[0,2]`), 2), []string{"shape", "byte"}},
		{"range too long", build(one(`"U8"`, `[1]`, `[0,2]`), 2), []string{`"a"`, "data_offsets", "[0, 2]"}},
		{"range backwards", build(one(`"U8"`, `[1]`, `[1,0]`), 1), []string{"data_offsets"}},
		{"one offset", build(one(`"U8"`, `[1]`, `[1]`), 1), []string{"data_offsets"}},
		{"three offsets", build(one(`"U8"`, `[1]`, `[0,1,1]`), 1), []string{"data_offsets"}},
		{"no offset", build(one(`"U8"`, `[1]`, `[]`), 1), []string{"data_offsets"}},
		{"overlap", build(strings.Replace(two, "[4,16]", "[3,15]", 1), 15), []string{`"b"`, "overlap"}},
		{"same range", build(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), []string{"overlap"}},
		{"hole", build(strings.Replace(two, "[4,16]", "[6,18]", 1), 18), []string{`"b"`, "hole"}},
		{"hole at the start", build(one(`"U8"`, `[1]`, `[1,2]`), 2), []string{"hole"}},
		{"offsets beyond the file", build(one(`"U8"`, `[1152921504606846975]`, `[0,1152921504606846975]`), 1), []string{"truncated"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := parse(tc.file)
			require.ErrorIs(t, err, safetensors.ErrFormat)
			assert.Nil(t, f)
			assert.ErrorContains(t, err, "x.safetensors: ")
			for _, text := range tc.says {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

// TestParseShrunk: the file is shorter than the size that was taken before.
func TestParseShrunk(t *testing.T) {
	good := build(two, 16)
	_, err := safetensors.Parse(bytes.NewReader(good[:30]), int64(len(good)), "x.safetensors")
	assert.ErrorContains(t, err, "x.safetensors: header: read 22 of")
}

// TestParseMemory: a length that the file cannot hold is refused before memory
// is taken for it.
func TestParseMemory(t *testing.T) {
	file := build("{}", 0)
	binary.LittleEndian.PutUint64(file, 90_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parse(file)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, safetensors.ErrFormat)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func FuzzParse(f *testing.F) {
	f.Add(build(two, 16))
	f.Add(build(`{}`, 0))
	f.Add(build(`{"__metadata__":{"k":"v"},"a":{"dtype":"F4","shape":[2,0],"data_offsets":[0,0]}}`, 0))
	f.Add(build(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}`, 1))
	f.Add(build(strings.Replace(two, "[4,16]", "[4,9223372036854775807]", 1), 16))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := parse(file)
		if err != nil {
			require.ErrorIs(t, err, safetensors.ErrFormat)
			return
		}
		covered := int64(0)
		for _, info := range got.Tensors {
			require.LessOrEqual(t, info.Begin, info.End)
			require.LessOrEqual(t, info.End, int64(len(file)))
			covered += info.Size()
		}
		header := int64(8) + int64(binary.LittleEndian.Uint64(file))
		require.Equal(t, int64(len(file))-header, covered, "the tensors cover the data")
	})
}
