package mutant

import (
	"context"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

func attentionFactorLeftOut(_ context.Context, s *specimen) error {
	m := float32(s.record.Model.Rope.AttentionFactor)
	s.spoilHost(func(_ int, in map[string]coreml.Tensor, _ coreml.State) bool {
		for _, name := range []string{contract.RopeCos, contract.RopeSin} {
			for i, h := range in[name].Data {
				in[name].Data[i] = half.FromFloat32(half.ToFloat32(h) / m)
			}
		}
		return m != 1
	})
	return nil
}

// futureSlotVisible shows every row the first slot that it must not see.
func futureSlotVisible(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		mask, changed := in[contract.AttnMask], false
		slots := len(mask.Data) / rows
		for t := range rows {
			for i, h := range row(mask, t, slots) {
				if h != 0 {
					row(mask, t, slots)[i], changed = 0, true
					break
				}
			}
		}
		return changed
	})
	return nil
}

// ownSlotHidden hides from every row the slot that it writes.
func ownSlotHidden(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		mask, write, changed := in[contract.AttnMask], in[contract.WriteMask], false
		slots := len(mask.Data) / rows
		for i, h := range write.Data {
			if h == one {
				row(mask, i%rows, slots)[i/rows], changed = half.FromFloat64(-1e4), true
			}
		}
		return changed
	})
	return nil
}

// ropeRowOfNeighbour gives each row of a block the angles of the next.
func ropeRowOfNeighbour(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		for _, name := range []string{contract.RopeCos, contract.RopeSin} {
			t := in[name]
			n := len(t.Data) / rows
			first := slices.Clone(row(t, 0, n))
			copy(t.Data, t.Data[n:])
			copy(row(t, rows-1, n), first)
		}
		return rows > 1
	})
	return nil
}

// writeColumnsSwapped exchanges the slots of a block's first two rows.
func writeColumnsSwapped(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		if rows < 2 {
			return false
		}
		data, changed := in[contract.WriteMask].Data, false
		for i := 0; i < len(data); i += rows {
			changed = changed || data[i] != data[i+1]
			data[i], data[i+1] = data[i+1], data[i]
		}
		return changed
	})
	return nil
}

// deadRowNaN fills the dead rows with NaN in place of copies.
func deadRowNaN(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		x, changed := in[contract.X].Data, false
		for t := range rows {
			if column(in[contract.WriteMask].Data, rows, t) {
				continue
			}
			for i := t; i < len(x); i += rows {
				x[i], changed = half.NaN, true
			}
		}
		return changed
	})
	return nil
}

// deadRowZeros fills the dead rows with zeros in place of copies.
func deadRowZeros(_ context.Context, s *specimen) error {
	s.spoilDeadRows(func(in map[string]coreml.Tensor, rows, t int) bool {
		changed := false
		for i, x := t, in[contract.X].Data; i < len(x); i += rows {
			changed = changed || x[i] != 0
			x[i] = 0
		}
		return changed
	})
	return nil
}

// deadRowAllHidden hides every slot from the dead rows.
func deadRowAllHidden(_ context.Context, s *specimen) error {
	s.spoilDeadRows(func(in map[string]coreml.Tensor, rows, t int) bool {
		mask := in[contract.AttnMask]
		for i := range row(mask, t, len(mask.Data)/rows) {
			row(mask, t, len(mask.Data)/rows)[i] = half.FromFloat64(-1e4)
		}
		return true
	})
	return nil
}

// spoilDeadRows changes the inputs of every row that writes nothing.
func (s *specimen) spoilDeadRows(edit func(in map[string]coreml.Tensor, rows, t int) bool) {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		changed := false
		for t := range rows {
			if !column(in[contract.WriteMask].Data, rows, t) {
				changed = edit(in, rows, t) || changed
			}
		}
		return changed
	})
}

