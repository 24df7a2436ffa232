package mlpackage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockstep/internal/mil"
)

// Check compares a package's parts with each other: the description with the
// program (functions, default, and the name, order, element type and shape of
// every input, output and state), the specification version with what the
// program uses, and every blob reference with the weight file. Disagreement is
// ErrSignature or ErrReference. Whether the program itself is sound is for
// mil.Program.Check.
func Check(p *Package) error {
	if err := p.Model.CheckSignature(); err != nil {
		return err
	}
	return p.checkReferences()
}

// CheckSignature compares description, program and specification version; see
// Check.
func (m *Model) CheckSignature() error {
	if err := m.checkNames(); err != nil {
		return err
	}
	for _, f := range m.Program.Functions {
		if err := m.checkVersion(f); err != nil {
			return err
		}
		if err := checkFunction(m.Description.Function(f.Name), f); err != nil {
			return err
		}
	}
	return nil
}

// checkNames compares the functions' names and the default's.
func (m *Model) checkNames() error {
	var described, defined []string
	for _, f := range m.Description.Functions {
		described = append(described, f.Name)
	}
	for _, f := range m.Program.Functions {
		defined = append(defined, f.Name)
	}
	slices.Sort(described)
	slices.Sort(defined)
	if !slices.Equal(described, defined) || len(slices.Compact(described)) != len(defined) {
		return modelError(ErrSignature, "description.functions", fmt.Sprintf("the program's functions %q", defined), "%q", described)
	}
	if m.Description.Multi && m.Description.Function(m.Description.Default) == nil {
		return modelError(ErrSignature, "description.defaultFunctionName", fmt.Sprintf("one of %q", described), "%q", m.Description.Default)
	}
	return nil
}

// The first specification versions of what a model can use.
const (
	specFirstProgram = 6  // opset CoreML5
	specFloat16      = 7  // float16 features
	specStates       = 9  // states and several functions
	specInt8         = 10 // int8 features
)

// checkVersion wants the specification version to be no older than what f
// uses.
func (m *Model) checkVersion(f *mil.Function) error {
	needs, what := specFirstProgram, "an ML Program"
	need := func(version int, user string) {
		if version > needs {
			needs, what = version, user
		}
	}
	opset, err := strconv.Atoi(strings.TrimPrefix(f.Opset, "CoreML"))
	if err != nil || f.Opset != "CoreML"+strconv.Itoa(opset) {
		return place{function: f.Name}.err(ErrSignature, "an opset CoreML<n>", "%q", f.Opset)
	}
	need(opset+1, "opset "+f.Opset)
	if m.Description.Multi {
		need(specStates, "several functions")
	}
	d := m.Description.Function(f.Name)
	if len(d.States) > 0 {
		need(specStates, "states")
	}
	for _, feature := range slices.Concat(d.Inputs, d.Outputs, d.States) {
		switch feature.DType {
		case mil.Float16:
			need(specFloat16, "fp16 features")
		case mil.Int8:
			need(specInt8, "int8 features")
		}
	}
	if m.SpecVersion < needs {
		return modelError(ErrSignature, "specificationVersion",
			fmt.Sprintf("at least %d, as function %s has %s", needs, f.Name, what), "%d", m.SpecVersion)
	}
	return nil
}

func checkFunction(d *FunctionDescription, f *mil.Function) error {
	var inputs, states, outputs []mil.Value
	types := map[string]mil.Type{}
	for _, v := range f.Inputs {
		types[v.Name] = v.Type
		if v.Type.State {
			states = append(states, v)
		} else {
			inputs = append(inputs, v)
		}
	}
	for _, op := range f.Ops {
		for _, v := range op.Outputs {
			types[v.Name] = v.Type
		}
	}
	for _, name := range f.Outputs {
		t, ok := types[name]
		if !ok || t.State {
			return place{function: f.Name}.err(ErrSignature, "a value "+name+", as it is an output", "none")
		}
		outputs = append(outputs, mil.Value{Name: name, Type: t})
	}
	if err := checkFeatures(f.Name, roleInput, d.Inputs, inputs); err != nil {
		return err
	}
	if err := checkFeatures(f.Name, roleOutput, d.Outputs, outputs); err != nil {
		return err
	}
	return checkFeatures(f.Name, roleState, d.States, states)
}

func checkFeatures(function string, role featureRole, features []Feature, values []mil.Value) error {
	for i, v := range values {
		field, wanted := fmt.Sprintf("description of function %s, %s %d", function, role, i), v
		wanted.Type.State = false
		if i >= len(features) {
			return modelError(ErrSignature, field, featureText(wanted), "%d features", len(features))
		}
		found := mil.Value{Name: features[i].Name, Type: mil.Tensor(features[i].DType, features[i].Shape...)}
		if found.Name != wanted.Name || !found.Type.Equal(wanted.Type) {
			return modelError(ErrSignature, field, featureText(wanted), "%s", featureText(found))
		}
	}
	if len(features) > len(values) {
		return modelError(ErrSignature, featureField(function, role, features[len(values)].Name),
			fmt.Sprintf("%d features, as the program has", len(values)), "%d", len(features))
	}
	return nil
}

func featureText(v mil.Value) string { return v.Name + " " + v.Type.String() }

// checkReferences resolves every blob reference of the program and returns the
// first error.
func (p *Package) checkReferences() error {
	var first error
	for _, f := range p.Model.Program.Functions {
		mil.WalkLiterals(f, func(op *mil.Op, param string, lit *mil.Literal) {
			if lit.Blob == nil || first != nil {
				return
			}
			kind := "parameter"
			if op.Val == lit {
				kind = "attribute"
			}
			_, first = p.blob(place{f.Name, op.Name, kind, param}, lit)
		})
	}
	return first
}
