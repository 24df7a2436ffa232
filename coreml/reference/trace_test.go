package reference_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// traced is what Trace showed and left behind.
type traced struct {
	values  []coreml.Observed
	outputs map[string]coreml.Tensor
	states  map[string][]float16.Float16
	err     error
}

// traceCopy traces a pass on a state with the content of st.
func traceCopy(t testing.TB, pkg coreml.Package, fn coreml.Function, in map[string]coreml.Tensor, st coreml.State) *traced {
	t.Helper()
	tracer, ok := fn.(coreml.Tracer)
	require.True(t, ok)
	sig := fn.Signature()
	own := newState(t, pkg)
	for name, data := range content(t, st, sig) {
		require.NoError(t, own.Write(name, data))
	}
	got := &traced{outputs: tensors(sig.Outputs)}
	got.err = tracer.Trace(context.Background(), in, own, got.outputs, func(o coreml.Observed) error {
		o.Tensor = coreml.Tensor{Shape: slices.Clone(o.Tensor.Shape), Data: slices.Clone(o.Tensor.Data)}
		got.values = append(got.values, o)
		return nil
	})
	got.states = content(t, own, sig)
	return got
}

func finiteStates(t testing.TB, st coreml.State, sig coreml.Signature) bool {
	t.Helper()
	for _, data := range content(t, st, sig) {
		if half.FirstNonFinite(data) >= 0 {
			return false
		}
	}
	return true
}

// requireLike holds a trace against Predict's results, and every value against
// the naive evaluator's: each once, in program order, with its own shape.
func (got *traced) requireLike(t testing.TB, f *mil.Function, want *naive, outputs map[string]coreml.Tensor, states map[string][]float16.Float16, err error) {
	t.Helper()
	require.Equal(t, err, got.err)
	for name := range outputs {
		requireSame(t, outputs[name].Data, got.outputs[name].Data, "traced, output "+name)
	}
	for name := range states {
		requireSame(t, states[name], got.states[name], "traced, state "+name)
	}
	i := 0
	for _, op := range f.Ops {
		if op.Type == "const" || strings.HasPrefix(op.Type, "constexpr_") {
			continue
		}
		for _, v := range op.Outputs {
			require.Less(t, i, len(got.values), "%s is not shown", v.Name)
			o := got.values[i]
			require.Equal(t, [2]string{op.Type, v.Name}, [2]string{o.Op, o.Name})
			require.True(t, slices.Equal(v.Type.Shape, o.Tensor.Shape), "%s: shape %v, want %v", v.Name, o.Tensor.Shape, v.Type.Shape)
			requireSame(t, want.values[v.Name].halfs(), o.Tensor.Data, "traced, value "+v.Name)
			i++
		}
	}
	require.Len(t, got.values, i)
}

// TestTraceDeadParts: parts of values, and reads of states, that no op uses are
// shown as they were, though their memory is somebody else's a step later, and
// though a later write to the state is made in place.
func TestTraceDeadParts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		build func(s *sample) string
	}{
		{"reshape after the last use", func(s *sample) string {
			a := s.op("tanh", mil.Arg("x", s.input(cache...)))
			b := s.op("tanh", mil.Arg("x", a)) // the last use of a
			c := s.op("tanh", mil.Arg("x", b)) // may take a's buffer
			s.op("reshape", mil.Arg("x", a), mil.Lit("shape", mil.Int32s(64)))
			return s.op("tanh", mil.Arg("x", c))
		}},
		{"read of a state before a write in place", func(s *sample) string {
			st := s.State("kv", fp16(cache...))
			d := s.op("tanh", mil.Arg("x", s.input(cache...)))
			s.op("read_state", mil.Arg("input", st))
			s.Write(st, d)
			return s.op("read_state", mil.Arg("input", st))
		}},
		{"part of a read of a state before a write in place", func(s *sample) string {
			st := s.State("kv", fp16(cache...))
			old := s.op("read_state", mil.Arg("input", st))
			d := s.op("tanh", mil.Arg("x", s.input(cache...)))
			s.op("reshape", mil.Arg("x", old), mil.Lit("shape", mil.Int32s(64)))
			s.Write(st, d)
			return s.op("read_state", mil.Arg("input", st))
		}},
		{"pieces of a split by steps", func(s *sample) string {
			x := s.op("tanh", mil.Arg("x", s.input(4, 8)))
			lits := []mil.Operand{mil.Arg("x", x), mil.Lit("num_splits", mil.Int32Scalar(4)), mil.Lit("axis", mil.Int32Scalar(1))}
			return s.Ops("split", []string{s.name(), s.name(), s.name(), s.name()}, lits...)[3]
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSample("dead " + tc.name)
			out := tc.build(s)
			require.NoError(t, s.Err())
			s.run(t, out)
		})
	}
}

// TestTraceEnds: an error of observe ends the pass and is what Trace returns;
// the function runs again after it.
func TestTraceEnds(t *testing.T) {
	s := exportNano(t, exporter.Int8, exporter.LayerNormConcat)
	pkg := openPackage(t, s.dir)
	st := newState(t, pkg)
	r := s.runner(t, pkg, "t1", st)
	tokens := hiddenRows("ends", 1, s.cfg.HiddenSize)
	require.NoError(t, r.pass.Fill(r.rope, 0, 1, tokens))
	want := r.run(t, 0, tokens)

	fn := r.fn.(coreml.Tracer)
	enough := errors.New("enough")
	var seen []string
	out := tensors(fn.Signature().Outputs)
	err := fn.Trace(t.Context(), r.pass.Inputs(), newState(t, pkg), out, func(o coreml.Observed) error {
		if seen = append(seen, o.Name); len(seen) == 10 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	assert.ErrorContains(t, err, fmt.Sprintf("function t1: value %q: enough", seen[9]))
	assert.Len(t, seen, 10)
	assert.Zero(t, out["hidden"].Data[0], "the outputs are not filled")
	require.NoError(t, st.Write("layers_0_k_state", make([]float16.Float16, len(content(t, st, fn.Signature())["layers_0_k_state"]))))
	requireSame(t, want[0], r.run(t, 0, tokens)[0], "after a trace that ended")

	ctx, cancel := context.WithCancel(t.Context())
	err = fn.Trace(ctx, r.pass.Inputs(), st, out, func(coreml.Observed) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)

	missing := r.pass.Inputs()
	delete(missing, "x")
	err = fn.Trace(t.Context(), missing, st, out, func(coreml.Observed) error { panic("shown before the inputs were checked") })
	require.Error(t, err)
}

// TestTraceShowsNoConstants: what is known at compile time is no value of a
// pass, whoever uses it.
func TestTraceShowsNoConstants(t *testing.T) {
	s := newSample("trace constants")
	q := s.quantized(2, 4)
	sum := s.op("add", mil.Arg("x", q), mil.Arg("y", s.constant(2, 4)))
	require.NoError(t, s.Err())
	f, err := s.Finish(sum)
	require.NoError(t, err)
	pkg := openPackage(t, writePackage(t, s.blobs, f))
	fn := openFunction(t, pkg, mlpackage.MainFunction)
	got := traceCopy(t, pkg, fn, tensors(fn.Signature().Inputs), newState(t, pkg))
	require.NoError(t, got.err)
	require.Len(t, got.values, 1)
	assert.Equal(t, sum, got.values[0].Name)
}
