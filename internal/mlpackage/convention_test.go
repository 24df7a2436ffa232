package mlpackage

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

// fault is a seeded fault on the wire, the kind of error that it must give
// and words that the message must hold.
type fault struct {
	name string
	seed func(m *milpb.Model)
	kind error
	says []string
}

// at is where the wire faults below are seeded: function t4 of the sample.
func at(m *milpb.Model) (*milpb.Function, *milpb.Block, []*milpb.Operation) {
	f := m.MlProgram.Functions["t4"]
	b := f.BlockSpecializations["CoreML8"]
	return f, b, b.Operations
}

// Operations of the sample by index.
const (
	opWeight = 0
	opConst  = 2 // y_strides, int32[2]
	opConv   = 3
)

func programFaults() []fault {
	const prog = "mlProgram"
	return []fault{
		{"no version", func(m *milpb.Model) { m.SpecificationVersion = 0 }, ErrConvention, []string{"specificationVersion", "found 0"}},
		{"negative version", func(m *milpb.Model) { m.SpecificationVersion = -1 }, ErrConvention, []string{"specificationVersion", "found -1"}},
		{"no description", func(m *milpb.Model) { m.Description = nil }, ErrConvention, []string{"description", "found none"}},
		{"no program", func(m *milpb.Model) { m.MlProgram = nil }, ErrUnsupported, []string{prog}},
		{"program version", func(m *milpb.Model) { m.MlProgram.Version = 2 }, ErrUnsupported, []string{"mlProgram.version", "wanted 1", "found 2"}},
		{"program docString", func(m *milpb.Model) { m.MlProgram.DocString = "x" }, ErrUnsupported, []string{"mlProgram.docString", `"x"`}},
		{"blob in attributes", func(m *milpb.Model) {
			blob := &milpb.Value{Value: &milpb.Value_BlobFileValue_{BlobFileValue: &milpb.Value_BlobFileValue{FileName: "x"}}}
			info := buildInfo()
			info.GetImmediateValue().GetDictionary().Values[0].Value = blob
			m.MlProgram.Attributes = map[string]*milpb.Value{"i": info}
		}, ErrUnsupported, []string{`mlProgram.attributes["i"]`, "blob"}},
	}
}

func functionFaults() []fault {
	const t4 = "function t4"
	attributes := map[string]*milpb.Value{"a": stringValue("b")}
	return []fault{
		{"other opset", func(m *milpb.Model) { f, _, _ := at(m); f.Opset = "CoreML7" }, ErrConvention, []string{t4, `"CoreML7"`, `["CoreML8"]`}},
		{"second block", func(m *milpb.Model) { f, b, _ := at(m); f.BlockSpecializations["CoreML7"] = b }, ErrConvention, []string{t4, `["CoreML7" "CoreML8"]`}},
		{"no block", func(m *milpb.Model) { f, _, _ := at(m); f.BlockSpecializations = nil }, ErrConvention, []string{t4, "[]"}},
		{"function attributes", func(m *milpb.Model) { f, _, _ := at(m); f.Attributes = attributes }, ErrUnsupported, []string{t4, "attributes"}},
		{"block attributes", func(m *milpb.Model) { _, b, _ := at(m); b.Attributes = attributes }, ErrUnsupported, []string{t4, "attributes"}},
		{"block inputs", func(m *milpb.Model) { f, b, _ := at(m); b.Inputs = f.Inputs }, ErrUnsupported, []string{t4, "block inputs", "found 2"}},
	}
}

