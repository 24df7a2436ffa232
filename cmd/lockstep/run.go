package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/durable"
	"lockstep/internal/safetensors"
)

type runCommand struct {
	Package   string `help:"Package directory (X.mlpackage)." required:"" placeholder:"P"`
	Function  string `help:"Function to run, for example t4." required:"" placeholder:"NAME"`
	Inputs    string `help:"Safetensors file with the function's inputs by name, float16." required:"" placeholder:"FILE"`
	Outputs   string `help:"New safetensors file for the outputs." required:"" placeholder:"FILE"`
	StatesIn  string `help:"Safetensors file with the states by name; zero without it." placeholder:"FILE"`
	StatesOut string `help:"New safetensors file for the states after the pass." placeholder:"FILE"`
	Plane     string `help:"What executes the package." default:"reference"`
}

func (c *runCommand) Run(ctx context.Context, to streams) (err error) {
	for _, name := range []string{c.Outputs, c.StatesOut} {
		if _, statErr := os.Lstat(name); name != "" && statErr == nil {
			return fmt.Errorf("%s: %w; name a new file", name, durable.ErrExists)
		}
	}
	plane, err := openPlane(c.Plane)
	if err != nil {
		return err
	}
	pkg, err := plane.Open(ctx, c.Package)
	if err != nil {
		return err
	}
	defer pkg.Close() // opened for reading
	fn, err := pkg.Function(ctx, c.Function)
	if err != nil {
		return err
	}
	sig := fn.Signature()
	inputs, err := c.inputs(sig)
	if err != nil {
		return err
	}
	st, err := c.states(pkg, sig)
	if err != nil {
		return err
	}
	outputs := map[string]coreml.Tensor{}
	for _, f := range sig.Outputs {
		outputs[f.Name] = emptyTensor(f)
	}
	if err := fn.Predict(ctx, inputs, st, outputs); err != nil {
		return err
	}
	if err := writeTensors(c.Outputs, sig.Outputs, func(f coreml.Feature) ([]float16.Float16, error) { return outputs[f.Name].Data, nil }); err != nil {
		return err
	}
	fmt.Fprintf(to.out, "run     %s %s on plane %s\noutputs %s\n", c.Package, c.Function, plane.Name(), c.Outputs)
	if c.StatesOut == "" {
		return nil
	}
	err = writeTensors(c.StatesOut, sig.States, func(f coreml.Feature) ([]float16.Float16, error) {
		t := emptyTensor(f)
		return t.Data, st.Read(f.Name, t.Data)
	})
	if err == nil {
		fmt.Fprintf(to.out, "states  %s\n", c.StatesOut)
	}
	return err
}

func emptyTensor(f coreml.Feature) coreml.Tensor {
	n := 1
	for _, d := range f.Shape {
		n *= d
	}
	return coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, n)}
}

// inputs reads every input; the plane judges their names and shapes.
func (c *runCommand) inputs(sig coreml.Signature) (map[string]coreml.Tensor, error) {
	file, err := readTensors("--inputs", c.Inputs)
	if err != nil {
		return nil, err
	}
	inputs := map[string]coreml.Tensor{}
	for _, t := range file.Tensors {
		data, shape, err := file.Float16(t.Name)
		if err != nil {
			return nil, fmt.Errorf("--inputs: %w", err)
		}
		inputs[t.Name] = coreml.Tensor{Shape: shape, Data: data}
	}
	for _, f := range sig.Inputs {
		if _, ok := inputs[f.Name]; !ok {
			return nil, fmt.Errorf("--inputs: %s: tensor %q: want float16 of shape %v, found none", c.Inputs, f.Name, f.Shape)
		}
	}
	return inputs, nil
}

// states makes a state, filled from --states-in.
func (c *runCommand) states(pkg coreml.Package, sig coreml.Signature) (coreml.State, error) {
	st, err := pkg.NewState()
	if err != nil || c.StatesIn == "" {
		return st, err
	}
	file, err := readTensors("--states-in", c.StatesIn)
	if err != nil {
		return nil, err
	}
	for _, f := range sig.States {
		data, shape, err := file.Float16(f.Name)
		if err != nil {
			return nil, fmt.Errorf("--states-in: %w", err)
		}
		if !slices.Equal(shape, f.Shape) {
			return nil, fmt.Errorf("--states-in: %s: tensor %q: want shape %v, found %v", c.StatesIn, f.Name, f.Shape, shape)
		}
		if i := slices.IndexFunc(data, func(h float16.Float16) bool { return h&0x7C00 == 0x7C00 }); i >= 0 {
			return nil, fmt.Errorf("--states-in: %s: tensor %q at element %d: %w", c.StatesIn, f.Name, i, coreml.ErrNonFinite)
		}
		if err := st.Write(f.Name, data); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// writeTensors writes a new safetensors file, whole or not at all.
func writeTensors(name string, fs []coreml.Feature, read func(coreml.Feature) ([]float16.Float16, error)) error {
	tensors := make([]safetensors.HalfTensor, len(fs))
	for i, f := range fs {
		data, err := read(f)
		if err != nil {
			return err
		}
		tensors[i] = safetensors.HalfTensor{Name: f.Name, Shape: f.Shape, Data: data}
	}
	text, err := safetensors.EncodeFloat16(tensors)
	if err != nil {
		return err
	}
	return durable.WriteNew(durable.OS{}, name, text)
}
