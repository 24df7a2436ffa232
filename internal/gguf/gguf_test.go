package gguf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/gguf"
)

// sample is a small file: every value type and three tensors.
func sample(t testing.TB) []byte {
	return encode(t, []gguf.KeyValue{
		{Key: "general.architecture", Value: "phi3"},
		{Key: "u8", Value: uint8(200)},
		{Key: "i8", Value: int8(-100)},
		{Key: "u16", Value: uint16(65000)},
		{Key: "i16", Value: int16(-30000)},
		{Key: "u32", Value: uint32(4e9)},
		{Key: "i32", Value: int32(-2e9)},
		{Key: "u64", Value: uint64(math.MaxUint64)},
		{Key: "i64", Value: int64(math.MinInt64)},
		{Key: "f32", Value: float32(1e-5)},
		{Key: "f64", Value: 1e-300},
		{Key: "yes", Value: true},
		{Key: "words", Value: []string{"a", "", "\xff"}},
		{Key: "bytes", Value: []uint8{1, 2, 3}},
		{Key: "flags", Value: []bool{true, false}},
		{Key: "floats", Value: []float32{1, 2}},
	}, tensors())
}

func tensors() []gguf.Info {
	return []gguf.Info{
		{Name: "matrix", Type: gguf.Q8_0, Dims: []int{64, 3}},
		{Name: "vector", Type: gguf.F32, Dims: []int{5}},
		{Name: "half", Type: gguf.F16, Dims: []int{2, 3, 4}},
	}
}

// encode makes a whole file; its data is zeros.
func encode(t testing.TB, keys []gguf.KeyValue, infos []gguf.Info) []byte {
	header, err := gguf.EncodeHeader(keys, infos)
	require.NoError(t, err)
	if len(infos) == 0 {
		return header
	}
	return append(header, make([]byte, infos[len(infos)-1].End-int64(len(header)))...)
}

func parse(data []byte) (*gguf.File, error) {
	return gguf.Parse(bytes.NewReader(data), int64(len(data)), "x.gguf")
}

func TestParse(t *testing.T) {
	data := sample(t)
	f, err := parse(data)
	require.NoError(t, err)
	assert.Equal(t, 3, f.Version)
	assert.Equal(t, int64(32), f.Alignment)
	assert.Len(t, f.Keys, 16)

	text, ok := f.Keys["general.architecture"].Text()
	assert.True(t, ok)
	assert.Equal(t, "phi3", text)
	for key, want := range map[string]int64{
		"u8": 200, "i8": -100, "u16": 65000, "i16": -30000, "u32": 4e9, "i32": -2e9, "i64": math.MinInt64,
	} {
		n, ok := f.Keys[key].Int()
		assert.True(t, ok, key)
		assert.Equal(t, want, n, key)
	}
	for _, key := range []string{"u64", "f32", "yes", "words", "general.architecture"} {
		_, ok := f.Keys[key].Int()
		assert.False(t, ok, "%s is no int64", key)
	}
	single, ok := f.Keys["f32"].Float32()
	assert.True(t, ok)
	assert.Equal(t, float32(1e-5), single)
	_, ok = f.Keys["f64"].Float32()
	assert.False(t, ok)
	double, ok := f.Keys["f64"].Float64()
	assert.True(t, ok)
	assert.Equal(t, 1e-300, double)
	yes, ok := f.Keys["yes"].Bool()
	assert.True(t, yes && ok)

	words := f.Keys["words"]
	assert.Equal(t, gguf.String, words.Elem)
	assert.Equal(t, 3, words.Len)
	assert.Equal(t, append(append(binary.LittleEndian.AppendUint64(nil, 1), 'a'), append(make([]byte, 8), 1, 0, 0, 0, 0, 0, 0, 0, 0xFF)...), data[words.Begin:words.End])
	assert.Equal(t, []byte{1, 2, 3}, data[f.Keys["bytes"].Begin:f.Keys["bytes"].End])
	assert.Equal(t, 2, f.Keys["floats"].Len)

	require.Len(t, f.Tensors, 3)
	assert.Equal(t, f.DataBegin, f.Tensors[0].Begin)
	for i, want := range []struct {
		name  string
		size  int64
		shape []int
	}{{"matrix", 3 * 2 * 34, []int{3, 64}}, {"vector", 20, []int{5}}, {"half", 48, []int{4, 3, 2}}} {
		got := f.Tensors[i]
		assert.Equal(t, want.name, got.Name)
		assert.Equal(t, want.size, got.End-got.Begin, want.name)
		assert.Equal(t, want.shape, got.Shape(), want.name)
		assert.Zero(t, got.Begin%32, want.name)
	}
	assert.Equal(t, int64(len(data)), f.Tensors[2].End)
}

