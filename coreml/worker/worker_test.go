package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/internal/memory"
)

func requireBroken(t *testing.T, err error, is error, words ...string) {
	t.Helper()
	require.ErrorIs(t, err, coreml.ErrBroken)
	require.ErrorIs(t, err, is)
	for _, w := range words {
		assert.ErrorContains(t, err, w)
	}
}

// TestFaultsOfAPass has each fault strike once in a pass: the pass is an error
// that says what happened, the worker is gone when it returns, and the next
// pass is run by another one.
func TestFaultsOfAPass(t *testing.T) {
	for _, tt := range []struct {
		fault string
		is    error
		words string
	}{
		{"hang_predict", ErrHung, "killed after 300ms"},
		{"exit_predict", ErrDied, "exit status 0"},
		{"panic_predict", ErrDied, "its log ends: panic: the engine fell over"},
		{"log_predict", ErrDied, "exit status 7: EOF; its log ends: E5RT: compilation failed, error -14"},
		{"garbage", ErrProtocol, `want a frame, found "warning:`},
		{"oversized", ErrProtocol, "want a payload of at most 67108864 bytes, found 2147483648"},
		{"version", ErrProtocol, "want version 1, found 2"},
		{"not_json", ErrProtocol, "invalid character"},
		{"unknown_key", ErrProtocol, `found "{\"seq\":9,\"extra\":12}"`},
		{"other_number", ErrProtocol, "found that to 999"},
		{"short", ErrDied, "unexpected EOF"},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, tt.fault, 2)
			p := c.plane()
			opened := c.open(p)
			fn, st := mustFunction(t, opened, "t1"), mustState(t, opened)
			require.NoError(t, st.Write("k", column(0, 0, 0, 0).Data), "the file is mapped")
			if tt.is == ErrHung {
				p.opt.Load, p.opt.Pass = 300*time.Millisecond, 300*time.Millisecond
			}
			_, err := step(context.Background(), fn, st, 1)
			requireBroken(t, err, tt.is, tt.words, "a pass of t1")
			c.requireGone()
			p.opt.Load, p.opt.Pass = patience, patience
			hidden, err := step(context.Background(), fn, mustState(t, opened), 1)
			require.NoError(t, err)
			assert.Equal(t, []float32{1}, hidden)
			assert.Len(t, c.started(), 3)
		})
	}
}

// TestFaultsBeforeAPass has workers break before there is a package, a function
// or even a plane.
func TestFaultsBeforeAPass(t *testing.T) {
	ctx := context.Background()
	short := func(o *Options) { o.Start, o.Load = 300*time.Millisecond, 300*time.Millisecond }
	t.Run("hang at start", func(t *testing.T) {
		c := newCrew(t, "hang_start", 1)
		short(&c.opt)
		_, err := New(ctx, c.opt)
		requireBroken(t, err, ErrHung, "starting")
	})
	t.Run("exit at start", func(t *testing.T) {
		c := newCrew(t, "exit_start", 1)
		_, err := New(ctx, c.opt)
		requireBroken(t, err, ErrDied, "starting", "exit status 0")
	})
	t.Run("hang at open", func(t *testing.T) {
		c := newCrew(t, "hang_open", 2)
		p := c.plane()
		short(&p.opt)
		_, err := p.Open(ctx, "toy.mlpackage")
		requireBroken(t, err, ErrHung, "opening toy.mlpackage")
		c.requireGone()
		p.opt.Load, p.opt.Start = patience, patience
		c.open(p)
	})
	t.Run("hang at load", func(t *testing.T) {
		c := newCrew(t, "hang_load_t4", 2)
		p := c.plane()
		opened := c.open(p)
		fn := mustFunction(t, opened, "t1")
		p.opt.Load = 300 * time.Millisecond
		_, err := opened.Function(ctx, "t4")
		requireBroken(t, err, ErrHung, "loading t4")
		c.requireGone()
		p.opt.Load = patience
		_, err = step(ctx, fn, mustState(t, opened), 1)
		require.NoError(t, err, "t1 goes on in the next worker")
		mustFunction(t, opened, "t4")
	})
}

