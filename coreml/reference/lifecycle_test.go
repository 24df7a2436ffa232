package reference_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/mil"
)

func TestIdentity(t *testing.T) {
	assert.Equal(t, "reference", reference.Plane{}.Name())
	up := openFunction(t, counters(t), "up")
	assert.Equal(t, "up", up.Name())
	_, err := up.ComputePlan(context.Background())
	assert.ErrorIs(t, err, coreml.ErrNoComputePlan)
}

func TestClosed(t *testing.T) {
	s := newSample("closed")
	s.State("k", fp16(2))
	f, err := s.Finish(s.input(2))
	require.NoError(t, err)
	pkg, err := reference.Plane{}.Open(context.Background(), writePackage(t, nil, f))
	require.NoError(t, err)
	fn, st := openFunction(t, pkg, f.Name), newState(t, pkg)
	require.NoError(t, pkg.Close())
	require.NoError(t, pkg.Close(), "closing twice is harmless")

	err = fn.Predict(context.Background(), tensors(fn.Signature().Inputs), st, tensors(fn.Signature().Outputs))
	assert.ErrorIs(t, err, reference.ErrClosed)
	_, err = pkg.Function(context.Background(), f.Name)
	assert.ErrorIs(t, err, reference.ErrClosed)
	_, err = pkg.NewState()
	assert.ErrorIs(t, err, reference.ErrClosed)
	two := make([]float16.Float16, 2)
	assert.ErrorIs(t, st.Read("k", two), reference.ErrClosed)
	assert.ErrorIs(t, st.Write("k", two), reference.ErrClosed)
}

// heavy is a package whose one pass is long enough to be met under way, with a
// weight in the mapping.
func heavy(t testing.TB) coreml.Package {
	t.Helper()
	s := newSample("heavy")
	x := s.input(1, 256, 4, 1)
	w := s.Const("w", s.blobs.halfs([]int{256, 256, 1, 1}, make([]float16.Float16, 256*256)))
	for range 20 {
		x = s.op("conv", mil.Arg("x", x), mil.Arg("weight", w))
	}
	f, err := s.Finish(x)
	require.NoError(t, err)
	pkg, err := reference.Plane{}.Open(context.Background(), writePackage(t, s.blobs, f))
	require.NoError(t, err)
	return pkg
}

// TestCloseDuringUse closes a package while functions run, states are read and
// functions are prepared: every call either works or says that the package is
// closed, and Close returns once they have.
func TestCloseDuringUse(t *testing.T) {
	withWorkers(t, 4)
	for range 10 {
		pkg := heavy(t)
		var running sync.WaitGroup
		var passes atomic.Int64
		for range 3 {
			fn := openFunction(t, pkg, "main")
			running.Go(func() {
				in, out := tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
				for {
					if err := fn.Predict(context.Background(), in, nil, out); err != nil {
						assert.ErrorIs(t, err, reference.ErrClosed)
						return
					}
					passes.Add(1)
				}
			})
		}
		running.Go(func() {
			for {
				if _, err := pkg.Function(context.Background(), "main"); err != nil {
					assert.ErrorIs(t, err, reference.ErrClosed)
					return
				}
			}
		})
		for passes.Load() < 2 {
			runtime.Gosched()
		}
		var closing sync.WaitGroup
		for range 2 {
			closing.Go(func() { assert.NoError(t, pkg.Close()) })
		}
		closing.Wait()
		running.Wait()
	}
}

// TestCloseEndsWorkers: Close waits until the package's workers have ended.
// They are told by their stacks: other goroutines come and go meanwhile.
func TestCloseEndsWorkers(t *testing.T) {
	withWorkers(t, 6)
	before := workers()
	pkg := heavy(t)
	fn := openFunction(t, pkg, "main")
	require.NoError(t, fn.Predict(context.Background(), tensors(fn.Signature().Inputs), nil, tensors(fn.Signature().Outputs)))
	require.Eventually(t, func() bool { return workers() == before+5 }, time.Minute, time.Millisecond)
	require.NoError(t, pkg.Close())
	assert.Equal(t, before, workers())
}

// workers counts the goroutines in a pool's loop.
func workers() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("lockstep/coreml/reference.newPool.func"))
}

// expiring is a context that ends after a number of looks at it.
type expiring struct {
	context.Context
	looks int
}

var errExpired = errors.New("expired")

func (c *expiring) Err() error {
	if c.looks--; c.looks < 0 {
		return errExpired
	}
	return nil
}