// TestForms: other files of the same meaning.
func TestForms(t *testing.T) {
	data := sample(t)
	padded := append(bytes.Clone(data), make([]byte, (32-len(data)%32)%32)...)
	require.NotEqual(t, len(data), len(padded), "the sample's end is not aligned")
	second := bytes.Clone(data)
	second[4] = 2
	for name, data := range map[string][]byte{
		"padded end":      padded,
		"version 2":       second,
		"nothing in it":   encode(t, nil, nil),
		"no tensors":      encode(t, []gguf.KeyValue{{Key: "a", Value: true}}, nil),
		"wide alignment":  encode(t, []gguf.KeyValue{{Key: "general.alignment", Value: uint32(4096)}}, tensors()),
		"small alignment": encode(t, []gguf.KeyValue{{Key: "general.alignment", Value: uint32(8)}}, tensors()),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(data)
			assert.NoError(t, err)
		})
	}

	// Entries need not stand in the order of the data.
	swapped := bytes.Clone(data)
	a := bytes.Index(swapped, []byte("matrix"))
	b := bytes.Index(swapped, []byte("vector"))
	require.True(t, a > 0 && b > a)
	copy(swapped[a:], "vector")
	copy(swapped[b:], "matrix")
	f, err := parse(swapped)
	require.NoError(t, err)
	assert.Equal(t, "vector", f.Tensors[0].Name)
}

// patch replaces the first place of old, which must be there, by new of the
// same length.
func patch(t *testing.T, data []byte, old, new string) []byte {
	require.Len(t, new, len(old))
	at := bytes.Index(data, []byte(old))
	require.GreaterOrEqual(t, at, 0)
	out := bytes.Clone(data)
	copy(out[at:], new)
	return out
}

func le32(v uint32) string { return string(binary.LittleEndian.AppendUint32(nil, v)) }

func le64(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }

