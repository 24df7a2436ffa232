package mlpackage

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/internal/mil"
)

// named binds a parameter to values.
func named(param string, names ...string) mil.Argument {
	arg := mil.Argument{Param: param}
	for _, name := range names {
		arg.Bindings = append(arg.Bindings, mil.Binding{Name: name})
	}
	return arg
}

// inPlace binds a parameter to a literal.
func inPlace(param string, lit *mil.Literal) mil.Argument {
	return mil.Argument{Param: param, Bindings: []mil.Binding{{Literal: lit}}}
}

func tensor(dt mil.DType, shape ...int) mil.Type { return mil.Type{DType: dt, Shape: shape} }

func state(dt mil.DType, shape ...int) mil.Type {
	return mil.Type{DType: dt, Shape: shape, State: true}
}

func int32s(values ...int32) *mil.Literal {
	return &mil.Literal{Type: tensor(mil.Int32, len(values)), Ints: values}
}

func boolean(b bool) *mil.Literal {
	return &mil.Literal{Type: tensor(mil.Bool), Bools: []bool{b}}
}

func blobLiteral(t mil.Type, offset uint64) *mil.Literal {
	return &mil.Literal{Type: t, Blob: &mil.BlobRef{File: WeightsReference, Offset: offset}}
}

// constant is a const op of the same name as its output.
func constant(name string, lit *mil.Literal) *mil.Op {
	return &mil.Op{Type: "const", Name: name, Outputs: []mil.Value{{Name: name, Type: lit.Type}}, Val: lit}
}

// sampleLayout is the weight file of sampleModel: an int8 matrix [2,3,1,1]
// and its scale [2,1,1,1].
func sampleLayout() (layout *Layout, data, scale uint64) {
	layout = NewLayout()
	data = layout.Add(BlobInt8, 6, 0)
	scale = layout.Add(BlobFloat16, 4, 0)
	return layout, data, scale
}

var (
	sampleData  = []byte{1, 2, 3, 0xff, 0xfe, 0xfd}
	sampleScale = []byte{0x00, 0x3c, 0x00, 0x38} // 1, 0.5
)

func sampleWeights(t *testing.T) []byte {
	t.Helper()
	layout, _, _ := sampleLayout()
	var out bytes.Buffer
	w := NewBlobWriter(&out, layout)
	for _, data := range [][]byte{sampleData, sampleScale} {
		_, err := w.Next()
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// sampleFunction is a step over columns columns: an int8 1x1 convolution with
// a constexpr weight, a state that is read, written and read, and a concat.
func sampleFunction(name string, columns int) *mil.Function {
	_, data, scale := sampleLayout()
	weight := &mil.Op{
		Type: "constexpr_blockwise_shift_scale", Name: "w",
		Args: []mil.Argument{
			inPlace("data", blobLiteral(tensor(mil.Int8, 2, 3, 1, 1), data)),
			inPlace("scale", blobLiteral(tensor(mil.Float16, 2, 1, 1, 1), scale)),
		},
		Outputs: []mil.Value{{Name: "w", Type: tensor(mil.Float16, 2, 3, 1, 1)}},
	}
	conv := &mil.Op{
		Type: "conv", Name: "y",
		Args: []mil.Argument{
			named("pad_type", "y_pad_type"), named("strides", "y_strides"), named("weight", "w"), named("x", "x"),
		},
		Outputs: []mil.Value{{Name: "y", Type: tensor(mil.Float16, 1, 2, columns, 1)}},
	}
	cache := tensor(mil.Float16, 1, 2, 4, 1)
	return &mil.Function{
		Name: name, Opset: "CoreML8",
		Inputs: []mil.Value{
			{Name: "x", Type: tensor(mil.Float16, 1, 3, columns, 1)},
			{Name: "k0", Type: state(mil.Float16, 1, 2, 4, 1)},
		},
		Ops: []*mil.Op{
			weight,
			constant("y_pad_type", &mil.Literal{Type: tensor(mil.String), Strings: []string{"valid"}}),
			constant("y_strides", int32s(1, 1)),
			conv,
			{Type: "read_state", Name: "old", Args: []mil.Argument{named("input", "k0")}, Outputs: []mil.Value{{Name: "old", Type: cache}}},
			{Type: "write_state", Name: "k0_write", Args: []mil.Argument{named("data", "old"), named("input", "k0")}},
			{Type: "read_state", Name: "new", Args: []mil.Argument{named("input", "k0")}, Outputs: []mil.Value{{Name: "new", Type: cache}}},
			constant("h_axis", &mil.Literal{Type: tensor(mil.Int32), Ints: []int32{2}}),
			constant("h_interleave", boolean(false)),
			{
				Type: "concat", Name: "h",
				Args:    []mil.Argument{named("axis", "h_axis"), named("interleave", "h_interleave"), named("values", "y", "new")},
				Outputs: []mil.Value{{Name: "h", Type: tensor(mil.Float16, 1, 2, columns+4, 1)}},
			},
		},
		Outputs: []string{"h"},
	}
}

func sampleDescription(name string, columns int) FunctionDescription {
	return FunctionDescription{
		Name:    name,
		Inputs:  []Feature{{Name: "x", DType: mil.Float16, Shape: []int{1, 3, columns, 1}}},
		Outputs: []Feature{{Name: "h", DType: mil.Float16, Shape: []int{1, 2, columns + 4, 1}}},
		States:  []Feature{{Name: "k0", DType: mil.Float16, Shape: []int{1, 2, 4, 1}}},
	}
}

// sampleModel has functions t1 and t4 that share blobs and a state.
func sampleModel() *Model {
	return &Model{
		SpecVersion: 9,
		Description: Description{
			Functions: []FunctionDescription{sampleDescription("t1", 1), sampleDescription("t4", 4)},
			Default:   "t1", Multi: true,
			Metadata: Metadata{Author: "a", UserDefined: map[string]string{"b": "2", "a": "1"}},
		},
		Program: &mil.Program{Functions: []*mil.Function{sampleFunction("t1", 1), sampleFunction("t4", 4)}},
	}
}

// singleModel has one function, main.
func singleModel() *Model {
	return &Model{
		SpecVersion: 9,
		Description: Description{Functions: []FunctionDescription{sampleDescription(MainFunction, 4)}},
		Program:     &mil.Program{Functions: []*mil.Function{sampleFunction(MainFunction, 4)}},
	}
}

// writePackage writes a package directory; nil parts are left out.
func writePackage(t *testing.T, manifest, model, weights []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample.mlpackage")
	for name, data := range map[string][]byte{ManifestPath: manifest, ModelPath: model, WeightsPath: weights} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if data != nil {
			require.NoError(t, os.WriteFile(path, data, 0o644))
		}
	}
	return dir
}

// openSample opens a sound package of sampleModel.
func openSample(t *testing.T) *Package {
	t.Helper()
	model, err := EncodeModel(sampleModel())
	require.NoError(t, err)
	p, err := Open(writePackage(t, EncodeManifest(true), model, sampleWeights(t)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// unhex parses spaced hex.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	out, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	require.NoError(t, err)
	return out
}
