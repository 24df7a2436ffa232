package reference_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/mil"
)

// TestStateSemantics runs programs whose result depends on when a state is
// read and written, and on what lies in its buffer: a value keeps what was read
// although the state has been written since, and a read sees the last write.
func TestStateSemantics(t *testing.T) {
	abs := func(s *sample, x string) string { return s.op("abs", mil.Arg("x", x)) }
	neg := func(s *sample, x string) string {
		return s.op("mul", mil.Arg("x", x), mil.Lit("y", mil.Half(0xBC00)))
	}
	add := func(s *sample, x, y string) string { return s.op("add", mil.Arg("x", x), mil.Arg("y", y)) }
	read := func(s *sample, state string) string { return s.op("read_state", mil.Arg("input", state)) }
	halves := func(s *sample, x string) (a, b string) {
		parts := s.Ops("split", []string{s.name(), s.name()}, mil.Arg("x", x), mil.Lit("num_splits", mil.Int32Scalar(2)), mil.Lit("axis", mil.Int32Scalar(1)))
		return parts[0], parts[1]
	}
	join := func(s *sample, a, b string) string {
		return s.op("concat", mil.Arg("values", a, b), mil.Lit("axis", mil.Int32Scalar(1)))
	}
	slice := func(s *sample, x string) string { // the second of two
		return s.op("slice_by_index", mil.Arg("x", x), mil.Lit("begin", mil.Int32s(0, 1, 0, 0)), mil.Lit("end", mil.Int32s(1, 2, 4, 8)))
	}
	for _, tc := range []struct {
		name  string
		build func(s *sample, x, k, v string) []string
	}{
		{"read write read", func(s *sample, x, k, _ string) []string {
			old := read(s, k)
			s.Write(k, add(s, old, x))
			return []string{old, read(s, k)}
		}},
		{"old content as output alone", func(s *sample, x, k, _ string) []string {
			old := read(s, k)
			s.Write(k, x)
			return []string{old}
		}},
		{"old content after two writes", func(s *sample, x, k, _ string) []string {
			old := read(s, k)
			s.Write(k, x)
			middle := read(s, k)
			s.Write(k, add(s, old, middle))
			return []string{add(s, old, read(s, k)), middle}
		}},
		{"reshape of old content", func(s *sample, x, k, _ string) []string {
			flat := s.op("reshape", mil.Arg("x", read(s, k)), mil.Lit("shape", mil.Int32s(-1)))
			s.Write(k, x)
			return []string{abs(s, flat)}
		}},
		{"piece of old content", func(s *sample, x, k, _ string) []string {
			a, b := halves(s, read(s, k))
			s.Write(k, x)
			return []string{add(s, a, b)}
		}},
		{"slice of old content", func(s *sample, x, k, _ string) []string {
			second := slice(s, read(s, k))
			s.Write(k, x)
			return []string{abs(s, second)}
		}},
		{"slice of a piece as output", func(s *sample, x, k, _ string) []string {
			second := slice(s, read(s, k))
			whole := s.op("expand_dims", mil.Arg("x", second), mil.Lit("axes", mil.Int32s(0)))
			s.Write(k, x)
			return []string{whole}
		}},
		{"halves swapped in place", func(s *sample, _, k, _ string) []string {
			a, b := halves(s, read(s, k))
			s.Write(k, join(s, b, a))
			return []string{read(s, k)}
		}},
		{"written value used later", func(s *sample, x, k, _ string) []string {
			data := abs(s, x)
			s.Write(k, data)
			s.Write(k, neg(s, data))
			return []string{add(s, data, read(s, k))}
		}},
		{"written value read between", func(s *sample, x, k, _ string) []string {
			first, second := abs(s, x), neg(s, x)
			third := neg(s, first) // after second was made, before first is written
			s.Write(k, first)
			s.Write(k, second)
			return []string{third, read(s, k)}
		}},
		{"old content between making and writing", func(s *sample, x, k, _ string) []string {
			data := abs(s, x)
			old := abs(s, read(s, k))
			s.Write(k, data)
			return []string{old}
		}},
		{"part of a larger value", func(s *sample, x, k, _ string) []string {
			both := join(s, x, neg(s, x))
			a, b := halves(s, both)
			s.Write(k, b)
			return []string{a}
		}},
		{"reshape of a value", func(s *sample, x, k, _ string) []string {
			flat := s.op("reshape", mil.Arg("x", abs(s, x)), mil.Lit("shape", mil.Int32s(-1)))
			s.Write(k, s.op("reshape", mil.Arg("x", neg(s, flat)), mil.Lit("shape", mil.Int32s(cache...))))
			return []string{abs(s, flat)}
		}},
		{"input and constant", func(s *sample, x, k, v string) []string {
			s.Write(k, x)
			s.Write(v, s.constant(cache...))
			return []string{read(s, k), read(s, v), x}
		}},
		{"exchange", func(s *sample, _, k, v string) []string {
			a, b := read(s, k), read(s, v)
			s.Write(k, b)
			s.Write(v, a)
			return []string{read(s, k), read(s, v)}
		}},
		{"one value into both", func(s *sample, x, k, v string) []string {
			data := abs(s, x)
			s.Write(k, data)
			s.Write(v, data)
			s.Write(k, neg(s, read(s, v)))
			return []string{read(s, k), read(s, v)}
		}},
		{"itself", func(s *sample, _, k, _ string) []string {
			s.Write(k, read(s, k))
			return []string{read(s, k)}
		}},
		{"never read", func(s *sample, x, k, _ string) []string {
			s.Write(k, abs(s, x))
			return []string{x}
		}},
		{"never written", func(s *sample, _, k, _ string) []string {
			a, b := halves(s, read(s, k))
			return []string{b, a}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSample(tc.name)
			k, v := s.State("k", fp16(cache...)), s.State("v", fp16(cache...))
			s.run(t, tc.build(s, s.input(cache...), k, v)...)
		})
	}
}

