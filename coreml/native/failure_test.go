package native_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/native/objc"
	"lockstep/internal/fakecoreml"
)

// run opens a package, runs a pass of each function on one state and makes a
// plan.
func run(ctx context.Context, plane coreml.Plane, dir string) error {
	pkg, err := plane.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer pkg.Close() // the test wants the first error
	s, err := newSession(pkg, "t1", "t4")
	if err != nil {
		return err
	}
	if err := s.seed("t1"); err != nil {
		return err
	}
	for _, name := range []string{"t1", "t4"} {
		if _, err := s.pass(name, 0, 1); err != nil {
			return err
		}
	}
	_, err = s.fns["t4"].ComputePlan(ctx)
	return err
}

// engineFailure is how a failed compile for the Neural Engine looks: the code
// that says so lies below.
func engineFailure() *fakecoreml.Failure {
	return &fakecoreml.Failure{
		Domain: "com.apple.CoreML", Code: 0, Description: "Failed to build the model execution plan.",
		Underlying: &fakecoreml.Failure{Domain: "com.apple.appleneuralengine", Code: -14, Description: "Program load failure"},
	}
}

// TestCoreMLFailures: whatever Core ML answers in place of a result becomes an
// error that names the package, the function where there is one, and what
// Core ML said; and nothing is left over.
func TestCoreMLFailures(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	for _, c := range []struct {
		name, row, where string
	}{
		{"compile", "MLModel compileModelAtURL:completionHandler:", "compile: "},
		{"asset", "MLModelAsset modelAssetWithURL:error:", "open nano_layers30_32_int8."},
		{"functions", "MLModelAsset functionNamesWithCompletionHandler:", "list the functions: "},
		{"load", "MLModel modelWithContentsOfURL:configuration:error:", "function t1: load: "},
		{"array", "MLMultiArray initWithDataPointer:shape:dataType:strides:deallocator:error:", "function t1: make an array: "},
		{"predict", "MLModel predictionFromFeatures:usingState:error:", "function t1: predict: "},
		{"plan", "MLComputePlan loadContentsOfURL:configuration:completionHandler:", "function t4: compute plan: load: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			plane, _ := fakePlane(t, fakecoreml.Options{Behave: map[string]fakecoreml.Behaviour{c.row: {Failure: engineFailure()}}})
			err := run(context.Background(), plane, copyOf(t, dir))
			require.ErrorIs(t, err, native.ErrCoreML)
			assert.ErrorContains(t, err, "package nano_layers30_32_int8.mlpackage: ")
			assert.ErrorContains(t, err, c.where)
			assert.ErrorContains(t, err, "com.apple.CoreML 0: Failed to build the model execution plan. (com.apple.appleneuralengine -14: Program load failure)")
			var e *native.Error
			require.ErrorAs(t, err, &e)
			require.ErrorAs(t, e.Underlying, &e)
			assert.Equal(t, -14, e.Code)
		})
		t.Run(c.name+"_without_an_error", func(t *testing.T) {
			plane, _ := fakePlane(t, fakecoreml.Options{Behave: map[string]fakecoreml.Behaviour{c.row: {Empty: true}}})
			err := run(context.Background(), plane, copyOf(t, dir))
			if c.name == "functions" { // it may be a model without named functions, which then has no t1
				require.ErrorIs(t, err, native.ErrFunction)
				return
			}
			require.ErrorIs(t, err, native.ErrCoreML)
			assert.ErrorContains(t, err, "neither a result nor an error")
		})
	}
	for _, c := range []struct {
		name string
		opt  fakecoreml.Options
		is   error
		text string
	}{
		{"no_state", behave("MLModel newState"), native.ErrCoreML, "make a state"},
		{"not_a_program", behave("MLModelStructure program"), native.ErrDescription, "another kind of model"},
		{"int8_input", fakecoreml.Options{DataTypes: map[string]int{"x": 0x20008}}, native.ErrDescription, `input "x": want float16 (0x10010), found data type 0x20008`},
		{"float32_state", fakecoreml.Options{DataTypes: map[string]int{"layers_0_k_state": 0x10020}}, native.ErrDescription, `state "layers_0_k_state"`},
		{"flexible_shape", fakecoreml.Options{Describe: func(_ string, sig *coreml.Signature) {
			sig.Outputs = []coreml.Feature{{Name: "hidden", Shape: []int{1, 64, -1, 1}}}
		}}, native.ErrDescription, `output "hidden": want a static shape, found [1 64 -1 1]`},
		{"another_shape_than_described", fakecoreml.Options{Describe: func(_ string, sig *coreml.Signature) {
			sig.Outputs = nil
		}}, native.ErrTensor, "want 0 outputs, found 1"},
		{"states_of_one_function_alone", fakecoreml.Options{Describe: func(name string, sig *coreml.Signature) {
			if name == "t4" {
				sig.States = sig.States[1:]
			}
		}}, native.ErrStates, "t4 declares"},
		{"states_not_shared", fakecoreml.Options{OwnStates: true}, native.ErrCoreML, "function t4: predict: com.apple.CoreML 0: the state was made by the function t1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plane, _ := fakePlane(t, c.opt)
			err := run(context.Background(), plane, copyOf(t, dir))
			require.ErrorIs(t, err, c.is)
			assert.ErrorContains(t, err, c.text)
			assert.ErrorContains(t, err, "package nano_layers30_32_int8.mlpackage: ")
		})
	}
}

