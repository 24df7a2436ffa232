package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/durable"
	"lockstep/internal/half"
	"lockstep/internal/safetensors"
)

type runCommand struct {
	Package   string `help:"Package directory (X.mlpackage)." required:"" placeholder:"P"`
	Function  string `help:"Function to run, for example t4." required:"" placeholder:"NAME"`
	Inputs    string `help:"Safetensors file with the function's inputs by name, float16." required:"" placeholder:"FILE"`
	Outputs   string `help:"New safetensors file for the outputs." required:"" placeholder:"FILE"`
	StatesIn  string `help:"Safetensors file with the states by name, float16; zeros without it." placeholder:"FILE"`
	StatesOut string `help:"New safetensors file for the states after the pass." placeholder:"FILE"`
	Plane     string `help:"What executes the package: reference, anywhere, or coreml, on macOS 15 or later." default:"reference"`
}

// Run executes one pass. It writes nothing before the pass has succeeded.
func (c *runCommand) Run(ctx context.Context, to streams) error {
	plane, err := openPlane("--plane", c.Plane)
	if err != nil {
		return err
	}
	if err := errors.Join(wantPackage("--package", c.Package), c.wantNew()); err != nil {
		return err
	}
	pkg, err := plane.Open(ctx, c.Package)
	if err != nil {
		return err
	}
	defer pkg.Close() // opened for reading
	fn, err := pkg.Function(ctx, c.Function)
	if err != nil {
		return fmt.Errorf("--function: %w", err)
	}
	outputs, states, err := c.pass(ctx, pkg, fn)
	if err != nil {
		return err
	}
	if err := durable.WriteNew(durable.OS{}, c.Outputs, outputs); err != nil {
		return fmt.Errorf("--outputs: %w", err)
	}
	fmt.Fprintf(to.out, "run      %s of %s, plane %s\noutputs  %s\n", c.Function, c.Package, plane.Name(), c.Outputs)
	if c.StatesOut == "" {
		return nil
	}
	if err := durable.WriteNew(durable.OS{}, c.StatesOut, states); err != nil {
		return fmt.Errorf("--states-out: %w", err)
	}
	fmt.Fprintf(to.out, "states   %s\n", c.StatesOut)
	return nil
}

// wantNew reports an output file that is there already.
func (c *runCommand) wantNew() error {
	if c.StatesOut != "" && filepath.Clean(c.StatesOut) == filepath.Clean(c.Outputs) {
		return &flagError{"--states-out", "another file than --outputs", c.StatesOut}
	}
	for _, f := range []struct{ flag, name string }{{"--outputs", c.Outputs}, {"--states-out", c.StatesOut}} {
		if f.name == "" {
			continue
		}
		if err := wantNewFile(f.flag+" "+f.name, f.name); err != nil {
			return err
		}
	}
	return nil
}

// pass runs the function once and returns the files of its outputs and states.
func (c *runCommand) pass(ctx context.Context, pkg coreml.Package, fn coreml.Function) (outputs, states []byte, err error) {
	sig := fn.Signature()
	inputs, err := c.inputs(sig)
	if err != nil {
		return nil, nil, err
	}
	st, err := c.states(pkg, sig)
	if err != nil {
		return nil, nil, err
	}
	results := map[string]coreml.Tensor{}
	for _, f := range sig.Outputs {
		results[f.Name] = emptyTensor(f)
	}
	if err := fn.Predict(ctx, inputs, st, results); err != nil {
		return nil, nil, err
	}
	outputs, err = encode(sig.Outputs, func(f coreml.Feature) ([]float16.Float16, error) { return results[f.Name].Data, nil })
	if err != nil || c.StatesOut == "" {
		return outputs, nil, err
	}
	states, err = encode(sig.States, func(f coreml.Feature) ([]float16.Float16, error) {
		t := emptyTensor(f)
		return t.Data, st.Read(f.Name, t.Data)
	})
	return outputs, states, err
}

func emptyTensor(f coreml.Feature) coreml.Tensor {
	n := 1
	for _, d := range f.Shape {
		n *= d
	}
	return coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, n)}
}

// inputs reads the function's inputs. A tensor too many is refused: it would
// be a wrong name.
func (c *runCommand) inputs(sig coreml.Signature) (map[string]coreml.Tensor, error) {
	file, err := readFeatures("--inputs", c.Inputs, sig.Inputs)
	if err != nil {
		return nil, err
	}
	inputs := map[string]coreml.Tensor{}
	for _, f := range sig.Inputs {
		inputs[f.Name] = coreml.Tensor{Shape: f.Shape, Data: file[f.Name]}
	}
	return inputs, nil
}

// states makes a state, filled from --states-in.
func (c *runCommand) states(pkg coreml.Package, sig coreml.Signature) (coreml.State, error) {
	st, err := pkg.NewState()
	if err != nil || c.StatesIn == "" {
		return st, err
	}
	values, err := readFeatures("--states-in", c.StatesIn, sig.States)
	if err != nil {
		return nil, err
	}
	for _, f := range sig.States {
		if err := st.Write(f.Name, values[f.Name]); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// readFeatures reads a file that has exactly the features, finite.
func readFeatures(flag, name string, features []coreml.Feature) (map[string][]float16.Float16, error) {
	file, err := readTensors(flag, name)
	if err != nil {
		return nil, err
	}
	out := map[string][]float16.Float16{}
	for _, f := range features {
		data, shape, err := file.Float16(f.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		at := fmt.Sprintf("%s: %s: tensor %q", flag, name, f.Name)
		if !slices.Equal(shape, f.Shape) {
			return nil, &flagError{at, fmt.Sprintf("shape %v", f.Shape), fmt.Sprint(shape)}
		}
		if i := half.FirstNonFinite(data); i >= 0 {
			return nil, fmt.Errorf("%s: element %d: %w: want finite values, found %v", at, i, coreml.ErrNonFinite, half.ToFloat32(data[i]))
		}
		out[f.Name] = data
	}
	for _, t := range file.Tensors {
		if _, ok := out[t.Name]; !ok {
			return nil, &flagError{flag + ": " + name, fmt.Sprintf("the tensors %s", featureNames(features)), fmt.Sprintf("%q too", t.Name)}
		}
	}
	return out, nil
}

func featureNames(features []coreml.Feature) string {
	names := make([]string, len(features))
	for i, f := range features {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// encode makes a safetensors file of features.
func encode(fs []coreml.Feature, read func(coreml.Feature) ([]float16.Float16, error)) ([]byte, error) {
	tensors := make([]safetensors.HalfTensor, len(fs))
	for i, f := range fs {
		data, err := read(f)
		if err != nil {
			return nil, err
		}
		tensors[i] = safetensors.HalfTensor{Name: f.Name, Shape: f.Shape, Data: data}
	}
	return safetensors.EncodeFloat16(tensors)
}