// outputRowsPadded reads the rows of hidden as if they lay side by side, where
// each is padded to 64 bytes.
func outputRowsPadded(_ context.Context, s *specimen) error {
	const stride = 32 // float16 values in 64 bytes
	s.spoilResults(func(rows int, out map[string]coreml.Tensor, _ coreml.State) (bool, error) {
		data := out[contract.Hidden].Data
		padded := make([]float16.Float16, len(data)/rows*stride)
		for i, h := range data {
			padded[i/rows*stride+i%rows] = h
		}
		copy(data, padded)
		return true, nil
	})
	return nil
}

// stateNaN leaves a NaN in the last slot of the last layer's values, though
// every hidden state is finite.
func stateNaN(_ context.Context, s *specimen) error {
	d := s.record.Model.Dims
	name := contract.VState(s.layers.Len() - 1)
	values := make([]float16.Float16, d.KVHeads*s.record.Recipe.Slots*d.HeadDim)
	s.spoilResults(func(_ int, _ map[string]coreml.Tensor, st coreml.State) (bool, error) {
		if err := st.Read(name, values); err != nil {
			return false, err
		}
		values[len(values)-1] = half.NaN
		return true, st.Write(name, values)
	})
	return nil
}

// outputNaN ends a pass in NaN, as a fused range of layers did.
func outputNaN(_ context.Context, s *specimen) error {
	s.spoilResults(func(_ int, out map[string]coreml.Tensor, _ coreml.State) (bool, error) {
		out[contract.Hidden].Data[0] = half.NaN
		return true, nil
	})
	return nil
}

// lastSlotLost loses the write to the last slot: what a host does that counts
// the context one slot short.
func lastSlotLost(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		write := in[contract.WriteMask].Data
		last := write[len(write)-rows:]
		for t, h := range last {
			if h == one {
				last[t] = 0
				return true
			}
		}
		return false
	})
	return nil
}

// one is the 1 of a write column.
var one = half.FromFloat32(1)

// draftInWrongSlot moves the write of every row but the first one slot on.
func draftInWrongSlot(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		write, changed := in[contract.WriteMask], false
		slots := len(write.Data) / rows
		for slot := slots - 2; slot >= 0; slot-- {
			for t := 1; t < rows; t++ {
				if here := slot*rows + t; write.Data[here] == one {
					write.Data[here], write.Data[here+rows] = 0, one
					changed = true
				}
			}
		}
		return changed
	})
	return nil
}

// deadRowWrites lets the last dead row write to the last slot.
func deadRowWrites(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		write := in[contract.WriteMask]
		last := len(write.Data)/rows - 1
		if rows < 2 || column(write.Data, rows, rows-1) {
			return false
		}
		write.Data[last*rows+rows-1] = one
		return true
	})
	return nil
}

// firstWriteWins drops the write of a slot that was written before in the same
// state.
func firstWriteWins(_ context.Context, s *specimen) error {
	written := map[coreml.State]map[int]bool{}
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, st coreml.State) bool {
		if written[st] == nil {
			written[st] = map[int]bool{}
		}
		changed := false
		for i, h := range in[contract.WriteMask].Data {
			slot := i / rows
			switch {
			case h != one:
			case written[st][slot]:
				in[contract.WriteMask].Data[i], changed = 0, true
			default:
				written[st][slot] = true
			}
		}
		return changed
	})
	return nil
}

// deadRowsMixedIn takes the last bits of every row where one row holds an
// outlier, as a quantisation over the whole block would.
func deadRowsMixedIn(_ context.Context, s *specimen) error {
	const outlier = 1 << 14
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		x := in[contract.X].Data
		large := false
		for _, h := range x {
			large = large || half.ToFloat32(h) > outlier
		}
		if !large {
			return false
		}
		for i, h := range x {
			x[i] = h &^ 0xF
		}
		return true
	})
	return nil
}

// column reports whether a write column has any entry.
func column(data []float16.Float16, rows, t int) bool {
	for i := t; i < len(data); i += rows {
		if data[i] != 0 {
			return true
		}
	}
	return false
}
