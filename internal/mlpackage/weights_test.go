package mlpackage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/mil"
)

func ExampleBlobWriter() {
	layout := NewLayout()
	offset := layout.Add(BlobFloat16, 4, 0) // goes into the program's mil.BlobRef
	var file bytes.Buffer
	w := NewBlobWriter(&file, layout)
	blob, err := w.Next()
	if err == nil {
		_, err = w.Write([]byte{0x00, 0x3c, 0x00, 0xbc}) // 1, -1
	}
	fmt.Println(offset, blob.DataOffset, layout.Size(), errors.Join(err, w.Close()))
	// Output: 64 128 132 <nil>
}

// TestWeightsWire compares with the head of a file of 15 blobs that coremltools
// 9.0 wrote: fp16, 6144 bytes, data at 128.
func TestWeightsWire(t *testing.T) {
	layout := NewLayout()
	require.EqualValues(t, 64, layout.Add(BlobFloat16, 6144, 0))
	for range 14 {
		layout.Add(BlobFloat16, 2, 0)
	}
	require.NoError(t, layout.Err())
	var out bytes.Buffer
	w := NewBlobWriter(&out, layout)
	for range layout.Count() {
		blob, err := w.Next()
		require.NoError(t, err)
		_, err = w.Write(make([]byte, blob.Size))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	want := make([]byte, 128)
	copy(want, unhex(t, "0f000000 02000000"))
	copy(want[0x40:], unhex(t, "efbeadde 01000000 00180000 00000000 80000000 00000000 00000000 00000000"))
	assert.Equal(t, want, out.Bytes()[:128])
	assert.EqualValues(t, layout.Size(), out.Len())
}

func TestSampleWeights(t *testing.T) {
	want := make([]byte, 64+64+64+64+4)
	copy(want, unhex(t, "02000000 02000000"))
	copy(want[64:], unhex(t, "efbeadde 04000000 0600000000000000 8000000000000000"))
	copy(want[128:], sampleData)
	copy(want[192:], unhex(t, "efbeadde 01000000 0400000000000000 0001000000000000"))
	copy(want[256:], sampleScale)
	assert.Equal(t, want, sampleWeights(t))
}

func TestWeightsProperty(t *testing.T) {
	types := make([]BlobType, 17)
	for i := range types {
		types[i] = BlobType(i + 1)
	}
	rapid.Check(t, func(t *rapid.T) {
		layout := NewLayout()
		var contents [][]byte
		for range rapid.IntRange(0, 6).Draw(t, "blobs") {
			typ := rapid.SampledFrom(types).Draw(t, "type")
			count := rapid.Int64Range(0, 300).Draw(t, "elements")
			size, padding := BlobSize(typ, count)
			offset := layout.Add(typ, size, padding)
			require.NoError(t, layout.Err())
			blob, ok := layout.Blob(offset)
			require.True(t, ok)
			require.Equal(t, count, blob.Elements())
			require.Zero(t, blob.DataOffset%64)
			contents = append(contents, rapid.SliceOfN(rapid.Byte(), int(size), int(size)).Draw(t, "data"))
		}
		var file bytes.Buffer
		w := NewBlobWriter(&file, layout)
		for _, data := range contents {
			_, err := w.Next()
			require.NoError(t, err)
			cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
			for _, piece := range [][]byte{data[:cut], data[cut:]} {
				_, err = w.Write(piece)
				require.NoError(t, err)
			}
		}
		require.NoError(t, w.Close())
		require.EqualValues(t, layout.Size(), file.Len())

		file.Write(make([]byte, rapid.Int64Range(0, alignUp(layout.Size())-layout.Size()).Draw(t, "tail")))
		weights, err := OpenWeights(bytes.NewReader(file.Bytes()), int64(file.Len()))
		require.NoError(t, err)
		require.Equal(t, layout.Blobs(), weights.Blobs())
		for i, blob := range weights.Blobs() {
			found, err := weights.Blob(blob.Offset)
			require.NoError(t, err)
			require.Equal(t, blob, found)
			require.True(t, bytes.Equal(contents[i], file.Bytes()[blob.DataOffset:blob.end()]))
			_, err = weights.Blob(blob.Offset + 1)
			require.ErrorIs(t, err, ErrWeights)
		}
	})
}

func TestLayoutRefuses(t *testing.T) {
	for name, add := range map[string]func(l *Layout){
		"unknown type":           func(l *Layout) { l.Add(0, 4, 0) },
		"type beyond the last":   func(l *Layout) { l.Add(18, 4, 0) },
		"negative size":          func(l *Layout) { l.Add(BlobInt8, -1, 0) },
		"half an element":        func(l *Layout) { l.Add(BlobFloat16, 3, 0) },
		"padding of whole bytes": func(l *Layout) { l.Add(BlobInt8, 4, 4) },
		"padding of 8 bits":      func(l *Layout) { l.Add(BlobUInt4, 4, 8) },
		"negative padding":       func(l *Layout) { l.Add(BlobUInt4, 4, -4) },
		"padding of no bytes":    func(l *Layout) { l.Add(BlobUInt4, 0, 4) },
		"padding between":        func(l *Layout) { l.Add(BlobUInt3, 2, 2) },
		"size of 2^62":           func(l *Layout) { l.Add(BlobInt8, 1<<62, 0) },
		"sum beyond an int64":    func(l *Layout) { l.blobs = []Blob{{Size: 1<<63 - 200}}; l.Add(BlobInt8, 200, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			layout := NewLayout()
			layout.Add(BlobInt8, 1, 0)
			require.NoError(t, layout.Err())
			add(layout)
			require.ErrorIs(t, layout.Err(), ErrWeights)
			assert.ErrorContains(t, layout.Err(), WeightsPath)
			_, err := NewBlobWriter(io.Discard, layout).Next()
			require.ErrorIs(t, err, ErrWeights)
			require.ErrorIs(t, NewBlobWriter(io.Discard, layout).Close(), ErrWeights)
		})
	}
}

func TestBlobWriterRefuses(t *testing.T) {
	for name, write := range map[string]func(w *BlobWriter) error{
		"data before a blob": func(w *BlobWriter) error { _, err := w.Write([]byte{1}); return err },
		"too much data": func(w *BlobWriter) error {
			_, err := w.Next()
			require.NoError(t, err)
			n, err := w.Write(make([]byte, 7))
			assert.Zero(t, n)
			return err
		},
		"too little data": func(w *BlobWriter) error {
			_, err := w.Next()
			require.NoError(t, err)
			_, err = w.Write(make([]byte, 5))
			require.NoError(t, err)
			_, err = w.Next()
			return err
		},
		"too little data at the end": func(w *BlobWriter) error {
			_, err := w.Next()
			require.NoError(t, err)
			return w.Close()
		},
		"a blob too few": func(w *BlobWriter) error {
			_, err := w.Next()
			require.NoError(t, err)
			_, err = w.Write(sampleData)
			require.NoError(t, err)
			return w.Close()
		},
		"a blob too many": func(w *BlobWriter) error {
			for _, data := range [][]byte{sampleData, sampleScale} {
				_, err := w.Next()
				require.NoError(t, err)
				_, err = w.Write(data)
				require.NoError(t, err)
			}
			_, err := w.Next()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			layout, _, _ := sampleLayout()
			w := NewBlobWriter(io.Discard, layout)
			err := write(w)
			require.ErrorIs(t, err, ErrWeights)
			assert.ErrorContains(t, err, WeightsPath)
			require.ErrorIs(t, w.Close(), ErrWeights, "the first error sticks")
		})
	}
}

