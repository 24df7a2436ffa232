package terms_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/terms"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
)

// program is what export would write for the last layers of a model.
func program(t *testing.T, cfg checkpoint.Config, layers int, rec exporter.Recipe) *mil.Program {
	t.Helper()
	p, err := exporter.Program(cfg, exporter.Range{Start: cfg.Layers - layers, End: cfg.Layers}, rec)
	require.NoError(t, err)
	return p
}

// small is a recipe of few slots.
func small(slots int) exporter.Recipe {
	rec := exporter.DefaultRecipe()
	rec.Slots = slots
	return rec
}

// tiny is a small model with more than one layer, grouped heads and a RoPE that
// leaves dimensions as they are.
func tiny(t *testing.T) checkpoint.Config {
	t.Helper()
	for _, p := range synth.Presets() {
		if c := p.Spec.Config; c.Layers > 1 && c.KVHeads > 1 && c.Heads > c.KVHeads && c.RotaryDim() < c.HeadDim() {
			return c
		}
	}
	require.Fail(t, "no such preset")
	return checkpoint.Config{}
}

func phi4mini(t *testing.T) checkpoint.Config {
	t.Helper()
	cfg, err := checkpoint.ParseConfig("config.json", fixtures.Phi4MiniConfig())
	require.NoError(t, err)
	return cfg
}

// ask decides questions about a program and returns the first refutation.
func ask(t *testing.T, p *mil.Program, questions func(rows []int, slots int) []terms.Question) string {
	t.Helper()
	s, rows, slots, err := terms.NewSubject(p, nil)
	require.NoError(t, err)
	for _, q := range questions(rows, slots) {
		a, err := s.Ask(context.Background(), q)
		require.NoError(t, err, q)
		if a.Refuted != "" {
			return fmt.Sprintf("%s: %s", q, a.Refuted)
		}
	}
	return ""
}

// TestRecipes: every recipe's program is proven, for models of every shape.
func TestRecipes(t *testing.T) {
	for _, preset := range synth.Presets() {
		for _, norm := range exporter.Norms() {
			for _, precision := range []exporter.Precision{exporter.Int8, exporter.FP16} {
				t.Run(fmt.Sprintf("%s_%s_%s", preset.Name, norm, precision), func(t *testing.T) {
					rec := small(12)
					rec.Norm, rec.Precision = norm, precision
					cfg := preset.Spec.Config
					assert.Empty(t, ask(t, program(t, cfg, min(2, cfg.Layers), rec), terms.Questions))
				})
			}
		}
	}
}

// TestEveryPosition: one layer of the real dimensions, at every position with
// every number of live rows.
func TestEveryPosition(t *testing.T) {
	assert.Empty(t, ask(t, program(t, phi4mini(t), 1, small(9)), terms.EveryQuestion))
}

// TestOtherRows: blocks of other sizes, and packages of one function.
func TestOtherRows(t *testing.T) {
	for _, rows := range [][]int{{1, 2}, {1, 7}, {2, 8}, {4}, {1}} {
		rec := small(16)
		rec.Rows = rows
		assert.Empty(t, ask(t, program(t, tiny(t), 2, rec), terms.Questions), "%v", rows)
	}
}

// TestQuestions: the ends of the context, its middle, and nothing outside.
func TestQuestions(t *testing.T) {
	for _, c := range []struct {
		rows  []int
		slots int
		want  string
	}{
		{[]int{1, 4}, 16, "keeps_step/pos=0/live=4 keeps_step/pos=8/live=1 keeps_step/pos=8/live=2 keeps_step/pos=8/live=3 keeps_step/pos=8/live=4 keeps_step/pos=12/live=4 keeps_step/pos=15/live=1 row_place/pos=8/live=4 causal/pos=8/live=4"},
		{[]int{4}, 16, "row_place/pos=0/live=4 row_place/pos=8/live=1 row_place/pos=8/live=2 row_place/pos=8/live=3 row_place/pos=8/live=4 row_place/pos=12/live=4 row_place/pos=15/live=1 causal/pos=8/live=4"},
		{[]int{1}, 16, "causal/pos=8/live=1"},
		{[]int{1, 2}, 2, "keeps_step/pos=0/live=2 keeps_step/pos=0/live=1 keeps_step/pos=1/live=1 row_place/pos=0/live=2 causal/pos=0/live=2"},
		{[]int{1, 2}, 0, "keeps_step/pos=0/live=2 keeps_step/pos=0/live=1 keeps_step/pos=1/live=1 row_place/pos=0/live=2 causal/pos=0/live=2"},
	} {
		var names []string
		for _, q := range terms.Questions(c.rows, c.slots) {
			names = append(names, q.String())
		}
		assert.Equal(t, c.want, strings.Join(names, " "))
	}
	every := terms.EveryQuestion([]int{1, 4}, 6)
	assert.Len(t, every, 2*(4+4+4+3+2+1))
}

