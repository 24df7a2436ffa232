package mutant

import (
	"context"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/half"
)

func attentionFactorLeftOut(_ context.Context, s *specimen) error {
	m := float32(s.record.Model.Rope.AttentionFactor)
	s.spoilHost(func(_ int, in map[string]coreml.Tensor, _ coreml.State) bool {
		for _, name := range []string{exporter.InputRopeCos, exporter.InputRopeSin} {
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
		mask, changed := in[exporter.InputAttnMask], false
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

// one is the 1 of a write column.
var one = half.FromFloat32(1)

// draftInWrongSlot moves the write of every row but the first one slot on.
func draftInWrongSlot(_ context.Context, s *specimen) error {
	s.spoilHost(func(rows int, in map[string]coreml.Tensor, _ coreml.State) bool {
		write, changed := in[exporter.InputWriteMask], false
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
		write := in[exporter.InputWriteMask]
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
		for i, h := range in[exporter.InputWriteMask].Data {
			slot := i / rows
			switch {
			case h != one:
			case written[st][slot]:
				in[exporter.InputWriteMask].Data[i], changed = 0, true
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
		x := in[exporter.InputX].Data
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