func opFaults() []fault {
	const conv, weight, constant = "function t4, op y", "function t4, op w, parameter data", "function t4, op y_strides"
	return []fault{
		{"nested block", func(m *milpb.Model) { _, _, ops := at(m); ops[opConv].Blocks = []*milpb.Block{{}} }, ErrUnsupported, []string{conv, "nested blocks"}},
		{"no name", func(m *milpb.Model) { _, _, ops := at(m); delete(ops[opConv].Attributes, "name") }, ErrConvention, []string{"op #3 (conv), attribute name"}},
		{"name no string", func(m *milpb.Model) { _, _, ops := at(m); ops[opConv].Attributes["name"] = ops[7].Attributes["val"] }, ErrConvention, []string{"op #3 (conv)", "found int32"}},
		{"another attribute", func(m *milpb.Model) { _, _, ops := at(m); ops[opConv].Attributes["axis"] = stringValue("x") }, ErrUnsupported, []string{conv, `["axis" "name"]`}},
		{"val of another op", func(m *milpb.Model) { _, _, ops := at(m); ops[opConv].Attributes["val"] = stringValue("x") }, ErrUnsupported, []string{conv, `["name" "val"]`}},
		{"const attribute", func(m *milpb.Model) { _, _, ops := at(m); ops[opConst].Attributes["x"] = stringValue("x") }, ErrUnsupported, []string{constant, `"x"`}},
		{"const without val", func(m *milpb.Model) { _, _, ops := at(m); delete(ops[opConst].Attributes, "val") }, ErrConvention, []string{constant, "attribute set: false"}},
		{"const with inputs", func(m *milpb.Model) { _, _, ops := at(m); ops[opConst].Inputs = ops[opConv].Inputs }, ErrConvention, []string{constant, "4 parameters"}},
		{"unbound binding", func(m *milpb.Model) { _, _, ops := at(m); ops[opConv].Inputs["x"].Arguments[0].Binding = nil }, ErrConvention, []string{conv + ", parameter x", "neither"}},
		{"empty name", func(m *milpb.Model) {
			_, _, ops := at(m)
			ops[opConv].Inputs["x"].Arguments[0].Binding = &milpb.Argument_Binding_Name{}
		}, ErrConvention, []string{conv + ", parameter x", "empty name"}},
		{"value docString", func(m *milpb.Model) { sampleBlob(m).DocString = "x" }, ErrUnsupported, []string{weight, "docString"}},
		{"no value", func(m *milpb.Model) { sampleBlob(m).Value = nil }, ErrConvention, []string{weight, "no value"}},
		{"no type", func(m *milpb.Model) { sampleBlob(m).Type = nil }, ErrConvention, []string{weight, "no type"}},
		{"list value", func(m *milpb.Model) {
			sampleBlob(m).Value = &milpb.Value_ImmediateValue_{ImmediateValue: &milpb.Value_ImmediateValue{
				Value: &milpb.Value_ImmediateValue_List{List: &milpb.ListValue{}},
			}}
		}, ErrUnsupported, []string{weight, "List"}},
		{"blob of strings", func(m *milpb.Model) { sampleBlob(m).Type = stringValue("").Type }, ErrConvention, []string{weight, "string"}},
		{"literal state", func(m *milpb.Model) { sampleBlob(m).Type = m.MlProgram.Functions["t4"].Inputs[1].Type }, ErrConvention, []string{weight, "state"}},
	}
}

// sampleBlob is the blob value of the sample's weight.
func sampleBlob(m *milpb.Model) *milpb.Value {
	_, _, ops := at(m)
	return ops[opWeight].Inputs["data"].Arguments[0].GetValue()
}

