package mlpackage

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/mil"
)

func TestOpen(t *testing.T) {
	p := openSample(t)
	require.NoError(t, Check(p))
	assert.Equal(t, sampleModel(), p.Model)
	assert.True(t, bytes.Equal(sampleWeights(t), p.WeightBytes))
	assert.Len(t, p.Weights.Blobs(), 2)

	data, err := p.Bytes(p.Model.Program.Functions[0].Ops[opWeight].Args[0].Bindings[0].Literal)
	require.NoError(t, err)
	assert.Equal(t, sampleData, data)
	assert.Len(t, data, cap(data), "an append must not reach the mapping")
	require.NoError(t, p.Close())
	_, err = p.Bytes(p.Model.Program.Functions[0].Ops[opWeight].Args[0].Bindings[0].Literal)
	require.ErrorIs(t, err, ErrReference, "after Close")
	require.NoError(t, p.Close(), "a second Close")
}

func TestOpenWithoutWeights(t *testing.T) {
	m := singleModel()
	f := m.Program.Functions[0]
	f.Ops[opWeight] = constant("w", &mil.Literal{Type: tensor(mil.Float16, 2, 3, 1, 1), Bytes: make([]byte, 12)})
	model, err := EncodeModel(m)
	require.NoError(t, err)
	for name, manifest := range map[string][]byte{"not listed": EncodeManifest(false), "empty directory": EncodeManifest(true)} {
		t.Run(name, func(t *testing.T) {
			p, err := Open(writePackage(t, manifest, model, nil))
			require.NoError(t, err)
			assert.Nil(t, p.Weights)
			assert.Nil(t, p.WeightBytes)
			require.NoError(t, Check(p))
			require.NoError(t, p.Close())
		})
	}
	dir := writePackage(t, EncodeManifest(true), model, nil)
	require.NoError(t, os.Remove(filepath.Join(dir, "Data", WeightsItem)))
	_, err = Open(dir)
	require.ErrorIs(t, err, ErrPackage)
	assert.ErrorContains(t, err, "directory that the manifest lists")
}

func TestOpenRefuses(t *testing.T) {
	good, err := EncodeModel(sampleModel())
	require.NoError(t, err)
	weights, both := sampleWeights(t), EncodeManifest(true)
	otherRoot := strings.Replace(coremltoolsManifest, `"rootModelIdentifier": "6d57e36b-5265-44f8-a385-8540b37c648a"`,
		`"rootModelIdentifier": "d1280e7f-9ad0-40c9-8a74-b1981ed88622"`, 1)
	for name, c := range map[string]struct {
		manifest, model, weights []byte
		kind                     error
		says                     string
	}{
		"no manifest":      {nil, good, weights, ErrPackage, ManifestPath},
		"no model":         {both, nil, weights, ErrPackage, ModelPath},
		"bad manifest":     {[]byte("{}"), good, weights, ErrManifest, ManifestPath},
		"huge manifest":    {bytes.Repeat([]byte(" "), MaxManifestBytes+1), good, weights, ErrPackage, "at most"},
		"root not a model": {[]byte(otherRoot), good, weights, ErrManifest, "rootModelIdentifier"},
		"bad model":        {both, []byte("x"), weights, ErrWire, ModelPath},
		"empty weights":    {both, good, []byte{}, ErrWeights, "file of 0 bytes"},
		"short weights":    {both, good, weights[:70], ErrWeights, WeightsPath},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(writePackage(t, c.manifest, c.model, c.weights))
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "package sample.mlpackage")
		})
	}
	t.Run("directory in place of a file", func(t *testing.T) {
		dir := writePackage(t, both, nil, weights)
		require.NoError(t, os.Mkdir(filepath.Join(dir, ModelPath), 0o755))
		_, err := Open(dir)
		require.ErrorIs(t, err, ErrPackage)
		assert.ErrorContains(t, err, ModelPath)
	})
}

