package native_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/native/objc"
	"lockstep/coreml/reference"
	"lockstep/internal/durable"
	"lockstep/internal/fakecoreml"
)

// TestTooOld: a macOS without states is refused at once.
func TestTooOld(t *testing.T) {
	_, err := over(t, fakecoreml.Start(t, fakecoreml.Options{MacOS: objc.MacOS{Major: 14, Minor: 4}}))
	require.ErrorIs(t, err, native.ErrTooOld)
	assert.ErrorContains(t, err, "want 15.0, found 14.4")
	_, err = over(t, fakecoreml.Start(t, fakecoreml.Options{MacOS: objc.MacOS{Major: 26, Minor: 1}}))
	assert.NoError(t, err)
}

// TestCompiledOnce: what was compiled stands beside the package under a name
// that its bytes decide, and is found again; other bytes get another name.
func TestCompiledOnce(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	before := names(t, dir)
	plane, rt := fakePlane(t, fakecoreml.Options{})
	path, err := native.CompiledPath(context.Background(), dir)
	require.NoError(t, err)
	assert.Regexp(t, `^nano_layers30_32_int8\.[0-9a-f]{16}\.mlmodelc$`, filepath.Base(path))
	assert.Equal(t, filepath.Dir(dir), filepath.Dir(path))
	for range 2 {
		open(t, plane, dir)
		assert.DirExists(t, path)
		assert.Equal(t, 1, rt.Compiled())
	}
	assert.Equal(t, before, names(t, dir), "the package is as it was")

	weights := filepath.Join(dir, "Data", "com.apple.CoreML", "weights", "weight.bin")
	data, err := os.ReadFile(weights)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(weights, data, 0o644))
	open(t, plane, dir)
	assert.Equal(t, 2, rt.Compiled())
	other, err := native.CompiledPath(context.Background(), dir)
	require.NoError(t, err)
	assert.NotEqual(t, path, other)
	assert.DirExists(t, path, "nothing is ever removed")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}

// TestNotCompiled: what stands in the way, and a full disk, are errors before
// Core ML is asked.
func TestNotCompiled(t *testing.T) {
	ctx := context.Background()
	dir := exportTail(t, "t1,t4")
	rt := fakecoreml.Start(t, fakecoreml.Options{})
	plane, err := native.Over(rt, native.Options{Reserve: 1 << 60})
	require.NoError(t, err)
	_, err = plane.Open(ctx, dir)
	require.ErrorIs(t, err, durable.ErrNoSpace)
	assert.ErrorContains(t, err, "bytes missing")

	plane, err = over(t, rt)
	require.NoError(t, err)
	path, err := native.CompiledPath(ctx, dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o644))
	_, err = plane.Open(ctx, dir)
	require.ErrorIs(t, err, durable.ErrNotOurs)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(text))

	_, err = plane.Open(ctx, filepath.Join(t.TempDir(), "missing.mlpackage"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = plane.Open(ctx, t.TempDir())
	assert.ErrorContains(t, err, "found nothing in it")
	link := t.TempDir()
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(link, "weight.bin")))
	_, err = plane.Open(ctx, link)
	assert.ErrorContains(t, err, "want a regular file")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = plane.Open(cancelled, dir)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, rt.Compiled())
}

// TestRaceToCompile: of two that compile the same package, both find one whole
// compiled model.
func TestRaceToCompile(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	plane, _ := fakePlane(t, fakecoreml.Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			pkg, err := plane.Open(context.Background(), dir)
			if assert.NoError(t, err) {
				assert.NoError(t, pkg.Close())
			}
		})
	}
	wg.Wait()
	compiled, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*.mlmodelc*"))
	require.NoError(t, err)
	assert.Len(t, compiled, 1)
}

// TestSingleFunction: a package with one function has no named ones; it is
// loaded without a name.
func TestSingleFunction(t *testing.T) {
	dir := exportTail(t, "t4")
	plane, rt := fakePlane(t, fakecoreml.Options{})
	pkg := open(t, plane, dir)
	assert.Equal(t, []string{"main"}, pkg.FunctionNames())
	s, err := newSession(pkg, "main")
	require.NoError(t, err)
	got, err := s.pass("main", 0, 4)
	require.NoError(t, err)
	r, err := newSession(open(t, reference.Plane{}, dir), "main")
	require.NoError(t, err)
	want, err := r.pass("main", 0, 4)
	require.NoError(t, err)
	assert.True(t, same(want, got))
	assert.Zero(t, rt.Sent("MLModelConfiguration setFunctionName:"))
	plan, err := s.fns["main"].ComputePlan(context.Background())
	require.NoError(t, err)
	assert.Equal(t, "main", plan.Function)
}

// TestCopiedState: where a function refuses another's MLState, the host carries
// the content over, bit for bit.
func TestCopiedState(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	want := referenceTrace(t, dir)
	rt := fakecoreml.Start(t, fakecoreml.Options{OwnStates: true})
	plane, err := native.Over(rt, native.Options{Reserve: 1, States: native.CopiedState})
	require.NoError(t, err)
	got, err := record(plane, dir)
	require.NoError(t, err)
	assert.Empty(t, got.differences(want))
	assert.Equal(t, 2, rt.Sent("MLModel newState"))
}