// counters is a package with two functions over one state: up adds the input
// to it and returns the sum, get returns it.
func counters(t testing.TB) coreml.Package {
	t.Helper()
	up := mil.NewBuilder("up", "CoreML8")
	x := up.Input("x", fp16(2))
	total := up.State("total", fp16(2))
	up.Write(total, up.Op("add", "sum", mil.Arg("x", up.Op("read_state", "old", mil.Arg("input", total))), mil.Arg("y", x)))
	up.Op("read_state", "new", mil.Arg("input", total))
	upFn, err := up.Finish("new")
	require.NoError(t, err)

	get := mil.NewBuilder("get", "CoreML8")
	get.Input("x", fp16(2))
	total = get.State("total", fp16(2))
	get.Op("read_state", "new", mil.Arg("input", total))
	getFn, err := get.Finish("new")
	require.NoError(t, err)
	return openPackage(t, writePackage(t, nil, getFn, upFn))
}

func TestStatesAreTheCallers(t *testing.T) {
	pkg := counters(t)
	assert.Equal(t, []string{"get", "up"}, pkg.FunctionNames())
	up, get := openFunction(t, pkg, "up"), openFunction(t, pkg, "get")
	assert.Equal(t, coreml.Signature{
		Inputs:  []coreml.Feature{{Name: "x", Shape: []int{2}}},
		Outputs: []coreml.Feature{{Name: "new", Shape: []int{2}}},
		States:  []coreml.Feature{{Name: "total", Shape: []int{2}}},
	}, up.Signature())
	a, b := newState(t, pkg), newState(t, pkg)
	in := map[string]coreml.Tensor{"x": {Shape: []int{2}, Data: []float16.Float16{0x3C00, 0x4000}}} // 1, 2
	run := func(fn coreml.Function, st coreml.State) []float16.Float16 {
		t.Helper()
		out := tensors(fn.Signature().Outputs)
		require.NoError(t, fn.Predict(context.Background(), in, st, out))
		return out["new"].Data
	}
	assert.Equal(t, []float16.Float16{0, 0}, run(get, a), "a new state is zero")
	assert.Equal(t, []float16.Float16{0x3C00, 0x4000}, run(up, a))
	assert.Equal(t, []float16.Float16{0x4000, 0x4400}, run(up, a))
	assert.Equal(t, []float16.Float16{0, 0}, run(get, b), "another state is another")
	assert.Equal(t, []float16.Float16{0x4000, 0x4400}, run(get, a), "both functions see one state")

	read := make([]float16.Float16, 2)
	require.NoError(t, a.Read("total", read))
	assert.Equal(t, []float16.Float16{0x4000, 0x4400}, read)
	require.NoError(t, b.Write("total", []float16.Float16{0x8000, 0x0001}))
	assert.Equal(t, []float16.Float16{0x8000, 0x0001}, run(get, b))
}

func TestStateRefusals(t *testing.T) {
	pkg, other := counters(t), counters(t)
	st := newState(t, pkg)
	mustFail(t, st.Read("totals", make([]float16.Float16, 2)), reference.ErrTensor, `"totals"`)
	mustFail(t, st.Write("totals", make([]float16.Float16, 2)), reference.ErrTensor, `"totals"`)
	mustFail(t, st.Read("total", make([]float16.Float16, 3)), reference.ErrTensor, `"total"`, "want 2", "found 3")
	mustFail(t, st.Write("total", nil), reference.ErrTensor, `"total"`, "want 2", "found 0")
	for _, bad := range []float16.Float16{0x7C00, 0xFC00, 0x7E00, 0x7C01} {
		mustFail(t, st.Write("total", []float16.Float16{0x3C00, bad}), coreml.ErrNonFinite, `"total"`, "[1]")
	}
	read := []float16.Float16{1, 1}
	require.NoError(t, st.Read("total", read))
	assert.Equal(t, []float16.Float16{0, 0}, read, "what was refused has changed nothing")

	up := openFunction(t, pkg, "up")
	in, out := tensors(up.Signature().Inputs), tensors(up.Signature().Outputs)
	for name, foreign := range map[string]coreml.State{"none": nil, "of another package": newState(t, other), "of another plane": foreignState{}} {
		mustFail(t, up.Predict(context.Background(), in, foreign, out), reference.ErrTensor, "function up", "state")
		assert.NoError(t, up.Predict(context.Background(), in, st, out), "after a state %s", name)
	}
}

// foreignState is a state of another plane.
type foreignState struct{}

func (foreignState) Read(string, []float16.Float16) error  { return nil }
func (foreignState) Write(string, []float16.Float16) error { return nil }
