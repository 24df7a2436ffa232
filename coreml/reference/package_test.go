package reference_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// draw is a random stream that its name alone decides.
type draw struct{ *rand.Rand }

func newDraw(name string) draw {
	return draw{rand.New(rand.NewChaCha8(sha256.Sum256([]byte("lockstep reference " + name))))}
}

// half draws a finite float16: mostly of unit size, sometimes large, tiny or a
// zero of either sign.
func (d draw) half() float16.Float16 {
	switch d.IntN(16) {
	case 0:
		return float16.Float16(d.IntN(2) << 15) // 0 and -0
	case 1:
		return half.FromFloat32(float32(d.NormFloat64()) * 0x1p-20) // subnormal
	case 2:
		return half.FromFloat32(max(-65504, min(65504, float32(d.NormFloat64())*2000)))
	}
	return half.FromFloat32(float32(d.NormFloat64()))
}

func (d draw) halfs(n int) []float16.Float16 {
	out := make([]float16.Float16, n)
	for i := range out {
		out[i] = d.half()
	}
	return out
}

// between draws a number from low to high, both included.
func (d draw) between(low, high int) int { return low + d.IntN(high-low+1) }

// shape draws a shape of the given rank with dimensions up to most.
func (d draw) shape(rank, most int) []int {
	out := make([]int, rank)
	for i := range out {
		out[i] = d.between(1, most)
	}
	return out
}

func fp16(shape ...int) mil.Type { return mil.Tensor(mil.Float16, shape...) }

// blobs are the weight file of a package under construction.
type blobs struct {
	layout *mlpackage.Layout
	data   [][]byte
}

func newBlobs() *blobs { return &blobs{layout: mlpackage.NewLayout()} }

// halfs adds a float16 blob and returns the literal that refers to it.
func (b *blobs) halfs(shape []int, values []float16.Float16) mil.Literal {
	raw := make([]byte, 2*len(values))
	half.ToBytes(raw, values)
	b.data = append(b.data, raw)
	return mil.Blob(mil.Float16, shape, b.layout.Add(mlpackage.BlobFloat16, int64(len(raw)), 0))
}

// int8s adds an int8 blob.
func (b *blobs) int8s(shape []int, values []int8) mil.Literal {
	raw := make([]byte, len(values))
	for i, v := range values {
		raw[i] = byte(v)
	}
	b.data = append(b.data, raw)
	return mil.Blob(mil.Int8, shape, b.layout.Add(mlpackage.BlobInt8, int64(len(raw)), 0))
}

// integers adds a blob of an integer type of at most 8 bits.
func (b *blobs) integers(t testing.TB, d mil.DType, shape []int, values []int8) mil.Literal {
	t.Helper()
	raw := make([]byte, len(values))
	for i, v := range values {
		raw[i] = byte(v)
	}
	if d.Bits() < 8 {
		var err error
		raw, err = mlpackage.Pack(d, values)
		require.NoError(t, err)
	}
	b.data = append(b.data, raw)
	typ, _ := mlpackage.BlobTypeOf(d)
	size, padding := mlpackage.BlobSize(typ, int64(len(values)))
	return mil.Blob(d, shape, b.layout.Add(typ, size, padding))
}

// words adds a blob of a type of 32 bits.
func (b *blobs) words(d mil.DType, shape []int, values []uint32) mil.Literal {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, v)
	}
	b.data = append(b.data, raw)
	typ, _ := mlpackage.BlobTypeOf(d)
	return mil.Blob(d, shape, b.layout.Add(typ, int64(len(raw)), 0))
}

func (b *blobs) bytes(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := mlpackage.NewBlobWriter(&out, b.layout)
	for _, data := range b.data {
		_, err := w.Next()
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// describe is the interface that fits a program.
func describe(prog *mil.Program) mlpackage.Description {
	d := mlpackage.Description{Multi: len(prog.Functions) > 1 || prog.Functions[0].Name != mlpackage.MainFunction}
	if d.Multi {
		d.Default = prog.Functions[0].Name
	}
	for _, f := range prog.Functions {
		fd := mlpackage.FunctionDescription{Name: f.Name}
		types := map[string]mil.Type{}
		for _, in := range f.Inputs {
			types[in.Name] = in.Type
			feature := mlpackage.Feature{Name: in.Name, DType: in.Type.DType, Shape: in.Type.Shape}
			if in.Type.State {
				fd.States = append(fd.States, feature)
			} else {
				fd.Inputs = append(fd.Inputs, feature)
			}
		}
		for _, op := range f.Ops {
			for _, out := range op.Outputs {
				types[out.Name] = out.Type
			}
		}
		for _, name := range f.Outputs {
			fd.Outputs = append(fd.Outputs, mlpackage.Feature{Name: name, DType: types[name].DType, Shape: types[name].Shape})
		}
		d.Functions = append(d.Functions, fd)
	}
	return d
}

// writePackage writes the functions as a package directory.
func writePackage(t testing.TB, weights *blobs, functions ...*mil.Function) string {
	t.Helper()
	prog := &mil.Program{Functions: functions}
	model, err := mlpackage.EncodeModel(&mlpackage.Model{SpecVersion: 9, Description: describe(prog), Program: prog})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "sample.mlpackage")
	files := map[string][]byte{mlpackage.ManifestPath: mlpackage.EncodeManifest(weights != nil), mlpackage.ModelPath: model}
	if weights != nil {
		files[mlpackage.WeightsPath] = weights.bytes(t)
	}
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	return dir
}

// openPackage opens a package until the end of the test.
func openPackage(t testing.TB, dir string) coreml.Package {
	t.Helper()
	pkg, err := reference.Plane{}.Open(context.Background(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, pkg.Close()) })
	return pkg
}

func openFunction(t testing.TB, pkg coreml.Package, name string) coreml.Function {
	t.Helper()
	fn, err := pkg.Function(context.Background(), name)
	require.NoError(t, err)
	return fn
}

func newState(t testing.TB, pkg coreml.Package) coreml.State {
	t.Helper()
	st, err := pkg.NewState()
	require.NoError(t, err)
	return st
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func tensorOf(f coreml.Feature, data []float16.Float16) coreml.Tensor {
	return coreml.Tensor{Shape: f.Shape, Data: data}
}

// tensors allocates tensors for features.
func tensors(features []coreml.Feature) map[string]coreml.Tensor {
	out := map[string]coreml.Tensor{}
	for _, f := range features {
		out[f.Name] = tensorOf(f, make([]float16.Float16, elements(f.Shape)))
	}
	return out
}

// content reads all states of a signature.
func content(t testing.TB, st coreml.State, sig coreml.Signature) map[string][]float16.Float16 {
	t.Helper()
	out := map[string][]float16.Float16{}
	for _, f := range sig.States {
		out[f.Name] = make([]float16.Float16, elements(f.Shape))
		require.NoError(t, st.Read(f.Name, out[f.Name]))
	}
	return out
}

// requireSame compares values bit for bit and names the first that differs.
func requireSame(t testing.TB, want, got []float16.Float16, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		if want[i] != got[i] {
			require.Failf(t, "bits differ", "%s: element %d: want %#04x, found %#04x", what, i, uint16(want[i]), uint16(got[i]))
		}
	}
}
