package mlpackage

import (
	"bytes"
	"io/fs"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/mil"
)

// dtypes are all element types of package mil.
var dtypes = []mil.DType{
	mil.Bool, mil.String, mil.Float16, mil.Float32, mil.Int4, mil.Int8, mil.Int16, mil.Int32, mil.UInt1, mil.UInt2,
	mil.UInt3, mil.UInt4, mil.UInt6, mil.UInt8, mil.UInt16, mil.UInt32,
}

func nilIfEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func drawName(t *rapid.T) string {
	return rapid.StringMatching(`[a-z_][a-z0-9_@]{0,6}`).Draw(t, "name")
}

func drawType(t *rapid.T, types []mil.DType) mil.Type {
	return mil.Type{
		DType: rapid.SampledFrom(types).Draw(t, "dtype"),
		Shape: nilIfEmpty(rapid.SliceOfN(rapid.IntRange(0, 3), 0, 4).Draw(t, "shape")),
	}
}

// drawLiteral draws a literal that package mil takes: an empty one has rank 1
// and is never a blob.
func drawLiteral(t *rapid.T) *mil.Literal {
	lit := &mil.Literal{Type: drawType(t, dtypes)}
	for i, extent := range lit.Type.Shape {
		if len(lit.Type.Shape) > 1 {
			lit.Type.Shape[i] = max(extent, 1)
		}
	}
	n := mil.NumElements(lit.Type.Shape)
	if _, ok := BlobTypeOf(lit.Type.DType); ok && n > 0 && rapid.Bool().Draw(t, "blob") {
		lit.Blob = &mil.BlobRef{File: drawName(t), Offset: rapid.Uint64().Draw(t, "offset")}
		return lit
	}
	switch payloadOf(lit.Type.DType) {
	case payloadBools:
		lit.Bools = nilIfEmpty(rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "bools"))
	case payloadStrings:
		lit.Strings = nilIfEmpty(rapid.SliceOfN(rapid.String(), n, n).Draw(t, "strings"))
	case payloadFloats:
		lit.Floats = nilIfEmpty(rapid.SliceOfN(rapid.Float32(), n, n).Draw(t, "floats"))
	case payloadInts:
		values := rapid.Int32()
		switch lit.Type.DType {
		case mil.Int16:
			values = rapid.Int32Range(-1<<15, 1<<15-1)
		case mil.UInt16:
			values = rapid.Int32Range(0, 1<<16-1)
		}
		lit.Ints = nilIfEmpty(rapid.SliceOfN(values, n, n).Draw(t, "ints"))
	case payloadBytes:
		size, padding := packedSize(lit.Type.DType.Bits(), int64(n))
		lit.Bytes = nilIfEmpty(rapid.SliceOfN(rapid.Byte(), int(size), int(size)).Draw(t, "bytes"))
		if size > 0 {
			lit.Bytes[size-1] &= 0xff >> padding
		}
	}
	return lit
}

func drawValues(t *rapid.T, states bool, most int) []mil.Value {
	var out []mil.Value
	for range rapid.IntRange(0, most).Draw(t, "values") {
		typ := drawType(t, dtypes)
		typ.State = states && rapid.Bool().Draw(t, "state")
		out = append(out, mil.Value{Name: drawName(t), Type: typ})
	}
	return out
}

