package exporter_test

import (
	"bytes"
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// overwrite changes bytes of a file in memory, beyond its end too.
func overwrite(t testing.TB, mem *faultfs.Mem, name string, at int64, content []byte) {
	t.Helper()
	f, err := mem.OpenKeep(name)
	require.NoError(t, err)
	_, err = f.WriteAt(content, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// flip changes one bit of a file in memory.
func flip(t testing.TB, mem *faultfs.Mem, name string, at int64) {
	t.Helper()
	content, ok := mem.Content()[name]
	require.True(t, ok, name)
	overwrite(t, mem, name, at, []byte{content[at] ^ 1})
}

// TestOtherCheckpointIsRefused exports nano's tail and then something else into
// the same directory: nothing changes, and the error names both.
func TestOtherCheckpointIsRefused(t *testing.T) {
	config := func(t *testing.T) *checkpoint.Checkpoint {
		files := nanoFiles(t)
		text := bytes.Replace(files[checkpoint.ConfigFile].Data, []byte(`1e-05`), []byte(`2e-05`), 1)
		require.NotEqual(t, files[checkpoint.ConfigFile].Data, text)
		files[checkpoint.ConfigFile] = &fstest.MapFile{Data: text}
		return open(t, files)
	}
	weights := func(layer int) func(*testing.T) *checkpoint.Checkpoint {
		return func(t *testing.T) *checkpoint.Checkpoint {
			files := nanoFiles(t)
			setBF16(t, files, checkpoint.TensorName(checkpoint.Down, layer), 12345, 0.25)
			return open(t, files)
		}
	}
	other := exporter.Range{Start: 28, End: 30}
	for _, tt := range []struct {
		name   string
		layers exporter.Range
		source func(*testing.T) *checkpoint.Checkpoint
		change func(*exporter.Options)
		words  []string
	}{
		{name: "config, same range", layers: exporter.Range{Start: 30, End: 32}, source: config, words: []string{"config of digest", "nano"}},
		{name: "config, other range", layers: other, source: config, words: []string{"config of digest"}},
		{name: "weights of the first layer", layers: exporter.Range{Start: 30, End: 32}, source: weights(30), words: []string{"model.layers.30.mlp.down_proj.weight", "sha256", manifest.RecordFile}},
		{name: "weights of the last layer", layers: exporter.Range{Start: 30, End: 32}, source: weights(31), words: []string{"model.layers.31.mlp.down_proj.weight"}},
		{name: "weights, other range", layers: other, source: weights(31), words: []string{"model.layers.31.mlp.down_proj.weight"}},
		{name: "precision", layers: other, change: func(o *exporter.Options) { o.Recipe.Precision = exporter.FP16 }, words: []string{"int8", "fp16"}},
		{name: "slots", layers: other, change: func(o *exporter.Options) { o.Recipe.Slots = 128 }, words: []string{"256", "128"}},
		{name: "functions", layers: other, change: func(o *exporter.Options) { o.Recipe.Rows = []int{4} }, words: []string{"t1", "t4"}},
		{name: "norm", layers: other, change: func(o *exporter.Options) { o.Recipe.Norm = exporter.Clamped }, words: []string{"layernorm_concat", "clamped"}},
		{name: "rope factor", layers: other, change: func(o *exporter.Options) { o.Recipe.FoldRope = true }, words: []string{"recipe.rope_factor is absent", "folded"}},
		{name: "layout", layers: other, change: func(o *exporter.Options) { o.Layout = exporter.Layout{28, 2, 2} }, words: []string{"[20 4 6 2]", "[28 2 2]"}},
		{name: "name", layers: other, change: func(o *exporter.Options) { o.Name = "micro" }, words: []string{"nano", "micro"}},
		{name: "anchor", layers: other, change: func(o *exporter.Options) { o.Anchors = []manifest.Anchor{{Tag: "spec", Commit: "290e3d3"}} }, words: []string{"b366672", "290e3d3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			opt.Anchors = []manifest.Anchor{{Tag: "spec", Commit: "b366672"}}
			export(t, opt)
			opt.OffLadder = true
			opt.Layers = tt.layers
			if tt.source != nil {
				opt.Checkpoint = tt.source(t)
			}
			if tt.change != nil {
				tt.change(&opt)
			}
			refused(t, opt, mem, exporter.ErrConflict, append(tt.words, out, "use another --out")...)
		})
	}
}

// TestLastLayerTellsWeightsApart records two shards and changes the last layer,
// as training of the last layers does: a third shard is refused.
func TestLastLayerTellsWeightsApart(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.OffLadder = true
	for _, start := range []int{30, 28} {
		opt.Layers = exporter.Range{Start: start, End: start + 2}
		export(t, opt)
	}
	files := nanoFiles(t)
	setBF16(t, files, checkpoint.TensorName(checkpoint.GateUp, 31), 12345, 0.25)
	opt.Checkpoint = open(t, files)
	opt.Layers = exporter.Range{Start: 26, End: 28}
	refused(t, opt, mem, exporter.ErrConflict, "model.layers.31.mlp.gate_up_proj.weight")
}

// TestPartOfTheCheckpoint lets a machine hold the files of the range alone: the
// recorded layer is elsewhere, so the config alone ties the shards.
func TestPartOfTheCheckpoint(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	export(t, opt)
	files := nanoFiles(t)
	for name := range files {
		if strings.HasPrefix(name, "model-00002") {
			delete(files, name) // the last layers
		}
	}
	opt.Checkpoint = open(t, files)
	_, err := opt.Checkpoint.Tensor(checkpoint.Down, 31)
	require.ErrorIs(t, err, checkpoint.ErrTensor)
	opt.Layers, opt.OffLadder = exporter.Range{Start: 0, End: 1}, true
	export(t, opt)
	assert.Len(t, readRecord(t, mem).Shards, 2)
}

// TestOtherWeightsAreFoundBeforeTheName changes weights that no early check
// compares: the stream finds them, and no package gets its name.
func TestOtherWeightsAreFoundBeforeTheName(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	export(t, opt)
	files := nanoFiles(t)
	setBF16(t, files, checkpoint.TensorName(checkpoint.Down, 30), 12345, 0.25)
	opt.Checkpoint = open(t, files)
	opt.Layers, opt.OffLadder = exporter.Range{Start: 29, End: 31}, true
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, exporter.ErrConflict)
	assert.ErrorContains(t, err, "model.layers.30.mlp.down_proj.weight")
	_, err = mem.Stat(out + "/nano_layers29_31_int8.mlpackage")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// TestStandingPackage changes a finished package, with and without its record.
func TestStandingPackage(t *testing.T) {
	const pkg = out + "/nano_layers30_32_int8.mlpackage"
	weights := pkg + "/" + mlpackage.WeightsPath
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *faultfs.Mem)
		word   string
	}{
		{"bit of the weights", func(t *testing.T, m *faultfs.Mem) { flip(t, m, weights, 100_000) }, mlpackage.WeightsPath},
		{"bit of the last byte", func(t *testing.T, m *faultfs.Mem) { flip(t, m, weights, int64(len(m.Content()[weights]))-1) }, mlpackage.WeightsPath},
		{"bit of the model", func(t *testing.T, m *faultfs.Mem) { flip(t, m, pkg+"/"+mlpackage.ModelPath, 100) }, mlpackage.ModelPath},
		{"a byte more", func(t *testing.T, m *faultfs.Mem) {
			overwrite(t, m, weights, int64(len(m.Content()[weights])), []byte{0})
		}, mlpackage.WeightsPath},
		{"a file is missing", func(t *testing.T, m *faultfs.Mem) {
			require.NoError(t, m.Rename(pkg+"/"+mlpackage.ManifestPath, pkg+"/other"))
		}, mlpackage.ManifestPath},
		{"a file more", func(t *testing.T, m *faultfs.Mem) { overwrite(t, m, pkg+"/Data/notes.txt", 0, []byte("x")) }, "Data/notes.txt"},
		{"a directory more", func(t *testing.T, m *faultfs.Mem) { require.NoError(t, m.Mkdir(pkg+"/Data/cache")) }, "Data/cache"},
	} {
		for _, recorded := range []bool{true, false} {
			name := tt.name + "/recorded"
			if !recorded {
				name = tt.name + "/unrecorded"
			}
			t.Run(name, func(t *testing.T) {
				opt, mem := inMemory(nanoOptions(t, ""))
				export(t, opt)
				if !recorded {
					require.NoError(t, mem.Rename(out+"/"+manifest.RecordFile, out+"/old"))
				}
				tt.change(t, mem)
				refused(t, opt, mem, exporter.ErrConflict, pkg, tt.word)
			})
		}
	}
}

// TestStrangerAtTheName puts other things where the package should be.
func TestStrangerAtTheName(t *testing.T) {
	const pkg = out + "/nano_layers30_32_int8.mlpackage"
	for _, tt := range []struct {
		name string
		make func(*testing.T, *faultfs.Mem)
		word string
	}{
		{"a file", func(t *testing.T, m *faultfs.Mem) { overwrite(t, m, pkg, 0, []byte("not a package")) }, "not a directory"},
		{"an empty directory", func(t *testing.T, m *faultfs.Mem) { require.NoError(t, m.Mkdir(pkg)) }, mlpackage.ManifestPath},
		{"a package of other layers", func(t *testing.T, m *faultfs.Mem) {
			opt := nanoOptions(t, out)
			opt.FS, opt.OffLadder, opt.Layers = m, true, exporter.Range{Start: 28, End: 30}
			res := export(t, opt)
			require.NoError(t, m.Rename(res.Dir, pkg))
			require.NoError(t, m.Rename(res.Record, res.Record+".moved"))
		}, mlpackage.WeightsPath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			require.NoError(t, mem.Mkdir(out))
			overwrite(t, mem, out+"/"+durable.LockName, 0, nil)
			lock, err := durable.AcquireLock(mem, out)
			require.NoError(t, err)
			require.NoError(t, lock.Unlock())
			tt.make(t, mem)
			refused(t, opt, mem, exporter.ErrConflict, pkg, tt.word)
		})
	}
}

