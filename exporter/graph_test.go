package exporter_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

func printed(t testing.TB, p *mil.Program) string {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, mil.Print(&text, p))
	return text.String()
}

func nanoConfig(t testing.TB) checkpoint.Config {
	t.Helper()
	cfg, err := checkpoint.ReadConfig(fixtures.Nano())
	require.NoError(t, err)
	return cfg
}

// TestProgram builds every recipe for models of many shapes and holds the
// contract of the graph.
func TestProgram(t *testing.T) {
	configs := map[string]checkpoint.Config{"nano": nanoConfig(t), "phi4mini": phi4Mini(t)}
	for _, p := range synth.Presets() {
		configs[p.Name] = p.Spec.Config
	}
	for name, cfg := range configs {
		layers := exporter.Range{Start: max(0, cfg.Layers-2), End: cfg.Layers}
		for _, precision := range []exporter.Precision{exporter.Int8, exporter.FP16} {
			for _, norm := range exporter.Norms() {
				for _, rows := range [][]int{{1, 4}, {1}, {4}, {2, 3}} {
					rec := nanoRecipe(precision, norm)
					rec.Rows = rows
					t.Run(fmt.Sprintf("%s/%s/%s/%s", name, precision, norm, functionList(rows)), func(t *testing.T) {
						prog, err := exporter.Program(cfg, layers, rec)
						require.NoError(t, err)
						require.NoError(t, prog.Check())
						require.Len(t, prog.Functions, len(rows))
						for _, f := range prog.Functions {
							checkShapes(t, f)
							assert.Equal(t, prog.Functions[0].Inputs[5:], f.Inputs[5:], "the states are the same")
							assert.Equal(t, weightsOf(t, prog.Functions[0]), weightsOf(t, f), "a weight is stored once")
						}
						for _, n := range rows {
							checkContract(t, prog.Function(rec.FunctionName(n)), cfg, rec, layers.Len(), n)
						}
						plan, err := exporter.PlanShard(cfg, "m", layers, rec)
						require.NoError(t, err)
						checkBlobs(t, prog, plan)
					})
				}
			}
		}
	}
}

// checkShapes wants rank 4 at most everywhere, and no integer that is computed:
// int32 stands in consts alone.
func checkShapes(t *testing.T, f *mil.Function) {
	t.Helper()
	for _, in := range f.Inputs {
		assert.LessOrEqual(t, len(in.Type.Shape), 4, in.Name)
		assert.Equal(t, mil.Float16, in.Type.DType, in.Name)
	}
	for _, op := range f.Ops {
		for _, v := range op.Outputs {
			assert.LessOrEqual(t, len(v.Type.Shape), 4, v.Name)
			assert.True(t, op.Type == "const" || v.Type.DType == mil.Float16, "%s is %s", v.Name, v.Type)
		}
	}
}

// checkContract holds names and shapes of inputs, states and output.
func checkContract(t *testing.T, f *mil.Function, cfg checkpoint.Config, rec exporter.Recipe, layers, rows int) {
	t.Helper()
	require.NotNil(t, f)
	half := func(name string, shape ...int) mil.Value {
		return mil.Value{Name: name, Type: mil.Tensor(mil.Float16, shape...)}
	}
	want := []mil.Value{
		half("x", 1, cfg.HiddenSize, rows, 1),
		half("rope_cos", rows, cfg.RotaryDim()/2), half("rope_sin", rows, cfg.RotaryDim()/2),
		half("attn_mask", 1, 1, rows, rec.Slots), half("kv_write_mask", 1, 1, rec.Slots, rows),
	}
	for i := range layers {
		for _, name := range []string{contract.KState(i), contract.VState(i)} {
			state := half(name, 1, cfg.KVHeads, rec.Slots, cfg.HeadDim())
			state.Type.State = true
			want = append(want, state)
		}
	}
	assert.Equal(t, want, f.Inputs)
	require.Equal(t, []string{"hidden"}, f.Outputs)
	last := f.Ops[len(f.Ops)-1]
	assert.Equal(t, want[0].Type, last.Outputs[0].Type)
	assert.Equal(t, "hidden", last.Outputs[0].Name)

	// Each state is read, written, read again, in this order.
	for i := range layers {
		for _, state := range []string{contract.KState(i), contract.VState(i)} {
			var order []string
			for _, op := range f.Ops {
				if slices.ContainsFunc(op.Args, func(a mil.Argument) bool { return a.Param == "input" && a.Bindings[0].Name == state }) {
					order = append(order, op.Type)
				}
			}
			assert.Equal(t, []string{"read_state", "write_state", "read_state"}, order, state)
		}
	}
}