// TestGivenUp: what broke two workers in a row does not cost a third one.
func TestGivenUp(t *testing.T) {
	c := newCrew(t, "hang_open", 99)
	p := c.plane()
	p.opt.Load = 100 * time.Millisecond
	for range 2 {
		_, err := p.Open(context.Background(), "toy.mlpackage")
		requireBroken(t, err, ErrHung)
	}
	n := len(c.started())
	_, err := p.Open(context.Background(), "toy.mlpackage")
	requireBroken(t, err, ErrGivenUp, "2 workers in a row", "no answer in time")
	assert.LessOrEqual(t, len(c.started()), n+1)

	c = newCrew(t, "exit_predict", 3)
	opened := c.open(c.plane())
	fn := mustFunction(t, opened, "t1")
	for range 2 {
		_, err = step(context.Background(), fn, mustState(t, opened), 1)
		requireBroken(t, err, ErrDied)
	}
	st := mustState(t, opened)
	n = len(c.started())
	_, err = step(context.Background(), fn, st, 1)
	requireBroken(t, err, ErrGivenUp, "exit status 0")
	assert.Len(t, c.started(), n, "nothing was loaded for it")
	_, err = step(context.Background(), mustFunction(t, opened, "t4"), st, 1, 2, 3, 4)
	require.NoError(t, err, "another function is another call")
}

// TestCancel: a pass that is not wanted any more ends with its worker.
func TestCancel(t *testing.T) {
	c := newCrew(t, "hang_predict", 2)
	opened := c.open(c.plane())
	fn, st := mustFunction(t, opened, "t1"), mustState(t, opened)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := step(ctx, fn, st, 1)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, coreml.ErrBroken)
	c.requireGone()
	_, err = step(ctx, fn, st, 1)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = opened.Function(ctx, "t4")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = step(context.Background(), fn, mustState(t, opened), 1)
	require.NoError(t, err)
	_, err = New(ctx, c.opt)
	assert.ErrorIs(t, err, context.Canceled)
}

// TestStubbornWorker: one that does not end when it should is killed.
func TestStubbornWorker(t *testing.T) {
	c := newCrew(t, "stay", 9)
	c.opt.Stop = 100 * time.Millisecond
	opened := c.open(c.plane())
	proc := opened.proc
	assert.ErrorContains(t, opened.Close(), "toy: closed")
	c.requireGone()
	assert.Equal(t, "signal: killed", proc.cmd.ProcessState.String())
	assert.Len(t, c.started(), 2)
}

// TestPrintingPlane: what a library prints is no frame.
func TestPrintingPlane(t *testing.T) {
	opened := newCrewOpen(t, "printing")
	hidden, err := step(context.Background(), mustFunction(t, opened, "t4"), mustState(t, opened), 1, 2, 3, 4)
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2, 3, 4}, hidden)
	heard := func() bool { return strings.Contains(opened.proc.log.lastWords(), "a library prints") }
	assert.Eventually(t, heard, patience, time.Millisecond, "it is in the log")
}

func newCrewOpen(t *testing.T, fault string) *pkg {
	t.Helper()
	c := newCrew(t, fault, 9)
	return c.open(c.plane())
}

