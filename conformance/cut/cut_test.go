package cut_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/cut"
	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// sampleFunction reads, writes and reads k again; what it stores in v is not
// read again.
func sampleFunction(t *testing.T, name string) *mil.Function {
	t.Helper()
	b := mil.NewBuilder(name, "CoreML8")
	shape := mil.Tensor(mil.Float16, 1, 2, 4, 8)
	x := b.Input("x", shape)
	k, v := b.State("k", shape), b.State("v", shape)
	old := b.Op("read_state", "old", mil.Arg("input", k))
	blend := b.Op("add", "blend", mil.Arg("x", old), mil.Arg("y", x))
	b.Write(k, blend)
	again := b.Op("read_state", "again", mil.Arg("input", k))
	value := b.Op("mul", "value", mil.Arg("x", x), mil.Lit("y", mil.Half(0x3800)))
	b.Write(v, value)
	wide := b.Op("expand_dims", "wide", mil.Arg("x", x), mil.Lit("axes", mil.Int32s(0)))
	narrow := b.Op("squeeze", "narrow", mil.Arg("x", wide), mil.Lit("axes", mil.Int32s(0)))
	sum := b.Op("add", "sum", mil.Arg("x", again), mil.Arg("y", narrow))
	late := b.Op("relu", "late", mil.Arg("x", sum))
	f, err := b.Finish(late)
	require.NoError(t, err)
	return f
}

func sampleModel(t *testing.T) *mlpackage.Model {
	t.Helper()
	feature := func(name string) mlpackage.Feature {
		return mlpackage.Feature{Name: name, DType: mil.Float16, Shape: []int{1, 2, 4, 8}}
	}
	m := &mlpackage.Model{SpecVersion: 9, Program: &mil.Program{}, Description: mlpackage.Description{Multi: true, Default: "a"}}
	for _, name := range []string{"a", "b"} {
		m.Program.Functions = append(m.Program.Functions, sampleFunction(t, name))
		m.Description.Functions = append(m.Description.Functions, mlpackage.FunctionDescription{
			Name: name, Inputs: []mlpackage.Feature{feature("x")}, Outputs: []mlpackage.Feature{feature("late")},
			States: []mlpackage.Feature{feature("k"), feature("v")},
		})
	}
	require.NoError(t, m.Program.Check())
	require.NoError(t, m.CheckSignature())
	return m
}

func text(t *testing.T, p *mil.Program) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, mil.Print(&b, p))
	return b.String()
}

// TestExpose: the asked-for values are the outputs, by what may be one; the rest
// is gone, but the states are declared and what is read is written.
func TestExpose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ask   []string
		shown map[string]string
		ops   string // that are left, without consts
	}{
		{"a value", []string{"sum"}, map[string]string{"sum": "sum"}, "old blend k_write_blend again wide narrow sum"},
		{"read before the write", []string{"old"}, map[string]string{"old": "old"}, "old blend k_write_blend"},
		{"stored and read again", []string{"blend", "again"}, map[string]string{"blend": "again", "again": "again"}, "old blend k_write_blend again"},
		{"stored, not read again", []string{"value"}, map[string]string{"value": "value_shown"}, "value value_shown"},
		{"an input", []string{"x"}, map[string]string{"x": "x_shown"}, "x_shown"},
		{"the output", []string{"late"}, map[string]string{"late": "late"}, "old blend k_write_blend again wide narrow sum late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := sampleModel(t)
			before := text(t, m.Program)
			out, shown, err := cut.Expose(m, "a", tt.ask)
			require.NoError(t, err)
			assert.Equal(t, tt.shown, shown)
			var ops []string
			for _, op := range out.Program.Function("a").Ops {
				if op.Type != "const" {
					ops = append(ops, op.Name)
				}
			}
			assert.Equal(t, tt.ops, strings.Join(ops, " "))
			assert.Len(t, out.Program.Function("a").States(), 2)
			assert.Len(t, out.Description.Function("a").Outputs, len(out.Program.Function("a").Outputs))
			assert.NoError(t, out.CheckSignature())
			assert.Equal(t, text(t, &mil.Program{Functions: []*mil.Function{m.Program.Function("b")}}),
				text(t, &mil.Program{Functions: []*mil.Function{out.Program.Function("b")}}), "the other function is as it was")
			assert.Equal(t, before, text(t, m.Program), "and so is the model")
			assert.Equal(t, "late", m.Description.Function("a").Outputs[0].Name)
		})
	}
}

