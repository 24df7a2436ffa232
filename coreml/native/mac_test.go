package native_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/reference"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/mlpackage"
)

// What any Mac can show of Core ML, hosted ones too, and, over the fake, that
// the tests themselves hold.

// TestKeepsStepOverFake is TestOnTheCPU without a Mac.
func TestKeepsStepOverFake(t *testing.T) {
	cpu, err := native.Over(fakecoreml.Start(t, fakecoreml.Options{CPUOnly: true}), native.Options{Reserve: 1, CPUOnly: true})
	require.NoError(t, err)
	keepsStep(t, cpu)
}

// TestPlansWholeOverFake is TestPlanHere without a Mac.
func TestPlansWholeOverFake(t *testing.T) {
	plane, _ := fakePlane(t, fakecoreml.Options{})
	plansWhole(t, plane)
}

// like is the least cosine at which two results count as the same model's: on
// record, one block on Core ML came to .98927.
const like = 0.98

// keepsStep holds a plane to the reference plane, and a block to four singles,
// as far as arithmetic that is not the reference plane's goes.
func keepsStep(t *testing.T, plane coreml.Plane) {
	t.Helper()
	dir := exportTail(t, "t1,t4")
	opened := open(t, plane, dir)
	block, blockStates := rowsAt(t, opened, "t4", 3)
	singles, singleStates := rowsAt(t, opened, "t1", 3)
	wanted, wantedStates := rowsAt(t, open(t, reference.Plane{}, dir), "t4", 3)
	for r := range wanted {
		t.Logf("row %d: cosine with the singles %.6f, with the reference plane %.6f, bits equal to the singles': %t",
			r, cosine(block[r], singles[r]), cosine(block[r], wanted[r]), same(block[r], singles[r]))
		assert.GreaterOrEqual(t, cosine(block[r], singles[r]), like, "row %d against the single", r)
		assert.GreaterOrEqual(t, cosine(block[r], wanted[r]), like, "row %d against the reference plane", r)
	}
	for i := range wantedStates {
		assert.GreaterOrEqual(t, cosine(blockStates[i], singleStates[i]), like, "state %d against the singles'", i)
		assert.GreaterOrEqual(t, cosine(blockStates[i], wantedStates[i]), like, "state %d against the reference plane's", i)
	}
}

// rowsAt gives the hidden states of four tokens from pos on, from one block or
// from four singles, and the states after them.
func rowsAt(t *testing.T, pkg coreml.Package, fn string, pos int) (rows, states [][]float16.Float16) {
	t.Helper()
	s, err := newSession(pkg, fn)
	require.NoError(t, err)
	require.NoError(t, s.seed(fn))
	each := 1
	if fn == "t4" {
		each = 4
	}
	for at := pos; at < pos+4; at += each {
		hidden, err := s.pass(fn, at, each)
		require.NoError(t, err)
		for r := range each { // hidden is [1, channels, rows, 1]
			row := make([]float16.Float16, len(hidden)/each)
			for c := range row {
				row[c] = hidden[c*each+r]
			}
			rows = append(rows, row)
		}
	}
	states, err = s.content(fn)
	require.NoError(t, err)
	return rows, states
}

func cosine(a, b []float16.Float16) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i].Float32()), float64(b[i].Float32())
		ab, aa, bb = ab+float64(x*y), aa+float64(x*x), bb+float64(y*y)
	}
	return ab / math.Sqrt(float64(aa*bb))
}

// plansWhole: a plane's compute plan of a function has each of its run-time ops.
// Where it would run them is not asked: the model is too small, and a hosted Mac
// is virtual.
func plansWhole(t *testing.T, plane coreml.Plane) {
	t.Helper()
	dir := exportTail(t, "t1,t4")
	model, err := mlpackage.OpenModel(dir)
	require.NoError(t, err)
	pkg := open(t, plane, dir)
	for _, name := range []string{"t1", "t4"} {
		fn, err := pkg.Function(context.Background(), name)
		require.NoError(t, err)
		plan, err := fn.ComputePlan(context.Background())
		require.NoError(t, err)
		t.Logf("%s: %d ops, devices %v, virtual %t, %d bytes compiled", name, len(plan.Ops), plan.Devices, plan.VirtualMachine, plan.CompiledBytes)
		planned := map[string]bool{}
		for _, op := range plan.Ops {
			planned[op.Output] = true
		}
		for _, op := range model.Program.Function(name).Ops {
			if op.Type != "const" && !strings.HasPrefix(op.Type, "constexpr_") && len(op.Outputs) > 0 {
				assert.True(t, planned[op.Outputs[0].Name], "%s %q is in the plan", op.Type, op.Outputs[0].Name)
			}
		}
		assert.NotEmpty(t, plan.Devices)
	}
}