// TestParseRefuses: each message names the file, the key or tensor, what was
// wanted and what was found.
func TestParseRefuses(t *testing.T) {
	data := sample(t)
	f, err := parse(data)
	require.NoError(t, err)
	at := func(offset int, text string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			out := bytes.Clone(data)
			copy(out[offset:], text)
			return out
		}
	}
	swap := func(old, new string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte { return patch(t, data, old, new) }
	}
	cut := func(n int) func(t *testing.T) []byte {
		return func(*testing.T) []byte { return data[:n] }
	}
	vectorAt := le64(uint64(f.Tensors[1].Begin - f.DataBegin))
	for _, tc := range []struct {
		name string
		make func(t *testing.T) []byte
		says []string
	}{
		{"empty", cut(0), []string{"magic", "found 0 before the end of the file"}},
		{"magic cut short", cut(3), []string{"magic"}},
		{"another format", at(0, "PK\x03\x04"), []string{"magic", `"GGUF"`, `"PK\x03\x04"`}},
		{"the older container", at(0, "lmgg"), []string{"magic", `"lmgg"`}},
		{"version 1", at(4, le32(1)), []string{"version", "2 or 3", "found 1"}},
		{"version 4", at(4, le32(4)), []string{"version", "found 4"}},
		{"big-endian", at(4, "\x00\x00\x00\x03"), []string{"version", "little-endian", "version 3 in big-endian"}},
		{"tensor count", at(8, le64(1<<40)), []string{"tensor count", "room for", "1099511627776"}},
		{"key count", at(16, le64(math.MaxUint64)), []string{"key count", "room for", "18446744073709551615"}},
		{"one key too many", at(16, le64(17)), []string{"x.gguf"}},
		{"one tensor too many", at(8, le64(4)), []string{"x.gguf"}},
		{"key length", at(24, le64(1<<50)), []string{"key", "1125899906842624 bytes"}},
		{"empty key", at(24, le64(0)), []string{"key", "1 to 65535 bytes"}},
		{"key not UTF-8", swap("general.architecture", "general.\xff\xffchitecture"), []string{"key", "UTF-8"}},
		{"key twice", swap(le64(2)+"i8", le64(2)+"u8"), []string{`key "u8"`, "twice"}},
		{"value type", swap("u8"+le32(0), "u8"+le32(13)), []string{`key "u8"`, "value type", "0 to 12", "found 13"}},
		{"bool of 2", swap("yes"+le32(7)+"\x01", "yes"+le32(7)+"\x02"), []string{`key "yes"`, "bool", "found 2"}},
		{"array of arrays", swap("words"+le32(9)+le32(8), "words"+le32(9)+le32(9)), []string{`key "words"`, "array of arrays"}},
		{"array type", swap("words"+le32(9)+le32(8), "words"+le32(9)+le32(99)), []string{`key "words"`, "array type", "99"}},
		{"array length", swap(le32(8)+le64(3), le32(8)+le64(1<<60)), []string{`key "words"`, "array length", "1152921504606846976"}},
		{"length in an array", swap(le64(3)+le64(1)+"a", le64(3)+le64(1<<40)+"a"), []string{`key "words"`, "1099511627776 bytes"}},
		{"bool in an array", swap("flags"+le32(9)+le32(7)+le64(2)+"\x01", "flags"+le32(9)+le32(7)+le64(2)+"\x05"), []string{`key "flags"`, "found 5"}},
		{"name twice", swap("vector", "matrix"), []string{`tensor "matrix"`, "twice"}},
		{"name not UTF-8", swap("vector", "v\xffctor"), []string{"tensor name", "UTF-8"}},
		{"no dimensions", swap("vector"+le32(1), "vector"+le32(0)), []string{`tensor "vector"`, "rank", "found 0"}},
		{"five dimensions", swap("vector"+le32(1), "vector"+le32(5)), []string{`tensor "vector"`, "rank", "found 5"}},
		{"dimension 0", swap("vector"+le32(1)+le64(5), "vector"+le32(1)+le64(0)), []string{`tensor "vector"`, "dimensions", "[0]"}},
		{"dimension beyond int64", swap("vector"+le32(1)+le64(5), "vector"+le32(1)+le64(math.MaxUint64)), []string{`tensor "vector"`, "dimensions"}},
		{"size overflows", swap("half"+le32(3)+le64(2)+le64(3)+le64(4), "half"+le32(3)+le64(1<<40)+le64(1<<40)+le64(4)), []string{`tensor "half"`, "dimensions", "2^62"}},
		{"unknown type", swap(le64(5)+le32(0), le64(5)+le32(5)), []string{`tensor "vector"`, "type", "type 5"}},
		{"part of a block", swap("matrix"+le32(2)+le64(64), "matrix"+le32(2)+le64(65)), []string{`tensor "matrix"`, "multiple of the 32", "65"}},
		{"offset not aligned", swap(le32(0)+vectorAt, le32(0)+le64(uint64(f.Tensors[1].Begin-f.DataBegin)+8)), []string{`tensor "vector"`, "offset", "alignment 32"}},
		{"offset beyond int64", swap(le32(0)+vectorAt, le32(0)+le64(1<<63)), []string{`tensor "vector"`, "offset", "9223372036854775808"}},
		{"overlap", swap(le32(0)+vectorAt, le32(0)+le64(uint64(f.Tensors[1].Begin-f.DataBegin)-32)), []string{`tensor "vector"`, "overlap"}},
		{"hole", swap(le32(0)+vectorAt, le32(0)+le64(uint64(f.Tensors[1].Begin-f.DataBegin)+64)), []string{"offset", "hole"}},
		{"data cut short", cut(len(data) - 1), []string{`tensor "half"`, "truncated"}},
		{"no data", cut(int(f.DataBegin)), []string{"truncated"}},
		{"bytes after the data", func(*testing.T) []byte { return append(bytes.Clone(data), make([]byte, 32)...) }, []string{"data", "an end at byte"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := parse(tc.make(t))
			require.ErrorIs(t, err, gguf.ErrFormat)
			assert.Nil(t, f)
			for _, text := range append(tc.says, "x.gguf: ", "want ", "found ") {
				assert.ErrorContains(t, err, text)
			}
		})
	}
	for _, n := range []any{uint32(0), uint32(4), uint32(48), uint64(32), "32", int32(-32)} {
		header, err := gguf.EncodeHeader([]gguf.KeyValue{{Key: "general.alignment", Value: n}}, nil)
		require.ErrorIs(t, err, gguf.ErrFormat, "%T %v", n, n)
		assert.ErrorContains(t, err, `key "general.alignment"`)
		assert.Nil(t, header)
	}
}

