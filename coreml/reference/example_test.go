package reference_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// A package is opened, a function prepared and run: here one that adds its
// input to a state and returns the sum.
func Example() {
	dir, err := os.MkdirTemp("", "reference")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := writeCounter(dir); err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	pkg, err := reference.Plane{}.Open(ctx, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pkg.Close()
	fn, err := pkg.Function(ctx, "main")
	if err != nil {
		fmt.Println(err)
		return
	}
	state, err := pkg.NewState()
	if err != nil {
		fmt.Println(err)
		return
	}
	in := coreml.Tensor{Shape: []int{2}, Data: []float16.Float16{float16.Fromfloat32(1), float16.Fromfloat32(0.5)}}
	out := coreml.Tensor{Shape: []int{2}, Data: make([]float16.Float16, 2)}
	for range 3 {
		err := fn.Predict(ctx, map[string]coreml.Tensor{"x": in}, state, map[string]coreml.Tensor{"sum": out})
		fmt.Println(out.Data, err)
	}
	// Output:
	// [1 0.5] <nil>
	// [2 1] <nil>
	// [3 1.5] <nil>
}

// writeCounter writes the example's package into dir.
func writeCounter(dir string) error {
	vector := mil.Tensor(mil.Float16, 2)
	b := mil.NewBuilder("main", "CoreML8")
	x, total := b.Input("x", vector), b.State("total", vector)
	b.Write(total, b.Op("add", "next", mil.Arg("x", b.Op("read_state", "old", mil.Arg("input", total))), mil.Arg("y", x)))
	f, err := b.Finish(b.Op("read_state", "sum", mil.Arg("input", total)))
	if err != nil {
		return err
	}
	feature := func(name string) []mlpackage.Feature {
		return []mlpackage.Feature{{Name: name, DType: mil.Float16, Shape: vector.Shape}}
	}
	model, err := mlpackage.EncodeModel(&mlpackage.Model{
		SpecVersion: 9,
		Description: mlpackage.Description{Functions: []mlpackage.FunctionDescription{
			{Name: "main", Inputs: feature("x"), Outputs: feature("sum"), States: feature("total")},
		}},
		Program: &mil.Program{Functions: []*mil.Function{f}},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(mlpackage.ModelPath))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, model, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, mlpackage.ManifestPath), mlpackage.EncodeManifest(false), 0o644)
}
