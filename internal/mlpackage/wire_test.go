package mlpackage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

// The examples below are bytes of packages that coremltools 9.0 wrote.

func TestFeatureWire(t *testing.T) {
	for _, c := range []struct {
		name    string
		role    featureRole
		feature Feature
		wire    string
	}{
		{"int32 input", roleInput, Feature{"ids", mil.Int32, []int{1, 1}}, "0a 03 69 64 73 1a 0a 2a 08 0a 02 01 01 10 a0 80 08"},
		{"fp16 state", roleState, Feature{"k0", mil.Float16, []int{1, 2, 16, 8}}, "0a 02 6b 30 1a 0e 42 0c 0a 0a 0a 04 01 02 10 08 10 90 80 04"},
	} {
		t.Run(c.name, func(t *testing.T) {
			message, err := encodeFeatures("t1", c.role, []Feature{c.feature})
			require.NoError(t, err)
			wire, err := marshal(message[0])
			require.NoError(t, err)
			assert.Equal(t, unhex(t, c.wire), wire)

			parsed := new(milpb.FeatureDescription)
			require.NoError(t, unmarshal(wire, parsed, "feature"))
			features, err := decodeFeatures("t1", c.role, []*milpb.FeatureDescription{parsed})
			require.NoError(t, err)
			assert.Equal(t, []Feature{c.feature}, features)
		})
	}
}

func TestLiteralWire(t *testing.T) {
	for _, c := range []struct {
		name string
		lit  mil.Literal
		wire string
	}{
		{"scalar fp16 -1", mil.Literal{Type: tensor(mil.Float16), Bytes: []byte{0x00, 0xbc}}, "12 04 0a 02 08 0a 1a 08 0a 06 3a 04 0a 02 00 bc"},
		{"scalar int32 0", mil.Literal{Type: tensor(mil.Int32), Ints: []int32{0}}, "12 04 0a 02 08 17 1a 07 0a 05 12 03 0a 01 00"},
		{"empty int32", mil.Literal{Type: tensor(mil.Int32, 0)}, "12 0a 0a 08 08 17 10 01 1a 02 0a 00 1a 04 0a 02 12 00"},
		{"bool", mil.Literal{Type: tensor(mil.Bool), Bools: []bool{true}}, "12 04 0a 02 08 01 1a 07 0a 05 1a 03 0a 01 01"},
		{"string", mil.Literal{Type: tensor(mil.String), Strings: []string{"x"}}, "12 04 0a 02 08 02 1a 07 0a 05 22 03 0a 01 78"},
		{"uint32 lies in bytes", mil.Literal{Type: tensor(mil.UInt32), Ints: []int32{-1}}, "12 04 0a 02 08 21 1a 0a 0a 08 3a 06 0a 04 ff ff ff ff"},
		{
			"blob", *blobLiteral(tensor(mil.Float16, 16), 64),
			"12 0c 0a 0a 08 0a 10 01 1a 04 0a 02 08 10 2a 22 0a 1e" + hex.EncodeToString([]byte(WeightsReference)) + "10 40",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			message, err := encodeLiteral(place{}, &c.lit)
			require.NoError(t, err)
			wire, err := marshal(message)
			require.NoError(t, err)
			assert.Equal(t, unhex(t, c.wire), wire)

			parsed := new(milpb.Value)
			require.NoError(t, unmarshal(wire, parsed, "value"))
			back, err := decodeLiteral(place{}, parsed)
			require.NoError(t, err)
			assert.Equal(t, &c.lit, back)
		})
	}
}

func TestModelWire(t *testing.T) {
	data, err := EncodeModel(sampleModel())
	require.NoError(t, err)

	number, _, n := protowire.ConsumeTag(data[2:])
	require.EqualValues(t, 2, number)
	description, _ := protowire.ConsumeBytes(data[2+n:])
	assert.Equal(t, unhex(t, "08 09 12"), data[:3])
	assert.Equal(t, unhex(t, "a2 01"), description[:2])
	functions, _ := protowire.ConsumeBytes(description[2:])
	assert.Equal(t, unhex(t, "0a 02 74 31"), functions[:4])

	// The digest pins the bytes: it moves if the protobuf module, or this
	// package, encodes the same model differently, and exports with it.
	sum := sha256.Sum256(data)
	assert.Equal(t, "f7a3e7ef6ba9d2d8c0f555c51559256ee367dfa83d1cdd34660ec3d59d846219", hex.EncodeToString(sum[:]))
}

