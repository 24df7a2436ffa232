package native_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/coreml/native"
	"lockstep/coreml/native/objc"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/half"
)

// slots of the fixture's KV cache. Rows of 40 are padded by the fake.
const slots = 64

// exports are packages that tests copy: exporting takes longer.
var exports = struct {
	dir string
	mu  sync.Mutex
	by  map[string]string
}{by: map[string]string{}}

// TestMain gives the exports a directory.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "native")
	if err != nil {
		panic(err)
	}
	exports.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// exportTail gives the test a copy of nano's tail shard with the functions
// named ("t1,t4") and returns the package directory.
func exportTail(t testing.TB, functions string) string {
	t.Helper()
	exports.mu.Lock()
	defer exports.mu.Unlock()
	if exports.by[functions] == "" {
		ck, err := checkpoint.Open(fixtures.Nano())
		require.NoError(t, err)
		defer ck.Close() // opened for reading
		rec := exporter.DefaultRecipe()
		rec.Slots = slots
		rec.Rows, err = exporter.ParseFunctions(functions)
		require.NoError(t, err)
		res, err := exporter.Export(context.Background(), exporter.Options{
			Checkpoint: ck, Dir: filepath.Join(exports.dir, functions), Layers: exporter.Range{Start: 30, End: 32},
			Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
		})
		require.NoError(t, err)
		exports.by[functions] = res.Dir
	}
	return copyOf(t, exports.by[functions])
}

// fakePlane is the native plane over a fake runtime, whose faults fail the
// test.
func fakePlane(t testing.TB, opt fakecoreml.Options) (*native.Plane, *fakecoreml.Runtime) {
	t.Helper()
	rt := fakecoreml.Start(t, opt)
	plane, err := native.Over(rt, native.Options{Reserve: 1})
	require.NoError(t, err)
	return plane, rt
}

// open opens a package, closed with the test.
func open(t testing.TB, plane coreml.Plane, dir string) coreml.Package {
	t.Helper()
	pkg, err := plane.Open(context.Background(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pkg.Close()) })
	return pkg
}

// session runs passes on one state of a package.
type session struct {
	pkg   coreml.Package
	state coreml.State
	fns   map[string]coreml.Function
}

func newSession(pkg coreml.Package, names ...string) (*session, error) {
	s := &session{pkg: pkg, fns: map[string]coreml.Function{}}
	for _, name := range names {
		fn, err := pkg.Function(context.Background(), name)
		if err != nil {
			return nil, err
		}
		s.fns[name] = fn
	}
	var err error
	s.state, err = pkg.NewState()
	return s, err
}

// seed fills every state with values that differ from each other.
func (s *session) seed(fn string) error {
	for i, f := range s.fns[fn].Signature().States {
		values := make([]float16.Float16, elements(f.Shape))
		for j := range values {
			values[j] = half.FromFloat32(float32((i*7919+j*31)%257-128) / 64)
		}
		if err := s.state.Write(f.Name, values); err != nil {
			return err
		}
	}
	return nil
}

// pass runs a function at pos with rows live rows and returns hidden.
func (s *session) pass(name string, pos, rows int) ([]float16.Float16, error) {
	fn := s.fns[name]
	if fn == nil {
		return nil, fmt.Errorf("no function %s", name)
	}
	shape := hostinput.Shape{Slots: slots}
	for _, f := range fn.Signature().Inputs {
		switch f.Name {
		case contract.X:
			shape.Hidden, shape.Rows = f.Shape[1], f.Shape[2]
		case contract.RopeCos:
			shape.RopeHalf = f.Shape[1]
		}
	}
	if shape.Rows == 0 || shape.RopeHalf == 0 {
		return nil, errors.New("the signature lacks an input")
	}
	rope, err := hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 2 * shape.RopeHalf, Factors: ones(shape.RopeHalf), AttentionFactor: 1})
	if err != nil {
		return nil, err
	}
	x := make([][]float16.Float16, rows)
	for r := range x {
		x[r] = make([]float16.Float16, shape.Hidden)
		for c := range x[r] {
			x[r][c] = half.FromFloat32(float32(((pos+r)*131+c*17)%101-50) / 32)
		}
	}
	in := hostinput.NewPass(shape)
	if err := in.Fill(rope, pos, rows, x); err != nil {
		return nil, err
	}
	out := coreml.Tensor{Shape: []int{1, shape.Hidden, shape.Rows, 1}, Data: make([]float16.Float16, shape.Hidden*shape.Rows)}
	err = fn.Predict(context.Background(), in.Inputs(), s.state, map[string]coreml.Tensor{contract.Hidden: out})
	return out.Data, err
}

func ones(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// content reads every state.
func (s *session) content(fn string) ([][]float16.Float16, error) {
	var all [][]float16.Float16
	for _, f := range s.fns[fn].Signature().States {
		values := make([]float16.Float16, elements(f.Shape))
		if err := s.state.Read(f.Name, values); err != nil {
			return nil, err
		}
		all = append(all, values)
	}
	return all, nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// trace is what a run of both functions on one state gave.
type trace struct {
	hidden [][]float16.Float16
	states [][]float16.Float16
	plans  map[string]*coreml.ComputePlan
}

// record runs a block, then singles, then a block again, all on one state, and
// loads each function's plan.
func record(plane coreml.Plane, dir string) (tr trace, err error) {
	pkg, err := plane.Open(context.Background(), dir)
	if err != nil {
		return tr, err
	}
	defer func() { err = errors.Join(err, pkg.Close()) }()
	s, err := newSession(pkg, "t1", "t4")
	if err != nil {
		return tr, err
	}
	if err := s.seed("t1"); err != nil {
		return tr, err
	}
	for _, p := range []struct {
		fn        string
		pos, rows int
	}{{"t4", 3, 4}, {"t1", 7, 1}, {"t1", 8, 1}, {"t4", 9, 2}} {
		hidden, err := s.pass(p.fn, p.pos, p.rows)
		if err != nil {
			return tr, fmt.Errorf("%s at %d: %w", p.fn, p.pos, err)
		}
		tr.hidden = append(tr.hidden, hidden)
	}
	if tr.states, err = s.content("t4"); err != nil {
		return tr, err
	}
	tr.plans = map[string]*coreml.ComputePlan{}
	for name, fn := range s.fns {
		plan, err := fn.ComputePlan(context.Background())
		if errors.Is(err, coreml.ErrNoComputePlan) {
			continue
		}
		if err != nil {
			return tr, err
		}
		tr.plans[name] = plan
	}
	return tr, nil
}

// differences says what of a trace is not the reference plane's.
func (tr trace) differences(want trace) []string {
	var out []string
	for i := range want.hidden {
		if i >= len(tr.hidden) || !same(tr.hidden[i], want.hidden[i]) {
			out = append(out, fmt.Sprintf("hidden of pass %d differs from the reference plane's", i))
		}
	}
	for i := range want.states {
		if i >= len(tr.states) || !same(tr.states[i], want.states[i]) {
			out = append(out, fmt.Sprintf("state %d differs from the reference plane's", i))
		}
	}
	return out
}

func same(a, b []float16.Float16) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// over makes a plane over a runtime that a test has wrapped.
func over(t testing.TB, rt objc.Runtime) (*native.Plane, error) {
	t.Helper()
	return native.Over(rt, native.Options{Reserve: 1})
}

// referenceTrace is what every run must give.
func referenceTrace(t testing.TB, dir string) trace {
	t.Helper()
	want, err := record(reference.Plane{}, dir)
	require.NoError(t, err)
	return want
}

// copyOf copies a package, so that what is compiled beside it is a test's own.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(dir))
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}
