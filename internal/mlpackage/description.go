package mlpackage

import (
	"fmt"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

// arrayTypes pairs the element types that a feature can have.
var arrayTypes = map[mil.DType]milpb.ArrayFeatureType_ArrayDataType{
	mil.Float16: milpb.ArrayFeatureType_ARRAY_FLOAT16,
	mil.Float32: milpb.ArrayFeatureType_ARRAY_FLOAT32,
	mil.Int8:    milpb.ArrayFeatureType_ARRAY_INT8,
	mil.Int32:   milpb.ArrayFeatureType_ARRAY_INT32,
}

// featureRole is where a feature stands in a function's description.
type featureRole string

const (
	roleInput  featureRole = "input"
	roleOutput featureRole = "output"
	roleState  featureRole = "state"
)

// featureField names a feature for errors.
func featureField(function string, role featureRole, name string) string {
	return fmt.Sprintf("description of function %s, %s %s", function, role, name)
}

func encodeDescription(d *Description) (*milpb.ModelDescription, error) {
	out := &milpb.ModelDescription{DefaultFunctionName: d.Default}
	if !d.Metadata.empty() {
		out.Metadata = &milpb.Metadata{
			ShortDescription: d.Metadata.ShortDescription, VersionString: d.Metadata.Version,
			Author: d.Metadata.Author, License: d.Metadata.License, UserDefined: d.Metadata.UserDefined,
		}
	}
	if err := checkForm(d); err != nil {
		return nil, err
	}
	for i := range d.Functions {
		f, err := encodeFunctionDescription(&d.Functions[i])
		if err != nil {
			return nil, err
		}
		if d.Multi {
			out.Functions = append(out.Functions, f)
		} else {
			out.Input, out.Output, out.State = f.Input, f.Output, f.State
		}
	}
	return out, nil
}

// checkForm verifies that the form which Multi chooses can say all of d.
func checkForm(d *Description) error {
	const field = "description"
	switch {
	case d.Multi && len(d.Functions) == 0:
		return modelError(ErrConvention, field, "at least one function", "none")
	case !d.Multi && len(d.Functions) != 1:
		return modelError(ErrConvention, field, "one function in a model without function descriptions", "%d", len(d.Functions))
	case !d.Multi && d.Functions[0].Name != MainFunction:
		return modelError(ErrConvention, field, "function "+MainFunction, "function %s", d.Functions[0].Name)
	case !d.Multi && d.Default != "":
		return modelError(ErrConvention, "description.defaultFunctionName", "none without function descriptions", "%q", d.Default)
	}
	return nil
}

func encodeFunctionDescription(f *FunctionDescription) (*milpb.FunctionDescription, error) {
	out := &milpb.FunctionDescription{Name: f.Name}
	var err error
	if out.Input, err = encodeFeatures(f.Name, roleInput, f.Inputs); err != nil {
		return nil, err
	}
	if out.Output, err = encodeFeatures(f.Name, roleOutput, f.Outputs); err != nil {
		return nil, err
	}
	if out.State, err = encodeFeatures(f.Name, roleState, f.States); err != nil {
		return nil, err
	}
	return out, nil
}

func encodeFeatures(function string, role featureRole, features []Feature) ([]*milpb.FeatureDescription, error) {
	var out []*milpb.FeatureDescription
	for _, f := range features {
		dt, ok := arrayTypes[f.DType]
		if !ok {
			return nil, modelError(ErrUnsupported, featureField(function, role, f.Name), "fp16, fp32, int8 or int32", "%v", f.DType)
		}
		array := &milpb.ArrayFeatureType{DataType: dt}
		if err := mil.CheckShape(f.Shape); err != nil {
			return nil, faultAt(featureField(function, role, f.Name), err)
		}
		for _, extent := range f.Shape {
			array.Shape = append(array.Shape, int64(extent))
		}
		t := &milpb.FeatureType{Type: &milpb.FeatureType_MultiArrayType{MultiArrayType: array}}
		if role == roleState {
			t.Type = &milpb.FeatureType_StateType{StateType: &milpb.StateFeatureType{
				Type: &milpb.StateFeatureType_ArrayType{ArrayType: array},
			}}
		}
		out = append(out, &milpb.FeatureDescription{Name: f.Name, Type: t})
	}
	return out, nil
}

func decodeDescription(d *milpb.ModelDescription) (*Description, error) {
	m := d.GetMetadata()
	out := &Description{
		Default: d.GetDefaultFunctionName(),
		Multi:   len(d.GetFunctions()) > 0,
		Metadata: Metadata{
			ShortDescription: m.GetShortDescription(), Version: m.GetVersionString(),
			Author: m.GetAuthor(), License: m.GetLicense(), UserDefined: m.GetUserDefined(),
		},
	}
	functions := d.GetFunctions()
	if top := len(d.GetInput()) + len(d.GetOutput()) + len(d.GetState()); out.Multi && top > 0 {
		return nil, modelError(ErrConvention, "description", "features in the function descriptions alone", "%d at the top level", top)
	}
	if !out.Multi {
		functions = []*milpb.FunctionDescription{{
			Name: MainFunction, Input: d.GetInput(), Output: d.GetOutput(), State: d.GetState(),
		}}
	}
	for _, f := range functions {
		decoded, err := decodeFunctionDescription(f)
		if err != nil {
			return nil, err
		}
		out.Functions = append(out.Functions, *decoded)
	}
	return out, checkForm(out)
}

func decodeFunctionDescription(f *milpb.FunctionDescription) (*FunctionDescription, error) {
	out := &FunctionDescription{Name: f.GetName()}
	var err error
	if out.Inputs, err = decodeFeatures(out.Name, roleInput, f.GetInput()); err != nil {
		return nil, err
	}
	if out.Outputs, err = decodeFeatures(out.Name, roleOutput, f.GetOutput()); err != nil {
		return nil, err
	}
	if out.States, err = decodeFeatures(out.Name, roleState, f.GetState()); err != nil {
		return nil, err
	}
	return out, nil
}

func decodeFeatures(function string, role featureRole, features []*milpb.FeatureDescription) ([]Feature, error) {
	var out []Feature
	for _, f := range features {
		field := featureField(function, role, f.GetName())
		array := f.GetType().GetMultiArrayType()
		if role == roleState {
			array = f.GetType().GetStateType().GetArrayType()
		}
		if array == nil {
			return nil, modelError(ErrConvention, field, fmt.Sprintf("the array type of an %s feature", role), "%T", f.GetType().GetType())
		}
		feature, err := decodeArray(field, array)
		if err != nil {
			return nil, err
		}
		feature.Name = f.GetName()
		out = append(out, feature)
	}
	return out, nil
}

func decodeArray(field string, array *milpb.ArrayFeatureType) (Feature, error) {
	var out Feature
	for dt, number := range arrayTypes {
		if number == array.GetDataType() {
			out.DType = dt
		}
	}
	if out.DType == 0 {
		return out, modelError(ErrUnsupported, field, "fp16, fp32, int8 or int32", "%v", array.GetDataType())
	}
	for _, extent := range array.GetShape() {
		if int64(int(extent)) != extent {
			return out, modelError(ErrConvention, field, "a shape of countable size", "%v", array.GetShape())
		}
		out.Shape = append(out.Shape, int(extent))
	}
	if err := mil.CheckShape(out.Shape); err != nil {
		return out, faultAt(field, err)
	}
	return out, nil
}