func TestBytesOfLiterals(t *testing.T) {
	p := openSample(t)
	for _, c := range []struct {
		lit  mil.Literal
		want []byte
	}{
		{mil.Literal{Type: tensor(mil.Int32, 2), Ints: []int32{1, -2}}, []byte{1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff}},
		{mil.Literal{Type: tensor(mil.Int16), Ints: []int32{-2}}, []byte{0xfe, 0xff}},
		{mil.Literal{Type: tensor(mil.UInt16), Ints: []int32{0xfffe}}, []byte{0xfe, 0xff}},
		{mil.Literal{Type: tensor(mil.UInt32), Ints: []int32{-1}}, []byte{0xff, 0xff, 0xff, 0xff}},
		{mil.Literal{Type: tensor(mil.Float32), Floats: []float32{1}}, []byte{0, 0, 0x80, 0x3f}},
		{mil.Literal{Type: tensor(mil.Bool, 2), Bools: []bool{true, false}}, []byte{1, 0}},
		{mil.Literal{Type: tensor(mil.Float16), Bytes: []byte{0, 0x3c}}, []byte{0, 0x3c}},
		{*blobLiteral(tensor(mil.Float16, 2), 192), sampleScale},
	} {
		data, err := p.Bytes(&c.lit)
		require.NoError(t, err)
		assert.Equal(t, c.want, data, c.lit.Type.String())
	}
	_, err := p.Bytes(&mil.Literal{Type: tensor(mil.String), Strings: []string{"x"}})
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = p.Bytes(&mil.Literal{Type: tensor(mil.Int32, 2), Ints: []int32{1}})
	require.ErrorIs(t, err, ErrConvention)
}

