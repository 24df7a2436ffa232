package mutant

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"lockstep/internal/half"
	"lockstep/internal/mil"

	"github.com/x448/float16"
)

// stored is one blob of weight.bin under change: rows of equal length.
type stored struct {
	data []byte
	rows int
}

// row is the r-th row's bytes, in place.
func (b stored) row(r int) []byte {
	n := len(b.data) / b.rows
	return b.data[r*n : (r+1)*n]
}

// reorder gives row r the bytes of row from(r).
func (b stored) reorder(from func(int) int) {
	old := stored{slices.Clone(b.data), b.rows}
	for r := range b.rows {
		copy(b.row(r), old.row(from(r)))
	}
}

// literals are a weight's references: the values, then the scales if it has
// them.
func literals(f *mil.Function, name string) ([]*mil.Literal, error) {
	o, err := op(f, name)
	if err != nil {
		return nil, err
	}
	var lits []*mil.Literal
	if o.Val != nil && o.Val.Blob != nil {
		lits = append(lits, o.Val)
	}
	for _, param := range []string{"data", "scale"} {
		if b, err := argument(o, param); err == nil && b.Literal != nil && b.Literal.Blob != nil {
			lits = append(lits, b.Literal)
		}
	}
	if len(lits) == 0 {
		return nil, fmt.Errorf("op %q refers to no blob", name)
	}
	return lits, nil
}

// blobHeader is the length of a blob's metadata, which its data follow.
const blobHeader = 64

// stored are the bytes of a weight: values, then scales.
func (s *specimen) stored(name string) ([]stored, error) {
	lits, err := literals(s.model.Program.Functions[0], name)
	if err != nil {
		return nil, err
	}
	var out []stored
	for _, lit := range lits {
		at := lit.Blob.Offset + blobHeader
		out = append(out, stored{s.weights()[at : at+uint64(lit.ByteSize())], lit.Type.Shape[0]})
	}
	return out, nil
}

// reorderRows reorders values and scales of a weight alike.
func (s *specimen) reorderRows(name string, from func(int) int) error {
	blobs, err := s.stored(name)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		b.reorder(from)
	}
	return nil
}

// eachLayer applies a change to every layer of the shard.
func (s *specimen) eachLayer(change func(prefix string) error) error {
	for layer := range s.base.Export.Layers.Len() {
		if err := change(fmt.Sprintf("layers_%d_", layer)); err != nil {
			return err
		}
	}
	return nil
}

// ropeInterleaved reorders the turned rows of q and k so that the program's
// halves are the even and the odd dimensions: attention is then that of
// interleaved RoPE, since q and k are reordered alike.
func ropeInterleaved(_ context.Context, s *specimen) error {
	d := s.record.Model.Dims
	turned := d.RotaryDim
	from := func(r int) int {
		head, dim := r/d.HeadDim, r%d.HeadDim
		if head >= d.Heads+d.KVHeads || dim >= turned {
			return r // v, and what RoPE passes
		}
		if dim < turned/2 {
			return head*d.HeadDim + 2*dim
		}
		return head*d.HeadDim + 2*(dim-turned/2) + 1
	}
	return s.eachLayer(func(p string) error { return s.reorderRows(p+"qkv_weight", from) })
}

// queryHeadsModulo reorders the query heads and, to undo it, the columns of the
// output projection, so that head h attends with KV head h mod n_kv.
func queryHeadsModulo(_ context.Context, s *specimen) error {
	d := s.record.Model.Dims
	group := d.Heads / d.KVHeads
	source := func(head int) int { return head/group + head%group*d.KVHeads }
	return s.eachLayer(func(p string) error {
		err := s.reorderRows(p+"qkv_weight", func(r int) int {
			if head := r / d.HeadDim; head < d.Heads {
				return source(head)*d.HeadDim + r%d.HeadDim
			}
			return r
		})
		if err != nil {
			return err
		}
		blobs, err := s.stored(p + "attn_out_weight")
		if err != nil {
			return err
		}
		for r := range blobs[0].rows { // columns of the values; scales are per row
			row := blobs[0].row(r)
			stored{row, d.Heads}.reorder(source)
		}
		return nil
	})
}

// layersInWrongOrder exchanges every weight of the shard's first two layers.
func layersInWrongOrder(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		for _, w := range []string{"attn_norm", "qkv", "attn_out", "mlp_norm", "gate_up", "down"} {
			if err := exchange(f, "layers_0_"+w+"_weight", "layers_1_"+w+"_weight"); err != nil {
				return err
			}
		}
		return nil
	})
}

func normsSwapped(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		return exchange(f, "layers_0_attn_norm_weight", "layers_0_mlp_norm_weight")
	})
}

