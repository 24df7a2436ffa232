package reference_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
)

// shard is an exported tail shard and what its host inputs need.
type shard struct {
	dir   string
	cfg   checkpoint.Config
	slots int
}

// exportTail exports the last two layers of a checkpoint with t1 and t4.
func exportTail(t testing.TB, files fs.FS, slots int, p exporter.Precision, n exporter.Norm) shard {
	t.Helper()
	ck, err := checkpoint.Open(files)
	require.NoError(t, err)
	defer ck.Close()
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Precision, rec.Norm = slots, p, n
	layers := ck.Config().Layers
	res, err := exporter.Export(context.Background(), exporter.Options{
		Checkpoint: ck, Dir: t.TempDir(), Layers: exporter.Range{Start: layers - 2, End: layers},
		Layout: exporter.Layout{layers - 2, 2}, Recipe: rec, Name: "tail",
	})
	require.NoError(t, err)
	return shard{res.Dir, ck.Config(), slots}
}

func exportNano(t testing.TB, p exporter.Precision, n exporter.Norm) shard {
	t.Helper()
	return exportTail(t, fixtures.Nano(), 256, p, n)
}

// runner runs one function of a shard on one state, pass by pass.
type runner struct {
	fn   coreml.Function
	st   coreml.State
	rope *hostinput.Rows
	pass *hostinput.Pass
	out  map[string]coreml.Tensor
}

func (s shard) runner(t testing.TB, pkg coreml.Package, name string, st coreml.State) *runner {
	t.Helper()
	fn := openFunction(t, pkg, name)
	rope, err := hostinput.NewRope(hostinput.Rope{
		Theta: s.cfg.RopeTheta, Dim: s.cfg.RotaryDim(), Factors: s.cfg.Rope.ShortFactor, AttentionFactor: s.cfg.AttentionFactor(),
	})
	require.NoError(t, err)
	rows := fn.Signature().Inputs[0].Shape[2]
	return &runner{
		fn: fn, st: st, rope: rope, out: tensors(fn.Signature().Outputs),
		pass: hostinput.NewPass(hostinput.Shape{Hidden: s.cfg.HiddenSize, Rows: rows, Slots: s.slots, RopeHalf: rope.Half()}),
	}
}

// run passes the tokens' rows at pos and returns each token's hidden states.
func (r *runner) run(t testing.TB, pos int, tokens [][]float16.Float16) [][]float16.Float16 {
	t.Helper()
	require.NoError(t, r.pass.Fill(r.rope, pos, len(tokens), tokens))
	require.NoError(t, r.fn.Predict(context.Background(), r.pass.Inputs(), r.st, r.out))
	hidden := r.out["hidden"]
	out := make([][]float16.Float16, len(tokens))
	for i := range out {
		for c := range hidden.Shape[1] {
			out[i] = append(out[i], hidden.Data[c*hidden.Shape[2]+i])
		}
	}
	return out
}

// hiddenRows draws hidden states of unit size.
func hiddenRows(name string, n, size int) [][]float16.Float16 {
	d := newDraw(name)
	out := make([][]float16.Float16, n)
	for i := range out {
		out[i] = make([]float16.Float16, size)
		for c := range out[i] {
			out[i][c] = half.FromFloat32(float32(d.NormFloat64()))
		}
	}
	return out
}

// fillStates writes drawn values to all states.
func fillStates(t testing.TB, st coreml.State, sig coreml.Signature) {
	t.Helper()
	for _, f := range sig.States {
		require.NoError(t, st.Write(f.Name, hiddenRows("state "+f.Name, 1, elements(f.Shape))[0]))
	}
}

// TestNanoAgainstNaive holds whole passes of the exported tail against the
// naive evaluator, in every precision and norm form: hidden states and all
// slots of all states, bit for bit.
func TestNanoAgainstNaive(t *testing.T) {
	withWorkers(t, 3)
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		for _, norm := range exporter.Norms() {
			t.Run(fmt.Sprint(precision, " ", norm), func(t *testing.T) {
				s := exportNano(t, precision, norm)
				pkg := openPackage(t, s.dir)
				files, err := mlpackage.Open(s.dir)
				require.NoError(t, err)
				defer files.Close()
				st := newState(t, pkg)
				fillStates(t, st, openFunction(t, pkg, "t1").Signature())
				for _, tc := range []struct {
					name      string
					pos, live int
				}{{"t4", 100, 3}, {"t1", 103, 1}} {
					r := s.runner(t, pkg, tc.name, st)
					states, inputs := map[string]array{}, map[string]array{}
					for name, data := range content(t, st, r.fn.Signature()) {
						states[name] = halfArray(featureShape(r.fn.Signature().States, name), data)
					}
					tokens, f := hiddenRows(tc.name, tc.live, s.cfg.HiddenSize), files.Model.Program.Function(tc.name)
					require.NoError(t, r.pass.Fill(r.rope, tc.pos, tc.live, tokens))
					traced := traceCopy(t, pkg, r.fn, r.pass.Inputs(), st)
					r.run(t, tc.pos, tokens)
					for name, in := range r.pass.Inputs() {
						inputs[name] = halfArray(in.Shape, in.Data)
					}
					all := evaluate(t, files, f, inputs, states)
					want := all.outputs(f)
					traced.requireLike(t, f, all, r.out, content(t, st, r.fn.Signature()), nil)
					requireSame(t, want["hidden"].halfs(), r.out["hidden"].Data, tc.name+" hidden")
					for name, got := range content(t, st, r.fn.Signature()) {
						requireSame(t, states[name].halfs(), got, tc.name+" "+name)
					}
				}
			})
		}
	}
}

