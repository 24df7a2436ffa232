package conformance

import (
	"fmt"
	"regexp"
	"slices"

	"lockstep/internal/mil"
)

// alignment says which values of two programs stand for the same thing.
type alignment struct {
	how   string
	ops   [][2]int          // indices of the sides' ops, ascending in both
	toB   map[string]string // B's value by A's
	valsA int               // values of A, and how many of them have none of B
	alone int
}

// maxCells bounds the work of aligning two programs.
const maxCells = 1 << 28

// align matches the ops of two programs in program order: by their names, or,
// where fewer than half have a namesake, by their types. The ops within norms of
// different forms share names, but not values, and are left out.
func align(a, b *side, g geometry) (*alignment, error) {
	if len(a.ops)*len(b.ops) > maxCells {
		return nil, fmt.Errorf("%w: programs of %d and %d ops are too long to align", ErrBisect, len(a.ops), len(b.ops))
	}
	inNorm := func(op *mil.Op) bool { return !sameNorm(a, b) && withinNorm.MatchString(valueName(op)) }
	byName := func(x, y *mil.Op) bool { return valueName(x) == valueName(y) && !inNorm(x) }
	al := &alignment{how: "by name", ops: longestCommon(a.ops, b.ops, byName)}
	if 2*len(al.ops) < max(len(a.ops), len(b.ops)) {
		al.byOrder(a, b, g)
	}
	if len(al.ops) == 0 {
		return nil, fmt.Errorf("%w: no op of one program has its like in the other", ErrBisect)
	}
	al.values(a, b)
	return al, nil
}

// byOrder matches ops of one type. Where the programs are not op for op of the
// same types, only outputs that can be compared make a match, and even that may
// be one of two different things.
func (al *alignment) byOrder(a, b *side, g geometry) {
	sameType := func(x, y *mil.Op) bool { return x.Type == y.Type && len(x.Outputs) == len(y.Outputs) }
	if slices.EqualFunc(a.ops, b.ops, sameType) {
		al.how, al.ops = "by program order, op for op", nil
		for i := range a.ops {
			al.ops = append(al.ops, [2]int{i, i})
		}
		return
	}
	al.how = "by program order, though the ops are not the same"
	al.ops = longestCommon(a.ops, b.ops, func(x, y *mil.Op) bool {
		return sameType(x, y) && slices.EqualFunc(x.Outputs, y.Outputs, func(v, w mil.Value) bool {
			_, _, ok := g.axes(v.Type.Shape, w.Type.Shape)
			return ok
		})
	})
}

// withinNorm matches what the exporter calls the inner values of a norm.
var withinNorm = regexp.MustCompile(`^layers_[0-9]+_(attn|mlp)_norm_`)

// valueName is an op's name by what it gives: coremltools numbers op names anew
// in every pass, but not values.
func valueName(op *mil.Op) string {
	if len(op.Outputs) == 1 {
		return op.Outputs[0].Name
	}
	return op.Name
}

// values matches the outputs of matched ops, by name where both have the same
// names, else by place; and what leaves the layers, whatever it is called.
func (al *alignment) values(a, b *side) {
	al.toB = map[string]string{}
	for _, p := range al.ops {
		of, to := a.ops[p[0]].Outputs, b.ops[p[1]].Outputs
		names := map[string]bool{}
		for _, v := range to {
			names[v.Name] = true
		}
		for i, v := range of {
			switch {
			case names[v.Name]:
				al.toB[v.Name] = v.Name
			case i < len(to):
				al.toB[v.Name] = to[i].Name
			}
		}
	}
	for l, end := range a.ends {
		if end != "" && b.ends[l] != "" {
			al.toB[end] = b.ends[l]
		}
	}
	for _, op := range a.ops {
		for _, v := range op.Outputs {
			al.valsA++
			if _, ok := al.toB[v.Name]; !ok {
				al.alone++
			}
		}
	}
}

// longestCommon is the longest common subsequence of two lists of ops, as
// ascending pairs of indices.
func longestCommon(a, b []*mil.Op, same func(x, y *mil.Op) bool) [][2]int {
	width := len(b) + 1
	longest := make([]int32, (len(a)+1)*width) // of the tails from i and j on
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			best := max(longest[(i+1)*width+j], longest[i*width+j+1])
			if same(a[i], b[j]) {
				best = max(best, 1+longest[(i+1)*width+j+1])
			}
			longest[i*width+j] = best
		}
	}
	var out [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		here := longest[i*width+j]
		switch {
		case same(a[i], b[j]) && here == 1+longest[(i+1)*width+j+1]:
			out = append(out, [2]int{i, j})
			i, j = i+1, j+1
		case here == longest[(i+1)*width+j]:
			i++
		default:
			j++
		}
	}
	return out
}