// TestStrangeRecord changes the record of a finished export.
func TestStrangeRecord(t *testing.T) {
	const name = out + "/" + manifest.RecordFile
	rewrite := func(change func(*manifest.Record)) func(*testing.T, *faultfs.Mem) {
		return func(t *testing.T, m *faultfs.Mem) {
			r := readRecord(t, m)
			change(&r)
			text, err := manifest.EncodeRecord(r)
			require.NoError(t, err)
			require.NoError(t, m.Rename(name, name+".moved"))
			overwrite(t, m, name, 0, text)
		}
	}
	seal := func(r *manifest.Record) {
		p := &r.Shards[0].Package
		p.Bytes = 0
		for _, f := range p.Files {
			p.Bytes += f.Bytes
		}
		p.Digest, _ = manifest.PackageDigest(p.Files)
	}
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *faultfs.Mem)
		err    error
		words  []string
	}{
		{"no JSON", func(t *testing.T, m *faultfs.Mem) { overwrite(t, m, name, 0, []byte("{]")) }, manifest.ErrSyntax, []string{name}},
		{"other sizes", rewrite(func(r *manifest.Record) { r.Shards[0].Package.Files[0].Bytes++; seal(r) }), exporter.ErrConflict, []string{"another build", mlpackage.ModelPath}},
		{"other model", rewrite(func(r *manifest.Record) {
			r.Shards[0].Package.Files[0].SHA256 = strings.Repeat("a", 64)
			seal(r)
		}), exporter.ErrConflict, []string{"another build", mlpackage.ModelPath, "aaaa"}},
		{"a file less", rewrite(func(r *manifest.Record) { r.Shards[0].Package.Files = r.Shards[0].Package.Files[1:]; seal(r) }), exporter.ErrConflict, []string{"another build", "2 files"}},
		{"other path", rewrite(func(r *manifest.Record) { r.Shards[0].Package.Path = "x.mlpackage" }), exporter.ErrConflict, []string{"x.mlpackage"}},
		{"other weights", rewrite(func(r *manifest.Record) {
			r.Shards[0].Package.Files[1].SHA256 = strings.Repeat("b", 64)
			seal(r)
		}), exporter.ErrConflict, []string{mlpackage.WeightsPath, "bbbb"}},
		{"tensors unnamed", rewrite(func(r *manifest.Record) { r.Model.Tensors = r.Model.Tensors[1:] }), exporter.ErrConflict, []string{"11 of the 12 tensors of layers 30:32"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			export(t, opt)
			tt.change(t, mem)
			refused(t, opt, mem, tt.err, tt.words...)
		})
	}
}

