package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// TestDequantize computes what can be told by hand.
func TestDequantize(t *testing.T) {
	halfs := func(shape []int, values ...float32) mil.Literal {
		data := make([]float16.Float16, len(values))
		half.Encode(data, values)
		return mil.Halfs(shape, data)
	}
	raw := func(d mil.DType, shape []int, data ...byte) mil.Literal {
		return mil.Literal{Type: mil.Tensor(d, shape...), Bytes: data}
	}
	b := mil.NewBuilder("main", "CoreML8")
	b.Op("constexpr_blockwise_shift_scale", "blocks",
		mil.Inline("data", raw(mil.Int8, []int{2, 4}, 1, 0xFE, 3, 4, 0x80, 127, 0, 8)),
		mil.Inline("scale", halfs([]int{2, 2}, 1, 2, 0.5, 4)),
		mil.Inline("offset", raw(mil.Int8, []int{2, 2}, 0, 1, 0xFF, 2)))
	// The table is itself the result of an operation.
	b.Op("constexpr_blockwise_shift_scale", "lut",
		mil.Inline("data", raw(mil.UInt8, []int{2, 1, 4, 1}, 10, 11, 12, 13, 20, 21, 22, 23)),
		mil.Inline("scale", halfs([]int{1, 1, 1, 1}, 0.5)))
	b.Op("constexpr_lut_to_dense", "tables", mil.Inline("indices", raw(mil.UInt2, []int{2, 2}, 0x93)), mil.Arg("lut", "lut"))
	// 4097 is rounded to float16, whose step is 4 there.
	b.Op("constexpr_blockwise_shift_scale", "rounded",
		mil.Inline("data", raw(mil.Int8, []int{1}, 17)), mil.Inline("scale", halfs([]int{1}, 241)))
	f, err := b.Finish("blocks")
	require.NoError(t, err)
	scope, err := mil.NewScope(f)
	require.NoError(t, err)
	r := weightReader{&mlpackage.Package{}, scope}
	for name, want := range map[string][]float32{
		"blocks": {1, -2, 4, 6, -63.5, 64, -8, 24}, "tables": {6.5, 5, 10.5, 11}, "rounded": {4096},
	} {
		got, err := r.value(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	_, err = r.value("none")
	assert.ErrorContains(t, err, `value "none": want a constant, found an input`)
}

// TestPacked reads elements of a few bits, the lowest bits first.
func TestPacked(t *testing.T) {
	for _, tt := range []struct {
		bits   int
		signed bool
		raw    []byte
		want   []int
	}{
		{1, false, []byte{0b10}, []int{0, 1, 0}},
		{3, false, []byte{0b10_001_111, 0b0_000_011_1}, []int{7, 1, 6, 3}},
		{4, true, []byte{0x7F, 0x80}, []int{-1, 7, 0, -8}},
		{6, false, []byte{0x81, 0xF0, 0xFF}, []int{1, 2, 63, 63}},
		{8, true, []byte{0x80, 0x7F}, []int{-128, 127}},
		{8, false, []byte{0x80}, []int{128}},
	} {
		for i, want := range tt.want {
			assert.Equal(t, want, packed(tt.raw, i, tt.bits, tt.signed), "%+v", tt)
		}
	}
}
