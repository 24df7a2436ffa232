package exporter

import (
	"fmt"

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
	first int   // row of the tensor that is the weight's first
	shape []int // as the graph sees it: [out, in, 1, 1], or [1, channels, 1, 1]
	quant bool  // int8 with one float16 scale per row
	fold  *fold // what its rows are multiplied by before they are rounded; nil: nothing

	data  uint64 // blob of the values
	scale uint64 // blob of the scales [out, 1, 1, 1], if quant
}

// rowsAndCols are the weight's dimensions in the checkpoint, where a norm is
// one row.
func (w weight) rowsAndCols() (rows, cols int) {
	return w.shape[0], w.shape[1]
}

// rows is how many rows of its tensor the weight takes.
func (w weight) rows() int { return w.shape[0] }

// source names what of a tensor the weight is in the record: the tensor, or
// NAME[START:END] where it takes a range of its rows.
func (w weight) source(t *checkpoint.Tensor) string {
	if w.rows() == t.Rows() {
		return t.Name
	}
	return fmt.Sprintf("%s[%d:%d]", t.Name, w.first, w.first+w.rows())
}

// literal is the weight's value in a program.
func (w weight) literal() mil.Literal {
	return mil.Blob(mil.Float16, w.shape, w.data)
}

// partWeights lists the weights of a package in the order of weight.bin and the
// layout of that file. It needs no checkpoint, only its config.
func partWeights(cfg checkpoint.Config, p part, rec Recipe) ([]weight, *mlpackage.Layout) {
	ws := sourceWeights(cfg, p)
	layout := mlpackage.NewLayout()
	for i := range ws {
		w := &ws[i]
		w.quant = rec.Precision == Int8 && !norm(w.role)
		if rec.FoldRope && w.role == checkpoint.QKV {
			w.fold = newFold(cfg)
		}
		w.place(layout)
	}
	return ws, layout
}

// sourceWeights lists the tensors of a part in the order of computation.
func sourceWeights(cfg checkpoint.Config, p part) []weight {
	d, f := cfg.HiddenSize, cfg.IntermediateSize
	kv := cfg.KVHeads * cfg.HeadDim()
	vocabulary := []int{p.Len(), d, 1, 1}
	switch p.kind {
	case headShard:
		return []weight{
			{role: checkpoint.FinalNorm, shape: []int{1, d, 1, 1}},
			{role: checkpoint.LMHead, first: p.Start, shape: vocabulary},
		}
	case embeddingFile:
		return []weight{{role: checkpoint.Embedding, shape: vocabulary}}
	}
	var ws []weight
	for layer := p.Start; layer < p.End; layer++ {
		for _, w := range []weight{
			{role: checkpoint.AttnNorm, shape: []int{1, d, 1, 1}},
			{role: checkpoint.QKV, shape: []int{d + 2*kv, d, 1, 1}},
			{role: checkpoint.AttnOut, shape: []int{d, d, 1, 1}},
			{role: checkpoint.MLPNorm, shape: []int{1, d, 1, 1}},
			{role: checkpoint.GateUp, shape: []int{2 * f, d, 1, 1}},
			{role: checkpoint.Down, shape: []int{d, f, 1, 1}},
		} {
			w.layer = layer
			ws = append(ws, w)
		}
	}
	return ws
}

// norm reports whether the role is a norm's, which is float16 in every
// precision.
func norm(role checkpoint.Role) bool {
	return role == checkpoint.AttnNorm || role == checkpoint.MLPNorm || role == checkpoint.FinalNorm
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