func typeFaults() []fault {
	const x = "function t4, input x"
	input := func(m *milpb.Model) *milpb.ValueType { return m.MlProgram.Functions["t4"].Inputs[0].Type }
	shape := func(m *milpb.Model, sizes ...uint64) {
		t := input(m).GetTensorType()
		t.Dimensions = nil
		for _, size := range sizes {
			t.Dimensions = append(t.Dimensions, &milpb.Dimension{
				Dimension: &milpb.Dimension_Constant{Constant: &milpb.Dimension_ConstantDimension{Size: size}},
			})
		}
		t.Rank = int64(len(sizes))
	}
	return []fault{
		{"rank", func(m *milpb.Model) { input(m).GetTensorType().Rank = 3 }, ErrConvention, []string{x, "wanted rank 4", "found rank 3"}},
		{"negative rank", func(m *milpb.Model) { input(m).GetTensorType().Rank = -1 }, ErrConvention, []string{x, "rank -1"}},
		{"unknown dimension", func(m *milpb.Model) {
			input(m).GetTensorType().Dimensions[2].Dimension = &milpb.Dimension_Unknown{Unknown: &milpb.Dimension_UnknownDimension{}}
		}, ErrUnsupported, []string{x, "dimension 2"}},
		{"dimension without kind", func(m *milpb.Model) { input(m).GetTensorType().Dimensions[0].Dimension = nil }, ErrUnsupported, []string{x, "dimension 0"}},
		{"uncountable dimension", func(m *milpb.Model) { shape(m, math.MaxUint64) }, ErrConvention, []string{x, "dimension 0"}},
		{"uncountable shape", func(m *milpb.Model) { shape(m, 1<<40, 1<<40) }, ErrConvention, []string{x, "[1099511627776,1099511627776]"}},
		{"element type", func(m *milpb.Model) { input(m).GetTensorType().DataType = milpb.DataType_INT64 }, ErrUnsupported, []string{x, "INT64"}},
		{"element type unused", func(m *milpb.Model) { input(m).GetTensorType().DataType = 0 }, ErrUnsupported, []string{x, "UNUSED_TYPE"}},
		{"element type beyond a byte", func(m *milpb.Model) { input(m).GetTensorType().DataType = 256 + 10 }, ErrUnsupported, []string{x, "266"}},
		{"type attributes", func(m *milpb.Model) {
			input(m).GetTensorType().Attributes = map[string]*milpb.Value{"a": stringValue("b")}
		}, ErrUnsupported, []string{x, "attributes of a type"}},
		{"list type", func(m *milpb.Model) { input(m).Type = &milpb.ValueType_ListType{ListType: &milpb.ListType{}} }, ErrUnsupported, []string{x, "ListType"}},
		{"state of a state", func(m *milpb.Model) {
			f := m.MlProgram.Functions["t4"]
			input(m).Type = &milpb.ValueType_StateType{StateType: &milpb.StateType{WrappedType: f.Inputs[1].Type}}
		}, ErrUnsupported, []string{x, "another state"}},
	}
}

func descriptionFaults() []fault {
	const x = "description of function t4, input x"
	feature := func(m *milpb.Model) *milpb.FeatureDescription { return m.Description.Functions[1].Input[0] }
	array := func(m *milpb.Model) *milpb.ArrayFeatureType { return feature(m).Type.GetMultiArrayType() }
	return []fault{
		{"features twice", func(m *milpb.Model) { m.Description.Input = m.Description.Functions[0].Input }, ErrConvention, []string{"top level"}},
		{"default of one function", func(m *milpb.Model) { m.Description.Functions = nil }, ErrConvention, []string{"defaultFunctionName", `"t1"`}},
		{"state among inputs", func(m *milpb.Model) {
			d := m.Description.Functions[1]
			d.Input = d.State
		}, ErrConvention, []string{"input k0", "StateType"}},
		{"array among states", func(m *milpb.Model) {
			d := m.Description.Functions[1]
			d.State = d.Input
		}, ErrConvention, []string{"state x", "MultiArrayType"}},
		{"no type", func(m *milpb.Model) { feature(m).Type = nil }, ErrConvention, []string{x}},
		{"element type", func(m *milpb.Model) { array(m).DataType = milpb.ArrayFeatureType_ARRAY_DOUBLE }, ErrUnsupported, []string{x, "DOUBLE"}},
		{"negative extent", func(m *milpb.Model) { array(m).Shape[1] = -3 }, ErrConvention, []string{x, "-3"}},
		{"uncountable shape", func(m *milpb.Model) { array(m).Shape = []int64{1 << 40, 1 << 40} }, ErrConvention, []string{x, "[1099511627776,1099511627776]"}},
	}
}

