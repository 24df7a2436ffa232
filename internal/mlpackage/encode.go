package mlpackage

import (
	"math"
	"slices"
	"strconv"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

// programVersion is the one version that the MIL program message has.
const programVersion = 1

func encodeModel(m *Model) (*milpb.Model, error) {
	if m.SpecVersion < 1 || m.SpecVersion > math.MaxInt32 {
		return nil, modelError(ErrConvention, "specificationVersion", "a positive int32", "%d", m.SpecVersion)
	}
	if m.Program == nil {
		return nil, modelError(ErrConvention, "mlProgram", "a program", "none")
	}
	description, err := encodeDescription(&m.Description)
	if err != nil {
		return nil, err
	}
	program, err := encodeProgram(m.Program, m.Attributes)
	if err != nil {
		return nil, err
	}
	return &milpb.Model{SpecificationVersion: int32(m.SpecVersion), Description: description, MlProgram: program}, nil
}

func encodeProgram(p *mil.Program, attributes map[string][]byte) (*milpb.Program, error) {
	out := &milpb.Program{Version: programVersion}
	if len(p.Functions) > 0 {
		out.Functions = make(map[string]*milpb.Function, len(p.Functions))
	}
	for _, f := range p.Functions {
		if _, twice := out.Functions[f.Name]; twice {
			return nil, place{function: f.Name}.err(ErrConvention, "one function of a name", "two")
		}
		function, err := encodeFunction(f)
		if err != nil {
			return nil, err
		}
		out.Functions[f.Name] = function
	}
	for name, raw := range attributes {
		value := new(milpb.Value)
		if err := unmarshal(raw, value, attributeField(name)); err != nil {
			return nil, err
		}
		if holdsBlob(value) {
			return nil, blobAttributeError(name)
		}
		if out.Attributes == nil {
			out.Attributes = make(map[string]*milpb.Value, len(attributes))
		}
		out.Attributes[name] = value
	}
	return out, nil
}

func attributeField(name string) string {
	return "mlProgram.attributes[" + strconv.Quote(name) + "]"
}

// holdsBlob tells whether a blob reference hides anywhere in v, where no check
// of references would see it.
func holdsBlob(v *milpb.Value) bool {
	if v.GetBlobFileValue() != nil || slices.ContainsFunc(v.GetImmediateValue().GetList().GetValues(), holdsBlob) {
		return true
	}
	return slices.ContainsFunc(v.GetImmediateValue().GetDictionary().GetValues(), func(pair *milpb.DictionaryValue_KeyValuePair) bool {
		return holdsBlob(pair.GetKey()) || holdsBlob(pair.GetValue())
	})
}

func blobAttributeError(name string) error {
	return modelError(ErrUnsupported, attributeField(name), "a value in place", "a blob reference")
}

func encodeFunction(f *mil.Function) (*milpb.Function, error) {
	at := place{function: f.Name}
	inputs, err := encodeValues(at, "input", f.Inputs)
	if err != nil {
		return nil, err
	}
	block := &milpb.Block{Outputs: f.Outputs, Operations: make([]*milpb.Operation, len(f.Ops))}
	for i, op := range f.Ops {
		if block.Operations[i], err = encodeOp(at, op); err != nil {
			return nil, err
		}
	}
	return &milpb.Function{
		Inputs:               inputs,
		Opset:                f.Opset,
		BlockSpecializations: map[string]*milpb.Block{f.Opset: block},
	}, nil
}

func encodeOp(at place, op *mil.Op) (*milpb.Operation, error) {
	at = at.inOp(op.Name)
	outputs, err := encodeValues(at, "output", op.Outputs)
	if err != nil {
		return nil, err
	}
	out := &milpb.Operation{
		Type:       op.Type,
		Outputs:    outputs,
		Attributes: map[string]*milpb.Value{"name": stringValue(op.Name)},
	}
	if isConst := op.Type == "const"; isConst != (op.Val != nil) || isConst && len(op.Args) > 0 {
		return nil, at.err(ErrConvention, "a value and no parameters if and only if the type is const",
			"type %s with %d parameters, value set: %t", op.Type, len(op.Args), op.Val != nil)
	}
	if op.Val != nil {
		if out.Attributes["val"], err = encodeLiteral(at.at("attribute", "val"), op.Val); err != nil {
			return nil, err
		}
	}
	return out, encodeArgs(at, op.Args, out)
}

func encodeArgs(at place, args []mil.Argument, out *milpb.Operation) error {
	if len(args) > 0 {
		out.Inputs = make(map[string]*milpb.Argument, len(args))
	}
	for _, arg := range args {
		here := at.at("parameter", arg.Param)
		if _, twice := out.Inputs[arg.Param]; twice {
			return here.err(ErrConvention, "one argument of a name", "two")
		}
		argument := &milpb.Argument{Arguments: make([]*milpb.Argument_Binding, len(arg.Bindings))}
		for i, b := range arg.Bindings {
			binding, err := encodeBinding(here, b)
			if err != nil {
				return err
			}
			argument.Arguments[i] = binding
		}
		out.Inputs[arg.Param] = argument
	}
	return nil
}

func encodeBinding(at place, b mil.Binding) (*milpb.Argument_Binding, error) {
	if (b.Name != "") == (b.Literal != nil) {
		return nil, at.err(ErrConvention, "either a name or a literal", "name %q, literal set: %t", b.Name, b.Literal != nil)
	}
	if b.Literal == nil {
		return &milpb.Argument_Binding{Binding: &milpb.Argument_Binding_Name{Name: b.Name}}, nil
	}
	value, err := encodeLiteral(at, b.Literal)
	if err != nil {
		return nil, err
	}
	return &milpb.Argument_Binding{Binding: &milpb.Argument_Binding_Value{Value: value}}, nil
}

// encodeValues declares values; what is "input" or "output", for errors.
func encodeValues(at place, what string, values []mil.Value) ([]*milpb.NamedValueType, error) {
	out := make([]*milpb.NamedValueType, len(values))
	for i, v := range values {
		t, err := encodeType(at.at(what, v.Name), v.Type)
		if err != nil {
			return nil, err
		}
		out[i] = &milpb.NamedValueType{Name: v.Name, Type: t}
	}
	return out, nil
}

func encodeType(at place, t mil.Type) (*milpb.ValueType, error) {
	if !t.DType.Known() {
		return nil, at.err(ErrUnsupported, "an element type of package mil", "%v", t.DType)
	}
	if err := mil.CheckShape(t.Shape); err != nil {
		return nil, at.fault(err)
	}
	tensor := &milpb.TensorType{DataType: milpb.DataType(t.DType), Rank: int64(len(t.Shape))}
	for _, extent := range t.Shape {
		tensor.Dimensions = append(tensor.Dimensions, &milpb.Dimension{
			Dimension: &milpb.Dimension_Constant{Constant: &milpb.Dimension_ConstantDimension{Size: uint64(extent)}},
		})
	}
	out := &milpb.ValueType{Type: &milpb.ValueType_TensorType{TensorType: tensor}}
	if t.State {
		out = &milpb.ValueType{Type: &milpb.ValueType_StateType{StateType: &milpb.StateType{WrappedType: out}}}
	}
	return out, nil
}

// stringValue is a scalar string in place.
func stringValue(s string) *milpb.Value {
	return &milpb.Value{
		Type: &milpb.ValueType{Type: &milpb.ValueType_TensorType{
			TensorType: &milpb.TensorType{DataType: milpb.DataType_STRING},
		}},
		Value: immediate(&milpb.TensorValue{Value: &milpb.TensorValue_Strings{
			Strings: &milpb.TensorValue_RepeatedStrings{Values: []string{s}},
		}}),
	}
}