// TestDepends: the matrix of a block in the middle of a long cache, as drawn.
func TestDepends(t *testing.T) {
	s, _, _, err := terms.NewSubject(program(t, tiny(t), 2, small(200)), nil)
	require.NoError(t, err)
	d, err := terms.Depend(context.Background(), s, terms.Spot{Pos: 100, Live: 4})
	require.NoError(t, err)
	assert.Equal(t, strings.Join([]string{
		"           tokens   slots 0..99 slots 100..199",
		"row 0      x . . .  x           .",
		"row 1      x x . .  x           .",
		"row 2      x x x .  x           .",
		"row 3      x x x x  x           .",
	}, "\n"), d.String())
	assert.Empty(t, d.Causal())
}

// edit changes an op of a function.
type edit struct {
	op     string // its name
	change func(t *testing.T, f *mil.Function, o *mil.Op)
	// culprit is the op that the explanation names; op if empty.
	culprit string
}

func bind(param, value string) func(*testing.T, *mil.Function, *mil.Op) {
	return func(t *testing.T, _ *mil.Function, o *mil.Op) {
		i := slices.IndexFunc(o.Args, func(a mil.Argument) bool { return a.Param == param })
		require.GreaterOrEqual(t, i, 0, "%s has no parameter %s", o.Name, param)
		o.Args[i].Bindings[0].Name = value
	}
}

func become(kind string) func(*testing.T, *mil.Function, *mil.Op) {
	return func(_ *testing.T, _ *mil.Function, o *mil.Op) { o.Type = kind }
}

func find(t *testing.T, f *mil.Function, name string) *mil.Op {
	t.Helper()
	for _, o := range f.Ops {
		if o.Name == name {
			return o
		}
	}
	require.Fail(t, "no op", "%s", name)
	return nil
}

// TestFaults plants one fault in the block's function alone: it is refuted, and
// the op at fault is named. The same fault in both functions is none for terms,
// unless it lets rows see each other.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		edit
		refutedInBoth bool
		seenInBoth    bool // and the culprit is named there, too
	}{
		"reads the cache before the write": {edit: edit{op: "layers_0_k_head_0", change: bind("x", "layers_0_k_cache_old")}, refutedInBoth: true},
		"values before the write":          {edit: edit{op: "layers_0_v_head_0", change: bind("x", "layers_0_v_cache_old")}, refutedInBoth: true},
		"keys as values":                   {edit: edit{op: "layers_0_v_cache_new", change: bind("y", "layers_0_k_rope"), culprit: "layers_0_v_cache_new"}},
		"mul for add":                      {edit: edit{op: "layers_1_q_turned_b", change: become("mul")}},
		"operands of sub swapped":          {edit: edit{op: "layers_0_q_turned_a", change: swap}},
		"cos for sin":                      {edit: edit{op: "layers_0_k_b_sin", change: bind("y", "rope_cos_4d")}},
		"residual of the layer before":     {edit: edit{op: "layers_1_attn_residual", change: bind("x", "x")}},
		"another activation":               {edit: edit{op: "layers_1_gate_silu", change: become("relu")}},
		"gate and up":                      {edit: edit{op: "layers_0_mlp_act", change: bind("x", "layers_0_gate")}},
		"mask left out":                    {edit: edit{op: "layers_1_probs_0", change: bind("x", "layers_1_scores_0")}, refutedInBoth: true},
		"another blob":                     {edit: edit{op: "layers_0_down_weight", change: otherBlob, culprit: "layers_0_down"}},
		"values not kept":                  {edit: edit{op: "layers_1_v_cache_kept", change: bind("x", "layers_1_k_cache_old")}, refutedInBoth: true},
		"cache of the layer before":        {edit: edit{op: "layers_1_k_cache_kept", change: bind("x", "layers_0_k_cache_kept")}, refutedInBoth: true},
		"a row of another head":            {edit: edit{op: "layers_0_heads_channels", change: bind("x", "layers_0_context")}, refutedInBoth: true, seenInBoth: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, both := range []bool{false, true} {
				p := program(t, tiny(t), 2, small(12)).Clone()
				for _, f := range p.Functions {
					if both || f.Name == "t4" {
						c.change(t, f, find(t, f, c.op))
					}
				}
				require.NoError(t, p.Check())
				got := ask(t, p, terms.Questions)
				if both && !c.refutedInBoth {
					assert.Empty(t, got)
					continue
				}
				culprit := c.op
				if c.culprit != "" {
					culprit = c.culprit
				}
				require.NotEmpty(t, got)
				first, _, _ := strings.Cut(got, "\n")
				if !both || c.seenInBoth {
					assert.Contains(t, first, fmt.Sprintf("%q", culprit), got)
				}
			}
		})
	}
}

func otherBlob(t *testing.T, _ *mil.Function, o *mil.Op) {
	for _, arg := range o.Args {
		if l := arg.Bindings[0].Literal; l != nil && l.Blob != nil {
			l.Blob.Offset += 64
			return
		}
	}
	require.Fail(t, "no blob")
}

// swap exchanges an op's operands.
func swap(_ *testing.T, f *mil.Function, o *mil.Op) {
	x := slices.IndexFunc(o.Args, func(a mil.Argument) bool { return a.Param == "x" })
	y := slices.IndexFunc(o.Args, func(a mil.Argument) bool { return a.Param == "y" })
	o.Args[x].Bindings, o.Args[y].Bindings = o.Args[y].Bindings, o.Args[x].Bindings
}