// TestPlaneNames: the plane in the worker is the one that was asked for, or
// there is none.
func TestPlaneNames(t *testing.T) {
	ctx := context.Background()
	c := newCrew(t, "none", 0)
	assert.Equal(t, "toy", c.plane().Name())

	c.opt.Plane = "absent"
	_, err := New(ctx, c.opt)
	assert.ErrorContains(t, err, `toy: no plane "absent" here`)
	assert.NotErrorIs(t, err, coreml.ErrBroken)

	c = newCrew(t, "other_name", 9)
	_, err = New(ctx, c.opt)
	assert.ErrorIs(t, err, ErrOtherPlane)
	assert.ErrorContains(t, err, `want "toy", found "fake"`)

	c.opt.Path = filepath.Join(t.TempDir(), "missing")
	_, err = New(ctx, c.opt)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestReplacedBinary: a binary that is built anew during the run is not used.
func TestReplacedBinary(t *testing.T) {
	c := newCrew(t, "exit_predict", 9)
	own, err := os.ReadFile(c.opt.Path)
	require.NoError(t, err)
	c.opt.Path = filepath.Join(t.TempDir(), "worker")
	require.NoError(t, os.WriteFile(c.opt.Path, own, 0o700))
	opened := c.open(c.plane())
	fn := mustFunction(t, opened, "t1")
	_, err = step(context.Background(), fn, mustState(t, opened), 1)
	requireBroken(t, err, ErrDied)
	require.NoError(t, os.Remove(c.opt.Path))
	require.NoError(t, os.WriteFile(c.opt.Path, own, 0o700))
	_, err = opened.NewState()
	requireBroken(t, err, ErrOtherBinary, c.opt.Path)
}

// TestPlaneErrors: an error of the plane is the one that it is in one process,
// and costs no worker.
func TestPlaneErrors(t *testing.T) {
	c := newCrew(t, "none", 0)
	p := c.plane()
	_, err := p.Open(context.Background(), "refused")
	assert.EqualError(t, err, "toy: refused is no package")
	assert.NotErrorIs(t, err, coreml.ErrBroken)

	opened := c.open(p)
	_, err = opened.Function(context.Background(), "t9")
	assert.EqualError(t, err, `toy: no function "t9"`)
	fn := mustFunction(t, opened, "t1")
	_, err = fn.ComputePlan(context.Background())
	assert.ErrorIs(t, err, coreml.ErrNoComputePlan)
	assert.EqualError(t, err, "t1: "+coreml.ErrNoComputePlan.Error())
	plan, err := mustFunction(t, opened, "t4").ComputePlan(context.Background())
	require.NoError(t, err)
	want, err := toyFunction{"t4", 4}.ComputePlan(context.Background())
	require.NoError(t, err)
	assert.Equal(t, want, plan)

	st := mustState(t, opened)
	err = st.Write("k", column(1, 2, 3, float32(half.ToFloat32(half.NaN))).Data)
	assert.ErrorIs(t, err, coreml.ErrNonFinite)
	hidden, err := step(context.Background(), fn, st, 60000)
	require.NoError(t, err)
	assert.Equal(t, []float32{half.ToFloat32(half.FromFloat32(60000))}, hidden)
	_, err = step(context.Background(), fn, st, 60000)
	assert.ErrorIs(t, err, coreml.ErrNonFinite)
	_, err = step(context.Background(), fn, nil, 1)
	assert.EqualError(t, err, "toy: no state")
	_, err = step(context.Background(), fn, mustState(t, c.open(p)), 1)
	assert.ErrorIs(t, err, ErrState)
	assert.Len(t, c.started(), 4)
}

func TestClosed(t *testing.T) {
	opened := newCrewOpen(t, "none")
	fn, st := mustFunction(t, opened, "t1"), mustState(t, opened)
	assert.EqualError(t, opened.Close(), "toy: closed", "the error of the package in the worker")
	assert.NoError(t, opened.Close())
	_, err := step(context.Background(), fn, st, 1)
	assert.ErrorIs(t, err, ErrClosed)
	_, err = opened.Function(context.Background(), "t1")
	assert.ErrorIs(t, err, ErrClosed)
	_, err = opened.NewState()
	assert.ErrorIs(t, err, ErrClosed)
	assert.ErrorIs(t, st.Read("k", make([]float16.Float16, 4)), ErrClosed)
}

// TestConcurrent: calls from everywhere wait for each other.
func TestConcurrent(t *testing.T) {
	opened := newCrewOpen(t, "none")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			fn, err := opened.Function(context.Background(), "t1")
			if !assert.NoError(t, err) {
				return
			}
			st, err := opened.NewState()
			if !assert.NoError(t, err) {
				return
			}
			for i := range 20 {
				hidden, err := step(context.Background(), fn, st, 1)
				assert.NoError(t, err)
				assert.Equal(t, []float32{float32(i + 1)}, hidden)
			}
			assert.Equal(t, []string{"t1", "t4"}, opened.FunctionNames())
		})
	}
	all.Wait()
}

