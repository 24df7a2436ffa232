package reference_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
)

// foreignDir has packages that coremltools built, with a record of each.
var foreignDir = filepath.Join("..", "..", "fixtures", "foreign", "packages")

// provenance is what provenance.json records of a package.
type provenance struct {
	Name        string `json:"-"`
	Compression string
	Fault       string
	Functions   map[string]struct{ Rows int }
	Map         map[string]string // from the contract's names to its own
	Slots       int
}

// foreignPackages are the records, sorted by the package's name.
func foreignPackages(t testing.TB) []provenance {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(foreignDir, "provenance.json"))
	require.NoError(t, err)
	var all struct{ Packages map[string]provenance }
	require.NoError(t, json.Unmarshal(data, &all))
	dirs, err := filepath.Glob(filepath.Join(foreignDir, "*.mlpackage"))
	require.NoError(t, err)
	require.Len(t, all.Packages, len(dirs), "each package has its record")
	require.NotEmpty(t, dirs)
	var out []provenance
	for _, name := range slices.Sorted(maps.Keys(all.Packages)) {
		p := all.Packages[name]
		p.Name = name
		out = append(out, p)
	}
	return out
}

// dir is the package's directory.
func (p provenance) dir() string { return filepath.Join(foreignDir, p.Name+".mlpackage") }

// own turns tensors under the contract's names into the package's.
func (p provenance) own(contract map[string]coreml.Tensor) map[string]coreml.Tensor {
	out := map[string]coreml.Tensor{}
	for name, tensor := range contract {
		out[p.name(name)] = tensor
	}
	return out
}

func (p provenance) name(contract string) string {
	if own, ok := p.Map[contract]; ok {
		return own
	}
	return contract
}

// foreignRun feeds a prompt's rows from position 0 on, live rows a pass, and
// returns each token's hidden states. The states hold drawn values at first.
func foreignRun(t testing.TB, pkg coreml.Package, p provenance, function string, rows [][]float16.Float16, live int) [][]float16.Float16 {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	defer ck.Close()
	st := newState(t, pkg)
	cfg, fn := ck.Config(), openFunction(t, pkg, function)
	sig := fn.Signature()
	require.Len(t, sig.States, 4)
	fillStates(t, st, sig)
	x := slices.IndexFunc(sig.Inputs, func(f coreml.Feature) bool { return f.Name == p.name("x") })
	require.GreaterOrEqual(t, x, 0)
	shape := hostinput.Shape{Hidden: cfg.HiddenSize, Rows: p.Functions[function].Rows, Slots: p.Slots, RopeHalf: cfg.RotaryDim() / 2}
	require.Equal(t, []int{1, shape.Hidden, shape.Rows, 1}, sig.Inputs[x].Shape)
	rope, err := hostinput.NewRope(hostinput.Rope{
		Theta: cfg.RopeTheta, Dim: cfg.RotaryDim(), Factors: cfg.Rope.ShortFactor, AttentionFactor: cfg.AttentionFactor(),
	})
	require.NoError(t, err)
	pass, outputs := hostinput.NewPass(shape), tensors(sig.Outputs)
	var hidden [][]float16.Float16
	for pos := 0; pos < len(rows); pos += live {
		n := min(live, len(rows)-pos)
		require.NoError(t, pass.Fill(rope, pos, n, rows[pos:pos+n]))
		require.NoError(t, fn.Predict(t.Context(), p.own(pass.Inputs()), st, outputs))
		out := outputs[p.name("hidden")]
		for i := range n {
			row := make([]float16.Float16, out.Shape[1])
			for c := range row {
				row[c] = out.Data[c*out.Shape[2]+i]
			}
			hidden = append(hidden, row)
		}
	}
	return hidden
}

// cosine of two vectors that are not zero.
func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

// goldenRows are a golden vector's rows, rounded to float16 for use as input.
func goldenRows(t testing.TB, g *fixtures.GoldenVectors, name string) (wide [][]float64, rows [][]float16.Float16) {
	t.Helper()
	values, shape, err := g.Float32(name)
	require.NoError(t, err)
	require.Len(t, shape, 2)
	for i := range shape[0] {
		var w []float64
		var r []float16.Float16
		for _, v := range values[i*shape[1] : (i+1)*shape[1]] {
			w, r = append(w, float64(v)), append(r, half.FromFloat32(v))
		}
		wide, rows = append(wide, w), append(rows, r)
	}
	return wide, rows
}

