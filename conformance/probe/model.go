package probe

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/x448/float16"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// model is the variant's program and description. scales are those of
// tensorScales; without them the model has the right size and placeholders.
func (v Variant) model(d Dimensions, scales map[string]float16.Float16) (*mlpackage.Model, error) {
	rec := v.recipeOf(d)
	m, err := exporter.Describe(d.config(), d.layers(), rec)
	if err != nil {
		return nil, err
	}
	rows := map[string]int{}
	for _, t := range rec.Rows {
		rows[rec.FunctionName(t)] = t
	}
	if v.stored == perTensor {
		blobs, _ := tensorBlobs(m)
		if m, err = rewrite(m, rows, func() change { return oneScale(blobs, scales) }); err != nil {
			return nil, err
		}
	}
	if v.change != nil {
		m, err = rewrite(m, rows, v.change)
	}
	return m, err
}

// tensorBlob is a weight in the files of int8_per_tensor.
type tensorBlob struct {
	name     string // in the program
	elements int64
	quant    bool   // int8, the scale in the program; else float16
	channel  uint64 // offset in the file of int8 per channel
	offset   uint64
}

// tensorBlobs lays out the weights of a model of int8 per channel without its
// scales, in the same order.
func tensorBlobs(m *mlpackage.Model) ([]tensorBlob, *mlpackage.Layout) {
	var blobs []tensorBlob
	for _, op := range m.Program.Functions[0].Ops {
		lit, quant := op.Val, false
		if data := inline(op, "data"); data != nil {
			lit, quant = data, true
		}
		if lit != nil && lit.Blob != nil {
			blobs = append(blobs, tensorBlob{
				name: op.Name, elements: int64(mil.NumElements(lit.Type.Shape)), quant: quant, channel: lit.Blob.Offset,
			})
		}
	}
	slices.SortFunc(blobs, func(a, b tensorBlob) int { return int(int64(a.channel) - int64(b.channel)) })
	layout := mlpackage.NewLayout()
	for i := range blobs {
		b := &blobs[i]
		if b.quant {
			b.offset = layout.Add(mlpackage.BlobInt8, b.elements, 0)
		} else {
			b.offset = layout.Add(mlpackage.BlobFloat16, 2*b.elements, 0)
		}
	}
	return blobs, layout
}

// oneScale gives every int8 weight one scale, written in place as converters do
// with so short a value, and every weight its offset in the new file.
func oneScale(blobs []tensorBlob, scales map[string]float16.Float16) change {
	find := func(name string) *tensorBlob {
		if i := slices.IndexFunc(blobs, func(b tensorBlob) bool { return b.name == name }); i >= 0 {
			return &blobs[i]
		}
		return nil
	}
	quantised := 0
	for _, b := range blobs {
		if b.quant {
			quantised++
		}
	}
	return change{
		sites: exactly(quantised),
		begin: func(r *rewriter) {
			for _, op := range r.from.Ops { // the float16 ones are consts, copied where they are used
				if b := find(op.Name); b != nil && !b.quant {
					moved := mil.Blob(mil.Float16, op.Val.Type.Shape, b.offset)
					r.moved[op.Name] = &moved
				}
			}
		},
		op: func(r *rewriter, op *mil.Op) bool {
			b := find(op.Name)
			if b == nil || !b.quant {
				return false
			}
			shape := inline(op, "data").Type.Shape
			scale, ok := scales[op.Name]
			if !ok {
				scale = half.FromFloat64(1)
			}
			r.Op(op.Type, op.Name, mil.Inline("data", mil.Blob(mil.Int8, shape, b.offset)),
				mil.Inline("scale", mil.Halfs(slices.Repeat([]int{1}, len(shape)), []float16.Float16{scale})))
			return true
		},
	}
}

// roles are the stored weights of the one layer by their names.
func roles() map[string]checkpoint.Role {
	return map[string]checkpoint.Role{
		contract.Weight(0, "attn_norm"): checkpoint.AttnNorm, contract.Weight(0, "qkv"): checkpoint.QKV,
		contract.Weight(0, "attn_out"): checkpoint.AttnOut, contract.Weight(0, "mlp_norm"): checkpoint.MLPNorm,
		contract.Weight(0, "gate_up"): checkpoint.GateUp, contract.Weight(0, "down"): checkpoint.Down,
	}
}

// valuesAtOnce is how many values of a tensor are held at a time.
const valuesAtOnce = 1 << 20

// eachRows hands over a tensor's values in runs of whole rows.
func eachRows(ctx context.Context, t *checkpoint.Tensor, use func([]float32) error) error {
	rows := max(1, valuesAtOnce/t.RowLen())
	values := make([]float32, rows*t.RowLen())
	for first := 0; first < t.Rows(); first += rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := values[:min(rows, t.Rows()-first)*t.RowLen()]
		if err := t.ReadRows(part, first); err != nil {
			return err
		}
		if err := use(part); err != nil {
			return err
		}
	}
	return nil
}

// tensorScales are the scales of int8_per_tensor: max|w|/127 of a whole weight,
// by the exporter's rule for a row.
func tensorScales(ctx context.Context, ck *checkpoint.Checkpoint, layer int, blobs []tensorBlob) (map[string]float16.Float16, error) {
	scales := map[string]float16.Float16{}
	for _, b := range blobs {
		if !b.quant {
			continue
		}
		t, err := ck.Tensor(roles()[b.name], layer)
		if err != nil {
			return nil, err
		}
		peak := 0.0
		if err := eachRows(ctx, t, func(values []float32) error {
			for _, v := range values {
				peak = max(peak, math.Abs(float64(v)))
			}
			return nil
		}); err != nil {
			return nil, err
		}
		scale := half.FromFloat64(peak / 127)
		if scale == 0 || scale.IsInf(0) {
			return nil, fmt.Errorf("%s: max|w| %v has no int8 scale", b.name, peak)
		}
		scales[b.name] = scale
	}
	return scales, nil
}

// write writes the file of weights.
func (f *perTensorForm) write(ctx context.Context, to io.Writer, ck *checkpoint.Checkpoint, layer int) error {
	w := mlpackage.NewBlobWriter(to, f.layout)
	for _, b := range f.blobs {
		if _, err := w.Next(); err != nil {
			return err
		}
		t, err := ck.Tensor(roles()[b.name], layer)
		if err != nil {
			return err
		}
		scale := half.ToFloat64(f.scales[b.name])
		if err := eachRows(ctx, t, func(values []float32) error {
			data := make([]byte, 2*len(values))
			if b.quant {
				data = data[:len(values)]
				for i, v := range values {
					data[i] = byte(int8(max(-127, min(127, math.RoundToEven(float64(v)/scale)))))
				}
			} else {
				stored := make([]float16.Float16, len(values))
				half.Encode(stored, values)
				half.ToBytes(data, stored)
			}
			_, err := w.Write(data)
			return err
		}); err != nil {
			return err
		}
	}
	return w.Close()
}
