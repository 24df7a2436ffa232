package reference_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// sample is a function of one package under construction, with drawn values.
type sample struct {
	*mil.Builder
	draw
	blobs *blobs
	big   bool      // large enough to be cut over workers
	dtype mil.DType // of inputs, constants and tensors
	count int
}

func newSample(name string) *sample {
	s := &sample{Builder: mil.NewBuilder(mlpackage.MainFunction, "CoreML8"), draw: newDraw(name), blobs: newBlobs(), dtype: mil.Float16}
	s.Input("never_read", fp16(3))
	return s
}

// name is a name that nothing has.
func (s *sample) name() string {
	s.count++
	return fmt.Sprintf("v%d", s.count)
}

func (s *sample) input(shape ...int) string {
	in := s.Input(s.name(), fp16(shape...))
	if s.dtype == mil.Float16 {
		return in
	}
	return s.widened(in, s.Input(s.name(), fp16(shape...)))
}

// constant is a const of drawn values, in place or in the weight file.
func (s *sample) constant(shape ...int) string { return s.Const(s.name(), s.literal(shape...)) }

func (s *sample) literal(shape ...int) mil.Literal {
	if s.dtype != mil.Float16 {
		return s.words(s.dtype, shape...)
	}
	values := s.halfs(elements(shape))
	if s.IntN(2) == 0 {
		return mil.Halfs(shape, values)
	}
	return s.blobs.halfs(shape, values)
}

// tensor is an input, or at times a constant.
func (s *sample) tensor(shape ...int) string {
	if s.IntN(4) == 0 {
		return s.constant(shape...)
	}
	return s.input(shape...)
}

// quantized is an int8 weight with a scale for all or for each row.
func (s *sample) quantized(shape ...int) string {
	q := make([]int8, elements(shape))
	for i := range q {
		q[i] = int8(s.between(-127, 127))
	}
	scale := slices.Repeat([]int{1}, len(shape))
	if s.IntN(2) == 0 {
		scale[0] = shape[0]
	}
	return s.Op("constexpr_blockwise_shift_scale", s.name(),
		mil.Inline("data", s.blobs.int8s(shape, q)), mil.Inline("scale", s.blobs.halfs(scale, s.halfs(elements(scale)))))
}

// op appends an op and returns its output's name.
func (s *sample) op(typ string, args ...mil.Operand) string { return s.Op(typ, s.name(), args...) }

// shapeOf draws a shape: small, or large enough to be cut over workers.
func (s *sample) shapeOf(low, high int) []int {
	shape := s.shape(s.between(low, high), 5)
	if s.big {
		shape = shape[:min(len(shape), high-1)]
		n := s.between(25_000, 40_000)
		if s.dtype != mil.Float16 {
			n = s.between(8_300, 9_000) // two ranges; many ops reveal it
		}
		shape = append(shape, 1+n/elements(shape))
	}
	return shape
}

// run finishes the function with its outputs, executes the package, several
// passes on one state, and compares every bit with the naive evaluator.
func (s *sample) run(t testing.TB, outputs ...string) {
	t.Helper()
	f, err := s.Finish(outputs...)
	require.NoError(t, err)
	dir := writePackage(t, s.blobs, f)
	pkg := openPackage(t, dir)
	files, err := mlpackage.Open(dir)
	require.NoError(t, err)
	defer files.Close()
	passes := 2
	if s.big {
		passes = 1
	}
	comparePasses(t, pkg, files, f, s.draw, passes)
}