// TestCancel ends a pass between two of its operations, and preparing a
// function between two of the program's.
func TestCancel(t *testing.T) {
	pkg := counters(t)
	up, st := openFunction(t, pkg, "up"), newState(t, pkg)
	in, out := tensors(up.Signature().Inputs), tensors(up.Signature().Outputs)
	in["x"].Data[0] = 0x3C00
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	err := up.Predict(canceled, in, st, out)
	mustFail(t, err, context.Canceled, "function up", `op add "sum"`)
	assert.Zero(t, content(t, st, up.Signature())["total"][0], "nothing was written")

	s := newSample("cancel")
	k := s.State("k", fp16(2))
	x := s.input(2)
	s.Write(k, x)
	f, err := s.Finish(s.op("abs", mil.Arg("x", s.op("square", mil.Arg("x", x)))))
	require.NoError(t, err)
	pkg = openPackage(t, writePackage(t, nil, f))
	fn, st := openFunction(t, pkg, f.Name), newState(t, pkg)
	in, out = tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
	in[x].Data[0] = 0x3C00
	err = fn.Predict(&expiring{context.Background(), 2}, in, st, out)
	mustFail(t, err, errExpired, "function main", `op abs "v3"`)
	assert.Equal(t, []float16.Float16{0x3C00, 0}, content(t, st, fn.Signature())["k"], "what came before was done")
	require.NoError(t, fn.Predict(context.Background(), in, st, out), "the next pass is whole")

	_, err = pkg.Function(&expiring{context.Background(), 2}, f.Name)
	assert.ErrorIs(t, err, errExpired)
}

// slowCounters is a package with one function that adds its input to a state,
// and takes its time between reading the state and writing it: the weight of
// the convolutions is zero, and so is what they add.
func slowCounters(t testing.TB) coreml.Package {
	t.Helper()
	s := newSample("slow")
	shape := []int{1, 256, 4, 1}
	total, x := s.State("total", fp16(shape...)), s.input(shape...)
	old := s.op("abs", mil.Arg("x", s.op("read_state", mil.Arg("input", total))))
	w := s.Const("w", s.blobs.halfs([]int{256, 256, 1, 1}, make([]float16.Float16, 256*256)))
	late := x
	for range 8 {
		late = s.op("conv", mil.Arg("x", late), mil.Arg("weight", w))
	}
	late = s.op("add", mil.Arg("x", late), mil.Arg("y", x))
	s.Write(total, s.op("add", mil.Arg("x", old), mil.Arg("y", late)))
	f, err := s.Finish(s.op("read_state", mil.Arg("input", total)), late)
	require.NoError(t, err)
	return openPackage(t, writePackage(t, s.blobs, f))
}

// TestConcurrentUse runs one package from several goroutines: functions of
// their own on states of their own; functions of their own on one state, which
// loses no pass; and one function, which keeps their inputs apart.
func TestConcurrentUse(t *testing.T) {
	withWorkers(t, 3)
	pkg := slowCounters(t)
	shared := openFunction(t, pkg, "main")
	sig := shared.Signature()
	x, sum, late := sig.Inputs[1].Name, sig.Outputs[0].Name, sig.Outputs[1].Name
	common, spare := newState(t, pkg), newState(t, pkg)
	const users, passes = 3, 40
	var running sync.WaitGroup
	for user := range users {
		fn, st := openFunction(t, pkg, "main"), newState(t, pkg)
		running.Go(func() {
			in, out := tensors(sig.Inputs), tensors(sig.Outputs)
			step := float16.Fromfloat32(float32(user + 1))
			for i := range in[x].Data {
				in[x].Data[i] = step
			}
			for i := range passes {
				if !assert.NoError(t, fn.Predict(context.Background(), in, st, out)) ||
					!allAre(t, out[sum].Data, (user+1)*(i+1)) ||
					!assert.NoError(t, fn.Predict(context.Background(), in, common, out)) ||
					!assert.NoError(t, shared.Predict(context.Background(), in, spare, out)) ||
					!allAre(t, out[late].Data, user+1) {
					return
				}
			}
		})
	}
	running.Wait()
	allAre(t, content(t, common, sig)["total"], passes*(1+2+3))
}

func allAre(t testing.TB, values []float16.Float16, want int) bool {
	t.Helper()
	for i, v := range values {
		if v.Float32() != float32(want) {
			return assert.Failf(t, "wrong value", "element %d: want %d, found %v", i, want, v)
		}
	}
	return true
}
