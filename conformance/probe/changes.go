package probe

import (
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// ends reports whether the op's first output is called so.
func ends(op *mil.Op, suffix string) bool {
	return len(op.Outputs) > 0 && strings.HasSuffix(op.Outputs[0].Name, suffix)
}

func exactly(n int) func(*rewriter) int { return func(*rewriter) int { return n } }

// notReadAgain uses what was written to a state in the place of reading it
// again: the form that one project saw fall to the CPU.
func notReadAgain() change {
	written := map[string]string{}
	return change{sites: exactly(2), op: func(r *rewriter, op *mil.Op) bool {
		state := operand(op, "input")
		switch op.Type {
		case "write_state":
			written[state] = r.name(operand(op, "data"))
		case "read_state":
			if data, ok := written[state]; ok {
				return r.drop(op, data)
			}
		}
		return false
	}}
}

// scaleAfter scales the scores in the place of q. A raw score above 65504 is
// then an infinity; the seeded weights stay far below.
func scaleAfter() change {
	var scale *mil.Literal
	each := func(r *rewriter) int { return 1 + r.Type(contract.KState(0)).Shape[1] } // q, and the scores of each KV head
	return change{sites: each, op: func(r *rewriter, op *mil.Op) bool {
		switch {
		case op.Type == "mul" && ends(op, "_q_scaled"):
			scale = r.literal(op, "y")
			return r.drop(op, r.name(operand(op, "x")))
		case op.Type == "matmul" && scale != nil && r.scores(op):
			r.copy(op)
			out := op.Outputs[0].Name
			r.stands[out] = r.Op("mul", out+"_scaled", mil.Arg("x", out), mil.Lit("y", *scale))
			return true
		}
		return false
	}}
}

// scores reports whether a matmul is one of q and k: those alone transpose y.
func (r *rewriter) scores(op *mil.Op) bool {
	t := r.literal(op, "transpose_y")
	return t != nil && slices.Equal(t.Bools, []bool{true})
}

// sliceUpdate writes the new rows by slice_update. Its bounds are run-time
// int32 values, which the contract has no input for: the position is the slot
// of the write mask's first column. So all rows of a pass must be live: a dead
// row has no slot and would be written beside the others.
func sliceUpdate() change {
	var begin, end string
	return change{
		sites: exactly(2 + 3*2), // two that all layers share, three of each state
		begin: func(r *rewriter) { begin, end = r.bounds() },
		op: func(r *rewriter, op *mil.Op) bool {
			switch {
			case ends(op, "kv_written"), ends(op, "kv_keep"), ends(op, "_cache_kept"):
				return true // nothing is left that uses it
			case ends(op, "_cache_new"):
				return r.drop(op, r.name(operand(op, "y"))) // the rows themselves
			case ends(op, "_cache_blend"):
				old := strings.TrimSuffix(op.Outputs[0].Name, "_blend") + "_old"
				r.Op("slice_update", op.Outputs[0].Name, mil.Arg("x", old), mil.Arg("update", r.name(operand(op, "y"))),
					mil.Arg("begin", begin), mil.Arg("end", end))
				return true
			}
			return false
		},
	}
}

// bounds computes [0, 0, position, 0] and [1, kv, position+T, head_dim].
func (r *rewriter) bounds() (begin, end string) {
	mask := r.Type(contract.WriteMask).Shape // [1, 1, S, T]
	cache := r.Type(contract.KState(0)).Shape
	slots := make([]float16.Float16, mask[2])
	for i := range slots {
		slots[i] = half.FromFloat64(float64(i)) // exact up to 2048
	}
	first := r.Op("slice_by_index", "kv_first_column", mil.Arg("x", contract.WriteMask),
		mil.Lit("begin", mil.Int32s(0, 0, 0, 0)), mil.Lit("end", mil.Int32s(1, 1, mask[2], 1)))
	numbered := r.Op("mul", "kv_first_slot", mil.Arg("x", first), mil.Lit("y", mil.Halfs([]int{1, 1, mask[2], 1}, slots)))
	position := r.Op("reduce_sum", "kv_position", mil.Arg("x", numbered),
		mil.Lit("axes", mil.Int32s(0, 1, 2)), mil.Lit("keep_dims", mil.BoolScalar(false)))
	past := r.Op("add", "kv_position_past", mil.Arg("x", position), mil.Lit("y", mil.Half(half.FromFloat64(float64(r.rows)))))
	bound := func(name, at string, before, after []int) string {
		whole := r.Op("cast", name+"_slot", mil.Arg("x", at), mil.Lit("dtype", mil.StringScalar("int32")))
		a, b := r.Const(name+"_before", mil.Int32s(before...)), r.Const(name+"_after", mil.Int32s(after...))
		return r.Op("concat", name, mil.Arg("values", a, whole, b),
			mil.Lit("axis", mil.Int32Scalar(0)), mil.Lit("interleave", mil.BoolScalar(false)))
	}
	return bound("kv_begin", position, []int{0, 0}, []int{0}), bound("kv_end", past, cache[:2], cache[3:])
}

// tokensOnWidth turns activations [1, C, T, 1] into [1, C, 1, T]. Both have the
// same elements in the same order.
func tokensOnWidth() change {
	return change{
		sites: exactly(1 + 2), // the heads' reshape and both norms' slices
		input: func(_ *rewriter, v mil.Value) mil.Value {
			if v.Name == contract.X {
				v.Type.Shape = turned(v.Type.Shape)
			}
			return v
		},
		op: func(r *rewriter, op *mil.Op) bool {
			for typ, param := range map[string]string{"reshape": "shape", "slice_by_index": "end"} {
				l := r.literal(op, param)
				if op.Type != typ || l == nil || !r.activation(l.Ints) {
					continue
				}
				r.copyWith(op, param, mil.Lit(param, mil.Int32s(turned(ints(l.Ints))...)))
				return true
			}
			return false
		},
	}
}

// activation reports whether a shape is that of hidden states.
func (r *rewriter) activation(shape []int32) bool {
	x := r.Type(contract.X).Shape // [1, C, 1, T] already
	return slices.Equal(ints(shape), []int{1, x[1], r.rows, 1})
}

func ints(values []int32) []int {
	out := make([]int, len(values))
	for i, v := range values {
		out[i] = int(v)
	}
	return out
}

// turned is a shape of rank 4 with its last two dimensions exchanged.
func turned(shape []int) []int { return []int{shape[0], shape[1], shape[3], shape[2]} }