// weightsOf maps each op that holds a stored weight to where it is stored.
func weightsOf(t *testing.T, f *mil.Function) map[string][]mil.Literal {
	t.Helper()
	out := map[string][]mil.Literal{}
	for _, op := range f.Ops {
		if op.Val != nil && op.Val.Blob != nil {
			out[op.Name] = append(out[op.Name], *op.Val)
		}
		for _, a := range op.Args {
			for _, b := range a.Bindings {
				if b.Literal != nil && b.Literal.Blob != nil {
					out[op.Name] = append(out[op.Name], *b.Literal)
				}
			}
		}
	}
	return out
}

// checkBlobs wants the references to cover the weight file from its first blob
// to its end without gap or overlap.
func checkBlobs(t *testing.T, prog *mil.Program, plan exporter.ShardPlan) {
	t.Helper()
	size := map[uint64]int64{}
	for _, literals := range weightsOf(t, prog.Functions[0]) {
		for _, l := range literals {
			bytes := int64(mil.NumElements(l.Type.Shape) * l.Type.DType.Bits() / 8)
			require.NotContains(t, size, l.Blob.Offset)
			size[l.Blob.Offset] = bytes
		}
	}
	at, last := int64(64), int64(0)
	for range size {
		n, ok := size[uint64(at)]
		require.True(t, ok, "no blob is referenced at %d", at)
		end := at + 64 + n
		last, at = end, (end+63)&^63
	}
	assert.Equal(t, mlpackage.WeightsPath, plan.Files[2].Path)
	assert.Equal(t, plan.Files[2].Bytes, last, "the last referenced blob ends the file")
}

// TestDescription wants the description of a package's model to repeat its
// program's interface.
func TestDescription(t *testing.T) {
	for _, rows := range [][]int{{1, 4}, {4}} {
		rec := nanoRecipe(exporter.Int8, exporter.LayerNormConcat)
		rec.Rows = rows
		m, err := exporter.Describe(nanoConfig(t), exporter.Range{Start: 30, End: 32}, rec)
		require.NoError(t, err)
		assert.Equal(t, len(rows) > 1, m.Description.Multi)
		for _, n := range rows {
			f := m.Program.Function(rec.FunctionName(n))
			d := m.Description.Function(rec.FunctionName(n))
			require.NotNil(t, d)
			var names []string
			for _, group := range [][]mlpackage.Feature{d.Inputs, d.States} {
				for _, feature := range group {
					names = append(names, feature.Name)
				}
			}
			var want []string
			for _, in := range f.Inputs {
				want = append(want, in.Name)
			}
			assert.Equal(t, want, names)
			require.Len(t, d.Outputs, 1)
			assert.Equal(t, "hidden", d.Outputs[0].Name)
			assert.Equal(t, []int{1, 128, n, 1}, d.Outputs[0].Shape)
		}
	}
	_, err := exporter.Describe(nanoConfig(t), exporter.Range{Start: 31, End: 30}, nanoRecipe(exporter.Int8, exporter.Clamped))
	assert.ErrorIs(t, err, exporter.ErrRange)
}

// TestProgramGolden holds the printed programs: both functions of nano's tail
// and of the real one, and the other norm forms in one function each.
func TestProgramGolden(t *testing.T) {
	nano, phi4 := nanoConfig(t), phi4Mini(t)
	tail := exporter.Range{Start: 30, End: 32}
	last := exporter.Range{Start: 31, End: 32}
	for _, tt := range []struct {
		name   string
		cfg    checkpoint.Config
		layers exporter.Range
		slots  int
		rows   []int
		p      exporter.Precision
		n      exporter.Norm
	}{
		{"program_nano_int8_layernorm_concat", nano, tail, 256, []int{1, 4}, exporter.Int8, exporter.LayerNormConcat},
		{"program_nano_fp16_clamped_t4", nano, last, 256, []int{4}, exporter.FP16, exporter.Clamped},
		{"program_nano_fp16_prescaled_t1", nano, last, 256, []int{1}, exporter.FP16, exporter.Prescaled},
		{"program_phi4mini_int8_layernorm_concat", phi4, tail, 2048, []int{1, 4}, exporter.Int8, exporter.LayerNormConcat},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := exporter.DefaultRecipe()
			rec.Slots, rec.Rows, rec.Precision, rec.Norm = tt.slots, tt.rows, tt.p, tt.n
			prog, err := exporter.Program(tt.cfg, tt.layers, rec)
			require.NoError(t, err)
			text := printed(t, prog)
			require.Less(t, len(text), 150_000, "a golden that can be reviewed")
			require.False(t, strings.Contains(text, "malformed"))
			goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".txt")).Assert(t, tt.name, []byte(text))
		})
	}
}