func TestDecodeRefuses(t *testing.T) {
	for group, faults := range map[string][]fault{
		"program": programFaults(), "function": functionFaults(), "op": opFaults(),
		"type": typeFaults(), "description": descriptionFaults(),
	} {
		for _, c := range faults {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				message := encoded(t, sampleModel())
				c.seed(message)
				data, err := marshal(message)
				require.NoError(t, err)
				_, err = DecodeModel(data)
				require.ErrorIs(t, err, c.kind)
				for _, words := range append(c.says, ModelPath) {
					assert.ErrorContains(t, err, words)
				}
			})
		}
	}
}

// TestLiteralFaults puts each literal through encoding, and through decoding
// where the wire can hold it.
func TestLiteralFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		lit  mil.Literal
		kind error
	}{
		{"too few", mil.Literal{Type: tensor(mil.Int32, 2), Ints: []int32{1}}, ErrConvention},
		{"too many", mil.Literal{Type: tensor(mil.Bool), Bools: []bool{true, true}}, ErrConvention},
		{"half an element", mil.Literal{Type: tensor(mil.Float16, 2), Bytes: []byte{1, 2, 3}}, ErrConvention},
		{"wrong field", mil.Literal{Type: tensor(mil.Float16), Floats: []float32{1}}, ErrConvention},
		{"two fields", mil.Literal{Type: tensor(mil.Int32), Ints: []int32{1}, Bytes: []byte{1}}, ErrConvention},
		{"blob and field", mil.Literal{Type: tensor(mil.Int8), Blob: &mil.BlobRef{File: "x"}, Bytes: []byte{1}}, ErrConvention},
		{"blob of bools", mil.Literal{Type: tensor(mil.Bool), Blob: &mil.BlobRef{File: "x"}}, ErrConvention},
		{"int16 range", mil.Literal{Type: tensor(mil.Int16), Ints: []int32{1 << 15}}, ErrConvention},
		{"uint16 range", mil.Literal{Type: tensor(mil.UInt16, 2), Ints: []int32{0, -1}}, ErrConvention},
		{"unused bits", mil.Literal{Type: tensor(mil.UInt3, 5), Bytes: []byte{0xd1, 0xd8}}, ErrConvention},
		{"state", mil.Literal{Type: state(mil.Int32), Ints: []int32{1}}, ErrConvention},
		{"shape", mil.Literal{Type: tensor(mil.Int32, -1)}, ErrConvention},
		{"element type", mil.Literal{Type: tensor(99)}, ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := encodeLiteral(place{"f", "o", "parameter", "p"}, &c.lit)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, "function f, op o, parameter p")
		})
	}
	// What only the wire can say.
	for name, tensorValue := range map[string]*milpb.TensorValue{
		"ints, found floats": {Value: &milpb.TensorValue_Floats{Floats: &milpb.TensorValue_RepeatedFloats{Values: []float32{1}}}},
		"LongInts":           {Value: &milpb.TensorValue_LongInts{LongInts: &milpb.TensorValue_RepeatedLongInts{Values: []int64{1}}}},
		"nil":                {},
	} {
		t.Run("int32 as "+name, func(t *testing.T) {
			value := stringValue("")
			value.Type.GetTensorType().DataType = milpb.DataType_INT32
			value.Value = immediate(tensorValue)
			_, err := decodeLiteral(place{}, value)
			require.ErrorIs(t, err, ErrConvention)
			require.ErrorContains(t, err, strings.Split(name, ",")[0])
		})
	}
	// Nothing in the wrong field has the right length all the same.
	empty := &milpb.TensorValue{Value: &milpb.TensorValue_Floats{Floats: &milpb.TensorValue_RepeatedFloats{}}}
	require.ErrorIs(t, decodeElements(place{}, empty, &mil.Literal{Type: tensor(mil.Int32, 0)}), ErrConvention)
	odd := bytesValue([]byte{1, 2, 3})
	require.ErrorIs(t, decodeElements(place{}, odd, &mil.Literal{Type: tensor(mil.UInt32)}), ErrConvention)
}