// TestSameAsInProcess walks at random through the calls of a package, in one
// process, in a worker, and in workers that hold one function at a time: every
// result and every error is the same.
func TestSameAsInProcess(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, "none", 0)
			c.opt.Exclusive = exclusive
			opened := c.open(c.plane())
			here, err := toy{"toy"}.Open(context.Background(), "toy.mlpackage")
			require.NoError(t, err)
			draw := rand.New(rand.NewPCG(1, 2))
			there := map[string]coreml.Function{"t1": mustFunction(t, opened, "t1"), "t4": mustFunction(t, opened, "t4")}
			near := map[string]coreml.Function{"t1": mustFunction(t, here, "t1"), "t4": mustFunction(t, here, "t4")}
			var states [][2]coreml.State
			name := "t1"
			for i := range 120 {
				if len(states) < 3 || draw.IntN(10) == 0 {
					states = append(states, [2]coreml.State{mustState(t, here), mustState(t, opened)})
				}
				pair := states[draw.IntN(len(states))]
				cache := []string{"k", "v", "w"}[draw.IntN(3)]
				values := column(draw.Float32(), draw.Float32(), draw.Float32(), draw.Float32()).Data
				if draw.IntN(8) == 0 {
					values[1] = half.NaN
				}
				switch draw.IntN(8) {
				case 0:
					requireSameError(t, pair[0].Write(cache, values), pair[1].Write(cache, values))
				case 1, 2, 3:
					again := make([]float16.Float16, 4)
					requireSameError(t, pair[0].Read(cache, values), pair[1].Read(cache, again))
					if cache != "w" {
						require.Equal(t, values, again, "step %d", i)
					}
				default:
					if draw.IntN(4) == 0 {
						name = []string{"t1", "t4"}[draw.IntN(2)]
					}
					rows := []float32{draw.Float32(), draw.Float32(), draw.Float32(), draw.Float32()}[:toyFunctionRows(name)]
					want, errHere := step(context.Background(), near[name], pair[0], rows...)
					got, errThere := step(context.Background(), there[name], pair[1], rows...)
					requireSameError(t, errHere, errThere)
					require.Equal(t, want, got, "step %d", i)
				}
			}
			if exclusive {
				assert.Greater(t, len(c.started()), 5, "functions took turns")
			} else {
				assert.Len(t, c.started(), 2)
			}
		})
	}
}

func requireSameError(t *testing.T, want, got error) {
	t.Helper()
	if want == nil {
		require.NoError(t, got)
		return
	}
	require.EqualError(t, got, want.Error())
	require.Equal(t, errors.Is(want, coreml.ErrNonFinite), errors.Is(got, coreml.ErrNonFinite))
}

// TestTraceSameAsInProcess: every value arrives, whole and in order, and so does
// the error of who looks at it.
func TestTraceSameAsInProcess(t *testing.T) {
	opened := newCrewOpen(t, "none")
	here, err := toy{"toy"}.Open(context.Background(), "toy.mlpackage")
	require.NoError(t, err)
	_, ok := mustFunction(t, opened, "t1").(coreml.Tracer)
	assert.False(t, ok, "nor is it in one process")

	st := map[coreml.Package]coreml.State{here: mustState(t, here), opened: mustState(t, opened)}
	look := func(p coreml.Package, x float32, stopAt string) (seen []coreml.Observed, hidden coreml.Tensor, err error) {
		hidden = column(0, 0, 0, 0)
		tracer := mustFunction(t, p, "t4").(coreml.Tracer)
		err = tracer.Trace(context.Background(), map[string]coreml.Tensor{"x": column(x, 2, 3, 4)}, st[p], map[string]coreml.Tensor{"hidden": hidden},
			func(o coreml.Observed) error {
				o.Tensor.Data = append([]float16.Float16{}, o.Tensor.Data...)
				seen = append(seen, o)
				if o.Name == stopAt {
					return errStop
				}
				return nil
			})
		return seen, hidden, err
	}
	for _, tt := range []struct {
		stop   string
		x      float32
		values int
	}{{"", 1, 4}, {"nothing", 1, 2}, {"large", 1, 3}, {"again", 1, 4}, {"", 65504, 4}} {
		want, wantHidden, errHere := look(here, tt.x, tt.stop)
		got, gotHidden, errThere := look(opened, tt.x, tt.stop)
		requireSameError(t, errHere, errThere)
		assert.Equal(t, errors.Is(errHere, errStop), errors.Is(errThere, errStop))
		require.Len(t, got, tt.values)
		require.True(t, reflect.DeepEqual(want, got), "the values of the trace that stops at %q", tt.stop)
		assert.Equal(t, wantHidden, gotHidden)
	}
}

