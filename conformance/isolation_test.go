//go:build linux || darwin

package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"golang.org/x/sys/unix"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/coreml/worker"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// brittleArg makes this test binary a worker around the reference plane. The
// arguments after it are the file that gets its process id, and a fault, which
// the second worker has: the first one only says which plane it is.
const brittleArg = "brittle-worker"

// runBrittle returns the exit code.
func runBrittle(pids, fault string) int {
	if err := serveBrittle(pids, fault); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveBrittle(pids, fault string) error {
	file, err := os.OpenFile(pids, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintln(file, os.Getpid())
	text, err := os.ReadFile(pids)
	if err != nil {
		return err
	}
	// Main keeps the standard output for itself; garbage needs it too.
	out, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return err
	}
	strike := map[string]func(){
		"hang":    hang,
		"crash":   func() { panic("the engine fell over") },
		"killed":  func() { unix.Kill(os.Getpid(), unix.SIGKILL); hang() },
		"exit":    func() { os.Exit(0) },
		"garbage": func() { unix.Write(out, []byte("warning: a line of text\n")); hang() },
	}
	what, where, _ := strings.Cut(fault, " at ")
	p := &brittle{Plane: reference.Plane{}, strike: strike[what], where: where}
	if bytes.Count(text, []byte("\n")) != 2 {
		p.where = "nowhere"
	}
	return worker.Main(context.Background(), func(string) (coreml.Plane, error) { return p, nil })
}

// hang sleeps: the Go runtime would end a process in which every goroutine waits
// for nothing.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

// brittle is a plane that breaks at one place: "open", "load t4", "pass 7".
type brittle struct {
	coreml.Plane
	strike func()
	where  string
	passes atomic.Int64
}

func (p *brittle) at(where string) {
	if where == p.where {
		p.strike()
	}
}

func (p *brittle) Open(ctx context.Context, dir string) (coreml.Package, error) {
	p.at("open")
	pkg, err := p.Plane.Open(ctx, dir)
	return brittlePackage{pkg, p}, err
}

type brittlePackage struct {
	coreml.Package
	plane *brittle
}

func (p brittlePackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	p.plane.at("load " + name)
	fn, err := p.Package.Function(ctx, name)
	return brittleFunction{fn, p.plane}, err
}

type brittleFunction struct {
	coreml.Function
	plane *brittle
}

func (f brittleFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	f.plane.at(fmt.Sprintf("pass %d", f.plane.passes.Add(1)))
	return f.Function.Predict(ctx, inputs, st, outputs)
}

// brittlePlane is that plane, seen from here.
func brittlePlane(t *testing.T, fault string, opt worker.Options) (plane *worker.Plane, pids func() []int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	list := filepath.Join(t.TempDir(), "pids")
	opt.Plane, opt.Path, opt.Args = manifest.PlaneReference, self, []string{brittleArg, list, fault}
	plane, err = worker.New(context.Background(), opt)
	require.NoError(t, err)
	return plane, func() []int {
		text, err := os.ReadFile(list)
		require.NoError(t, err)
		var all []int
		for _, line := range strings.Fields(string(text)) {
			var pid int
			_, err := fmt.Sscan(line, &pid)
			require.NoError(t, err)
			all = append(all, pid)
		}
		return all
	}
}

// TestBrokenWorkerCostsOneCase has the plane break once, in the middle of a
// suite: the case at hand is an error that says what happened, every other one
// is decided as ever, the verdict is an error, and no process is left.
func TestBrokenWorkerCostsOneCase(t *testing.T) {
	const bound = 5 * time.Second // for what takes milliseconds
	limits := worker.Options{Load: bound, Pass: bound}
	for _, tt := range []struct{ fault, check, want string }{
		{"hang at open", conformance.CheckOracle, "opening nano_layers30_32_int8.mlpackage: no answer in time: killed after 5s"},
		{"hang at load t4", conformance.CheckParity, "loading t4: no answer in time: killed after 5s"},
		{"hang at pass 30", conformance.CheckOracle, "a pass of t1: no answer in time: killed after 5s"},
		{"crash at pass 2", conformance.CheckOracle, "the process ended: exit status 2: EOF; its log ends: panic: the engine fell over"},
		{"killed at pass 200", conformance.CheckParity, "the process ended: signal: killed"},
		{"exit at load t1", conformance.CheckOracle, "loading t1: the process ended: exit status 0"},
		{"garbage at pass 1", conformance.CheckOracle, "a pass of t1: the other end does not keep to the protocol: want a frame"},
	} {
		t.Run(strings.ReplaceAll(tt.fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
			plane, pids := brittlePlane(t, tt.fault, limits)
			s.plane = plane
			verdict := s.judge(t, tail)
			assert.Equal(t, manifest.Error, verdict.Result)
			assert.Equal(t, manifest.PlaneReference, verdict.Plane)
			assert.Equal(t, verdict.Catalogue.Cases, verdict.Catalogue.Ran)
			var broken []string
			for _, check := range verdict.Checks {
				for _, c := range check.Cases {
					switch {
					case c.Result == manifest.Error:
						broken = append(broken, check.Name+": "+c.Reason)
					case check.Name != conformance.CheckResidency:
						assert.Equal(t, manifest.Pass, c.Result, "%s/%s: %s", check.Name, c.Name, c.Reason)
					}
				}
			}
			require.Len(t, broken, 1)
			assert.Contains(t, broken[0], tt.check+": ")
			assert.Contains(t, broken[0], "the plane broke: worker: ")
			assert.Contains(t, broken[0], tt.want)
			require.Len(t, pids(), 3, "one that was asked for its plane, one that broke, and one for the rest")
			for _, pid := range pids() {
				assert.ErrorIs(t, unix.Kill(pid, 0), unix.ESRCH, "worker %d", pid)
			}
		})
	}
}

// TestIsolatedVerdict: in workers, also in those that hold one function at a
// time, every case has the outcome and the evidence that it has in this process.
func TestIsolatedVerdict(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	want := s.judge(t, tail)
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			isolated := s
			plane, pids := brittlePlane(t, "none", worker.Options{Exclusive: exclusive})
			isolated.plane = plane
			got := isolated.judge(t, tail)
			assert.Equal(t, want.Catalogue, got.Catalogue)
			assert.Equal(t, want.Plane, got.Plane)
			assert.Equal(t, want.Result, got.Result)
			for i := range want.Checks {
				assert.Equal(t, want.Checks[i], got.Checks[i])
			}
			if exclusive {
				assert.Greater(t, len(pids()), 4, "functions took turns")
			} else {
				assert.Len(t, pids(), 2)
			}
		})
	}
}

