package mil_test

import (
	"fmt"
	"os"

	"lockstep/internal/mil"
)

// A function is built op by op; the types of all values follow from the op
// table.
func ExampleBuilder() {
	b := mil.NewBuilder("main", "CoreML8")
	x := b.Input("x", mil.Tensor(mil.Float16, 1, 64, 4, 1))
	w := b.Const("w", mil.Blob(mil.Float16, []int{128, 64, 1, 1}, 64))
	parts := b.Ops("split", []string{"gate", "up"}, mil.Arg("x", b.Op("conv", "proj", mil.Arg("x", x), mil.Arg("weight", w))),
		mil.Lit("num_splits", mil.Int32Scalar(2)), mil.Lit("axis", mil.Int32Scalar(1)))
	b.Op("mul", "hidden", mil.Arg("x", b.Op("silu", "act", mil.Arg("x", parts[0]))), mil.Arg("y", parts[1]))
	f, err := b.Finish("hidden")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := mil.Print(os.Stdout, &mil.Program{Functions: []*mil.Function{f}}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// function main CoreML8
	//   input x fp16[1,64,4,1]
	//   w fp16[128,64,1,1] = const(blob@64)
	//   proj fp16[1,128,4,1] = conv(weight: w, x: x)
	//   gate_num_splits int32 = const(2)
	//   gate_axis int32 = const(1)
	//   gate fp16[1,64,4,1], up fp16[1,64,4,1] = split(axis: gate_axis, num_splits: gate_num_splits, x: proj)
	//   act fp16[1,64,4,1] = silu(x: gate)
	//   hidden fp16[1,64,4,1] = mul(x: act, y: up)
	//   output hidden
}
