package exporter

import (
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// weight is one checkpoint tensor and where weight.bin holds it. Tensors are
// laid out in the order in which export streams them; each function refers to
// the same offsets, so a weight is stored once.
type weight struct {
	role  checkpoint.Role
	layer int   // of the model
	shape []int // as the graph sees it: [out, in, 1, 1], or [1, channels, 1, 1]
	quant bool  // int8 with one float16 scale per row

	data  uint64 // blob of the values
	scale uint64 // blob of the scales [out, 1, 1, 1], if quant
}

// rowsAndCols are the tensor's dimensions in the checkpoint, where a norm is
// one row.
func (w weight) rowsAndCols() (rows, cols int) {
	return w.shape[0], w.shape[1]
}

// literal is the weight's value in a program.
func (w weight) literal() mil.Literal {
	return mil.Blob(mil.Float16, w.shape, w.data)
}

// shardWeights lists the weights of layers in the order of weight.bin and the
// layout of that file. It needs no checkpoint, only its config.
func shardWeights(cfg checkpoint.Config, layers Range, precision Precision) ([]weight, *mlpackage.Layout) {
	d, f := cfg.HiddenSize, cfg.IntermediateSize
	kv := cfg.KVHeads * cfg.HeadDim()
	layout := mlpackage.NewLayout()
	var ws []weight
	for layer := layers.Start; layer < layers.End; layer++ {
		for _, w := range []weight{
			{role: checkpoint.AttnNorm, shape: []int{1, d, 1, 1}},
			{role: checkpoint.QKV, shape: []int{d + 2*kv, d, 1, 1}},
			{role: checkpoint.AttnOut, shape: []int{d, d, 1, 1}},
			{role: checkpoint.MLPNorm, shape: []int{1, d, 1, 1}},
			{role: checkpoint.GateUp, shape: []int{2 * f, d, 1, 1}},
			{role: checkpoint.Down, shape: []int{d, f, 1, 1}},
		} {
			w.layer = layer
			w.quant = precision == Int8 && w.role != checkpoint.AttnNorm && w.role != checkpoint.MLPNorm
			w.place(layout)
			ws = append(ws, w)
		}
	}
	return ws, layout
}

// place appends the weight's blobs to the layout.
func (w *weight) place(layout *mlpackage.Layout) {
	rows, cols := w.rowsAndCols()
	n := int64(rows) * int64(cols)
	if !w.quant {
		w.data = layout.Add(mlpackage.BlobFloat16, 2*n, 0)
		return
	}
	w.data = layout.Add(mlpackage.BlobInt8, n, 0)
	w.scale = layout.Add(mlpackage.BlobFloat16, 2*int64(rows), 0)
}