// comparePasses runs f on both evaluators from the same drawn state, and traced.
func comparePasses(t testing.TB, pkg coreml.Package, files *mlpackage.Package, f *mil.Function, d draw, passes int) {
	t.Helper()
	fn := openFunction(t, pkg, f.Name)
	sig := fn.Signature()
	st := newState(t, pkg)
	states := map[string]array{}
	for _, s := range sig.States {
		states[s.Name] = halfArray(s.Shape, d.halfs(elements(s.Shape)))
		require.NoError(t, st.Write(s.Name, states[s.Name].halfs()))
	}
	for pass := range passes {
		in, inputs := tensors(sig.Inputs), map[string]array{}
		for _, i := range sig.Inputs {
			copy(in[i.Name].Data, d.halfs(elements(i.Shape)))
			inputs[i.Name] = halfArray(i.Shape, in[i.Name].Data)
		}
		var traced *traced
		if pass == 0 || finiteStates(t, st, sig) { // a state takes no others
			traced = traceCopy(t, pkg, fn, in, st)
		}
		out := tensors(sig.Outputs)
		err := fn.Predict(context.Background(), in, st, out)
		all := evaluate(t, files, f, inputs, states)
		if all == nil {
			require.ErrorIs(t, err, reference.ErrIndex)
			return
		}
		want := all.outputs(f)
		if traced != nil {
			traced.requireLike(t, f, all, out, content(t, st, sig), err)
		}
		finite := true
		for _, o := range sig.Outputs {
			requireSame(t, want[o.Name].halfs(), out[o.Name].Data, fmt.Sprintf("pass %d, output %s", pass, o.Name))
			finite = finite && half.FirstNonFinite(want[o.Name].halfs()) < 0
		}
		if finite {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, coreml.ErrNonFinite)
		}
		for name, got := range content(t, st, sig) {
			requireSame(t, states[name].halfs(), got, fmt.Sprintf("pass %d, state %s", pass, name))
		}
	}
}

// withWorkers sets the number of workers of what is opened until the test
// ends.
func withWorkers(t testing.TB, n int) {
	t.Helper()
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// each runs cases of an op over float16, every eighth of them big.
func each(t *testing.T, op string, cases int, build func(s *sample) []string) {
	t.Helper()
	eachOf(t, mil.Float16, op, cases, build)
}

// eachOf runs cases of an op over a type.
func eachOf(t *testing.T, d mil.DType, op string, cases int, build func(s *sample) []string) {
	t.Helper()
	if d != mil.Float16 {
		op += "_" + d.String()
	}
	t.Run(op, func(t *testing.T) {
		withWorkers(t, 5)
		for i := range cases {
			name := fmt.Sprintf("%s %d", op, i)
			s := newSample(name)
			s.big, s.dtype = i%8 == 7, d
			outputs := s.reveal(build(s)...)
			require.NoError(t, s.Err(), name)
			ok := t.Run(fmt.Sprint(i), func(t *testing.T) { s.run(t, outputs...) })
			require.True(t, ok, name)
		}
	})
}

// mustFail asserts a refusal that is of the given kind and names all parts.
func mustFail(t testing.TB, err, kind error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	assert.Truef(t, errors.Is(err, kind), "want an error of kind %q, found %q", kind, err)
	for _, part := range parts {
		assert.ErrorContains(t, err, part)
	}
}

// ints draws n numbers from low to high.
func (d draw) ints(n, low, high int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = d.between(low, high)
	}
	return out
}

// subset draws some of the numbers below n, at least one, ascending.
func (d draw) subset(n int) []int {
	for {
		var out []int
		for i := range n {
			if d.IntN(2) == 0 {
				out = append(out, i)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
}

// signed writes axes now and then as negative ones.
func (d draw) signed(axes []int, rank int) []int {
	out := slices.Clone(axes)
	for i := range out {
		if d.IntN(2) == 0 {
			out[i] -= rank
		}
	}
	return out
}

// oneHots are rows that are zero but for at most one element, as a cache write
// has them.
func (d draw) oneHots(rows, k int) []float16.Float16 {
	out := make([]float16.Float16, rows*k)
	for r := range rows {
		if d.IntN(3) == 0 {
			out[r*k+d.IntN(k)] = 0x3C00
		}
	}
	return out
}
