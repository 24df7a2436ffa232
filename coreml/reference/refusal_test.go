package reference_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// TestUnsupported refuses, when a function is prepared, whatever a checked
// program can hold and the plane does not execute. Each error names function,
// op, and what is concerned.
func TestUnsupported(t *testing.T) {
	floats := func(v float32) mil.Literal { return mil.Literal{Type: mil.Tensor(mil.Float32), Floats: []float32{v}} }
	for _, tc := range []struct {
		name  string
		build func(s *sample) string
		parts []string
	}{
		{"float32 input", func(s *sample) string {
			s.Input("wide", mil.Tensor(mil.Float32, 2))
			return s.input(2)
		}, []string{`input "wide"`, "fp32[2]"}},
		{"int32 input", func(s *sample) string {
			s.Input("ids", mil.Tensor(mil.Int32, 2))
			return s.input(2)
		}, []string{`input "ids"`, "int32[2]"}},
		{"float32 state", func(s *sample) string {
			s.State("wide", mil.Tensor(mil.Float32, 2))
			return s.input(2)
		}, []string{`input "wide"`, "fp32[2]"}},
		{"integer output", func(s *sample) string { return s.Const("ids", mil.Int32s(1, 2)) }, []string{"output", `"ids"`, "int32[2]"}},
		{"float32 output", func(s *sample) string { return s.to(mil.Float32, s.input(2)) }, []string{"output", `"v2"`, "want float16", "fp32[2]"}},
		{"quotient of integers", func(s *sample) string {
			x := s.computed([]int{1, 2})
			return s.to(mil.Float16, s.op("real_div", mil.Arg("x", x), mil.Arg("y", x)))
		}, []string{"op real_div", "parameter x", "want floats", "int32"}},
		{"mean of integers", func(s *sample) string {
			return s.to(mil.Float16, s.op("reduce_mean", mil.Arg("x", s.computed([]int{1, 2}))))
		}, []string{"op reduce_mean", "parameter x", "want floats", "int32"}},
		{"norm of integers", func(s *sample) string {
			return s.to(mil.Float16, s.op("reduce_l2_norm", mil.Arg("x", s.computed([]int{1, 2}))))
		}, []string{"op reduce_l2_norm", "parameter x", "want floats", "int32"}},
		{"constant index outside", func(s *sample) string {
			return s.op("gather", mil.Arg("x", s.input(2)), mil.Lit("indices", mil.Int32s(0, 2)))
		}, []string{"op gather", "parameter indices", "element 1", "0..1", "found 2"}},
		{"negative constant index", func(s *sample) string {
			return s.op("gather", mil.Arg("x", s.input(2)), mil.Lit("indices", mil.Int32s(-1)))
		}, []string{"op gather", "parameter indices", "element 0", "0..1", "found -1"}},
		{"uint16 of an axis that is too long", func(s *sample) string {
			return s.to(mil.Float16, s.op("reduce_argmax", mil.Arg("x", s.input(65537)), mil.Lit("output_dtype", mil.StringScalar("uint16"))))
		}, []string{"op reduce_argmax", "parameter x", "65536", "uint16", "found 65537"}},
		{"places of an axis that is too long", func(s *sample) string {
			return s.Ops("topk", []string{"most", "places"}, mil.Arg("x", s.input(65537)), mil.Lit("output_indices_dtype", mil.StringScalar("uint16")))[0]
		}, []string{"op topk", "parameter x", "65536", "uint16", "found 65537"}},
		{"largest of nothing", func(s *sample) string {
			return s.to(mil.Float16, s.op("reduce_argmax", mil.Arg("x", s.Const("none", mil.Halfs([]int{0}, nil)))))
		}, []string{"op reduce_argmax", "parameter x", "found 0"}},
		{"run-time slice_update with a stride of 0", func(s *sample) string {
			return s.op("slice_update", mil.Arg("x", s.input(2)), mil.Arg("update", s.input(1)), mil.Arg("begin", s.computed([]int{0})),
				mil.Lit("end", mil.Int32s(1)), mil.Lit("stride", mil.Int32s(0)))
		}, []string{"op slice_update", "parameter stride", "found [0]"}},
		{"conv padded unevenly", func(s *sample) string {
			return s.conv([]int{1, 2, 4, 4}, s.constant(3, 2, 2, 2), mil.Lit("pad_type", mil.StringScalar(mil.PadSame)))
		}, []string{"op conv", "parameter pad_type", "found same"}},
		{"conv padded less by its stride", func(s *sample) string {
			return s.conv([]int{1, 2, 4, 4}, s.constant(3, 2, 3, 3), mil.Lit("pad_type", mil.StringScalar(mil.PadSameLower)), mil.Lit("strides", mil.Int32s(2, 2)))
		}, []string{"op conv", "parameter pad_type", "found same_lower"}},
		{"negative float32 epsilon", func(s *sample) string {
			return s.to(mil.Float16, s.op("rsqrt", mil.Arg("x", s.to(mil.Float32, s.input(2))), mil.Lit("epsilon", floats(-1))))
		}, []string{"op rsqrt", "-1"}},
		{"negative epsilon", func(s *sample) string {
			return s.op("rsqrt", mil.Arg("x", s.input(2)), mil.Lit("epsilon", floats(-1)))
		}, []string{"op rsqrt", "-1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSample(tc.name)
			f, err := s.Finish(tc.build(s))
			require.NoError(t, err)
			pkg := openPackage(t, writePackage(t, s.blobs, f))
			_, err = pkg.Function(context.Background(), mlpackage.MainFunction)
			mustFail(t, err, reference.ErrProgram, append(tc.parts, "function main")...)
		})
	}
}