func TestDeterministic(t *testing.T) {
	first, err := EncodeModel(sampleModel())
	require.NoError(t, err)
	for range 50 {
		again, err := EncodeModel(sampleModel())
		require.NoError(t, err)
		require.True(t, bytes.Equal(first, again), "two encodings of one model differ")
	}
	shuffled := sampleModel()
	slices.Reverse(shuffled.Program.Functions)
	for _, op := range shuffled.Program.Functions[0].Ops {
		slices.Reverse(op.Args)
	}
	again, err := EncodeModel(shuffled)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(first, again), "the order of map entries shows in the bytes")
}

func TestModelRoundTrip(t *testing.T) {
	withAttributes := sampleModel()
	info, err := marshal(buildInfo())
	require.NoError(t, err)
	withAttributes.Attributes = map[string][]byte{"buildInfo": info}
	for name, m := range map[string]*Model{"two functions": sampleModel(), "main": singleModel(), "attributes": withAttributes} {
		t.Run(name, func(t *testing.T) {
			data, err := EncodeModel(m)
			require.NoError(t, err)
			back, err := DecodeModel(data)
			require.NoError(t, err)
			assert.Equal(t, m, back)
			again, err := EncodeModel(back)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, again))
		})
	}
}

// buildInfo is the program attribute that coremltools adds.
func buildInfo() *milpb.Value {
	text := stringValue("").GetType()
	return &milpb.Value{
		Type: &milpb.ValueType{Type: &milpb.ValueType_DictionaryType{DictionaryType: &milpb.DictionaryType{KeyType: text, ValueType: text}}},
		Value: &milpb.Value_ImmediateValue_{ImmediateValue: &milpb.Value_ImmediateValue{
			Value: &milpb.Value_ImmediateValue_Dictionary{Dictionary: &milpb.DictionaryValue{
				Values: []*milpb.DictionaryValue_KeyValuePair{{Key: stringValue("k"), Value: stringValue("v")}},
			}},
		}},
	}
}

// encoded is the sample as a message, for seeding faults on the wire.
func encoded(t *testing.T, m *Model) *milpb.Model {
	t.Helper()
	message, err := encodeModel(m)
	require.NoError(t, err)
	return message
}

// withUnknown gives message an unknown field 999.
func withUnknown(message proto.Message) {
	raw := protowire.AppendTag(nil, 999, protowire.VarintType)
	message.ProtoReflect().SetUnknown(protowire.AppendVarint(raw, 1))
}

func TestUnknownFieldsAreRefusedEverywhere(t *testing.T) {
	function := func(m *milpb.Model) *milpb.Function { return m.MlProgram.Functions["t4"] }
	block := func(m *milpb.Model) *milpb.Block { return function(m).BlockSpecializations["CoreML8"] }
	for field, pick := range map[string]func(m *milpb.Model) proto.Message{
		"model":                             func(m *milpb.Model) proto.Message { return m },
		"description":                       func(m *milpb.Model) proto.Message { return m.Description },
		"description.metadata":              func(m *milpb.Model) proto.Message { return m.Description.Metadata },
		"description.functions[1]":          func(m *milpb.Model) proto.Message { return m.Description.Functions[1] },
		"description.functions[0].input[0]": func(m *milpb.Model) proto.Message { return m.Description.Functions[0].Input[0] },
		"description.functions[0].state[0].type.stateType.arrayType": func(m *milpb.Model) proto.Message {
			return m.Description.Functions[0].State[0].Type.GetStateType().GetArrayType()
		},
		"mlProgram":                 func(m *milpb.Model) proto.Message { return m.MlProgram },
		`mlProgram.functions["t4"]`: func(m *milpb.Model) proto.Message { return function(m) },
		`mlProgram.functions["t4"].block_specializations["CoreML8"].operations[3].inputs["x"].arguments[0]`: func(m *milpb.Model) proto.Message {
			return block(m).Operations[3].Inputs["x"].Arguments[0]
		},
		`mlProgram.functions["t4"].block_specializations["CoreML8"].operations[0].inputs["data"].arguments[0].value.type.tensorType.dimensions[3].constant`: func(m *milpb.Model) proto.Message {
			return block(m).Operations[0].Inputs["data"].Arguments[0].GetValue().GetType().GetTensorType().GetDimensions()[3].GetConstant()
		},
		`mlProgram.functions["t4"].block_specializations["CoreML8"].operations[7].attributes["val"].immediateValue.tensor.ints`: func(m *milpb.Model) proto.Message {
			return block(m).Operations[7].Attributes["val"].GetImmediateValue().GetTensor().GetInts()
		},
	} {
		t.Run(field, func(t *testing.T) {
			message := encoded(t, sampleModel())
			withUnknown(pick(message))
			data, err := marshal(message)
			require.NoError(t, err)
			_, err = DecodeModel(data)
			require.ErrorIs(t, err, ErrWire)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, ModelPath, e.File)
			assert.Equal(t, field, e.Field)
			assert.Contains(t, e.Found, "unknown field 999")
		})
	}
}