var errStop = errors.New("seen enough")

// TestTraceCut: a trace that ends in the middle, by its context or by a panic of
// who looks at it, is no trap for the next call.
func TestTraceCut(t *testing.T) {
	opened := newCrewOpen(t, "none")
	tracer := mustFunction(t, opened, "t4").(coreml.Tracer)
	trace := func(ctx context.Context, observe func(coreml.Observed) error) error {
		in, out := map[string]coreml.Tensor{"x": column(1, 2, 3, 4)}, map[string]coreml.Tensor{"hidden": column(0, 0, 0, 0)}
		return tracer.Trace(ctx, in, mustState(t, opened), out, observe)
	}
	ctx, cancel := context.WithCancel(context.Background())
	assert.ErrorIs(t, trace(ctx, func(coreml.Observed) error { cancel(); return nil }), context.Canceled)
	assert.NoError(t, trace(context.Background(), func(coreml.Observed) error { return nil }))
	assert.PanicsWithValue(t, "eek", func() { trace(context.Background(), func(coreml.Observed) error { panic("eek") }) })
	assert.NoError(t, trace(context.Background(), func(coreml.Observed) error { return nil }))
}

// TestRegionGrows: the worker learns of a larger file before it needs it, also
// where an earlier attempt to tell it came to nothing.
func TestRegionGrows(t *testing.T) {
	opened := newCrewOpen(t, "none")
	st := mustState(t, opened)
	require.NoError(t, opened.proc.region.grow(3*smallestRegion))
	assert.Len(t, opened.proc.region.data, 4*smallestRegion)
	require.NoError(t, st.Write("k", column(1, 2, 3, 4).Data))
	assert.Equal(t, 4*smallestRegion, opened.proc.mapped)
	info, err := opened.proc.region.file.Stat()
	require.NoError(t, err)
	assert.EqualValues(t, 4*smallestRegion, info.Size())
	require.NoError(t, opened.proc.region.grow(smallestRegion))
	assert.Len(t, opened.proc.region.data, 4*smallestRegion, "it never shrinks")
}

// TestExclusiveHoldsOneFunction: no worker ever loads two.
func TestExclusiveHoldsOneFunction(t *testing.T) {
	c := newCrew(t, "none", 0)
	c.opt.Exclusive = true
	opened := c.open(c.plane())
	st := mustState(t, opened)
	for i, name := range []string{"t4", "t1", "t4", "t4"} {
		x := []float32{1, 2, 3, 4}[:toyFunctionRows(name)]
		_, err := step(context.Background(), mustFunction(t, opened, name), st, x...)
		require.NoError(t, err)
		assert.Equal(t, map[string]bool{name: true}, opened.proc.loaded, "pass %d", i)
	}
	k := make([]float16.Float16, 4)
	require.NoError(t, st.Read("k", k))
	assert.Equal(t, column(4, 6, 9, 12).Data, k)
}