func (s *sample) conv(x []int, weight string, args ...mil.Operand) string {
	return s.op("conv", append(args, mil.Arg("x", s.input(x...)), mil.Arg("weight", weight))...)
}

func (s *sample) blockwise(data, scale []int, args ...mil.Operand) string {
	return s.op("constexpr_blockwise_shift_scale", append(args,
		mil.Inline("data", s.blobs.int8s(data, make([]int8, elements(data)))), mil.Inline("scale", mil.Halfs(scale, s.halfs(elements(scale)))))...)
}

// constexpr is a lookup in a table of two elements of that type.
func (s *sample) constexpr(d mil.DType, shape ...int) string {
	lut := mil.Literal{Type: mil.Tensor(d, append(slices.Repeat([]int{1}, len(shape)), 2, 1)...)}
	if d == mil.Float32 {
		lut.Floats = []float32{1, 2}
	} else {
		lut.Bytes = make([]byte, 2*d.Bits()/8)
	}
	indices := mil.Literal{Type: mil.Tensor(mil.UInt1, shape...), Bytes: make([]byte, (elements(shape)+7)/8)}
	return s.op("constexpr_lut_to_dense", mil.Inline("indices", indices), mil.Inline("lut", lut))
}

// TestIndicesOutside: what the pass computes may lie outside its axis. The error
// names function, op and element, and the next pass is sound.
func TestIndicesOutside(t *testing.T) {
	s := newSample("outside")
	at := s.to(mil.Int32, s.Input("at", fp16(2)))
	rows := s.Const("rows", mil.Halfs([]int{3, 1}, []float16.Float16{1, 2, 3}))
	row := s.op("gather", mil.Arg("x", rows), mil.Arg("indices", at))
	box := s.op("slice_by_size", mil.Arg("x", s.Const("square", mil.Halfs([]int{2, 2}, make([]float16.Float16, 4)))), mil.Arg("begin", at), mil.Lit("size", mil.Int32s(1, 1)))
	f, err := s.Finish(row, box)
	require.NoError(t, err)
	fn := openFunction(t, openPackage(t, writePackage(t, nil, f)), f.Name)
	in, out := tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
	for _, tc := range []struct {
		at    [2]float32
		parts []string
	}{
		{[2]float32{0, 3}, []string{"op gather", "parameter indices", "element 1", "0..2", "found 3"}},
		{[2]float32{-1, 0}, []string{"op gather", "element 0", "found -1"}},
		{[2]float32{1, 2}, []string{"op slice_by_size", "parameter begin", "axis 1", "0..1", "found 2"}},
		{[2]float32{1, 0}, nil},
	} {
		in["at"].Data[0], in["at"].Data[1] = half.FromFloat32(tc.at[0]), half.FromFloat32(tc.at[1])
		err := fn.Predict(context.Background(), in, nil, out)
		if tc.parts == nil {
			require.NoError(t, err)
			assert.Equal(t, []float16.Float16{2, 1}, out[row].Data)
			continue
		}
		mustFail(t, err, reference.ErrIndex, append(tc.parts, "function main")...)
	}
}

