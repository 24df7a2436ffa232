package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// smallModel has two KV heads of 8, all of whose dimensions turn.
func smallModel() checkpoint.Config {
	return checkpoint.Config{
		Layers: 4, HiddenSize: 32, Heads: 4, KVHeads: 2, PartialRotaryFactor: 1, MaxPositions: 128,
	}
}

// interfaceOf is a function of two layers that keeps the contract.
func interfaceOf(rows, slots int, states ...string) mlpackage.FunctionDescription {
	half := func(name string, shape ...int) mlpackage.Feature {
		return mlpackage.Feature{Name: name, DType: mil.Float16, Shape: shape}
	}
	d := mlpackage.FunctionDescription{
		Name: fmt.Sprintf("f%d", rows),
		Inputs: []mlpackage.Feature{
			half("x", 1, 32, rows, 1), half("rope_cos", rows, 4), half("rope_sin", rows, 4),
			half("attn_mask", 1, 1, rows, slots), half("kv_write_mask", 1, 1, slots, rows),
		},
		Outputs: []mlpackage.Feature{half("hidden", 1, 32, rows, 1)},
	}
	for _, name := range states {
		d.States = append(d.States, half(name, 1, 2, slots, 8))
	}
	return d
}

// TestInterfaceRefused: what is not the contract is refused with the feature,
// what was wanted, and what was found.
func TestInterfaceRefused(t *testing.T) {
	input := func(name string, shape ...int) func(*mlpackage.FunctionDescription) {
		return func(d *mlpackage.FunctionDescription) {
			i := slices.IndexFunc(d.Inputs, func(f mlpackage.Feature) bool { return f.Name == name })
			d.Inputs[i].Shape = shape
		}
	}
	for _, tt := range []struct {
		name  string
		edit  func(*mlpackage.FunctionDescription)
		wants string
	}{
		{"sound", func(*mlpackage.FunctionDescription) {}, ""},
		{"tokens before channels", input("x", 1, 4, 32), "input x: want fp16[1,32,?,1], found fp16[1,4,32] (channel-major"},
		{"tokens last", input("x", 1, 32, 1, 4), "input x: want fp16[1,32,?,1], found fp16[1,32,1,4]"},
		{"another hidden size", input("x", 1, 64, 4, 1), "input x: want fp16[1,32,?,1], found fp16[1,64,4,1]"},
		{"too many rows", input("x", 1, 32, 65, 1), "attn_mask: want fp16[1,1,65,?], found fp16[1,1,4,16]"},
		{"mask of other rows", input("attn_mask", 1, 1, 1, 16), "input attn_mask: want fp16[1,1,4,?], found fp16[1,1,1,16]"},
		{"more slots than positions", input("attn_mask", 1, 1, 4, 129), "input attn_mask: want 1 to 128 slots"},
		{"fewer slots than rows", input("attn_mask", 1, 1, 4, 3), "input x: want 1 to 3 rows for 3 slots, found 4"},
		{"whole RoPE rows", input("rope_sin", 4, 8), "input rope_sin: want fp16[4,4], found fp16[4,8]"},
		{"write mask transposed", input("kv_write_mask", 1, 1, 4, 16), "input kv_write_mask: want fp16[1,1,16,4], found fp16[1,1,4,16]"},
		{"state by slot first", func(d *mlpackage.FunctionDescription) { d.States[3].Shape = []int{1, 16, 2, 8} }, "state layers_1_v_state: want fp16[1,2,16,8], found fp16[1,16,2,8]"},
		{"state of float32", func(d *mlpackage.FunctionDescription) { d.States[0].DType = mil.Float32 }, "state layers_0_k_state: want fp16[1,2,16,8], found fp32[1,2,16,8]"},
		{"state missing", func(d *mlpackage.FunctionDescription) { d.States = d.States[:3] }, "state layers_1_v_state: want [1,2,16,8], found no state layers_1_v_state; there are layers_0_k_state"},
		{"input missing", func(d *mlpackage.FunctionDescription) { d.Inputs = d.Inputs[1:] }, "input x: want [1,32,?,1], found no input x; there are rope_cos"},
		{"input more", func(d *mlpackage.FunctionDescription) {
			d.Inputs = append(d.Inputs, mlpackage.Feature{Name: "position", DType: mil.Int32, Shape: []int{1}})
		}, "input position: the contract has no such input"},
		{"output more", func(d *mlpackage.FunctionDescription) {
			d.Outputs = append(d.Outputs, mlpackage.Feature{Name: "x", DType: mil.Float16, Shape: []int{1}})
		}, "output x: the contract has no such output"},
		{"output of tokens first", func(d *mlpackage.FunctionDescription) { d.Outputs[0].Shape = []int{1, 4, 32, 1} }, "output hidden: want fp16[1,32,4,1], found fp16[1,4,32,1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := interfaceOf(4, 16, stateNames(2)...)
			tt.edit(&d)
			found, err := interfaceReader{model: smallModel(), layers: 2}.function(d)
			if tt.wants != "" {
				require.ErrorContains(t, err, tt.wants)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []int{4, 16}, []int{found.rows, found.slots})
			assert.Len(t, found.names, 10)
		})
	}
}