func TestEncodeRefuses(t *testing.T) {
	fn := func(m *Model) *mil.Function { return m.Program.Functions[1] }
	for _, c := range []struct {
		name string
		seed func(m *Model)
		kind error
		says string
	}{
		{"no program", func(m *Model) { m.Program = nil }, ErrConvention, "mlProgram"},
		{"version", func(m *Model) { m.SpecVersion = math.MaxInt32 + 1 }, ErrConvention, "specificationVersion"},
		{"function twice", func(m *Model) { fn(m).Name = "t1" }, ErrConvention, "function t1"},
		{"param twice", func(m *Model) { op := fn(m).Ops[opConv]; op.Args = append(op.Args, op.Args[0]) }, ErrConvention, "op y, parameter pad_type"},
		{"const with args", func(m *Model) { fn(m).Ops[opConst].Args = []mil.Argument{named("x", "x")} }, ErrConvention, "op y_strides"},
		{"const without value", func(m *Model) { fn(m).Ops[opConst].Val = nil }, ErrConvention, "op y_strides"},
		{"value of another op", func(m *Model) { fn(m).Ops[opConv].Val = boolean(true) }, ErrConvention, "op y:"},
		{"bad value", func(m *Model) { fn(m).Ops[opConst].Val.Ints = nil }, ErrConvention, "op y_strides, attribute val"},
		{"bad literal", func(m *Model) { fn(m).Ops[opWeight].Args[0].Bindings[0].Literal.Type.State = true }, ErrConvention, "op w, parameter data"},
		{"empty binding", func(m *Model) { fn(m).Ops[opConv].Args[0].Bindings[0] = mil.Binding{} }, ErrConvention, "op y, parameter pad_type"},
		{"name and literal", func(m *Model) { fn(m).Ops[opConv].Args[0].Bindings[0].Literal = boolean(true) }, ErrConvention, "op y, parameter pad_type"},
		{"output type", func(m *Model) { fn(m).Ops[opConv].Outputs[0].Type.DType = 99 }, ErrUnsupported, "op y, output y"},
		{"input shape", func(m *Model) { fn(m).Inputs[0].Type.Shape[1] = -3 }, ErrConvention, "input x"},
		{"attribute no value", func(m *Model) { m.Attributes = map[string][]byte{"a": {0xff}} }, ErrWire, `mlProgram.attributes["a"]`},
		{"attribute with unknown field", func(m *Model) { m.Attributes = map[string][]byte{"a": {0x30, 0x01}} }, ErrWire, `mlProgram.attributes["a"]`},
		{"attribute with blob", func(m *Model) { m.Attributes = map[string][]byte{"a": {0x2a, 0x00}} }, ErrUnsupported, `mlProgram.attributes["a"]`},
		{"no functions", func(m *Model) { m.Description.Functions = nil }, ErrConvention, "at least one function"},
		{"single of two", func(m *Model) { m.Description.Multi = false }, ErrConvention, "found 2"},
		{"single not main", func(m *Model) {
			m.Description.Multi = false
			m.Description.Functions = m.Description.Functions[:1]
		}, ErrConvention, "function main"},
		{"single with default", func(m *Model) {
			*m = *singleModel()
			m.Description.Default = "main"
		}, ErrConvention, "defaultFunctionName"},
		{"feature type", func(m *Model) { m.Description.Functions[1].States[0].DType = mil.UInt8 }, ErrUnsupported, "description of function t4, state k0"},
		{"feature shape", func(m *Model) { m.Description.Functions[1].Outputs[0].Shape[0] = -1 }, ErrConvention, "description of function t4, output h"},
		{"input feature", func(m *Model) { m.Description.Functions[1].Inputs[0].DType = mil.Bool }, ErrUnsupported, "description of function t4, input x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sampleModel()
			c.seed(m)
			_, err := EncodeModel(m)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
		})
	}
}