// TestMemoryBound refuses programs that declare more than they may have,
// without allocating it, and lets buffers be used again.
func TestMemoryBound(t *testing.T) {
	withWorkers(t, 2)
	const size = 1 << 12
	vast := func(s *sample) []string { // 2^50 elements out of 2^25
		x, y := s.input(1<<25, 1), s.input(1, 1<<25)
		return []string{s.op("reduce_sum", mil.Arg("x", s.op("add", mil.Arg("x", x), mil.Arg("y", y))))}
	}
	for _, tc := range []struct {
		name  string
		limit int64
		build func(s *sample) []string
		parts []string // of the error; none if there is to be none
	}{
		{"vast by broadcasting", 0, vast, []string{"function main", `value "v3"`, "33554432"}},
		{"input", 4*size - 1, func(s *sample) []string { return []string{s.input(size)} }, []string{"function main", `value "v1"`}},
		{"constants", 4 * size, func(s *sample) []string {
			return []string{s.op("add", mil.Arg("x", s.constant(size)), mil.Arg("y", s.constant(size)))}
		}, []string{"op add", "parameter y", `value "v2"`}},
		{"weight used as a tensor", 4*size - 1, func(s *sample) []string { return []string{s.quantized(size)} }, []string{`value "v1"`}},
		{"weight of indices", 3*size - 1, func(s *sample) []string { return []string{s.constexpr(mil.Float16, size)} }, []string{"op constexpr_lut_to_dense"}},
		{"weight in blocks", 2*size - 1, func(s *sample) []string { return []string{s.blockwise([]int{size}, []int{2})} }, []string{"op constexpr_blockwise_shift_scale", `value "v1"`}},
		{"table", 1 << 18, func(s *sample) []string { return []string{s.op("silu", mil.Arg("x", s.input(3)))} }, []string{"function main"}},
		{"columns of a conv", 4*(3*size+10+3) + 4*4*size - 1, func(s *sample) []string {
			return []string{s.op("reduce_sum", mil.Arg("x", s.conv([]int{1, 4, size, 1}, s.constant(1, 4, 1, 1))))}
		}, []string{"function main"}},
		{"scratch of a reduction", 4*(3+2*size+2) + 2*4*2*size - 1, func(s *sample) []string {
			return []string{s.op("reduce_sum", mil.Arg("x", s.input(size, 2)), mil.Lit("axes", mil.Int32s(0)))}
		}, []string{"function main"}},
		{"scratch of a topk", 4*(3+2*size+2) + 2*4*2*size - 1, func(s *sample) []string {
			x := s.input(2, size)
			return []string{s.op("topk", mil.Arg("x", x), mil.Lit("return_indices", mil.BoolScalar(false)))}
		}, []string{"function main"}},
		{"scores of an attention", 4*(3+1+size+1) + 2*4*2*size - 1, func(s *sample) []string {
			q, k := s.input(1, 1, 1), s.input(1, size, 1)
			return []string{s.op("scaled_dot_product_attention", mil.Arg("query", q), mil.Arg("key", k), mil.Arg("value", k))}
		}, []string{"function main"}},
		{"what lies under a kernel", 4*(3+size+size) + 2*4*size - 1, func(s *sample) []string {
			return []string{s.conv([]int{1, 1, size}, s.input(1, 1, size))}
		}, []string{"function main"}},
		{"float32 weight", (4+1)*size + 4*2 + 4*size - 1, func(s *sample) []string {
			x := s.op("constexpr_lut_to_dense", mil.Inline("indices", mil.Literal{Type: mil.Tensor(mil.UInt1, size), Bytes: make([]byte, size/8)}),
				mil.Inline("lut", mil.Literal{Type: mil.Tensor(mil.Float32, 1, 2, 1), Floats: []float32{1, 2}}))
			return []string{s.to(mil.Float16, x)}
		}, []string{"op constexpr_lut_to_dense", `value "v1"`}},
		{"a chain in three buffers", 4 * (3*size + 3), func(s *sample) []string {
			x := s.input(size)
			for range 100 {
				x = s.op("add", mil.Arg("x", x), mil.Arg("y", x))
			}
			return []string{x}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSample(tc.name)
			f, err := s.Finish(tc.build(s)...)
			require.NoError(t, err)
			pkg, err := reference.Plane{MaxBytes: tc.limit}.Open(context.Background(), writePackage(t, s.blobs, f))
			require.NoError(t, err)
			defer pkg.Close()
			_, err = pkg.Function(context.Background(), f.Name)
			if tc.parts == nil {
				require.NoError(t, err)
				return
			}
			mustFail(t, err, reference.ErrMemory, tc.parts...)
		})
	}
}