// brokenWriter fails after room bytes, or writes short without an error.
type brokenWriter struct {
	room int
	err  error
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	n := min(len(p), b.room)
	b.room -= n
	if n < len(p) {
		return n, b.err
	}
	return n, nil
}

func TestBlobWriterPassesErrorsOn(t *testing.T) {
	full := errors.New("disk full")
	for room, want := range map[int]string{10: "byte 10", 70: "byte 70", 130: "byte 130"} {
		layout, _, _ := sampleLayout()
		w := NewBlobWriter(&brokenWriter{room: room, err: full}, layout)
		_, err := w.Next()
		if err == nil {
			_, err = w.Write(sampleData)
		}
		require.ErrorIs(t, err, full)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, w.Close(), full)
	}
	layout, _, _ := sampleLayout()
	require.ErrorIs(t, NewBlobWriter(&brokenWriter{room: 10}, layout).Close(), io.ErrShortWrite)
}

// weightFaults are single faults in the bytes of sampleWeights.
func weightFaults() map[string]func(b []byte) []byte {
	put32 := func(at int, v uint32) func(b []byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func(b []byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
	}
	return map[string]func(b []byte) []byte{
		"found a file of 0 bytes":           func([]byte) []byte { return nil },
		"found a file of 63 bytes":          func(b []byte) []byte { return b[:63] },
		"header, version":                   put32(4, 1),
		"header, byte 8":                    put32(8, 1),
		"header, byte 63":                   func(b []byte) []byte { b[63] = 1; return b },
		"header, count: wanted at most 3":   put32(0, 0xffffffff),
		"blob 2, metadata":                  put32(0, 3),
		"size: wanted 134 bytes":            put32(0, 1), // the second blob is then foreign data
		"blob 0, sentinel":                  put32(64, 0xdeadbeee),
		"blob type 0":                       put32(68, 0),
		"blob type 18":                      put32(68, 18),
		"found 7 bytes less 0 bits of fp16": func(b []byte) []byte { put32(68, 1)(b); return put64(72, 7)(b) },
		"blob 0, sizeInBytes":               put64(72, 133),
		"found 18446744073709551615":        put64(72, 1<<64-1),
		"blob 0, dataOffset: wanted 128":    put64(80, 192),
		"less 2147483647 bits":              put64(88, 1<<63),
		"less 1 bits of int8":               put64(88, 1),
		"blob 0, metadata, byte 127":        func(b []byte) []byte { b[127] = 1; return b },
		"blob 1, padding before it, byte 1": func(b []byte) []byte { b[134] = 1; return b },
		"blob 1, padding before it, byte 191": func(b []byte) []byte {
			b[191] = 1
			return b
		},
		"blob 1, sizeInBytes":    func(b []byte) []byte { return b[:len(b)-1] },
		"tail, byte 260":         func(b []byte) []byte { return append(b, 1) },
		"size: wanted 260 bytes": func(b []byte) []byte { return append(b, make([]byte, 61)...) },
	}
}

func TestOpenWeightsRefuses(t *testing.T) {
	for says, seed := range weightFaults() {
		t.Run(says, func(t *testing.T) {
			data := seed(sampleWeights(t))
			_, err := OpenWeights(bytes.NewReader(data), int64(len(data)))
			require.ErrorIs(t, err, ErrWeights)
			assert.ErrorContains(t, err, says)
			assert.ErrorContains(t, err, WeightsPath)
		})
	}
	good := sampleWeights(t)
	_, err := OpenWeights(bytes.NewReader(good[:100]), int64(len(good)))
	require.ErrorIs(t, err, io.EOF, "a file shorter than it says")
	_, err = OpenWeights(bytes.NewReader(nil), -1)
	require.ErrorIs(t, err, ErrWeights)
}

func TestOpenWeightsIsBoundedByTheInput(t *testing.T) {
	data := sampleWeights(t)
	binary.LittleEndian.PutUint32(data, 0xffffffff)
	var err error
	used := allocated(func() { _, err = OpenWeights(bytes.NewReader(data), int64(len(data))) })
	require.ErrorIs(t, err, ErrWeights)
	assert.Less(t, used, int64(64<<10))
}

func TestBlobTypes(t *testing.T) {
	for dt := mil.DType(0); dt < 255; dt++ {
		typ, ok := BlobTypeOf(dt)
		if !ok {
			continue
		}
		assert.Equal(t, dt, typ.DType())
		assert.Equal(t, dt.Bits(), typ.Bits(), "%v", typ)
		assert.Equal(t, dt.String(), typ.String())
	}
	for _, dt := range []mil.DType{mil.Bool, mil.String, 0} {
		_, ok := BlobTypeOf(dt)
		assert.False(t, ok, "data type %d", dt)
	}
	// Numbers that differ between MIL and the weight file.
	for dt, want := range map[mil.DType]uint32{
		mil.Float16: 1, mil.Float32: 2, mil.UInt8: 3, mil.Int8: 4, mil.Int16: 6, mil.UInt16: 7, mil.Int4: 8, mil.UInt1: 9,
		mil.UInt2: 10, mil.UInt4: 11, mil.UInt3: 12, mil.UInt6: 13, mil.Int32: 14, mil.UInt32: 15,
	} {
		typ, ok := BlobTypeOf(dt)
		assert.True(t, ok)
		assert.Equal(t, want, uint32(typ))
	}
	assert.Zero(t, BlobType(18).Bits())
	assert.Zero(t, BlobBFloat16.DType())
}