// TestMemoryDecides: a package whose two functions weigh more than a worker may
// hold is held one function at a time, and no other is.
func TestMemoryDecides(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "Data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Data", "weight.bin"), make([]byte, 700), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Manifest.json"), make([]byte, 300), 0o644))
	for memory, held := range map[int64]int{0: 2, 1000: 1, 1999: 1, 2000: 2} {
		c := newCrew(t, "none", 0)
		c.opt.Memory = memory
		opened, err := c.plane().Open(context.Background(), dir)
		require.NoError(t, err)
		mustFunction(t, opened, "t1")
		mustFunction(t, opened, "t4")
		assert.Len(t, opened.(*pkg).proc.loaded, held, "%d bytes", memory)
		require.EqualError(t, opened.Close(), "toy: closed") // as every toy does
	}
	c := newCrew(t, "none", 0)
	c.opt.Memory = 1
	_, err := c.plane().Open(context.Background(), filepath.Join(dir, "gone"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func toyFunctionRows(name string) int { return map[string]int{"t1": 1, "t4": 4}[name] }

// TestLostStateIsLetGo: the worker is told of states that nobody holds.
func TestLostStateIsLetGo(t *testing.T) {
	opened := newCrewOpen(t, "none")
	kept := mustState(t, opened)
	func() { mustState(t, opened) }()
	require.Eventually(t, func() bool {
		runtime.GC()
		return len(opened.livePlaces()) == 1
	}, patience, time.Millisecond)
	assert.Equal(t, []uint64{2}, opened.looseStates())
	require.NoError(t, kept.Read("k", make([]float16.Float16, 4)))
}

// TestLetGoWhileSaved: a state that is let go of while it is being saved stays
// in the worker until it is.
func TestLetGoWhileSaved(t *testing.T) {
	c := newCrew(t, "none", 0)
	c.opt.Exclusive = true
	opened := c.open(c.plane())
	t1, t4 := mustFunction(t, opened, "t1"), mustFunction(t, opened, "t4")
	st := mustState(t, opened)
	_, err := step(context.Background(), t1, st, 1)
	require.NoError(t, err)
	opened.loose = append(opened.loose, st.(*state).at)
	hidden, err := step(context.Background(), t4, st, 1, 2, 3, 4)
	require.NoError(t, err)
	assert.Equal(t, []float32{2, 2, 3, 4}, hidden)
}

// BenchmarkPass is a pass of next to no work: what a worker adds to it.
func BenchmarkPass(b *testing.B) {
	self, err := os.Executable()
	require.NoError(b, err)
	p, err := New(context.Background(), Options{Plane: "toy", Path: self, Args: []string{workerArg, os.DevNull, "none", "0"}})
	require.NoError(b, err)
	opened, err := p.Open(context.Background(), "toy.mlpackage")
	require.NoError(b, err)
	defer opened.Close()
	fn, err := opened.Function(context.Background(), "t1")
	require.NoError(b, err)
	st, err := opened.NewState()
	require.NoError(b, err)
	for b.Loop() {
		_, err := step(context.Background(), fn, st, 0)
		require.NoError(b, err)
	}
}

// TestCompiled: a plane that compiles says through its worker whether it did; of
// one that does not, nothing is said.
func TestCompiled(t *testing.T) {
	opened, err := newCrew(t, "compiling", 2).plane().Open(context.Background(), "toy.mlpackage")
	require.NoError(t, err)
	t.Cleanup(func() { opened.Close() })
	require.Implements(t, (*coreml.Compiler)(nil), opened)
	assert.True(t, opened.(coreml.Compiler).Compiled())

	c := newCrew(t, "none", 0)
	assert.NotImplements(t, (*coreml.Compiler)(nil), c.open(c.plane()))
}

// TestPeakMemory: the peak is what a worker told, also of one that has ended;
// before any has, it is not known.
func TestPeakMemory(t *testing.T) {
	c := newCrew(t, "none", 0)
	p := c.plane()
	_, err := p.PeakMemory()
	require.ErrorIs(t, err, memory.ErrUnknown)

	opened := c.open(p)
	mustFunction(t, opened, "t1")
	told, err := p.PeakMemory()
	require.NoError(t, err)
	assert.Positive(t, told)
	p.peak.note(told + 1<<40) // a worker that took more
	opened.Close()            // the toy's package does not like it
	mustFunction(t, c.open(p), "t4")
	after, err := p.PeakMemory()
	require.NoError(t, err)
	assert.Equal(t, told+1<<40, after)
}
