package mil

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

const sampleText = `function t1 CoreML8
  input x fp16[1,8,1,1]
  state k state<fp16[1,2,32,32]>
  w fp16[8,8,1,1] = constexpr_blockwise_shift_scale(data: int8[8,8,1,1] blob@64, scale: fp16[8,1,1,1] blob@192)
  proj_strides int32[2] = const({1, 1})
  proj_pad_type string = const("valid")
  proj fp16[1,8,1,1] = conv(pad_type: proj_pad_type, strides: proj_strides, weight: w, x: x)
  a_num_splits int32 = const(2)
  a_axis int32 = const(1)
  a fp16[1,4,1,1], b fp16[1,4,1,1] = split(axis: a_axis, num_splits: a_num_splits, x: proj)
  ba_axis int32 = const(1)
  ba fp16[1,8,1,1] = concat(axis: ba_axis, values: (b, a))
  old fp16[1,2,32,32] = read_state(input: k)
  blend_y fp16 = const(0.5)
  blend fp16[1,2,32,32] = mul(x: old, y: blend_y)
  k_write_blend: write_state(data: blend, input: k)
  new fp16[1,2,32,32] = read_state(input: k)
  output ba
  output new
`

func printed(t *testing.T, p *Program) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Print(&b, p))
	return b.String()
}

func TestPrint(t *testing.T) {
	p := sample(t)
	text := printed(t, p)
	assert.True(t, strings.HasPrefix(text, sampleText+"\nfunction t4 CoreML8\n"), text)
	assert.Equal(t, strings.Count(sampleText, "\n")*2+1, strings.Count(text, "\n"))
	assert.Empty(t, printed(t, nil))
}

// Two programs that differ anywhere print differently: what a golden file is
// for. Breakages are such differences.
func TestPrintShowsEachBreakage(t *testing.T) {
	good := printed(t, sample(t))
	for _, b := range breakages {
		p := sample(t)
		b.spoil(p)
		assert.NotEqual(t, good, printed(t, p), b.name)
	}
}

func TestPrintLiterals(t *testing.T) {
	long := make([]float16.Float16, 20)
	same := make([]float16.Float16, 20)
	same[19] = 1
	a, b := Halfs([]int{20}, long), Halfs([]int{20}, same)
	assert.True(t, strings.HasPrefix(formatLiteral(&a), "{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ... sha256:"), formatLiteral(&a))
	assert.NotEqual(t, formatLiteral(&a), formatLiteral(&b), "elements past the cut must show in the digest")

	for _, c := range []struct {
		want string
		lit  Literal
	}{
		{"{1e-12, NaN, +Inf, -0}", Literal{Type: f32(4), Floats: []float32{1e-12, float32(math.NaN()), float32(math.Inf(1)), float32(math.Copysign(0, -1))}}},
		{"{4294967295}", Literal{Type: Tensor(UInt32, 1), Ints: []int32{-1}}},
		{`blob "other"@64`, Literal{Type: f16(1), Blob: &BlobRef{"other", 64}}},
	} {
		assert.Equal(t, c.want, formatLiteral(&c.lit))
	}
	malformed := Literal{Type: f16(3), Bytes: []byte{1}}
	assert.True(t, strings.HasPrefix(formatLiteral(&malformed), "<malformed sha256:"), formatLiteral(&malformed))
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestPrintReportsWriteErrors(t *testing.T) {
	require.ErrorIs(t, Print(brokenWriter{}, sample(t)), errBroken)
}
