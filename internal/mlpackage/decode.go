package mlpackage

import (
	"fmt"
	"math"
	"sort"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

func decodeModel(m *milpb.Model) (*Model, error) {
	if m.GetSpecificationVersion() < 1 {
		return nil, modelError(ErrConvention, "specificationVersion", "a positive number", "%d", m.GetSpecificationVersion())
	}
	if m.GetMlProgram() == nil {
		return nil, modelError(ErrUnsupported, "mlProgram", "an ML Program", "none")
	}
	if m.GetDescription() == nil {
		return nil, modelError(ErrConvention, "description", "a description", "none")
	}
	description, err := decodeDescription(m.GetDescription())
	if err != nil {
		return nil, err
	}
	program, err := decodeProgram(m.GetMlProgram())
	if err != nil {
		return nil, err
	}
	attributes, err := decodeAttributes(m.GetMlProgram().GetAttributes())
	if err != nil {
		return nil, err
	}
	return &Model{
		SpecVersion: int(m.GetSpecificationVersion()), Description: *description,
		Program: program, Attributes: attributes,
	}, nil
}

// decodeAttributes serializes the program's attributes again, each on its own.
func decodeAttributes(values map[string]*milpb.Value) (map[string][]byte, error) {
	if len(values) == 0 {
		return nil, nil
	}
	out := make(map[string][]byte, len(values))
	for name, value := range values {
		if holdsBlob(value) {
			return nil, blobAttributeError(name)
		}
		raw, err := marshal(value)
		if err != nil {
			return nil, err
		}
		out[name] = raw
	}
	return out, nil
}

func decodeProgram(p *milpb.Program) (*mil.Program, error) {
	if p.GetVersion() != programVersion {
		return nil, modelError(ErrUnsupported, "mlProgram.version", "1", "%d", p.GetVersion())
	}
	if p.GetDocString() != "" {
		return nil, modelError(ErrUnsupported, "mlProgram.docString", "no text", "%q", p.GetDocString())
	}
	out := new(mil.Program)
	for _, name := range sortedKeys(p.GetFunctions()) {
		f, err := decodeFunction(name, p.GetFunctions()[name])
		if err != nil {
			return nil, err
		}
		out.Functions = append(out.Functions, f)
	}
	return out, nil
}

func decodeFunction(name string, f *milpb.Function) (*mil.Function, error) {
	at := place{function: name}
	block, ok := f.GetBlockSpecializations()[f.GetOpset()]
	if n := len(f.GetBlockSpecializations()); !ok || n != 1 {
		return nil, at.err(ErrConvention, fmt.Sprintf("one block, for opset %q", f.GetOpset()), "blocks for %q",
			sortedKeys(f.GetBlockSpecializations()))
	}
	if n := len(f.GetAttributes()) + len(block.GetAttributes()); n > 0 {
		return nil, at.err(ErrUnsupported, "no attributes of function and block", "%d", n)
	}
	if n := len(block.GetInputs()); n > 0 {
		return nil, at.err(ErrUnsupported, "no block inputs", "%d", n)
	}
	inputs, err := decodeValues(at, "input", f.GetInputs())
	if err != nil {
		return nil, err
	}
	out := &mil.Function{Name: name, Opset: f.GetOpset(), Inputs: inputs, Outputs: block.GetOutputs()}
	for i, op := range block.GetOperations() {
		decoded, err := decodeOp(at, i, op)
		if err != nil {
			return nil, err
		}
		out.Ops = append(out.Ops, decoded)
	}
	return out, nil
}

// decodeOp decodes the block's operation number index.
func decodeOp(at place, index int, op *milpb.Operation) (*mil.Op, error) {
	at = at.inOp(fmt.Sprintf("#%d (%s)", index, op.GetType()))
	name, err := decodeName(at, op.GetAttributes())
	if err != nil {
		return nil, err
	}
	at = at.inOp(name)
	if n := len(op.GetBlocks()); n > 0 {
		return nil, at.err(ErrUnsupported, "no nested blocks", "%d", n)
	}
	out := &mil.Op{Type: op.GetType(), Name: name}
	if out.Outputs, err = decodeValues(at, "output", op.GetOutputs()); err != nil {
		return nil, err
	}
	if out.Args, err = decodeArgs(at, op.GetInputs()); err != nil {
		return nil, err
	}
	if out.Val, err = decodeConst(at, op); err != nil {
		return nil, err
	}
	return out, nil
}

// decodeName reads attributes["name"], a scalar string.
func decodeName(at place, attributes map[string]*milpb.Value) (string, error) {
	at = at.at("attribute", "name")
	value, ok := attributes["name"]
	if !ok {
		return "", at.err(ErrConvention, "a string", "no such attribute")
	}
	literal, err := decodeLiteral(at, value)
	if err != nil {
		return "", err
	}
	if literal.Type.DType != mil.String || len(literal.Type.Shape) != 0 {
		return "", at.err(ErrConvention, "a scalar string", "%v", literal.Type)
	}
	return literal.Strings[0], nil
}

// decodeConst reads attributes["val"] of a const, and refuses every attribute
// but the name of other operations.
func decodeConst(at place, op *milpb.Operation) (*mil.Literal, error) {
	val, hasVal := op.GetAttributes()["val"]
	known := []string{"name"}
	if hasVal && op.GetType() == "const" {
		known = append(known, "val")
	}
	if len(op.GetAttributes()) != len(known) {
		return nil, at.err(ErrUnsupported, fmt.Sprintf("attributes %q", known), "%q", sortedKeys(op.GetAttributes()))
	}
	if op.GetType() != "const" {
		return nil, nil
	}
	if n := len(op.GetInputs()); !hasVal || n > 0 {
		return nil, at.err(ErrConvention, "attribute val and no parameters of a const",
			"attribute set: %t, %d parameters", hasVal, n)
	}
	return decodeLiteral(at.at("attribute", "val"), val)
}

func decodeArgs(at place, inputs map[string]*milpb.Argument) ([]mil.Argument, error) {
	var out []mil.Argument
	for _, param := range sortedKeys(inputs) {
		arg := mil.Argument{Param: param}
		for _, b := range inputs[param].GetArguments() {
			binding, err := decodeBinding(at.at("parameter", param), b)
			if err != nil {
				return nil, err
			}
			arg.Bindings = append(arg.Bindings, binding)
		}
		out = append(out, arg)
	}
	return out, nil
}

func decodeBinding(at place, b *milpb.Argument_Binding) (mil.Binding, error) {
	switch b := b.GetBinding().(type) {
	case *milpb.Argument_Binding_Name:
		if b.Name == "" {
			return mil.Binding{}, at.err(ErrConvention, "a value's name", "an empty name")
		}
		return mil.Binding{Name: b.Name}, nil
	case *milpb.Argument_Binding_Value:
		literal, err := decodeLiteral(at, b.Value)
		return mil.Binding{Literal: literal}, err
	default:
		return mil.Binding{}, at.err(ErrConvention, "a name or a value", "neither")
	}
}

func decodeValues(at place, what string, values []*milpb.NamedValueType) ([]mil.Value, error) {
	var out []mil.Value
	for _, v := range values {
		t, err := decodeType(at.at(what, v.GetName()), v.GetType())
		if err != nil {
			return nil, err
		}
		out = append(out, mil.Value{Name: v.GetName(), Type: t})
	}
	return out, nil
}

// decodeType decodes a tensor's type or a state's.
func decodeType(at place, t *milpb.ValueType) (mil.Type, error) {
	switch t := t.GetType().(type) {
	case *milpb.ValueType_TensorType:
		return decodeTensorType(at, t.TensorType)
	case *milpb.ValueType_StateType:
		wrapped, ok := t.StateType.GetWrappedType().GetType().(*milpb.ValueType_TensorType)
		if !ok {
			return mil.Type{}, at.err(ErrUnsupported, "a state that wraps a tensor", "another state")
		}
		out, err := decodeTensorType(at, wrapped.TensorType)
		out.State = true
		return out, err
	case nil:
		return mil.Type{}, at.err(ErrConvention, "a tensor or a state", "no type")
	default:
		return mil.Type{}, at.err(ErrUnsupported, "a tensor or a state", "%T", t)
	}
}

func decodeTensorType(at place, t *milpb.TensorType) (mil.Type, error) {
	dt := mil.DType(t.GetDataType())
	if int32(dt) != int32(t.GetDataType()) || !dt.Known() {
		return mil.Type{}, at.err(ErrUnsupported, "an element type of package mil", "%v", t.GetDataType())
	}
	if n := len(t.GetAttributes()); n > 0 {
		return mil.Type{}, at.err(ErrUnsupported, "no attributes of a type", "%d", n)
	}
	if n := len(t.GetDimensions()); t.GetRank() != int64(n) {
		return mil.Type{}, at.err(ErrConvention, fmt.Sprintf("rank %d, as there are dimensions", n), "rank %d", t.GetRank())
	}
	out := mil.Type{DType: dt}
	for i, d := range t.GetDimensions() {
		constant, ok := d.GetDimension().(*milpb.Dimension_Constant)
		if !ok {
			return mil.Type{}, at.err(ErrUnsupported, fmt.Sprintf("a static dimension %d", i), "an unknown one")
		}
		size := constant.Constant.GetSize()
		if size > math.MaxInt {
			return mil.Type{}, at.err(ErrConvention, fmt.Sprintf("a countable dimension %d", i), "%d", size)
		}
		out.Shape = append(out.Shape, int(size))
	}
	if err := mil.CheckShape(out.Shape); err != nil {
		return mil.Type{}, at.fault(err)
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