// leastCosine is the least over all tokens of the golden prompts, and how many
// of the tokens fall below the threshold.
func leastCosine(t testing.TB, pkg coreml.Package, p provenance, function string, live int, threshold float64) (least float64, below, tokens int) {
	t.Helper()
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	least = math.Inf(1)
	for prompt := range 3 {
		_, rows := goldenRows(t, golden, fmt.Sprintf("p%d.hidden30", prompt))
		want, _ := goldenRows(t, golden, fmt.Sprintf("p%d.hidden32", prompt))
		got := foreignRun(t, pkg, p, function, rows, live)
		require.Len(t, got, len(want))
		for i := range want {
			found := make([]float64, len(want[i]))
			for c, h := range got[i] {
				found[c] = half.ToFloat64(h)
			}
			value := cosine(found, want[i])
			least, tokens = min(least, value), tokens+1
			if !(value >= threshold) {
				below++
			}
		}
	}
	return least, below, tokens
}

// TestForeignPackages executes every package that lockstep did not write, each
// function, full blocks and blocks with dead rows, over the golden prompts. The
// faulty one is right with one row and wrong with four.
func TestForeignPackages(t *testing.T) {
	coarse := map[string]bool{"int4_block": true, "lut4_group": true}
	for _, p := range foreignPackages(t) {
		pkg := openPackage(t, p.dir())
		threshold := 0.999
		if coarse[p.Compression] {
			threshold = 0.995
		}
		for _, function := range slices.Sorted(maps.Keys(p.Functions)) {
			info := p.Functions[function]
			for live := 1; live <= info.Rows; live += 3 {
				t.Run(fmt.Sprintf("%s/%s/%d", p.Name, function, live), func(t *testing.T) {
					least, below, tokens := leastCosine(t, pkg, p, function, live, threshold)
					require.Equal(t, 96, tokens)
					t.Logf("least cosine %.7f", least)
					if p.Fault != "" && info.Rows > 1 {
						assert.Less(t, least, 0.95, "the fault must show")
						assert.Greater(t, below, tokens*9/10)
						return
					}
					assert.Zero(t, below, "tokens under %v; the least is %v", threshold, least)
				})
			}
		}
	}
}

// TestForeignAgainstNaive holds passes of every foreign package against the
// naive evaluator: outputs and states, bit for bit.
func TestForeignAgainstNaive(t *testing.T) {
	withWorkers(t, 3)
	for _, p := range foreignPackages(t) {
		t.Run(p.Name, func(t *testing.T) {
			files, err := mlpackage.Open(p.dir())
			require.NoError(t, err)
			defer files.Close()
			pkg := openPackage(t, p.dir())
			for _, function := range slices.Sorted(maps.Keys(p.Functions)) {
				comparePasses(t, pkg, files, files.Model.Program.Function(function), newDraw(p.Name+function), 1)
			}
		})
	}
}

// TestForeignBlocks: a block gives the bits that single passes give, as long as
// the function is the one it is meant to be.
func TestForeignBlocks(t *testing.T) {
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	_, rows := goldenRows(t, golden, "p0.hidden30")
	for _, p := range foreignPackages(t) {
		if len(p.Functions) < 2 {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			pkg := openPackage(t, p.dir())
			single, block := foreignRun(t, pkg, p, "t1", rows, 1), foreignRun(t, pkg, p, "t4", rows, 4)
			if p.Fault != "" {
				assert.NotEqual(t, single[0], block[0])
				return
			}
			for i := range rows {
				requireSame(t, single[i], block[i], fmt.Sprintf("token %d", i))
			}
		})
	}
}

// TestForeignDoesNotAllocate: after the first pass, a pass allocates nothing.
func TestForeignDoesNotAllocate(t *testing.T) {
	withWorkers(t, 3)
	for _, p := range foreignPackages(t) {
		pkg := openPackage(t, p.dir())
		for _, function := range slices.Sorted(maps.Keys(p.Functions)) {
			fn, st := openFunction(t, pkg, function), newState(t, pkg)
			in, out := tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
			ctx := t.Context()
			assert.Zero(t, testing.AllocsPerRun(10, func() {
				if err := fn.Predict(ctx, in, st, out); err != nil {
					panic(err)
				}
			}), "%s %s", p.Name, function)
		}
	}
}