// TestStatesInOrder: without names that are known the order counts, unless the
// package's own names speak against it.
func TestStatesInOrder(t *testing.T) {
	for _, tt := range []struct {
		states string
		wants  string
	}{
		{"k_cache_0 v_cache_0 k_cache_1 v_cache_1", ""},
		{"layer30_key layer30_value layer31_key layer31_value", ""},
		{"a b c d", ""},
		{"s1 s2 s3 s4", "state layers_0_v_state: want keys, then values, of each layer, or names that tell; found s2 in that place"},
		{"k_cache_0 k_cache_1 v_cache_0 v_cache_1", "found k_cache_1 in that place of k_cache_0, k_cache_1"},
		{"v_cache_0 k_cache_0 v_cache_1 k_cache_1", "state layers_0_k_state: "},
		{"k1 v1 k0 v0", "state layers_1_k_state: "},
		{"k0 v0 k1", "states: want 4, keys and values of each layer, found 3: k0, v0, k1"},
	} {
		t.Run(tt.states, func(t *testing.T) {
			found, err := interfaceReader{model: smallModel(), layers: 2}.function(interfaceOf(1, 16, strings.Fields(tt.states)...))
			if tt.wants != "" {
				require.ErrorContains(t, err, tt.wants)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, strings.Fields(tt.states)[3], found.names["layers_1_v_state"])
			assert.Contains(t, found.states, "by order")
		})
	}
}

// TestForeignFunctions: functions are told by their rows, and agree.
func TestForeignFunctions(t *testing.T) {
	states := stateNames(2)
	read := func(functions ...mlpackage.FunctionDescription) (*foreign, []int, error) {
		m := &mlpackage.Model{Description: mlpackage.Description{Functions: functions}, Program: &mil.Program{}}
		f, rec, err := readForeign(m, smallModel(), 2, nil)
		return f, rec.Rows, err
	}
	f, rows, err := read(interfaceOf(4, 16, states...), interfaceOf(1, 16, states...))
	require.NoError(t, err)
	assert.Equal(t, []int{1, 4}, rows)
	assert.Equal(t, map[int]string{1: "f1", 4: "f4"}, f.functions)

	_, _, err = read(interfaceOf(4, 16, states...), interfaceOf(4, 16, states...))
	require.ErrorIs(t, err, ErrContract)
	assert.ErrorContains(t, err, "want one function of 4 rows, found f4 and f4")
	_, _, err = read(interfaceOf(4, 16, states...), interfaceOf(1, 32, states...))
	assert.ErrorContains(t, err, "function f1: not the graph contract: want the 16 slots of the functions before it, found 32")
	_, _, err = read(interfaceOf(4, 16, states...), interfaceOf(1, 16, "a", "b", "c", "d"))
	assert.ErrorContains(t, err, "want features named as in the functions before it")
}

// TestCheckNames refuses what names nothing, or one thing twice.
func TestCheckNames(t *testing.T) {
	require.NoError(t, checkNames(map[string]string{"x": "hidden", "hidden": "x", "layers_1_v_state": "v"}, 2))
	for _, bad := range []map[string]string{{"y": "a"}, {"layers_2_k_state": "k"}, {"x": "a", "hidden": "a"}} {
		assert.ErrorIs(t, checkNames(bad, 2), ErrNames, "%v", bad)
	}
}