// TestSharedState: one MLState serves both functions, and its content needs no
// copying.
func TestSharedState(t *testing.T) {
	plane, rt := fakePlane(t, fakecoreml.Options{})
	s, err := newSession(open(t, plane, exportTail(t, "t1,t4")), "t1", "t4")
	require.NoError(t, err)
	for i, name := range []string{"t1", "t4", "t1"} {
		_, err := s.pass(name, i, 1)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, rt.Sent("MLModel newState"))
	assert.Zero(t, rt.Sent("MLState getMultiArrayForStateNamed:handler:"))
	assert.Equal(t, 2, rt.Sent("MLModel modelWithContentsOfURL:configuration:error:"), "one model for each function")
}

// TestStatesAreGivenUp: an MLState ends with the last reference to its State,
// not with the package alone: parity makes hundreds of them.
func TestStatesAreGivenUp(t *testing.T) {
	plane, rt := fakePlane(t, fakecoreml.Options{})
	s, err := newSession(open(t, plane, exportTail(t, "t1,t4")), "t1", "t4")
	require.NoError(t, err)
	require.NoError(t, s.seed("t1"))
	before, err := s.content("t1")
	require.NoError(t, err)
	for range 20 {
		_, err := s.pkg.NewState()
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return rt.Living("MLState") == 1
	}, time.Minute, time.Millisecond)
	after, err := s.content("t1")
	require.NoError(t, err)
	assert.True(t, same(before[0], after[0]), "the state in use stays")
}

// TestBadPaths: a path that Foundation would refuse is refused before.
func TestBadPaths(t *testing.T) {
	plane, rt := fakePlane(t, fakecoreml.Options{})
	dir := exportTail(t, "t1,t4")
	bad := filepath.Join(t.TempDir(), "na\xffno.mlpackage")
	require.NoError(t, os.CopyFS(bad, os.DirFS(dir)))
	_, err := plane.Open(context.Background(), bad)
	require.ErrorContains(t, err, "want UTF-8 without NUL")
	assert.Zero(t, rt.Compiled())
}

// TestStateBeforeFunctions: a state can be made first.
func TestStateBeforeFunctions(t *testing.T) {
	plane, _ := fakePlane(t, fakecoreml.Options{})
	pkg := open(t, plane, exportTail(t, "t1,t4"))
	st, err := pkg.NewState()
	require.NoError(t, err)
	s, err := newSession(pkg, "t1", "t4")
	require.NoError(t, err)
	s.state = st
	_, err = s.pass("t4", 0, 4)
	require.NoError(t, err)
}

// TestRefusals: what does not fit is refused before Core ML sees it.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	plane, rt := fakePlane(t, fakecoreml.Options{})
	dir := exportTail(t, "t1,t4")
	pkg := open(t, plane, dir)
	s, err := newSession(pkg, "t1")
	require.NoError(t, err)
	fn := s.fns["t1"]
	good := func() (in, out map[string]coreml.Tensor) {
		in, out = map[string]coreml.Tensor{}, map[string]coreml.Tensor{}
		for _, f := range fn.Signature().Inputs {
			in[f.Name] = coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, elements(f.Shape))}
		}
		for _, f := range fn.Signature().Outputs {
			out[f.Name] = coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, elements(f.Shape))}
		}
		return in, out
	}
	for name, spoil := range map[string]func(in, out map[string]coreml.Tensor){
		"missing_input": func(in, _ map[string]coreml.Tensor) { delete(in, "x") },
		"extra_input":   func(in, _ map[string]coreml.Tensor) { in["y"] = in["x"] },
		"input_shape":   func(in, _ map[string]coreml.Tensor) { in["x"] = coreml.Tensor{Shape: []int{1}, Data: in["x"].Data} },
		"input_too_short": func(in, _ map[string]coreml.Tensor) {
			in["x"] = coreml.Tensor{Shape: in["x"].Shape, Data: in["x"].Data[1:]}
		},
		"missing_output": func(_, out map[string]coreml.Tensor) { delete(out, "hidden") },
		"extra_output":   func(_, out map[string]coreml.Tensor) { out["logits"] = out["hidden"] },
	} {
		in, out := good()
		spoil(in, out)
		require.ErrorIs(t, fn.Predict(ctx, in, s.state, out), native.ErrTensor, name)
	}
	in, out := good()
	in["x"].Data[0] = 0x7C00
	require.ErrorIs(t, fn.Predict(ctx, in, s.state, out), coreml.ErrNonFinite)
	in, out = good()
	other, err := open(t, plane, dir).NewState()
	require.NoError(t, err)
	for name, st := range map[string]coreml.State{"none": nil, "of another package": other} {
		require.ErrorIs(t, fn.Predict(ctx, in, st, out), native.ErrTensor, name)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, fn.Predict(cancelled, in, s.state, out), context.Canceled)
	_, err = pkg.Function(cancelled, "t4")
	require.ErrorIs(t, err, context.Canceled)
	_, err = pkg.Function(ctx, "t3")
	require.ErrorIs(t, err, native.ErrFunction)
	assert.ErrorContains(t, err, `the package has ["t1" "t4"]`)
	require.ErrorIs(t, s.state.Read("kv", nil), native.ErrTensor)
	require.ErrorIs(t, s.state.Write(fn.Signature().States[0].Name, nil), native.ErrTensor)
	assert.Zero(t, rt.Sent("MLModel predictionFromFeatures:usingState:error:"))
}