func TestLockedDirectory(t *testing.T) {
	opt := nanoOptions(t, t.TempDir())
	lock, err := durable.AcquireLock(durable.OS{}, opt.Dir)
	require.NoError(t, err)
	_, err = exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, durable.ErrLocked)
	assert.ErrorContains(t, err, filepath.Join(opt.Dir, durable.LockName))
	assert.Equal(t, []string{durable.LockName}, entries(t, opt.Dir))
	require.NoError(t, lock.Unlock())
	export(t, opt)
}

// TestReadOnlyDirectory makes every way of writing fail as on a read-only
// volume.
func TestReadOnlyDirectory(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	readOnly := faultfs.Wrap(mem, func(c faultfs.Call) *faultfs.Fault {
		switch c.Op {
		case faultfs.OpMkdir, faultfs.OpOpenKeep, faultfs.OpWrite, faultfs.OpRename, faultfs.OpRenameNoReplace, faultfs.OpLink:
			return &faultfs.Fault{Err: fs.ErrPermission}
		}
		return nil
	})
	opt.FS = readOnly
	refused(t, opt, mem, fs.ErrPermission, out)
	require.NoError(t, mem.Mkdir(out))
	refused(t, opt, mem, fs.ErrPermission, out)
	opt.FS = mem
	export(t, opt)
	opt.FS = readOnly
	refused(t, opt, mem, fs.ErrPermission, out)
}

// TestOutputIsAFile names an existing file as the directory, and one below it.
func TestOutputIsAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, durable.WriteNew(durable.OS{}, file, []byte("mine")))
	for _, name := range []string{file, filepath.Join(file, "below")} {
		_, err := exporter.Export(context.Background(), nanoOptions(t, name))
		require.Error(t, err)
		assert.ErrorContains(t, err, file)
	}
	assert.Equal(t, map[string]int64{"file": 4}, filesOf(t, dir))
}