func TestStateMemoryBound(t *testing.T) {
	s := newSample("states")
	s.State("small", fp16(8))
	s.State("large", fp16(1<<30, 1<<20))
	f, err := s.Finish(s.input(1))
	require.NoError(t, err)
	dir := writePackage(t, nil, f)
	_, err = openPackage(t, dir).NewState()
	mustFail(t, err, reference.ErrMemory, `"large"`, "fp16[1073741824,1048576]")
}

// TestWrongTensors refuses what does not fit the signature before the state is
// touched.
func TestWrongTensors(t *testing.T) {
	pkg := counters(t)
	up, st := openFunction(t, pkg, "up"), newState(t, pkg)
	good := coreml.Tensor{Shape: []int{2}, Data: []float16.Float16{0x3C00, 0x3C00}}
	fresh := func() coreml.Tensor { return coreml.Tensor{Shape: []int{2}, Data: make([]float16.Float16, 2)} }
	type named = map[string]coreml.Tensor
	for _, tc := range []struct {
		name    string
		in, out named
		kind    error
		parts   []string
	}{
		{"no input", named{}, named{"new": fresh()}, reference.ErrTensor, []string{`input "x"`, "missing"}},
		{"wrong name", named{"y": good}, named{"new": fresh()}, reference.ErrTensor, []string{`input "x"`, "missing"}},
		{"one too many", named{"x": good, "y": good, "z": good}, named{"new": fresh()}, reference.ErrTensor, []string{`input "y"`}},
		{"input of another rank", named{"x": {Shape: []int{1, 2}, Data: good.Data}}, named{"new": fresh()}, reference.ErrTensor, []string{`input "x"`, "[2]", "[1 2]"}},
		{"input of another size", named{"x": {Shape: []int{3}, Data: make([]float16.Float16, 3)}}, named{"new": fresh()}, reference.ErrTensor, []string{`input "x"`, "[3]"}},
		{"too little data", named{"x": {Shape: []int{2}, Data: good.Data[:1]}}, named{"new": fresh()}, reference.ErrTensor, []string{`input "x"`, "1 values"}},
		{"no output", named{"x": good}, nil, reference.ErrTensor, []string{`output "new"`, "missing"}},
		{"output too many", named{"x": good}, named{"new": fresh(), "old": fresh()}, reference.ErrTensor, []string{`output "old"`}},
		{"output without data", named{"x": good}, named{"new": {Shape: []int{2}}}, reference.ErrTensor, []string{`output "new"`, "0 values"}},
		{"NaN", named{"x": {Shape: []int{2}, Data: []float16.Float16{0, 0x7E01}}}, named{"new": fresh()}, coreml.ErrNonFinite, []string{`input "x"`, "[1]"}},
		{"infinity", named{"x": {Shape: []int{2}, Data: []float16.Float16{0xFC00, 0}}}, named{"new": fresh()}, coreml.ErrNonFinite, []string{`input "x"`, "[0]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := up.Predict(context.Background(), tc.in, st, tc.out)
			mustFail(t, err, tc.kind, append(tc.parts, "function up")...)
			assert.Equal(t, []float16.Float16{0, 0}, content(t, st, up.Signature())["total"])
		})
	}
	require.NoError(t, up.Predict(context.Background(), named{"x": good}, st, named{"new": fresh()}))
}

