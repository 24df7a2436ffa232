package checkpoint_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/safetensors"
)

// weights is one tensor of a test checkpoint.
type weights struct {
	dtype string
	shape []int
	data  []byte
}

// model is a checkpoint under construction: files by name, tensors by name.
// The config's sizes are longConfig's.
type model struct {
	config keys
	files  map[string]map[string]weights
	index  map[string]string // nil: by files
	raw    map[string][]byte // files put in as they are
}

// bf16 is a tensor whose elements count up from 1 in steps of 1/64 modulo 4.
func bf16(shape ...int) weights {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, 2*n)
	for i := range n {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(math.Float32bits(1+float32(i%64)/64)>>16))
	}
	return weights{"BF16", shape, data}
}

func newModel() *model {
	m := &model{config: longConfig(), files: map[string]map[string]weights{"a.safetensors": {}, "b.safetensors": {}}}
	for layer := range 2 {
		part := m.files[[]string{"a.safetensors", "b.safetensors"}[layer]]
		prefix := fmt.Sprintf("model.layers.%d.", layer)
		part[prefix+"input_layernorm.weight"] = bf16(32)
		part[prefix+"self_attn.qkv_proj.weight"] = bf16(64, 32)
		part[prefix+"self_attn.o_proj.weight"] = bf16(32, 32)
		part[prefix+"post_attention_layernorm.weight"] = bf16(32)
		part[prefix+"mlp.gate_up_proj.weight"] = bf16(96, 32)
		part[prefix+"mlp.down_proj.weight"] = bf16(32, 48)
	}
	m.files["a.safetensors"]["model.embed_tokens.weight"] = bf16(20, 32)
	m.files["b.safetensors"]["model.norm.weight"] = bf16(32)
	return m
}

// encode makes one safetensors file, tensors sorted by name.
func encode(t testing.TB, tensors map[string]weights) []byte {
	var infos []safetensors.Info
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		w := tensors[name]
		infos = append(infos, safetensors.Info{Name: name, DType: w.dtype, Shape: w.shape})
		data = append(data, w.data...)
	}
	header, err := safetensors.EncodeHeader(infos, nil)
	require.NoError(t, err)
	return append(header, data...)
}