// TestEveryCut: a file cut at any byte is refused.
func TestEveryCut(t *testing.T) {
	data := sample(t)
	for n := range data {
		_, err := parse(data[:n])
		require.ErrorIs(t, err, gguf.ErrFormat, "cut at %d", n)
	}
}

// TestShrunk: a file that lost its end since its size was taken is no format
// error.
func TestShrunk(t *testing.T) {
	data := sample(t)
	for _, n := range []int{0, 10, 30, 100, 300} {
		_, err := gguf.Parse(bytes.NewReader(data[:n]), int64(len(data)), "x.gguf")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "at %d", n)
		assert.ErrorContains(t, err, "x.gguf: ")
	}
}

// endless is a file of zeros behind a small head.
type endless struct{ head []byte }

func (e endless) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(e.head)) {
		copy(p, e.head[off:])
	}
	return len(p), nil
}

// TestHeaderLimit: a header may not grow with a file of any size.
func TestHeaderLimit(t *testing.T) {
	head := "GGUF" + le32(3) + le64(0) + le64(1) + le64(1) + "a" + le32(8) + le64(1<<40)
	_, err := gguf.Parse(endless{[]byte(head)}, 1<<50, "x.gguf")
	require.ErrorIs(t, err, gguf.ErrFormat)
	assert.ErrorContains(t, err, fmt.Sprintf("the limit of %d bytes", int64(gguf.MaxHeader)))
}

func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("n", gguf.MaxName+1)
	for name, tc := range map[string]struct {
		keys    []gguf.KeyValue
		tensors []gguf.Info
		says    string
	}{
		"int":          {[]gguf.KeyValue{{Key: "a", Value: 1}}, nil, "a int"},
		"nil":          {[]gguf.KeyValue{{Key: "a"}}, nil, "<nil>"},
		"lists":        {[]gguf.KeyValue{{Key: "a", Value: [][]uint8{{1}}}}, nil, "[][]uint8"},
		"key twice":    {[]gguf.KeyValue{{Key: "a", Value: true}, {Key: "a", Value: true}}, nil, "twice"},
		"long name":    {nil, []gguf.Info{{Name: long, Type: gguf.F32, Dims: []int{1}}}, "64 bytes"},
		"scalar":       {nil, []gguf.Info{{Name: "t", Type: gguf.F32}}, "at least one dimension"},
		"unknown type": {nil, []gguf.Info{{Name: "t", Type: 99, Dims: []int{1}}}, "type 99"},
		"half a block": {nil, []gguf.Info{{Name: "t", Type: gguf.Q8_0, Dims: []int{16}}}, "32"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gguf.EncodeHeader(tc.keys, tc.tensors)
			require.ErrorIs(t, err, gguf.ErrFormat)
			assert.ErrorContains(t, err, tc.says)
		})
	}
}

func TestTypeNames(t *testing.T) {
	assert.Equal(t, "Q8_0", gguf.Q8_0.String())
	assert.Equal(t, "Q4_K", gguf.Type(12).String())
	assert.Equal(t, "type 4", gguf.Type(4).String())
	assert.Equal(t, "float64", gguf.Float64.String())
	assert.Equal(t, "value type 13", gguf.ValueType(13).String())
}

// FuzzParse: whatever the bytes, Parse gives an error of this package or a
// file whose tensors lie within the data, in whole and apart from each other.
func FuzzParse(f *testing.F) {
	data := sample(f)
	f.Add(data)
	f.Add(data[:60])
	f.Add(encode(f, []gguf.KeyValue{{Key: "general.alignment", Value: uint32(64)}}, tensors()))
	f.Add([]byte("GGUF\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, gguf.ErrFormat)
			return
		}
		infos := slices.Clone(file.Tensors)
		slices.SortFunc(infos, func(a, b gguf.Info) int { return int(a.Begin - b.Begin) })
		end := int64(24)
		for _, info := range infos {
			require.GreaterOrEqual(t, info.Begin, end)
			require.Greater(t, info.End, info.Begin)
			require.Zero(t, (info.Begin-file.DataBegin)%file.Alignment)
			end = info.End
		}
		require.LessOrEqual(t, end, int64(len(data)))
		for _, v := range file.Keys {
			require.True(t, v.Type != gguf.Array || v.Begin <= v.End && v.End <= int64(len(data)))
		}
	})
}