// scalesPermuted reverses the scales of a weight.
func scalesPermuted(_ context.Context, s *specimen) error {
	return s.reorderScales("layers_0_gate_up_weight", func(r, rows int) int { return rows - 1 - r })
}

// scaleOfNeighbour gives each row the scale of the next.
func scaleOfNeighbour(_ context.Context, s *specimen) error {
	return s.reorderScales("layers_0_down_weight", func(r, rows int) int { return (r + 1) % rows })
}

func (s *specimen) reorderScales(name string, from func(r, rows int) int) error {
	blobs, err := s.stored(name)
	if err != nil {
		return err
	}
	if len(blobs) < 2 {
		return fmt.Errorf("weight %q has no scales", name)
	}
	scales := blobs[1]
	scales.reorder(func(r int) int { return from(r, scales.rows) })
	return nil
}

func weightBitFlipped(_ context.Context, s *specimen) error {
	blobs, err := s.stored("layers_1_gate_up_weight")
	if err != nil {
		return err
	}
	s.unsealed = true
	blobs[0].data[0] ^= 1
	return nil
}

// weightBitFlippedSealed is one least significant bit of one weight among
// many, wrong before the record is made.
func weightBitFlippedSealed(_ context.Context, s *specimen) error {
	blobs, err := s.stored("layers_0_gate_up_weight")
	if err != nil {
		return err
	}
	blobs[0].data[len(blobs[0].data)/2] ^= 1
	return nil
}

// scaleBitFlipped sets the exponent bit of weight 2^8 in a scale that has it
// clear: one channel of hidden becomes 256 times as large.
func scaleBitFlipped(_ context.Context, s *specimen) error {
	blobs, err := s.stored("layers_1_down_weight")
	if err != nil {
		return err
	}
	data := blobs[len(blobs)-1].data
	for i := 0; i+2 <= len(data); i += 2 {
		if h := binary.LittleEndian.Uint16(data[i:]); h&0x2000 == 0 {
			binary.LittleEndian.PutUint16(data[i:], h|0x2000)
			return nil
		}
	}
	return fmt.Errorf("no scale has that bit clear")
}

// weightInfinite puts an infinity into a norm's weight.
func weightInfinite(_ context.Context, s *specimen) error {
	blobs, err := s.stored("layers_0_mlp_norm_weight")
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint16(blobs[0].data, 0x7C00)
	return nil
}

func blobOffsetShifted(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		lits, err := literals(f, "layers_0_down_weight")
		if err != nil {
			return err
		}
		lits[0].Blob.Offset += blobHeader
		return nil
	})
}

func blobCountWrong(_ context.Context, s *specimen) error {
	w := s.weights()
	binary.LittleEndian.PutUint32(w, binary.LittleEndian.Uint32(w)-1)
	return nil
}

// blobsAliased lets both norms of a layer read one blob.
func blobsAliased(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		from, err := literals(f, "layers_0_attn_norm_weight")
		if err != nil {
			return err
		}
		to, err := literals(f, "layers_0_mlp_norm_weight")
		if err != nil {
			return err
		}
		to[0].Blob.Offset = from[0].Blob.Offset
		return nil
	})
}

// scalar replaces the value of a float16 scalar const in every function.
func (s *specimen) scalar(name string, change func(float32) float64) error {
	return s.eachFunction(func(f *mil.Function) error {
		o, err := op(f, name)
		if err != nil {
			return err
		}
		old := half.ToFloat32(float16.Float16(binary.LittleEndian.Uint16(o.Val.Bytes)))
		o.Val.Bytes = binary.LittleEndian.AppendUint16(nil, half.FromFloat64(change(old)).Bits())
		return nil
	})
}

func scoreScaleLeftOut(_ context.Context, s *specimen) error {
	return s.eachLayer(func(p string) error { return s.scalar(p+"q_scaled_y", func(float32) float64 { return 1 }) })
}

func scoreScaleTwice(_ context.Context, s *specimen) error {
	return s.eachLayer(func(p string) error {
		return s.scalar(p+"q_scaled_y", func(v float32) float64 { return float64(v) * float64(v) })
	})
}

func epsilonTenfold(_ context.Context, s *specimen) error {
	return s.eachLayer(func(p string) error {
		for _, norm := range []string{"attn_norm", "mlp_norm"} {
			if err := s.scalar(p+norm+"_ln_epsilon", func(v float32) float64 { return 10 * float64(v) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func epsilonLost(_ context.Context, s *specimen) error {
	return s.scalar("layers_0_attn_norm_ln_epsilon", func(float32) float64 { return 0 })
}

func constantInfinite(_ context.Context, s *specimen) error {
	return s.scalar("layers_1_q_scaled_y", func(float32) float64 { return 1e9 })
}
