package oracle_test

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"path"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/oracle"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// TestMutatedCheckpointsMissTheGolden: each usual mistake about this model, put
// into the checkpoint that the oracle reads, must show against the golden
// vectors by far more than the agreement bound. An agreement test that would
// not notice them shows nothing.
//
// A mistake in the arithmetic is made by permuting weights: an oracle that
// reads the permuted checkpoint computes what a mistaken one would compute on
// the true checkpoint.
func TestMutatedCheckpointsMissTheGolden(t *testing.T) {
	const heads, kvHeads, dim, turned, intermediate = 4, 2, 32, 24, 192
	byHeadModulo := []int{0, 2, 1, 3} // position j reads KV head j/2; head byHeadModulo[j] mod 2 is that
	for _, tc := range []struct {
		name    string
		config  func(config, rope map[string]any)
		weights func(n nano)
		factors oracle.Factors
		least   float64 // wanted largest absolute difference
	}{
		{name: "no change", least: 0},
		{
			name:   "attention factor left out",
			config: func(_, rope map[string]any) { rope["attention_factor"] = 1.0 },
			least:  0.05,
		},
		{
			name: "RoPE over the whole head",
			config: func(config, rope map[string]any) {
				config["partial_rotary_factor"] = 1.0
				for _, key := range []string{"short_factor", "long_factor"} {
					rope[key] = append(rope[key].([]any), 1.18, 1.195, 1.21, 1.225)
				}
			},
			least: 0.05,
		},
		{
			name: "interleaved RoPE",
			weights: func(n nano) {
				n.permuteRows("self_attn.qkv_proj", func(row int) int {
					head, d := row/dim, row%dim
					if head >= heads+kvHeads || d >= turned {
						return row
					}
					return head*dim + d%(turned/2)*2 + d/(turned/2)
				})
			},
			least: 0.05,
		},
		{
			name: "query head h reads KV head h mod n",
			weights: func(n nano) {
				n.permuteRows("self_attn.qkv_proj", func(row int) int {
					if row >= heads*dim {
						return row
					}
					return byHeadModulo[row/dim]*dim + row%dim
				})
				n.permuteColumns("self_attn.o_proj", func(col int) int { return byHeadModulo[col/dim]*dim + col%dim })
			},
			least: 0.05,
		},
		{
			name: "K and V swapped",
			weights: func(n nano) {
				n.permuteRows("self_attn.qkv_proj", func(row int) int {
					switch {
					case row < heads*dim:
						return row
					case row < (heads+kvHeads)*dim:
						return row + kvHeads*dim
					}
					return row - kvHeads*dim
				})
			},
			least: 0.05,
		},
		{
			name: "gate and up swapped",
			weights: func(n nano) {
				n.permuteRows("mlp.gate_up_proj", func(row int) int { return (row + intermediate) % (2 * intermediate) })
			},
			least: 0.05,
		},
		{name: "long factors in a short session", factors: oracle.LongFactors, least: 0.05},
		{
			name:   "factors left out",
			config: func(_, rope map[string]any) { fill(rope["short_factor"].([]any), 1.0) },
			least:  10 * hiddenBound,
		},
		{
			name:   "another base",
			config: func(config, _ map[string]any) { config["rope_theta"] = 500000.0 },
			least:  0.05,
		},
		{
			name:   "another epsilon",
			config: func(config, _ map[string]any) { config["rms_norm_eps"] = 1e-2 },
			least:  10 * hiddenBound,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			worst := tailDifference(t, mutate(t, tc.config, tc.weights), tc.factors)
			t.Logf("largest absolute difference of hidden32: %.3g", worst)
			if tc.least == 0 {
				assert.Less(t, worst, hiddenBound)
				return
			}
			assert.Greater(t, worst, tc.least)
		})
	}
}

// tailDifference runs layers [30,32) over the golden hidden30 and returns how
// far the result is from hidden32.
func tailDifference(t *testing.T, fsys fs.FS, factors oracle.Factors) float64 {
	t.Helper()
	golden := openGolden(t)
	ckpt, err := checkpoint.Open(fsys)
	require.NoError(t, err)
	defer ckpt.Close()
	m := load(t, ckpt, 30, 32)
	worst := map[string]float64{}
	for _, p := range prompts {
		in := golden.rows(p+".hidden30", 32)
		cache, err := m.NewCacheAt(len(in), 0, factors)
		require.NoError(t, err)
		note(worst, "hidden", run(t, m, cache, in, 0), golden.rows(p+".hidden32", 32))
	}
	return worst["hidden"]
}

// nano is a copy of the nano checkpoint in memory that tests may change.
type nano struct {
	t     *testing.T
	files fstest.MapFS
}

// mutate returns a copy of nano with the given changes to its config and its
// weights.
func mutate(t *testing.T, config func(config, rope map[string]any), weights func(nano)) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	src := fixtures.Nano()
	require.NoError(t, fs.WalkDir(src, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(src, file)
		files[file] = &fstest.MapFile{Data: append([]byte(nil), data...)}
		return err
	}))
	if config != nil {
		var c map[string]any
		require.NoError(t, json.Unmarshal(files["config.json"].Data, &c))
		config(c, c["rope_scaling"].(map[string]any))
		text, err := json.Marshal(c)
		require.NoError(t, err)
		files["config.json"].Data = text
	}
	if weights != nil {
		weights(nano{t, files})
	}
	return files
}

// permuteRows replaces row r of a projection of layers 30 and 31 by row from(r).
func (n nano) permuteRows(projection string, from func(row int) int) {
	n.each(projection, func(old, fresh []byte, rows, cols int) {
		for r := range rows {
			copy(fresh[2*r*cols:][:2*cols], old[2*from(r)*cols:])
		}
	})
}

// permuteColumns replaces column c by column from(c).
func (n nano) permuteColumns(projection string, from func(col int) int) {
	n.each(projection, func(old, fresh []byte, rows, cols int) {
		for i := range rows * cols {
			copy(fresh[2*i:][:2], old[2*(i/cols*cols+from(i%cols)):])
		}
	})
}

// each finds the bfloat16 tensor of layers 30 and 31 in whichever file holds it.
func (n nano) each(projection string, change func(old, fresh []byte, rows, cols int)) {
	n.t.Helper()
	for _, layer := range []string{"30", "31"} {
		name := "model.layers." + layer + "." + projection + ".weight"
		found := false
		for file, entry := range n.files {
			if path.Ext(file) != ".safetensors" {
				continue
			}
			size := 8 + binary.LittleEndian.Uint64(entry.Data)
			var header map[string]struct {
				DType   string `json:"dtype"`
				Shape   []int  `json:"shape"`
				Offsets []int  `json:"data_offsets"`
			}
			require.NoError(n.t, json.Unmarshal(withoutMetadata(n.t, entry.Data[8:size]), &header))
			info, ok := header[name]
			if !ok {
				continue
			}
			require.Equal(n.t, "BF16", info.DType)
			data := entry.Data[int(size)+info.Offsets[0] : int(size)+info.Offsets[1]]
			change(append([]byte(nil), data...), data, info.Shape[0], info.Shape[1])
			found = true
		}
		require.True(n.t, found, name)
	}
}

func withoutMetadata(t *testing.T, header []byte) []byte {
	t.Helper()
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(header, &all))
	delete(all, "__metadata__")
	text, err := json.Marshal(all)
	require.NoError(t, err)
	return text
}

func fill(list []any, value any) {
	for i := range list {
		list[i] = value
	}
}