// BenchmarkWorker runs nano's tail in this process and in a worker, pass by pass
// in turn, and reports how many times as long the worker takes.
func BenchmarkWorker(b *testing.B) {
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(b, err)
	defer ck.Close()
	rec := exporter.DefaultRecipe()
	rec.Slots = 256
	res, err := exporter.Export(context.Background(), exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(b.TempDir(), "out"), Layers: tail, Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
		Reserve: exporter.DefaultReserve, Fresh: conformance.Fresh,
	})
	require.NoError(b, err)
	self, err := os.Executable()
	require.NoError(b, err)
	plane, err := worker.New(context.Background(), worker.Options{
		Plane: manifest.PlaneReference, Path: self, Args: []string{brittleArg, os.DevNull, "none"},
	})
	require.NoError(b, err)
	for _, name := range []string{"t1", "t4"} {
		b.Run(name, func(b *testing.B) {
			here, there := benchmarkPass(b, reference.Plane{}, res.Dir, name), benchmarkPass(b, plane, res.Dir, name)
			var spent [2]time.Duration
			for b.Loop() {
				for i, pass := range []func(){here, there} {
					start := time.Now()
					pass()
					spent[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(spent[1])/float64(spent[0]), "worker/in-process")
			b.ReportMetric(float64((spent[1]-spent[0]).Microseconds())/float64(b.N), "µs-more/pass")
		})
	}
}

// benchmarkPass opens a function and returns a pass over zeros.
func benchmarkPass(b *testing.B, plane coreml.Plane, dir, name string) func() {
	b.Helper()
	pkg, err := plane.Open(context.Background(), dir)
	require.NoError(b, err)
	b.Cleanup(func() { pkg.Close() })
	fn, err := pkg.Function(context.Background(), name)
	require.NoError(b, err)
	st, err := pkg.NewState()
	require.NoError(b, err)
	zeros := func(features []coreml.Feature) map[string]coreml.Tensor {
		out := map[string]coreml.Tensor{}
		for _, f := range features {
			n := 1
			for _, d := range f.Shape {
				n *= d
			}
			out[f.Name] = coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, n)}
		}
		return out
	}
	inputs, outputs := zeros(fn.Signature().Inputs), zeros(fn.Signature().Outputs)
	return func() { require.NoError(b, fn.Predict(context.Background(), inputs, st, outputs)) }
}
