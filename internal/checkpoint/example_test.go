package checkpoint_test

import (
	"fmt"

	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// Rows of a weight are read where they lie; two buffers serve any number.
func ExampleOpen() {
	c, err := checkpoint.Open(fixtures.Nano())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if err := c.RequireLayers(30, 32); err != nil {
		fmt.Println(err)
		return
	}
	w, err := c.Tensor(checkpoint.Down, 30)
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, row := make([]byte, w.RowBytes()), make([]float32, w.RowLen())
	for i := range w.Rows() {
		if err := w.ReadRaw(raw, i); err != nil {
			fmt.Println(err)
			return
		}
		if err := w.Float32(row, raw, i); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(w.Name, w.DType, w.Shape)
	// Output: model.layers.30.mlp.down_proj.weight BF16 [128 192]
}