func behave(row string) fakecoreml.Options {
	return fakecoreml.Options{Behave: map[string]fakecoreml.Behaviour{row: {Empty: true}}}
}

// TestNoAnswer: a handler that never comes is given up with the context; one
// that comes afterwards finds nobody and leaves nothing.
func TestNoAnswer(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	for _, row := range []string{
		"MLModel compileModelAtURL:completionHandler:",
		"MLModelAsset functionNamesWithCompletionHandler:",
		"MLComputePlan loadContentsOfURL:configuration:completionHandler:",
	} {
		t.Run(row, func(t *testing.T) {
			late := make(chan struct{})
			for name, b := range map[string]fakecoreml.Behaviour{"never": {Silent: true}, "late": {After: late}} {
				plane, _ := fakePlane(t, fakecoreml.Options{Behave: map[string]fakecoreml.Behaviour{row: b}})
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				err := run(ctx, plane, copyOf(t, dir))
				cancel()
				require.ErrorIs(t, err, context.DeadlineExceeded, name)
			}
			close(late) // before the runtimes are stopped
		})
	}
}

// TestBadMemory: strides that reach beyond an array's memory, or that are
// missing, are an error, not a read.
func TestBadMemory(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	for name, change := range map[string]func(strides []int) []int{
		"too_long": func(s []int) []int { s[0], s[1] = s[0]*64, s[1]*64; return s },
		"too_few":  func(s []int) []int { return s[1:] },
		"negative": func(s []int) []int { s[1] = -s[1]; return s },
	} {
		t.Run(name, func(t *testing.T) {
			rt := fakecoreml.Start(t, fakecoreml.Options{})
			plane, err := over(t, &planted{Runtime: rt, send: changeStrides(change)})
			require.NoError(t, err)
			err = run(context.Background(), plane, copyOf(t, dir))
			require.ErrorIs(t, err, native.ErrTensor)
		})
	}
}

// changeStrides answers other strides than an array's.
func changeStrides(change func([]int) []int) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		answer := p.Runtime.Send(self, sel, result, args...)
		if name != "strides" {
			return answer
		}
		return numbers(p.Runtime, change(goNumbers(p.Runtime, answer.ID())))
	}
}

// TestNonFinite: what is not finite is refused on its way in, and reported on
// its way out with the outputs filled.
func TestNonFinite(t *testing.T) {
	const nan = float16.Float16(0x7E00)
	plane, _ := fakePlane(t, fakecoreml.Options{Output: func(_, _ string, data []float16.Float16) { data[5] = nan }})
	s, err := newSession(open(t, plane, exportTail(t, "t1,t4")), "t1", "t4")
	require.NoError(t, err)
	hidden, err := s.pass("t4", 0, 4)
	require.ErrorIs(t, err, coreml.ErrNonFinite)
	assert.ErrorContains(t, err, `output "hidden" at element 5 of`)
	assert.Equal(t, nan, hidden[5])

	state := s.fns["t1"].Signature().States[0]
	values := make([]float16.Float16, elements(state.Shape))
	values[3] = nan
	err = s.state.Write(state.Name, values)
	require.ErrorIs(t, err, coreml.ErrNonFinite)
	assert.ErrorContains(t, err, "element 3")
}