func featureShape(features []coreml.Feature, name string) []int {
	return features[slices.IndexFunc(features, func(f coreml.Feature) bool { return f.Name == name })].Shape
}

// session feeds tokens from position 0 on, in passes of t4 or t1 as live says:
// 0 stands for a t1 pass, else a t4 pass of that many live rows.
func (s shard) session(t testing.TB, pkg coreml.Package, tokens [][]float16.Float16, live ...int) (hidden [][]float16.Float16, states map[string][]float16.Float16) {
	t.Helper()
	st := newState(t, pkg)
	single, block := s.runner(t, pkg, "t1", st), s.runner(t, pkg, "t4", st)
	fillStates(t, st, single.fn.Signature())
	for _, n := range live {
		r := block
		if n == 0 {
			r, n = single, 1
		}
		hidden = append(hidden, r.run(t, len(hidden), tokens[len(hidden):len(hidden)+n])...)
	}
	return hidden, content(t, st, single.fn.Signature())
}

func requireSameSession(t testing.TB, wantHidden, hidden [][]float16.Float16, wantStates, states map[string][]float16.Float16) {
	t.Helper()
	require.Len(t, hidden, len(wantHidden))
	for i := range wantHidden {
		requireSame(t, wantHidden[i], hidden[i], fmt.Sprintf("hidden states of token %d", i))
	}
	require.Len(t, states, 4)
	for name := range wantStates {
		requireSame(t, wantStates[name], states[name], name)
	}
}

// TestNanoInterleaved: singles, blocks and any mixture of them on one state
// give the same bits.
func TestNanoInterleaved(t *testing.T) {
	s := exportNano(t, exporter.Int8, exporter.LayerNormConcat)
	pkg := openPackage(t, s.dir)
	tokens := hiddenRows("interleaved", 16, s.cfg.HiddenSize)
	hidden, states := s.session(t, pkg, tokens, make([]int, 16)...)
	for _, live := range [][]int{{4, 4, 4, 4}, {0, 3, 0, 0, 4, 1, 2, 3}, {1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2}} {
		h, st := s.session(t, pkg, tokens, live...)
		requireSameSession(t, hidden, h, states, st)
	}
}

// TestNanoWorkers: the number of workers changes no bit.
func TestNanoWorkers(t *testing.T) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		s := exportNano(t, precision, exporter.LayerNormConcat)
		tokens := hiddenRows("workers", 11, s.cfg.HiddenSize)
		var hidden [][]float16.Float16
		var states map[string][]float16.Float16
		for _, workers := range []int{1, 2, 7} {
			t.Run(fmt.Sprint(precision, workers), func(t *testing.T) {
				withWorkers(t, workers)
				h, st := s.session(t, openPackage(t, s.dir), tokens, 4, 0, 0, 3, 2)
				if hidden == nil {
					hidden, states = h, st
				}
				requireSameSession(t, hidden, h, states, st)
			})
		}
	}
}

// TestNanoConcurrent runs sessions at a time over one package, each with its
// own functions and state.
func TestNanoConcurrent(t *testing.T) {
	withWorkers(t, 3)
	s := exportNano(t, exporter.FP16, exporter.LayerNormConcat)
	pkg := openPackage(t, s.dir)
	tokens := hiddenRows("concurrent", 8, s.cfg.HiddenSize)
	hidden, states := s.session(t, pkg, tokens, 4, 0, 0, 2)
	var running sync.WaitGroup
	type result struct {
		hidden [][]float16.Float16
		states map[string][]float16.Float16
	}
	results := make([]result, 4)
	for i := range results {
		st := newState(t, pkg)
		single, block := s.runner(t, pkg, "t1", st), s.runner(t, pkg, "t4", st)
		fillStates(t, st, single.fn.Signature())
		running.Go(func() {
			var got [][]float16.Float16
			for _, n := range []int{4, 0, 0, 2} {
				r := block
				if n == 0 {
					r, n = single, 1
				}
				got = append(got, r.run(t, len(got), tokens[len(got):len(got)+n])...)
			}
			results[i] = result{got, content(t, st, single.fn.Signature())}
		})
	}
	running.Wait()
	for _, got := range results {
		requireSameSession(t, hidden, got.hidden, states, got.states)
	}
}

// TestNanoDoesNotAllocate: after the first pass, a pass allocates nothing.
func TestNanoDoesNotAllocate(t *testing.T) {
	for _, workers := range []int{1, 3} {
		for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
			for _, norm := range exporter.Norms() {
				withWorkers(t, workers)
				s := exportNano(t, precision, norm)
				pkg := openPackage(t, s.dir)
				st := newState(t, pkg)
				for _, name := range []string{"t1", "t4"} {
					r := s.runner(t, pkg, name, st)
					r.run(t, 0, hiddenRows(name, 1, s.cfg.HiddenSize))
					ctx, inputs := context.Background(), r.pass.Inputs()
					assert.Zero(t, testing.AllocsPerRun(20, func() {
						if err := r.fn.Predict(ctx, inputs, st, r.out); err != nil {
							panic(err)
						}
					}), "%s %s %s, %d workers", name, precision, norm, workers)
				}
			}
		}
	}
}
