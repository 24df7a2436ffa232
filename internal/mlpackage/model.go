package mlpackage

import "lockstep/internal/mil"

// MainFunction is the function's name in a model without function
// descriptions.
const MainFunction = "main"

// Model is the content of model.mlmodel.
type Model struct {
	// SpecVersion is the specification version: 9 for states and several
	// functions (macOS 15), 10 for int8 arrays.
	SpecVersion int
	Description Description
	Program     *mil.Program
	// Attributes are the program's attributes, for example coremltools'
	// buildInfo: each a serialized MILSpec.Value, which this package carries
	// from decoding to encoding without reading more into it.
	Attributes map[string][]byte
}

// Description is a model's declared interface.
type Description struct {
	// Functions are the functions in declared order.
	Functions []FunctionDescription
	// Default names the default function. It is set if and only if Multi is.
	Default string
	// Metadata is free text.
	Metadata Metadata
	// Multi chooses the form: function descriptions, or, for one function
	// called MainFunction, features at the top level.
	Multi bool
}

// Function returns the description of the named function, or nil.
func (d *Description) Function(name string) *FunctionDescription {
	for i := range d.Functions {
		if d.Functions[i].Name == name {
			return &d.Functions[i]
		}
	}
	return nil
}

// FunctionDescription is one function's declared interface.
type FunctionDescription struct {
	Name    string
	Inputs  []Feature
	Outputs []Feature
	States  []Feature
}

// Feature is a named multi-array of static shape.
type Feature struct {
	Name  string
	DType mil.DType // Float16, Float32, Int8 or Int32
	Shape []int
}

// Metadata is a model's free text.
type Metadata struct {
	ShortDescription string
	Version          string
	Author           string
	License          string
	UserDefined      map[string]string
}

// empty tells whether there is nothing to write.
func (m *Metadata) empty() bool {
	return m.ShortDescription == "" && m.Version == "" && m.Author == "" && m.License == "" && len(m.UserDefined) == 0
}
