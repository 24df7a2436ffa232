package mil

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signature writes a row of the op table: parameters in the order of the row;
// "c" known at compile time, "i" and "v" an immediate scalar and vector; in
// brackets if optional.
func signature(r opRule) string {
	var parts []string
	for _, p := range r.params {
		kind := map[paramKind]string{valueParam: "", constantParam: "c ", stateParam: "state "}[p.kind]
		if p.kind == immediateParam {
			kind = []string{"i ", "v "}[p.rank]
		}
		s := p.name + ": " + kind + strings.ReplaceAll(p.dtypes.String(), " or ", "|")
		if p.variadic {
			s += "..."
		}
		if p.optional {
			s = "[" + s + "]"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// TestSignatures is the op table written a second time, from its description:
// which parameters there are, what they take, which must be constant and which
// may be left out.
func TestSignatures(t *testing.T) {
	const (
		float  = "fp16|fp32"
		number = "fp16|fp32|int32"
		any    = "bool|fp16|fp32|int8|int16|int32|uint8|uint16|uint32"
		block  = "fp16|fp32|int8|int4|uint8|uint4"
		masks  = "[stride: v int32], [begin_mask: v bool], [end_mask: v bool], [squeeze_mask: v bool]"
		binary = "x: " + number + ", y: " + number
		reduce = "x: " + number + ", [axes: v int32], [keep_dims: i bool]"
	)
	want := map[string]string{
		"const":                           "",
		"read_state":                      "input: state " + any,
		"write_state":                     "input: state " + any + ", data: " + any,
		"constexpr_blockwise_shift_scale": "data: c " + block + ", scale: c " + float + ", [offset: c " + block + "]",
		"constexpr_lut_to_dense":          "indices: c uint8|uint4|uint2|uint1|uint6|uint3, lut: c fp16|fp32|int8|uint8, [vector_axis: i int32]",

		"add": binary, "sub": binary, "mul": binary, "real_div": binary, "maximum": binary, "minimum": binary,
		"greater_equal": binary, "less": binary, "equal": binary,
		"select": "cond: bool, a: " + any + ", b: " + any,
		"cast":   "x: " + any + ", dtype: i string",
		"silu":   "x: " + float, "sigmoid": "x: " + float, "relu": "x: " + float, "tanh": "x: " + float, "exp": "x: " + float, "sqrt": "x: " + float,
		"pow": "x: " + float + ", y: " + float, "identity": "x: " + any,
		"square": "x: " + number, "abs": "x: " + number,
		"rsqrt": "x: " + float + ", [epsilon: i fp16|fp32]",
		"gelu":  "x: " + float + ", [mode: i string]",

		"reduce_mean": reduce, "reduce_sum": reduce, "reduce_max": reduce, "reduce_l2_norm": reduce, "reduce_sum_square": reduce,
		"reduce_argmax": "x: " + number + ", [axis: i int32], [keep_dims: i bool], [output_dtype: i string]",
		"softmax":       "x: " + float + ", [axis: i int32]",
		"layer_norm":    "x: " + float + ", [axes: v int32], [gamma: c " + float + "], [beta: c " + float + "], [epsilon: i fp16|fp32]",

		"reshape":     "x: " + any + ", shape: v int32",
		"transpose":   "x: " + any + ", perm: v int32",
		"expand_dims": "x: " + any + ", axes: v int32",
		"squeeze":     "x: " + any + ", [axes: v int32]",
		"concat":      "values: " + any + "..., axis: i int32, [interleave: i bool]",
		"tile":        "x: " + any + ", reps: v int32",

		"split":          "x: " + any + ", [num_splits: i int32], [split_sizes: v int32], axis: i int32",
		"slice_by_index": "x: " + any + ", begin: v int32, end: v int32, " + masks,
		"slice_by_size":  "x: " + any + ", begin: int32, size: v int32",
		"slice_update":   "x: " + any + ", update: " + any + ", begin: int32, end: int32, " + masks,

		"conv": "x: " + float + ", weight: " + float + ", [bias: c " + float + "], [strides: v int32], [pad_type: i string], " +
			"[pad: v int32], [dilations: v int32], [groups: i int32]",
		"matmul":                       binary + ", [transpose_x: i bool], [transpose_y: i bool]",
		"linear":                       "x: " + number + ", weight: c " + number + ", [bias: c " + number + "]",
		"scaled_dot_product_attention": "query: " + float + ", key: " + float + ", value: " + float + ", [attn_mask: bool|fp16|fp32]",

		"gather": "x: fp16|fp32|int8|int16|int32|uint8|uint16|uint32, indices: int8|int16|int32|uint8|uint16, " +
			"[axis: i int32], [batch_dims: i int32], [validate_indices: i bool]",
		"topk": "x: " + number + ", [k: i int32], [axis: i int32], [ascending: i bool], [sort: i bool], [return_indices: i bool], " +
			"[output_indices_dtype: i string]",
	}
	require.Len(t, opTable, len(want))
	for _, op := range OpTypes() {
		assert.Equal(t, want[op], signature(opTable[op]), op)
	}
}

// An op in two families would silently lose one of its rows.
func TestFamiliesAreDisjoint(t *testing.T) {
	families := []map[string]opRule{valueOps, elementwiseOps, reduceOps, layoutOps, sliceOps, linearOps, indexOps}
	rows := 0
	for _, family := range families {
		rows += len(family)
	}
	assert.Len(t, opTable, rows)
}