func TestWireFaults(t *testing.T) {
	good, err := EncodeModel(sampleModel())
	require.NoError(t, err)
	field := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	deep := []byte{}
	for range maxDepth {
		deep = field(1, deep) // ListType.type within ListType.type ...
		deep = field(2, deep)
	}
	map1 := field(4, append(field(1, []byte("a")), field(2, nil)...)) // an entry of Program.attributes
	tensor := field(1, nil)                                           // TensorType within ValueType
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"cut short":            {good[:len(good)-1], "model: wanted a protobuf message"},
		"text":                 {[]byte("not a protobuf"), "model: wanted a protobuf message"},
		"a field twice":        {append(slices.Clone(good), 0x08, 0x09), "another specificationVersion"},
		"a message twice":      {append(slices.Clone(good), field(502, nil)...), "another mlProgram"},
		"a map key twice":      {field(502, append(slices.Clone(map1), map1...)), `mlProgram: wanted each key once, found another attributes "a"`},
		"the empty key twice":  {field(502, append(field(4, field(1, nil)), field(4, nil)...)), `mlProgram: wanted each key once, found another attributes ""`},
		"a key given twice":    {field(502, field(4, append(field(1, []byte("a")), field(1, []byte("a"))...))), `mlProgram.attributes["a"]: wanted each field once, found another key`},
		"a oneof twice":        {field(502, field(4, field(2, field(2, append(slices.Clone(tensor), field(5, nil)...))))), `mlProgram.attributes[""].type: wanted each field once, found another stateType`},
		"another wire type":    {append(field(1, []byte{9}), good[2:]...), "unknown field 1 of wire type 2"},
		"a group":              {append(slices.Clone(good), 0x1b, 0x1c), "unknown field 3 of wire type 3"},
		"a default value":      {append([]byte{0x08, 0x00}, good[2:]...), "canonical form"},
		"an overlong integer":  {append([]byte{0x08, 0x89, 0x00}, good[2:]...), "canonical form"},
		"strings not in UTF-8": {append(slices.Clone(good), field(2, field(21, []byte{0xff}))...), "UTF-8"},
		"nested too deep":      {field(502, field(4, field(2, field(2, deep)))), "recursion"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeModel(c.data)
			require.ErrorIs(t, err, ErrWire)
			assert.ErrorContains(t, err, ModelPath)
			assert.ErrorContains(t, err, c.says)
		})
	}
	_, err = DecodeModel(nil)
	require.ErrorIs(t, err, ErrConvention)
	_, err = DecodeModel(make([]byte, MaxModelBytes+1)) // never touched, so it costs nothing
	require.ErrorContains(t, err, "at most 268435456 bytes")
}

func TestErrorsStayReadable(t *testing.T) {
	m := sampleModel()
	m.Program.Functions[1].Ops[opConv].Name = strings.Repeat("é", 1<<20)
	m.Program.Functions[1].Ops[opConv].Args[0].Bindings = []mil.Binding{{}}
	_, err := EncodeModel(m)
	require.ErrorIs(t, err, ErrConvention)
	assert.Less(t, len(err.Error()), 1000)
	assert.True(t, utf8.ValidString(err.Error()))
}

func TestEncodeRefusesInvalidUTF8(t *testing.T) {
	m := sampleModel()
	m.Description.Metadata.Author = "\xff"
	_, err := EncodeModel(m)
	assert.ErrorIs(t, err, ErrWire)
}

// allocated is the memory that f allocates, freed or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestDecodingIsBoundedByTheInput(t *testing.T) {
	// Empty operations: two bytes each, and the largest growth that a message
	// of this schema allows per byte.
	operations := bytes.Repeat([]byte{0x1a, 0x00}, 50_000)
	field := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	function := append(field(2, []byte("CoreML8")), field(3, append(field(1, []byte("CoreML8")), field(2, operations)...))...)
	program := append([]byte{0x08, 0x01}, field(2, append(field(1, []byte("t1")), field(2, function)...))...)
	data := append([]byte{0x08, 0x09, 0x12, 0x00}, field(502, program)...)

	var err error
	used := allocated(func() { _, err = DecodeModel(data) })
	require.ErrorIs(t, err, ErrConvention)
	assert.ErrorContains(t, err, "attribute name")
	assert.Less(t, used, int64(500*len(data)))
}