// TestClosed: after Close nothing works, and closing again is nothing.
func TestClosed(t *testing.T) {
	plane, _ := fakePlane(t, fakecoreml.Options{})
	pkg, err := plane.Open(context.Background(), exportTail(t, "t1,t4"))
	require.NoError(t, err)
	s, err := newSession(pkg, "t1")
	require.NoError(t, err)
	name := s.fns["t1"].Signature().States[0].Name
	require.NoError(t, pkg.Close())
	require.NoError(t, pkg.Close())
	_, err = s.pass("t1", 0, 1)
	require.ErrorIs(t, err, native.ErrClosed)
	_, err = s.fns["t1"].ComputePlan(context.Background())
	require.ErrorIs(t, err, native.ErrClosed)
	_, err = pkg.Function(context.Background(), "t4")
	require.ErrorIs(t, err, native.ErrClosed)
	_, err = pkg.NewState()
	require.ErrorIs(t, err, native.ErrClosed)
	require.ErrorIs(t, s.state.Read(name, nil), native.ErrClosed)
}

// TestConcurrent: sessions on several goroutines, plans beside them, and a
// Close that waits.
func TestConcurrent(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	want := referenceTrace(t, dir)
	plane, _ := fakePlane(t, fakecoreml.Options{})
	pkg, err := plane.Open(context.Background(), dir)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := newSession(pkg, "t1", "t4")
			if !assert.NoError(t, err) || !assert.NoError(t, s.seed("t1")) {
				return
			}
			hidden, err := s.pass("t4", 3, 4)
			assert.NoError(t, err)
			assert.True(t, same(want.hidden[0], hidden))
			_, err = s.fns["t4"].ComputePlan(context.Background())
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	require.NoError(t, pkg.Close())
}

// TestPlan: a plan has every op of the function, in order and in nested blocks,
// with what Core ML says of each.
func TestPlan(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	plane, _ := fakePlane(t, fakecoreml.Options{
		Place: onCPU, Virtual: true, Devices: []coreml.Device{coreml.DeviceCPU, coreml.DeviceUnknown, coreml.DeviceNeuralEngine},
	})
	flat := planOfT4(t, plane, dir)
	assert.True(t, flat.VirtualMachine)
	assert.Equal(t, []coreml.Device{coreml.DeviceCPU, coreml.DeviceUnknown, coreml.DeviceNeuralEngine}, flat.Devices)
	devices, err := plane.Devices()
	require.NoError(t, err)
	assert.Equal(t, flat.Devices, devices, "what the plane says without a plan")
	assert.Positive(t, flat.CompiledBytes)
	seen := map[string]coreml.PlannedOp{}
	for _, op := range flat.Ops {
		seen[op.Op] = op
	}
	conv := seen["ios18.conv"]
	assert.Equal(t, coreml.DeviceCPU, conv.Preferred)
	assert.Equal(t, []coreml.Device{coreml.DeviceCPU, coreml.DeviceGPU, coreml.DeviceNeuralEngine}, conv.Supported)
	require.NotNil(t, conv.Cost)
	assert.InDelta(t, 0.25, *conv.Cost, 0)
	assert.NotEmpty(t, conv.Output)
	assert.Equal(t, coreml.DeviceNeuralEngine, seen["ios18.softmax"].Preferred)
	assert.Equal(t, coreml.PlannedOp{Op: "const", Output: seen["const"].Output}, seen["const"], "a constant has neither device nor cost")
	assert.Empty(t, seen["ios18.write_state"].Output)

	nested, _ := fakePlane(t, fakecoreml.Options{Place: onCPU, Nest: true})
	deep := planOfT4(t, nested, dir)
	i := len(flat.Ops) / 2
	require.Len(t, deep.Ops, len(flat.Ops)+1)
	assert.Equal(t, "ios18.cond", deep.Ops[i].Op)
	assert.Equal(t, outputs(flat.Ops[i:]), outputs(deep.Ops[i+1:]), "the ops of a block come after its op")
}

func planOfT4(t *testing.T, plane coreml.Plane, dir string) *coreml.ComputePlan {
	t.Helper()
	fn, err := open(t, plane, dir).Function(context.Background(), "t4")
	require.NoError(t, err)
	plan, err := fn.ComputePlan(context.Background())
	require.NoError(t, err)
	assert.Equal(t, "t4", plan.Function)
	return plan
}

func outputs(ops []coreml.PlannedOp) string {
	var names []string
	for _, op := range ops {
		names = append(names, op.Op+" "+op.Output)
	}
	return strings.Join(names, "\n")
}
