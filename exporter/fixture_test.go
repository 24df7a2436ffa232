package exporter_test

import (
	"context"
	"encoding/binary"
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

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable/faultfs"
	"lockstep/internal/safetensors"
	"lockstep/manifest"
)

// out is the output directory of exports into memory.
const out = "/out"

// nanoRecipe is what nano is exported with: its contexts are meaningful up to
// 256 tokens.
func nanoRecipe(p exporter.Precision, n exporter.Norm) exporter.Recipe {
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Precision, rec.Norm = 256, p, n
	return rec
}

// nanoOptions export nano's tail in int8 into dir.
func nanoOptions(t testing.TB, dir string) exporter.Options {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	return exporter.Options{
		Checkpoint: ck, Dir: dir, Layers: exporter.Range{Start: 30, End: 32}, Layout: exporter.DefaultLayout(),
		Recipe: nanoRecipe(exporter.Int8, exporter.LayerNormConcat), Name: "nano",
	}
}

// inMemory moves an export to a file system of its own.
func inMemory(opt exporter.Options) (exporter.Options, *faultfs.Mem) {
	mem := faultfs.NewMem()
	opt.Dir, opt.FS = out, mem
	return opt, mem
}

// oneLayer exports the smallest preset into memory: few calls of the file
// system, all kinds of them.
func oneLayer(t testing.TB) exporter.Options {
	t.Helper()
	return oneLayerOf(t, synthFiles(t, preset(t, "plain_rope_one_layer")), exporter.Int8)
}

// oneLayerOf exports a checkpoint of one layer into memory.
func oneLayerOf(t testing.TB, files fstest.MapFS, p exporter.Precision) exporter.Options {
	t.Helper()
	opt, _ := inMemory(exporter.Options{
		Checkpoint: open(t, files), Layers: exporter.Range{End: 1}, Layout: exporter.Layout{1},
		Recipe: nanoRecipe(p, exporter.LayerNormConcat), Name: "made",
	})
	return opt
}

func preset(t testing.TB, name string) synth.Spec {
	t.Helper()
	all := synth.Presets()
	i := slices.IndexFunc(all, func(p synth.Preset) bool { return p.Name == name })
	require.GreaterOrEqual(t, i, 0, "preset %s", name)
	return all[i].Spec
}

func export(t testing.TB, opt exporter.Options) *exporter.Result {
	t.Helper()
	res, err := exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	return res
}

// refused wants an export to fail with a sentinel, to say certain words, and to
// leave the file system as it is.
func refused(t testing.TB, opt exporter.Options, mem *faultfs.Mem, sentinel error, words ...string) {
	t.Helper()
	before := mem.Content()
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, sentinel)
	for _, w := range words {
		assert.ErrorContains(t, err, w)
	}
	sameContent(t, before, mem.Content())
}

// sameContent compares file systems without printing files.
func sameContent(t testing.TB, want, found map[string]string) {
	t.Helper()
	for name, content := range want {
		other, ok := found[name]
		assert.True(t, ok, "%s is missing", name)
		assert.True(t, !ok || content == other, "%s has other bytes", name)
	}
	for name := range found {
		_, ok := want[name]
		assert.True(t, ok, "%s is new", name)
	}
}

// readRecord is the record of a directory in memory.
func readRecord(t testing.TB, mem *faultfs.Mem) manifest.Record {
	t.Helper()
	r, err := manifest.DecodeRecord([]byte(mem.Content()[out+"/"+manifest.RecordFile]))
	require.NoError(t, err)
	return *r
}

// open opens a checkpoint for the length of the test.
func open(t testing.TB, files fstest.MapFS) *checkpoint.Checkpoint {
	t.Helper()
	ck, err := checkpoint.Open(files)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	return ck
}

// synthFiles are the files of a synthetic checkpoint, to be changed.
func synthFiles(t testing.TB, spec synth.Spec) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, synth.Write(context.Background(), dir, spec))
	files := fstest.MapFS{}
	for _, name := range entries(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// tensor finds a tensor's stored bytes in the files of a checkpoint.
func tensor(t testing.TB, files fstest.MapFS, name string) []byte {
	t.Helper()
	for file, f := range files {
		if !strings.HasSuffix(file, ".safetensors") {
			continue
		}
		v, err := safetensors.ParseValues(file, f.Data)
		require.NoError(t, err)
		if info, ok := v.Lookup(name); ok {
			return f.Data[info.Begin:info.End]
		}
	}
	require.Fail(t, "no tensor "+name)
	return nil
}

// setBF16 changes element i of a bfloat16 tensor.
func setBF16(t testing.TB, files fstest.MapFS, name string, i int, v float32) {
	t.Helper()
	bits := math.Float32bits(v)
	require.Zero(t, bits&0xFFFF, "%g is no bfloat16", v)
	binary.LittleEndian.PutUint16(tensor(t, files, name)[2*i:], uint16(bits>>16))
}

// retyped is the same checkpoint with another element type, in one file, its
// tensors in the reverse order.
func retyped(t testing.TB, files fstest.MapFS, dtype checkpoint.DType) fstest.MapFS {
	t.Helper()
	var infos []safetensors.Info
	for file, f := range files {
		if !strings.HasSuffix(file, ".safetensors") {
			continue
		}
		v, err := safetensors.ParseValues(file, f.Data)
		require.NoError(t, err)
		infos = append(infos, v.Tensors...)
	}
	slices.SortFunc(infos, func(a, b safetensors.Info) int { return strings.Compare(b.Name, a.Name) })
	var data []byte
	for i := range infos {
		infos[i].DType = string(dtype)
		raw := tensor(t, files, infos[i].Name)
		for ; len(raw) > 0; raw = raw[2:] {
			data = appendAs(data, dtype, math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw))<<16))
		}
	}
	header, err := safetensors.EncodeHeader(infos, nil)
	require.NoError(t, err)
	return fstest.MapFS{
		checkpoint.ConfigFile: files[checkpoint.ConfigFile],
		checkpoint.SingleFile: &fstest.MapFile{Data: append(header, data...)},
	}
}

func appendAs(data []byte, dtype checkpoint.DType, v float32) []byte {
	switch dtype {
	case checkpoint.F32:
		return binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	case checkpoint.F16:
		return binary.LittleEndian.AppendUint16(data, float16.Fromfloat32(v).Bits())
	default:
		return binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(v)>>16))
	}
}