func TestExposeRefuses(t *testing.T) {
	for _, tt := range []struct {
		function string
		ask      []string
		found    string
	}{
		{"c", []string{"sum"}, `function "c"`},
		{"a", nil, "no value was asked for"},
		{"a", []string{"nothing"}, "none of that name"},
		{"a", []string{"k"}, "state<fp16[1,2,4,8]>"},
		{"a", []string{"value_y"}, "a constant"},
		{"a", []string{"wide"}, "want rank 1 to 4, found fp16[1,1,2,4,8]"},
	} {
		_, _, err := cut.Expose(sampleModel(t), tt.function, tt.ask)
		require.ErrorIs(t, err, cut.ErrValue)
		assert.ErrorContains(t, err, tt.found)
	}
}

const built = "../../fixtures/foreign/packages/built.mlpackage"

// source is a package of its own, and a cut of it.
func source(t *testing.T) (string, *mlpackage.Model) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "built.mlpackage")
	require.NoError(t, os.CopyFS(dir, os.DirFS(built)))
	p, err := mlpackage.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	m, _, err := cut.Expose(p.Model, "t4", []string{"concat_2", "layer_0"})
	require.NoError(t, err)
	return dir, m
}

func weightsOf(dir string) string {
	return filepath.Join(dir, filepath.FromSlash(mlpackage.WeightsPath))
}

// TestWrite: a cut is a package that opens, with its source's weights; made
// again, it is found.
func TestWrite(t *testing.T) {
	noLinks := faultfs.Wrap(durable.OS{}, func(c faultfs.Call) *faultfs.Fault {
		if c.Op == faultfs.OpLink {
			return &faultfs.Fault{Err: errors.New("no links here")}
		}
		return nil
	})
	for _, tt := range []struct {
		name   string
		fsys   durable.FS
		linked bool
	}{{"linked", durable.OS{}, true}, {"copied", noLinks, false}} {
		t.Run(tt.name, func(t *testing.T) {
			src, m := source(t)
			work := filepath.Join(t.TempDir(), "deep", "work")
			dir, err := cut.Write(context.Background(), tt.fsys, src, m, work, 0)
			require.NoError(t, err)
			assert.Regexp(t, `^built_cut_[0-9a-f]{16}\.mlpackage$`, filepath.Base(dir))
			p, err := mlpackage.Open(dir)
			require.NoError(t, err)
			defer p.Close()
			require.NoError(t, p.Model.Program.Check())
			require.NoError(t, mlpackage.Check(p))
			assert.Equal(t, []string{"concat_2", "layer_0"}, p.Model.Program.Function("t4").Outputs)
			a, err := os.Stat(weightsOf(src))
			require.NoError(t, err)
			b, err := os.Stat(weightsOf(dir))
			require.NoError(t, err)
			assert.Equal(t, tt.linked, os.SameFile(a, b))

			again, err := cut.Write(context.Background(), tt.fsys, src, m, work, 0)
			require.NoError(t, err)
			assert.Equal(t, dir, again)
			entries, err := os.ReadDir(work)
			require.NoError(t, err)
			assert.Len(t, entries, 2, "the cut and the lock")
		})
	}
}

// TestWriteRefuses: nothing is written where there is no room, and what stands
// at a cut's name is neither used nor touched if it is something else.
func TestWriteRefuses(t *testing.T) {
	src, m := source(t)
	work := filepath.Join(t.TempDir(), "work")
	_, err := cut.Write(context.Background(), durable.OS{}, src, m, work, 1<<60)
	require.ErrorIs(t, err, durable.ErrNoSpace)
	entries, err := os.ReadDir(work)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "the lock alone")

	dir, err := cut.Write(context.Background(), durable.OS{}, src, m, work, 0)
	require.NoError(t, err)
	model := filepath.Join(dir, filepath.FromSlash(mlpackage.ModelPath))
	require.NoError(t, os.WriteFile(model, []byte("something else"), 0o600))
	_, err = cut.Write(context.Background(), durable.OS{}, src, m, work, 0)
	require.ErrorIs(t, err, durable.ErrExists)
	assert.ErrorContains(t, err, mlpackage.ModelPath)
	data, err := os.ReadFile(model)
	require.NoError(t, err)
	assert.Equal(t, "something else", string(data))

	lock, err := durable.AcquireLock(durable.OS{}, work)
	require.NoError(t, err)
	_, err = cut.Write(context.Background(), durable.OS{}, src, m, work, 0)
	require.ErrorIs(t, err, durable.ErrLocked)
	require.NoError(t, lock.Unlock())

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = cut.Write(cancelled, durable.OS{}, src, m, filepath.Join(t.TempDir(), "w"), 0)
	require.ErrorIs(t, err, context.Canceled)
	_, err = cut.Write(context.Background(), durable.OS{}, src, m, model, 0)
	assert.ErrorContains(t, err, "not a directory")
}