func drawOp(t *rapid.T) *mil.Op {
	op := &mil.Op{Type: drawName(t), Name: drawName(t), Outputs: drawValues(t, false, 2)}
	if rapid.Bool().Draw(t, "const") {
		op.Type, op.Val = "const", drawLiteral(t)
		return op
	}
	for _, param := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}`), 0, 3, rapid.ID).Draw(t, "params") {
		arg := named(param)
		for range rapid.IntRange(0, 3).Draw(t, "bindings") {
			if rapid.Bool().Draw(t, "literal") {
				arg.Bindings = append(arg.Bindings, inPlace("", drawLiteral(t)).Bindings...)
			} else {
				arg.Bindings = append(arg.Bindings, named("", drawName(t)).Bindings...)
			}
		}
		op.Args = append(op.Args, arg)
	}
	sort.Slice(op.Args, func(i, j int) bool { return op.Args[i].Param < op.Args[j].Param })
	return op
}

func drawFunction(t *rapid.T, name string) *mil.Function {
	f := &mil.Function{Name: name, Opset: rapid.SampledFrom([]string{"CoreML5", "CoreML8"}).Draw(t, "opset"), Inputs: drawValues(t, true, 3)}
	for range rapid.IntRange(0, 4).Draw(t, "ops") {
		f.Ops = append(f.Ops, drawOp(t))
	}
	f.Outputs = nilIfEmpty(rapid.SliceOfN(rapid.StringMatching(`[a-z]`), 0, 2).Draw(t, "outputs"))
	return f
}

func drawFeatures(t *rapid.T) []Feature {
	var out []Feature
	for range rapid.IntRange(0, 2).Draw(t, "features") {
		typ := drawType(t, []mil.DType{mil.Float16, mil.Float32, mil.Int8, mil.Int32})
		out = append(out, Feature{Name: drawName(t), DType: typ.DType, Shape: typ.Shape})
	}
	return out
}

// drawModel draws any model that can be encoded, sound or not.
func drawModel(t *rapid.T) *Model {
	m := &Model{SpecVersion: rapid.IntRange(1, 1<<31-1).Draw(t, "version"), Program: &mil.Program{}}
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}`), 0, 3, rapid.ID).Draw(t, "functions")
	slices.Sort(names)
	for _, name := range names {
		m.Program.Functions = append(m.Program.Functions, drawFunction(t, name))
	}
	described := []string{MainFunction}
	if m.Description.Multi = rapid.Bool().Draw(t, "multi"); m.Description.Multi {
		described = rapid.SliceOfN(rapid.StringMatching(`[a-z]{0,3}`), 1, 3).Draw(t, "described")
		m.Description.Default = drawName(t)
	}
	for _, name := range described {
		m.Description.Functions = append(m.Description.Functions, FunctionDescription{
			Name: name, Inputs: drawFeatures(t), Outputs: drawFeatures(t), States: drawFeatures(t),
		})
	}
	if rapid.Bool().Draw(t, "metadata") {
		text := rapid.StringN(0, 5, -1)
		m.Description.Metadata = Metadata{
			ShortDescription: text.Draw(t, "short"), Version: text.Draw(t, "version"), Author: text.Draw(t, "author"),
			License: text.Draw(t, "license"), UserDefined: map[string]string{text.Draw(t, "key"): text.Draw(t, "value")},
		}
		info, err := marshal(buildInfo())
		require.NoError(t, err)
		m.Attributes = map[string][]byte{text.Draw(t, "attribute"): info, "empty": {}}
	}
	return m
}

func TestModelProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		data, err := EncodeModel(m)
		require.NoError(t, err)
		back, err := DecodeModel(data)
		require.NoError(t, err)
		require.Equal(t, m, back)
		again, err := EncodeModel(back)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, again), "encode, decode, encode gives other bytes")
	})
}

func FuzzDecodeModel(f *testing.F) {
	for _, m := range []*Model{sampleModel(), singleModel(), {SpecVersion: 1, Description: singleModel().Description, Program: &mil.Program{}}} {
		data, err := EncodeModel(m)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("\x08\x09\x12\x00\xb2\x1f\x02\x08\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeModel(data)
		if err != nil {
			return
		}
		_ = m.CheckSignature() // must not panic on an unsound model
		again, err := EncodeModel(m)
		require.NoError(t, err, "what was decoded can be encoded")
		require.LessOrEqual(t, len(again), len(data), "no field appears from nowhere")
		back, err := DecodeModel(again)
		require.NoError(t, err)
		third, err := EncodeModel(back)
		require.NoError(t, err)
		require.True(t, bytes.Equal(again, third))
	})
}

func FuzzOpenWeights(f *testing.F) {
	f.Add(unweighted())
	layout, _, _ := sampleLayout()
	var file bytes.Buffer
	w := NewBlobWriter(&file, layout)
	for _, data := range [][]byte{sampleData, sampleScale} {
		_, err := w.Next()
		require.NoError(f, err)
		_, err = w.Write(data)
		require.NoError(f, err)
	}
	require.NoError(f, w.Close())
	f.Add(file.Bytes())
	f.Add(append(file.Bytes(), make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		weights, err := OpenWeights(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		layout := NewLayout()
		for _, blob := range weights.Blobs() {
			require.LessOrEqual(t, blob.end(), int64(len(data)))
			require.Equal(t, blob.Offset, layout.Add(blob.Type, blob.Size, blob.PaddingBits))
		}
		require.NoError(t, layout.Err())
		require.Equal(t, layout.Blobs(), weights.Blobs())
		var file bytes.Buffer
		w := NewBlobWriter(&file, layout)
		for _, blob := range weights.Blobs() {
			_, err := w.Next()
			require.NoError(t, err)
			_, err = w.Write(data[blob.DataOffset:blob.end()])
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.True(t, bytes.Equal(file.Bytes(), data[:file.Len()]), "index and data say the whole file")
		require.Empty(t, bytes.Trim(data[file.Len():], "\x00"))
	})
}

// unweighted is a weight file without blobs.
func unweighted() []byte {
	out := make([]byte, blobHeader)
	out[4] = blobVersion
	return out
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(EncodeManifest(true))
	f.Add(EncodeManifest(false))
	f.Add([]byte(coremltoolsManifest))
	f.Add([]byte(`{"fileFormatVersion":"1.0.0","itemInfoEntries":{},"rootModelIdentifier":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := DecodeManifest(text)
		if err != nil {
			require.ErrorIs(t, err, ErrManifest)
			return
		}
		require.Contains(t, m.Items, m.Root)
		for _, item := range m.Items {
			require.Equal(t, item.Author+"/"+item.Name, item.Path)
			require.True(t, fs.ValidPath(item.Path), item.Path)
		}
	})
}