func (m *model) fs(t testing.TB) fstest.MapFS {
	out := fstest.MapFS{"config.json": {Data: m.config.text()}}
	index := m.index
	if index == nil {
		index = map[string]string{}
		for file, tensors := range m.files {
			for name := range tensors {
				index[name] = file
			}
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": index})
	require.NoError(t, err)
	out["model.safetensors.index.json"] = &fstest.MapFile{Data: text}
	for file, tensors := range m.files {
		out[file] = &fstest.MapFile{Data: encode(t, tensors)}
	}
	for file, data := range m.raw {
		out[file] = &fstest.MapFile{Data: data}
		if data == nil {
			delete(out, file)
		}
	}
	return out
}

func open(t testing.TB, fsys fs.FS) *checkpoint.Checkpoint {
	c, err := checkpoint.Open(fsys)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestNano(t *testing.T) {
	c := open(t, fixtures.Nano())
	assert.Equal(t, "42cfbf61e5bea80ac3d16d207f1673c90296c6d303f4fc4a71a7f817a7260c5c", c.ConfigDigest())
	require.NoError(t, c.RequireLayers(0, 32))
	qkv, err := c.Tensor(checkpoint.QKV, 31)
	require.NoError(t, err)
	assert.Equal(t, "model.layers.31.self_attn.qkv_proj.weight", qkv.Name)
	assert.Equal(t, "model-00002-of-00002.safetensors", qkv.File)
	assert.Equal(t, checkpoint.BF16, qkv.DType)
	assert.Equal(t, []int{256, 128}, qkv.Shape)

	all := make([]float32, 256*128)
	require.NoError(t, qkv.ReadRows(all, 0))
	part := make([]float32, 3*128)
	require.NoError(t, qkv.ReadRows(part, 200))
	assert.True(t, slices.Equal(all[200*128:203*128], part), "rows are where they are in the whole")
	assert.NotEqual(t, slices.Min(all), slices.Max(all))
}

// TestOpenDir reads from disk, through a symbolic link as model caches have
// them, and leaves other files of the directory alone.
func TestOpenDir(t *testing.T) {
	dir, blobs := t.TempDir(), t.TempDir()
	for name, f := range newModel().fs(t) {
		target := filepath.Join(blobs, "blob-"+name)
		require.NoError(t, os.WriteFile(target, f.Data, 0o600))
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for _, other := range []string{"golden.safetensors", "README.md", "tokenizer.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, other), []byte("no tensors"), 0o600))
	}
	c, err := checkpoint.OpenDir(dir)
	require.NoError(t, err)
	require.NoError(t, c.RequireLayers(0, 2))
	require.NoError(t, c.Close())

	for name, path := range map[string]string{"absent": filepath.Join(dir, "none"), "a file": filepath.Join(dir, "README.md"), "without a config": blobs} {
		t.Run(name, func(t *testing.T) {
			_, err := checkpoint.OpenDir(path)
			require.ErrorIs(t, err, checkpoint.ErrConfig)
			assert.ErrorContains(t, err, path)
		})
	}
}

// TestRoles: each role has the tensor of that name and the config's shape.
func TestRoles(t *testing.T) {
	c := open(t, newModel().fs(t))
	for _, tc := range []struct {
		role  checkpoint.Role
		name  string
		shape []int
		rows  int
		row   int
	}{
		{checkpoint.AttnNorm, "model.layers.1.input_layernorm.weight", []int{32}, 1, 32},
		{checkpoint.QKV, "model.layers.1.self_attn.qkv_proj.weight", []int{64, 32}, 64, 32},
		{checkpoint.AttnOut, "model.layers.1.self_attn.o_proj.weight", []int{32, 32}, 32, 32},
		{checkpoint.MLPNorm, "model.layers.1.post_attention_layernorm.weight", []int{32}, 1, 32},
		{checkpoint.GateUp, "model.layers.1.mlp.gate_up_proj.weight", []int{96, 32}, 96, 32},
		{checkpoint.Down, "model.layers.1.mlp.down_proj.weight", []int{32, 48}, 32, 48},
		{checkpoint.Embedding, "model.embed_tokens.weight", []int{20, 32}, 20, 32},
		{checkpoint.FinalNorm, "model.norm.weight", []int{32}, 1, 32},
		{checkpoint.LMHead, "model.embed_tokens.weight", []int{20, 32}, 20, 32}, // tied
	} {
		w, err := c.Tensor(tc.role, 1)
		require.NoError(t, err, tc.role)
		assert.Equal(t, tc.name, w.Name)
		assert.Equal(t, tc.shape, w.Shape, tc.role)
		assert.Equal(t, tc.rows, w.Rows(), tc.role)
		assert.Equal(t, tc.row, w.RowLen(), tc.role)
		assert.Equal(t, 2*tc.row, w.RowBytes(), tc.role)
	}
	_, err := c.Tensor(checkpoint.Role(99), 0)
	assert.ErrorIs(t, err, checkpoint.ErrTensor)
	_, err = c.Tensor(checkpoint.Role(-1), 0)
	assert.ErrorIs(t, err, checkpoint.ErrTensor)
	for _, layer := range []int{-1, 2} {
		_, err = c.Tensor(checkpoint.QKV, layer)
		assert.ErrorIs(t, err, checkpoint.ErrRange)
	}
	_, err = c.Tensor(checkpoint.Embedding, -7)
	assert.NoError(t, err, "the whole model's roles have no layer")
}

func TestUntied(t *testing.T) {
	m := newModel()
	m.config = m.config.with("tie_word_embeddings", "false")
	_, err := open(t, m.fs(t)).Tensor(checkpoint.LMHead, 0)
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, "lm_head.weight")

	m.files["b.safetensors"]["lm_head.weight"] = bf16(20, 32)
	head, err := open(t, m.fs(t)).Tensor(checkpoint.LMHead, 0)
	require.NoError(t, err)
	assert.Equal(t, "lm_head.weight", head.Name)
}

func TestSingleFile(t *testing.T) {
	m := newModel()
	all := map[string]weights{}
	for _, tensors := range m.files {
		maps.Copy(all, tensors)
	}
	m.files = map[string]map[string]weights{"model.safetensors": all}
	fsys := m.fs(t)
	require.NoError(t, open(t, fsys).RequireLayers(0, 2), "named by an index")
	delete(fsys, "model.safetensors.index.json")
	require.NoError(t, open(t, fsys).RequireLayers(0, 2), "alone")

	delete(all, "model.norm.weight")
	fsys = m.fs(t)
	delete(fsys, "model.safetensors.index.json")
	_, err := open(t, fsys).Tensor(checkpoint.FinalNorm, 0)
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, "model.safetensors: ")
}

// TestAbsentShard: a file that is not there stops only who needs it.
func TestAbsentShard(t *testing.T) {
	m := newModel()
	m.raw = map[string][]byte{"a.safetensors": nil}
	c := open(t, m.fs(t))
	require.NoError(t, c.RequireLayers(1, 2))
	err := c.RequireLayers(0, 2)
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, "a.safetensors")
	assert.ErrorContains(t, err, "model.layers.0.input_layernorm.weight")
	_, err = c.Tensor(checkpoint.Embedding, 0)
	assert.ErrorIs(t, err, checkpoint.ErrTensor)
}

func TestRequireLayers(t *testing.T) {
	c := open(t, newModel().fs(t))
	for _, r := range [][2]int{{0, 1}, {1, 2}, {0, 2}} {
		assert.NoError(t, c.RequireLayers(r[0], r[1]), r)
	}
	for _, r := range [][2]int{{1, 1}, {1, 0}, {-1, 1}, {0, 3}, {2, 3}, {31, 30}} {
		err := c.RequireLayers(r[0], r[1])
		require.ErrorIs(t, err, checkpoint.ErrRange, r)
		assert.ErrorContains(t, err, fmt.Sprintf("found [%d, %d)", r[0], r[1]))
	}
}

// TestOpenRefuses: directories that are no checkpoint. Each message names the
// file and what is wrong.
func TestOpenRefuses(t *testing.T) {
	const qkv = "model.layers.1.self_attn.qkv_proj.weight"
	mapped := func(m *model, tensor, file string) {
		m.index = map[string]string{}
		for f, tensors := range m.files {
			for name := range tensors {
				m.index[name] = f
			}
		}
		m.index[tensor] = file
		if file == "" {
			delete(m.index, tensor)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(m *model)
		is     error
		says   []string
	}{
		{"no weights", func(m *model) {
			m.files = nil
			m.raw = map[string][]byte{checkpoint.IndexFile: nil}
		}, checkpoint.ErrTensor, []string{"model.safetensors", "neither"}},
		{"bad config", func(m *model) { m.config = m.config.with("hidden_size", "") }, checkpoint.ErrConfig, []string{"config.json", "hidden_size"}},
		{"index not JSON", func(m *model) { m.raw = map[string][]byte{checkpoint.IndexFile: []byte("{")} }, checkpoint.ErrTensor, []string{checkpoint.IndexFile}},
		{"index without a map", func(m *model) { m.raw = map[string][]byte{checkpoint.IndexFile: []byte(`{"metadata":{}}`)} }, checkpoint.ErrTensor, []string{checkpoint.IndexFile, "weight_map"}},
		{"index names a tensor twice", func(m *model) {
			m.raw = map[string][]byte{checkpoint.IndexFile: []byte(`{"weight_map":{"` + qkv + `":"a.safetensors","` + qkv + `":"b.safetensors"}}`)}
		}, checkpoint.ErrTensor, []string{checkpoint.IndexFile, "weight_map", "twice"}},
		{"tensor not in its file", func(m *model) { mapped(m, qkv, "a.safetensors") }, checkpoint.ErrTensor, []string{"a.safetensors", qkv}},
		{"tensor that no file has", func(m *model) { mapped(m, "model.layers.1.mlp.x.weight", "a.safetensors") }, checkpoint.ErrTensor, []string{"a.safetensors", "mlp.x"}},
		{"tensor not in the index", func(m *model) { mapped(m, qkv, "") }, checkpoint.ErrTensor, []string{"b.safetensors", qkv, checkpoint.IndexFile}},
		{"tensor in two files", func(m *model) {
			m.files["a.safetensors"][qkv] = bf16(64, 32)
			mapped(m, qkv, "b.safetensors")
		}, checkpoint.ErrTensor, []string{"a.safetensors", qkv, "b.safetensors", "one file"}},
		{"two checkpoints", func(m *model) {
			m.raw = map[string][]byte{"model.safetensors": encode(t, map[string]weights{"model.norm.weight": bf16(32)})}
		}, checkpoint.ErrTensor, []string{"model.safetensors", "one checkpoint"}},
		{"unknown tensor", func(m *model) { m.files["a.safetensors"]["model.layers.0.self_attn.q_proj.weight"] = bf16(32, 32) }, checkpoint.ErrTensor, []string{"a.safetensors", "q_proj"}},
		{"bias", func(m *model) { m.files["a.safetensors"]["model.layers.0.self_attn.qkv_proj.bias"] = bf16(64) }, checkpoint.ErrTensor, []string{"qkv_proj.bias", "without biases"}},
		{"layer beyond the config", func(m *model) { m.files["a.safetensors"]["model.layers.2.mlp.down_proj.weight"] = bf16(32, 48) }, checkpoint.ErrTensor, []string{"layers.2", "num_hidden_layers 2"}},
		{"layer with a leading zero", func(m *model) { m.files["a.safetensors"]["model.layers.01.mlp.down_proj.weight"] = bf16(32, 48) }, checkpoint.ErrTensor, []string{"layers.01"}},
		{"head beside a tied embedding", func(m *model) { m.files["a.safetensors"]["lm_head.weight"] = bf16(20, 32) }, checkpoint.ErrTensor, []string{"lm_head.weight", "tie_word_embeddings"}},
		{"truncated file", func(m *model) {
			whole := encode(t, m.files["b.safetensors"])
			m.raw = map[string][]byte{"b.safetensors": whole[:len(whole)-1]}
		}, safetensors.ErrFormat, []string{"b.safetensors", "truncated"}},
		{"empty file", func(m *model) { m.raw = map[string][]byte{"b.safetensors": {}} }, safetensors.ErrFormat, []string{"b.safetensors"}},
		{"corrupted header", func(m *model) {
			whole := encode(t, m.files["b.safetensors"])
			whole[20] ^= 0x80
			m.raw = map[string][]byte{"b.safetensors": whole}
		}, safetensors.ErrFormat, []string{"b.safetensors", "UTF-8"}},
		{"shard is a directory", func(m *model) {
			m.raw = map[string][]byte{"b.safetensors": nil, "b.safetensors/x": {}}
		}, checkpoint.ErrTensor, []string{"b.safetensors", "regular file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newModel()
			tc.change(m)
			c, err := checkpoint.Open(m.fs(t))
			require.ErrorIs(t, err, tc.is)
			assert.Nil(t, c)
			for _, text := range tc.says {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

// TestIndexNames: an index may name files of its own directory only.
func TestIndexNames(t *testing.T) {
	for _, file := range []string{
		`"../x.safetensors"`, `"/x.safetensors"`, `"sub/x.safetensors"`, `"..\\x.safetensors"`, `"c:x.safetensors"`,
		`""`, `"."`, `".."`, `"x.bin"`, `"config.json"`, `"a\u0000.safetensors"`, `1`, `null`, `["a.safetensors"]`,
	} {
		t.Run(file, func(t *testing.T) {
			m := newModel()
			m.raw = map[string][]byte{checkpoint.IndexFile: []byte(`{"weight_map":{"model.norm.weight":` + file + `}}`)}
			_, err := checkpoint.Open(m.fs(t))
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			assert.ErrorContains(t, err, checkpoint.IndexFile)
			assert.ErrorContains(t, err, "model.norm.weight")
			assert.ErrorContains(t, err, "same directory")
		})
	}
}

// TestTensorRefuses: tensors that the config or the element type rules out.
func TestTensorRefuses(t *testing.T) {
	const qkv = "model.layers.1.self_attn.qkv_proj.weight"
	for _, tc := range []struct {
		name string
		put  weights
		says []string
	}{
		{"fewer rows", bf16(63, 32), []string{"shape", "[64 32]", "[63 32]"}},
		{"transposed", bf16(32, 64), []string{"shape", "[64 32]", "[32 64]"}},
		{"flat", bf16(2048), []string{"shape", "[2048]"}},
		{"another rank", bf16(64, 32, 1), []string{"shape", "[64 32 1]"}},
		{"integers", weights{"I16", []int{64, 32}, make([]byte, 4096)}, []string{"dtype", "I16", "BF16"}},
		{"float8", weights{"F8_E4M3", []int{64, 32}, make([]byte, 2048)}, []string{"dtype", "F8_E4M3"}},
		{"float64", weights{"F64", []int{64, 32}, make([]byte, 16384)}, []string{"dtype", "F64"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newModel()
			m.files["b.safetensors"][qkv] = tc.put
			c := open(t, m.fs(t))
			_, err := c.Tensor(checkpoint.QKV, 1)
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			for _, text := range append(tc.says, "b.safetensors", qkv) {
				assert.ErrorContains(t, err, text)
			}
			assert.ErrorIs(t, c.RequireLayers(0, 2), checkpoint.ErrTensor)
			assert.NoError(t, c.RequireLayers(0, 1), "the other layer is not in the way")
		})
	}
	m := newModel()
	delete(m.files["b.safetensors"], qkv)
	c := open(t, m.fs(t))
	err := c.RequireLayers(1, 2)
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, qkv)
}

// vector makes a one-layer-norm tensor of the given type from bit patterns.
func vector(dtype string, width int, bits ...uint32) weights {
	var data []byte
	for _, b := range bits {
		data = append(data, binary.LittleEndian.AppendUint32(nil, b)[:width]...)
	}
	return weights{dtype, []int{len(bits)}, data}
}

// TestDecode holds each element type against its definition, at lengths around
// the four lanes of the bfloat16 loop.
func TestDecode(t *testing.T) {
	patterns := map[string][]uint32{
		"BF16": {0x3F80, 0xBF80, 0x0001, 0x8000, 0x7F7F, 0xFF7F, 0x4049, 0x0080},
		"F16":  {0x3C00, 0xBC00, 0x0001, 0x8000, 0x7BFF, 0xFBFF, 0x4248, 0x0400},
		"F32":  {0x3F800000, 0xBF800000, 1, 0x80000000, 0x7F7FFFFF, 0xFF7FFFFF, 0x40490FDB, 0x00800000},
	}
	value := map[string]func(b uint32) float32{
		"BF16": func(b uint32) float32 { return math.Float32frombits(b << 16) },
		"F16":  func(b uint32) float32 { return float16.Frombits(uint16(b)).Float32() },
		"F32":  math.Float32frombits,
	}
	for dtype, cycle := range patterns {
		_, width := checkpoint.DType(dtype).Block()
		bits := make([]uint32, 32)
		for i := range bits {
			bits[i] = cycle[i%len(cycle)]
		}
		m := newModel()
		m.files["b.safetensors"]["model.norm.weight"] = vector(dtype, width, bits...)
		w, err := open(t, m.fs(t)).Tensor(checkpoint.FinalNorm, 0)
		require.NoError(t, err)
		got := make([]float32, 32)
		require.NoError(t, w.ReadRows(got, 0))
		for i := range got {
			assert.Equal(t, math.Float32bits(value[dtype](bits[i])), math.Float32bits(got[i]), "%s %08x", dtype, bits[i])
		}
	}
}

// TestNonFinite puts one NaN or infinity at one place of a matrix, for each
// type and place within the lanes, and wants exactly that place named.
func TestNonFinite(t *testing.T) {
	bad := map[string][]uint32{
		"BF16": {0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF},
		"F16":  {0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF},
		"F32":  {0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF},
	}
	for dtype, patterns := range bad {
		_, width := checkpoint.DType(dtype).Block()
		for i, pattern := range patterns {
			row, col := 17+i, 9*i%32
			data := make([]byte, 96*32*width)
			copy(data[(row*32+col)*width:], binary.LittleEndian.AppendUint32(nil, pattern)[:width])
			last := binary.LittleEndian.AppendUint32(nil, patterns[0])[:width]
			copy(data[(40*32+31)*width:], last) // a second one, further on
			m := newModel()
			m.files["b.safetensors"]["model.layers.1.mlp.gate_up_proj.weight"] = weights{dtype, []int{96, 32}, data}
			w, err := open(t, m.fs(t)).Tensor(checkpoint.GateUp, 1)
			require.NoError(t, err)

			err = w.ReadRows(make([]float32, 32*32), 10)
			require.ErrorIs(t, err, checkpoint.ErrValue)
			var v *checkpoint.ValueError
			require.ErrorAs(t, err, &v)
			assert.Equal(t, [2]int{row, col}, [2]int{v.Row, v.Col}, "%s %x", dtype, pattern)
			for _, text := range []string{"b.safetensors", "model.layers.1.mlp.gate_up_proj.weight", fmt.Sprintf("[%d, %d]", row, col)} {
				assert.ErrorContains(t, err, text)
			}
			assert.NoError(t, w.ReadRows(make([]float32, 10*32), 0), "rows before it are fine")
		}
	}
}

// TestNonFiniteTail: a partial group of lanes at the end of a bfloat16 row.
func TestNonFiniteTail(t *testing.T) {
	w := &checkpoint.Tensor{Name: "t", File: "f", DType: checkpoint.BF16, Shape: []int{7}}
	for i := range 7 {
		raw := make([]byte, 14)
		raw[2*i], raw[2*i+1] = 0x80, 0xFF
		var v *checkpoint.ValueError
		require.ErrorAs(t, w.Float32(make([]float32, 7), raw, 0), &v)
		assert.Equal(t, [2]int{0, i}, [2]int{v.Row, v.Col})
		assert.Contains(t, v.Found, "Inf")
	}
}

func TestCheckFloat16(t *testing.T) {
	w := &checkpoint.Tensor{Name: "t", File: "f", DType: checkpoint.F32, Shape: []int{9, 2}}
	below := math.Nextafter32(65520, 0)
	assert.NoError(t, w.CheckFloat16([]float32{65504, -65504, below, -below}, 3), "these round to 65504")
	for _, v := range []float32{65520, -65520, 1e30} {
		err := w.CheckFloat16([]float32{0, 0, 0, v}, 3)
		require.ErrorIs(t, err, checkpoint.ErrValue)
		assert.ErrorContains(t, err, `f: tensor "t": [4, 1]`)
	}
}

func TestReadBounds(t *testing.T) {
	w, err := open(t, newModel().fs(t)).Tensor(checkpoint.QKV, 0)
	require.NoError(t, err)
	for _, tc := range []struct {
		name       string
		bytes, row int
	}{
		{"part of a row", 63, 0},
		{"too many rows", 65 * 64, 0},
		{"beyond the end", 2 * 64, 63},
		{"start beyond the end", 0, 65},
		{"negative start", 64, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := w.ReadRaw(make([]byte, tc.bytes), tc.row)
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			assert.ErrorContains(t, err, w.Name)
			assert.ErrorIs(t, w.Float32(make([]float32, tc.bytes/2), make([]byte, tc.bytes), tc.row), checkpoint.ErrTensor)
			if tc.bytes%2 == 0 {
				assert.ErrorIs(t, w.ReadRows(make([]float32, tc.bytes/2), tc.row), checkpoint.ErrTensor)
			}
		})
	}
	assert.NoError(t, w.ReadRaw(nil, 64), "no row at the end")
	assert.ErrorIs(t, w.Float32(make([]float32, 31), make([]byte, 64), 0), checkpoint.ErrTensor, "lengths that differ")
	assert.NoError(t, w.ReadRaw(make([]byte, 64*64), 0))
}

// shrinking is a file system whose files lose their data after the headers
// were read.
type shrinking struct {
	fstest.MapFS
	cut *bool
}

type shrinkingFile struct {
	fs.File
	cut *bool
}

func (s shrinking) Open(name string) (fs.File, error) {
	f, err := s.MapFS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".safetensors") {
		return f, err
	}
	return shrinkingFile{f, s.cut}, nil
}

func (f shrinkingFile) ReadAt(p []byte, off int64) (int, error) {
	if *f.cut {
		return 0, io.EOF
	}
	return f.File.(io.ReaderAt).ReadAt(p, off)
}

func TestShrunkFile(t *testing.T) {
	cut := false
	c := open(t, shrinking{newModel().fs(t), &cut})
	w, err := c.Tensor(checkpoint.Down, 1)
	require.NoError(t, err)
	require.NoError(t, w.ReadRows(make([]float32, 48), 5))
	cut = true
	err = w.ReadRows(make([]float32, 48), 5)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	for _, text := range []string{"b.safetensors", "mlp.down_proj", "rows [5, 6)"} {
		assert.ErrorContains(t, err, text)
	}
}

// unseekable is a file system whose files can only be read in order.
type unseekable struct{ fstest.MapFS }

func (u unseekable) Open(name string) (fs.File, error) {
	f, err := u.MapFS.Open(name)
	return struct{ fs.File }{f}, err
}

func TestUnseekable(t *testing.T) {
	_, err := checkpoint.Open(unseekable{newModel().fs(t)})
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	assert.ErrorContains(t, err, "a.safetensors")
}

func TestConfigDigest(t *testing.T) {
	fsys := newModel().fs(t)
	sum := sha256.Sum256(fsys["config.json"].Data)
	assert.Equal(t, hex.EncodeToString(sum[:]), open(t, fsys).ConfigDigest())
	fsys["config.json"].Data = append(bytes.Clone(fsys["config.json"].Data), '\n')
	assert.NotEqual(t, hex.EncodeToString(sum[:]), open(t, fsys).ConfigDigest(), "of the bytes, not the values")
}

// FuzzIndex: whatever text the index holds, Open gives a checkpoint or an
// error of this package.
func FuzzIndex(f *testing.F) {
	base := newModel().fs(f)
	f.Add(base[checkpoint.IndexFile].Data)
	f.Add([]byte(`{"weight_map":{"model.norm.weight":"../a.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"model.norm.weight":"c.safetensors"}}`))
	f.Add([]byte(`{"weight_map":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		fsys := maps.Clone(base)
		fsys[checkpoint.IndexFile] = &fstest.MapFile{Data: text}
		c, err := checkpoint.Open(fsys)
		if err != nil {
			require.ErrorIs(t, err, checkpoint.ErrTensor)
			return
		}
		require.NoError(t, c.Close())
	})
}

func TestRoleNames(t *testing.T) {
	names := map[string]bool{}
	for role := checkpoint.AttnNorm; role <= checkpoint.LMHead; role++ {
		names[role.String()] = true
		assert.Equal(t, slices.Contains(checkpoint.LayerRoles(), role), role.PerLayer(), role)
	}
	assert.Len(t, names, 9, "each role has its own name")
	assert.Equal(t, "role -1", checkpoint.Role(-1).String())
}

func BenchmarkFloat32(b *testing.B) {
	for _, dtype := range []checkpoint.DType{checkpoint.BF16, checkpoint.F16, checkpoint.F32, checkpoint.Q8_0} {
		b.Run(string(dtype), func(b *testing.B) {
			w := &checkpoint.Tensor{DType: dtype, Shape: []int{16, 8192}}
			raw, dst := make([]byte, 16*w.RowBytes()), make([]float32, 16*w.RowLen())
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if err := w.Float32(dst, raw, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
