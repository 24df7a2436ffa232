package terms_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/terms"
	"lockstep/internal/mil"
)

var contextOp = regexp.MustCompile(`^layers_\d+_context_\d+$`)

// fuseAttention replaces the product of weights and values, of every group of
// heads, by one scaled_dot_product_attention, with keys and values repeated for
// each query head, as converters of other programs write it.
func fuseAttention(t *testing.T, p *mil.Program) *mil.Program {
	t.Helper()
	p = p.Clone()
	for _, f := range p.Functions {
		var ops []*mil.Op
		for _, op := range f.Ops {
			if !contextOp.MatchString(op.Name) {
				ops = append(ops, op)
				continue
			}
			name := func(kind string) string { return strings.Replace(op.Name, "context", kind, 1) }
			slots := find(t, f, name("scores")).Outputs[0].Type.Shape[3]
			out := op.Outputs[0].Type
			repeated := mil.Type{DType: out.DType, Shape: []int{1, out.Shape[1], slots, out.Shape[3]}}
			for _, kind := range []string{"k", "v"} {
				reps := mil.Int32s(1, out.Shape[1], 1, 1)
				ops = append(ops, &mil.Op{
					Type: "tile", Name: name(kind + "_repeated"),
					Args: []mil.Argument{
						{Param: "reps", Bindings: []mil.Binding{{Literal: &reps}}},
						{Param: "x", Bindings: []mil.Binding{{Name: name(kind + "_head")}}},
					},
					Outputs: []mil.Value{{Name: name(kind + "_repeated"), Type: repeated}},
				})
			}
			fused := &mil.Op{Type: "scaled_dot_product_attention", Name: op.Name, Outputs: op.Outputs}
			for param, value := range map[string]string{
				"query": name("q_group"), "key": name("k_repeated"), "value": name("v_repeated"), "attn_mask": "attn_mask",
			} {
				fused.Args = append(fused.Args, mil.Argument{Param: param, Bindings: []mil.Binding{{Name: value}}})
			}
			slices.SortFunc(fused.Args, func(a, b mil.Argument) int { return strings.Compare(a.Param, b.Param) })
			ops = append(ops, fused)
		}
		f.Ops = ops
	}
	require.NoError(t, p.Check())
	return p
}

// TestAttention: a program whose attention is one op keeps step, and each fault
// in how it is wired is found, with the op at fault.
func TestAttention(t *testing.T) {
	sound := fuseAttention(t, program(t, tiny(t), 2, small(12)))
	assert.Empty(t, ask(t, sound, terms.Questions))
	for name, c := range map[string]edit{
		"values as keys":          {op: "layers_0_k_repeated_0", change: bind("x", "layers_0_v_head_0"), culprit: "layers_0_k_repeated_0"},
		"values of other heads":   {op: "layers_1_v_repeated_0", change: bind("x", "layers_1_v_head_1"), culprit: "layers_1_v_repeated_0"},
		"queries of other heads":  {op: "layers_0_context_1", change: bind("query", "layers_0_q_group_0"), culprit: "layers_0_context_1"},
		"keys and values swapped": {op: "layers_0_context_0", change: bind("key", "layers_0_v_repeated_0"), culprit: "layers_0_context_0"},
		"mask left out":           {op: "layers_1_context_1", change: withoutMask, culprit: "layers_1_context_1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := sound.Clone()
			f := p.Function("t4")
			c.change(t, f, find(t, f, c.op))
			refuted := ask(t, p, terms.Questions)
			require.NotEmpty(t, refuted)
			assert.Contains(t, refuted, `"`+c.culprit+`"`)
		})
	}
}

func withoutMask(_ *testing.T, _ *mil.Function, o *mil.Op) {
	o.Args = slices.DeleteFunc(o.Args, func(a mil.Argument) bool { return a.Param == "attn_mask" })
}