func TestBytesOfPackedBlobs(t *testing.T) {
	layout := NewLayout()
	good := layout.Add(BlobUInt3, 2, 1)
	bad := layout.Add(BlobUInt3, 2, 1)
	var file bytes.Buffer
	w := NewBlobWriter(&file, layout)
	for _, data := range [][]byte{{0xd1, 0x58}, {0xd1, 0xd8}} {
		_, err := w.Next()
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	weights, err := OpenWeights(bytes.NewReader(file.Bytes()), layout.Size())
	require.NoError(t, err)
	p := &Package{Weights: weights, WeightBytes: file.Bytes()}

	data, err := p.Bytes(blobLiteral(tensor(mil.UInt3, 5), good))
	require.NoError(t, err)
	assert.Equal(t, []byte{0xd1, 0x58}, data)
	_, err = p.Bytes(blobLiteral(tensor(mil.UInt3, 5), bad))
	require.ErrorIs(t, err, ErrWeights)
	_, err = p.Bytes(blobLiteral(tensor(mil.UInt3, 4), good))
	require.ErrorIs(t, err, ErrReference, "four elements also take two bytes")
}

func TestCheckSingle(t *testing.T) {
	require.NoError(t, singleModel().CheckSignature())
}

func TestCheckRefuses(t *testing.T) {
	lit := func(m *Model) *mil.Literal {
		return m.Program.Functions[1].Ops[opWeight].Args[0].Bindings[0].Literal
	}
	t4 := func(m *Model) *FunctionDescription { return &m.Description.Functions[1] }
	const op = "function t4, op w, parameter data"
	for _, c := range []struct {
		name string
		seed func(m *Model)
		kind error
		says string
	}{
		{"function not described", func(m *Model) { m.Description.Functions = m.Description.Functions[:1] }, ErrSignature, `["t1" "t4"], found ["t1"]`},
		{"function not defined", func(m *Model) { m.Program.Functions = m.Program.Functions[1:] }, ErrSignature, `functions ["t4"]`},
		{"function renamed", func(m *Model) { t4(m).Name = "t5" }, ErrSignature, `"t5"`},
		{"function described twice", func(m *Model) { t4(m).Name = "t1"; m.Program.Functions[1].Name = "t1" }, ErrSignature, `found ["t1"`},
		{"default", func(m *Model) { m.Description.Default = "t2" }, ErrSignature, `defaultFunctionName`},
		{"no default", func(m *Model) { m.Description.Default = "" }, ErrSignature, `defaultFunctionName`},
		{"input name", func(m *Model) { t4(m).Inputs[0].Name = "y" }, ErrSignature, "function t4, input 0: wanted x fp16[1,3,4,1], found y fp16[1,3,4,1]"},
		{"input type", func(m *Model) { t4(m).Inputs[0].DType = mil.Float32 }, ErrSignature, "found x fp32[1,3,4,1]"},
		{"input shape", func(m *Model) { t4(m).Inputs[0].Shape[2] = 1 }, ErrSignature, "found x fp16[1,3,1,1]"},
		{"input missing", func(m *Model) { t4(m).Inputs = nil }, ErrSignature, "function t4, input 0"},
		{"input too many", func(m *Model) { t4(m).Inputs = append(t4(m).Inputs, Feature{Name: "z", DType: mil.Float16}) }, ErrSignature, "function t4, input z"},
		{"inputs in other order", func(m *Model) {
			f := m.Program.Functions[1]
			f.Inputs = append(f.Inputs, mil.Value{Name: "z", Type: tensor(mil.Float16, 1)})
			t4(m).Inputs = []Feature{{"z", mil.Float16, []int{1}}, t4(m).Inputs[0]}
		}, ErrSignature, "function t4, input 0"},
		{"output shape", func(m *Model) { t4(m).Outputs[0].Shape[2] = 1 }, ErrSignature, "function t4, output 0"},
		{"output undefined", func(m *Model) { m.Program.Functions[1].Outputs[0] = "q" }, ErrSignature, "a value q"},
		{"output a state", func(m *Model) { m.Program.Functions[1].Outputs[0] = "k0" }, ErrSignature, "a value k0"},
		{"state shape", func(m *Model) { t4(m).States[0].Shape[2] = 5 }, ErrSignature, "function t4, state 0"},
		{"state missing", func(m *Model) { t4(m).States = nil }, ErrSignature, "function t4, state 0"},
		{"state no state", func(m *Model) { m.Program.Functions[1].Inputs[1].Type.State = false }, ErrSignature, "function t4, input 1"},
		{"version of states", func(m *Model) { m.SpecVersion = 8 }, ErrSignature, "at least 9"},
		{"version of int8", func(m *Model) { t4(m).Inputs[0].DType = mil.Int8 }, ErrSignature, "at least 10, as function t4 has int8"},
		{"version of the opset", func(m *Model) { m.Program.Functions[1].Opset = "CoreML9" }, ErrSignature, "at least 10, as function t4 has opset CoreML9"},
		{"opset", func(m *Model) { m.Program.Functions[1].Opset = "CoreML08" }, ErrSignature, `"CoreML08"`},
		{"opset no number", func(m *Model) { m.Program.Functions[1].Opset = "x" }, ErrSignature, `"x"`},
		{"blob file", func(m *Model) { lit(m).Blob.File = "@model_path/weights/other.bin" }, ErrReference, op + ": wanted file @model_path/weights/weight.bin"},
		{"blob alignment", func(m *Model) { lit(m).Blob.Offset = 65 }, ErrReference, op + ": wanted an offset that is a multiple of 64"},
		{"blob data", func(m *Model) { lit(m).Blob.Offset = 128 }, ErrReference, op + ": wanted a metadata record"},
		{"blob type", func(m *Model) { lit(m).Blob.Offset = 192 }, ErrReference, op + ": wanted int8[2,3,1,1], found a blob of fp16 at 192"},
		{"blob length", func(m *Model) { lit(m).Type.Shape[1] = 4 }, ErrReference, op + ": wanted int8[2,4,1,1], found a blob of 6 elements at 64"},
		{"blob of a const", func(m *Model) {
			f := m.Program.Functions[1]
			f.Ops[opConst].Val = blobLiteral(tensor(mil.Int32, 2), 64)
		}, ErrReference, "op y_strides, attribute val: wanted int32[2], found a blob of int8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := openSample(t)
			c.seed(p.Model)
			err := Check(p)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, ModelPath)
		})
	}
	t.Run("no weight file", func(t *testing.T) {
		model, err := EncodeModel(sampleModel())
		require.NoError(t, err)
		p, err := Open(writePackage(t, EncodeManifest(false), model, sampleWeights(t)))
		require.NoError(t, err)
		require.ErrorIs(t, Check(p), ErrReference)
	})
	t.Run("features of fp16 before version 7", func(t *testing.T) {
		m := singleModel()
		m.SpecVersion = 6
		f, d := m.Program.Functions[0], &m.Description.Functions[0]
		f.Opset, f.Inputs, d.States = "CoreML5", f.Inputs[:1], nil
		require.ErrorContains(t, m.CheckSignature(), "at least 7, as function main has fp16 features")
		m.SpecVersion = 7
		require.NoError(t, m.CheckSignature())
		m.SpecVersion, f.Opset = 5, "CoreML4"
		require.ErrorIs(t, m.CheckSignature(), ErrSignature)
	})
	_, err := (&Package{}).Blob(boolean(true))
	require.ErrorIs(t, err, ErrReference)
}