// TestNonFiniteOutput reports the first output and place, with all outputs
// filled.
func TestNonFiniteOutput(t *testing.T) {
	s := newSample("overflow")
	x := s.input(2, 3)
	square, abs := s.op("square", mil.Arg("x", x)), s.op("abs", mil.Arg("x", x))
	f, err := s.Finish(square, abs)
	require.NoError(t, err)
	fn := openFunction(t, openPackage(t, writePackage(t, nil, f)), f.Name)
	in, out := tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
	copy(in[x].Data, []float16.Float16{0x3C00, 0x4000, 0x4200, 0xFBFF, 0x3C00, 0x7BFF})
	err = fn.Predict(context.Background(), in, nil, out)
	mustFail(t, err, coreml.ErrNonFinite, "function main", fmt.Sprintf("output %q at [1 0]", square))
	assert.Equal(t, []float16.Float16{0x3C00, 0x4400, 0x4880, 0x7C00, 0x3C00, 0x7C00}, out[square].Data)
	assert.Equal(t, []float16.Float16{0x3C00, 0x4000, 0x4200, 0x7BFF, 0x3C00, 0x7BFF}, out[abs].Data, "the other output is filled too")
}

// TestOpenRefuses has packages that decode and do not hold together.
func TestOpenRefuses(t *testing.T) {
	open := func(dir string) error {
		pkg, err := reference.Plane{}.Open(context.Background(), dir)
		if err == nil {
			assert.NoError(t, pkg.Close())
		}
		return err
	}
	assert.ErrorIs(t, open(filepath.Join(t.TempDir(), "absent.mlpackage")), os.ErrNotExist)

	build := func(name string, state mil.Type) *mil.Function {
		b := mil.NewBuilder(name, "CoreML8")
		b.State("k", state)
		f, err := b.Finish(b.Input("x", fp16(2)))
		require.NoError(t, err)
		return f
	}
	assert.ErrorIs(t, open(writePackage(t, nil, build("a", fp16(2)), build("b", fp16(3)))), mil.ErrState, "states differ between functions")

	f := build("a", fp16(2))
	f.Outputs = []string{"nothing"}
	f.Ops = append(f.Ops, &mil.Op{Type: "silu", Name: "nothing", Outputs: []mil.Value{{Name: "nothing", Type: fp16(2)}}})
	assert.ErrorIs(t, open(writePackage(t, nil, f)), mil.ErrParam, "an op without its operand")

	s := newSample("blob")
	s.blobs.halfs([]int{2}, s.halfs(2))
	blob, err := s.Finish(s.Const("c", mil.Blob(mil.Float16, []int{3}, 64)))
	require.NoError(t, err)
	assert.ErrorIs(t, open(writePackage(t, s.blobs, blob)), mlpackage.ErrReference, "a blob of another length")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = reference.Plane{}.Open(ctx, writePackage(t, nil, build("a", fp16(2))))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestNoSuchFunction(t *testing.T) {
	_, err := counters(t).Function(context.Background(), "down")
	mustFail(t, err, reference.ErrFunction, `"down"`, `"get"`, `"up"`)
}
