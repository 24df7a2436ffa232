package exporter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// anchorsOfNano tie the bundled checkpoint's record to the runs that it
// follows.
func anchorsOfNano() []manifest.Anchor {
	return []manifest.Anchor{
		{Tag: "phi4-mini-t4-layer0-pass-2026-04-29", Commit: "290e3d3"},
		{Tag: "phi4-mini-ane-v0-spec-2026-04-29", Commit: "b366672"},
	}
}

// TestExport exports nano's tail to a disk: the sizes are the plan's, the
// record is golden, the files are those of the record, and a second run writes
// nothing.
func TestExport(t *testing.T) {
	opt := nanoOptions(t, filepath.Join(t.TempDir(), "a", "out"))
	opt.Anchors = anchorsOfNano()
	bar := &counting{}
	opt.Progress = bar
	first := export(t, opt)
	assert.False(t, first.UpToDate)
	assert.Zero(t, first.Resumed)
	assert.Equal(t, filepath.Join(opt.Dir, "nano_layers30_32_int8.mlpackage"), first.Dir)

	plan, err := exporter.PlanShard(opt.Checkpoint.Config(), "nano", opt.Layers, opt.Recipe)
	require.NoError(t, err)
	assert.Equal(t, plan, first.Plan)
	sizes := map[string]int64{}
	for name, size := range filesOf(t, first.Dir) {
		sizes[name] = size
	}
	for _, f := range plan.Files {
		assert.Equal(t, f.Bytes, sizes[f.Path], f.Path)
	}
	assert.Len(t, sizes, len(plan.Files))
	assert.Equal(t, plan.Bytes, first.Shard.Package.Bytes)

	text, err := os.ReadFile(first.Record)
	require.NoError(t, err)
	goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".json")).Assert(t, "record_nano_tail", text)
	record, err := exporter.ReadRecord(opt.Dir)
	require.NoError(t, err)
	assert.Equal(t, first.Shard, record.Shards[0])
	back, err := exporter.RecipeOf(record.Recipe)
	require.NoError(t, err)
	assert.Equal(t, opt.Recipe, back)

	// Progress is told of every byte of weights that is no header or padding.
	assert.Equal(t, []string{"nano_layers30_32_int8.mlpackage"}, bar.labels)
	assert.Equal(t, 1, bar.ended)
	assert.InEpsilon(t, plan.Files[2].Bytes, bar.bytes, 0.02)

	before := filesOf(t, opt.Dir)
	second := export(t, opt)
	assert.True(t, second.UpToDate)
	assert.Equal(t, first.Shard, second.Shard)
	assert.Equal(t, before, filesOf(t, opt.Dir), "no file is new, not even a kept record")
	again, err := os.ReadFile(first.Record)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again))
}

// counting is a Progress that adds up.
type counting struct {
	labels []string
	bytes  int64
	ended  int
}

func (c *counting) Begin(label string, _ int64) { c.labels = append(c.labels, label) }
func (c *counting) Advance(n int64)             { c.bytes += n }
func (c *counting) End()                        { c.ended++ }

// filesOf are the sizes of the files below a directory.
func filesOf(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out[name] = info.Size()
		return err
	}))
	return out
}

// TestReproducible wants the same bytes whatever the machine does and however
// the checkpoint's files are cut: in another order, and in one file.
func TestReproducible(t *testing.T) {
	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		t.Run(string(p), func(t *testing.T) {
			digests := map[string]string{}
			run := func(name string, ck *checkpoint.Checkpoint) {
				opt, mem := inMemory(nanoOptions(t, ""))
				opt.Recipe.Precision = p
				if ck != nil {
					opt.Checkpoint = ck
				}
				res := export(t, opt)
				digests[name] = res.Shard.Package.Digest + mem.Content()[out+"/"+manifest.RecordFile]
			}
			run("as it is", nil)
			run("again", nil)
			old := runtime.GOMAXPROCS(1)
			t.Cleanup(func() { runtime.GOMAXPROCS(old) })
			run("one processor", nil)
			runtime.GOMAXPROCS(7)
			run("seven processors", nil)
			run("one file, other order", open(t, retyped(t, nanoFiles(t), checkpoint.BF16)))
			for name, d := range digests {
				assert.Equal(t, digests["as it is"], d, name)
			}
		})
	}
}

// nanoFiles are the bundled checkpoint's files, to be changed.
func nanoFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(fixtures.Nano(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(fixtures.Nano(), name)
		files[name] = &fstest.MapFile{Data: text}
		return err
	}))
	return files
}

// TestEachRecipe exports every precision, norm form and set of functions, and
// wants each to have bytes of its own and a record that agrees.
func TestEachRecipe(t *testing.T) {
	seen := map[string]string{}
	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		for _, n := range exporter.Norms() {
			for _, rows := range [][]int{{1, 4}, {1}, {4}} {
				name := fmt.Sprintf("%s/%s/%s", p, n, functionList(rows))
				opt, mem := inMemory(nanoOptions(t, ""))
				opt.Recipe.Precision, opt.Recipe.Norm, opt.Recipe.Rows = p, n, rows
				res := export(t, opt)
				digest := res.Shard.Package.Digest
				assert.Empty(t, seen[digest], "%s has the bytes of %s", name, seen[digest])
				seen[digest] = name
				r := readRecord(t, mem)
				assert.Equal(t, res.Shard, r.Shards[0])
				require.Len(t, r.Shards[0].Functions, len(rows))
				for i, f := range r.Shards[0].Functions {
					assert.Equal(t, rows[i], f.T)
					assert.Equal(t, opt.Recipe.FunctionName(rows[i]), f.Name)
					assert.Equal(t, 8, f.OpCounts["conv"])
					assert.Len(t, f.Inputs, 5)
					assert.Len(t, f.States, 4)
				}
			}
		}
	}
}

// TestSecondRunMergesAnchors adds an anchor to a finished export: the record
// has both, and its old text is kept.
func TestSecondRunMergesAnchors(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Anchors = anchorsOfNano()[:1]
	export(t, opt)
	old := mem.Content()
	opt.Anchors = []manifest.Anchor{anchorsOfNano()[1], anchorsOfNano()[1]}
	res := export(t, opt)
	assert.True(t, res.UpToDate)
	assert.Equal(t, []manifest.Anchor{anchorsOfNano()[1], anchorsOfNano()[0]}, readRecord(t, mem).Anchors)
	record := out + "/" + manifest.RecordFile
	found := mem.Content()
	assert.Equal(t, old[record], found[record+".1"])
	delete(found, record+".1")
	found[record] = old[record]
	sameContent(t, old, found)
}

// TestSecondShard exports two ranges into one directory: the record has both,
// each tensor once.
func TestSecondShard(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	tail := export(t, opt)
	opt.Layers, opt.OffLadder = exporter.Range{Start: 29, End: 31}, true
	second := export(t, opt)
	r := readRecord(t, mem)
	assert.Equal(t, []manifest.Shard{second.Shard, tail.Shard}, r.Shards)
	assert.True(t, r.Shards[0].OffLadder)
	assert.False(t, r.Shards[1].OffLadder)
	assert.Len(t, r.Model.Tensors, 3*len(checkpoint.LayerRoles()), "layers 29, 30 and 31")
}

// TestPackageIsExportedAgain moves the finished package away: the same one is
// made again, and the record stays as it is.
func TestPackageIsExportedAgain(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	first := export(t, opt)
	before := mem.Content()
	require.NoError(t, mem.Rename(first.Dir, first.Dir+".moved"))
	second := export(t, opt)
	assert.False(t, second.UpToDate)
	assert.Equal(t, first.Shard, second.Shard)
	found := mem.Content()
	for name := range found {
		if strings.Contains(name, ".moved/") {
			delete(found, name)
		}
	}
	sameContent(t, before, found)
}

// TestPackageIsAdopted leaves the package of a run that was killed before its
// record: the next one takes it as it is.
func TestPackageIsAdopted(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	first := export(t, opt)
	before := mem.Content()
	record := out + "/" + manifest.RecordFile
	require.NoError(t, mem.Rename(record, record+".moved"))
	second := export(t, opt)
	assert.False(t, second.UpToDate)
	assert.Equal(t, first.Shard, second.Shard)
	assert.Equal(t, first.Plan.Bytes, second.Resumed)
	found := mem.Content()
	delete(found, record+".moved")
	sameContent(t, before, found)
}

// TestBadOptions wants bad options to be refused before anything is made.
func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*exporter.Options)
		err    error
		words  []string
	}{
		{"range backwards", func(o *exporter.Options) { o.Layers = exporter.Range{Start: 31, End: 30} }, exporter.ErrRange, []string{"31:30"}},
		{"range beyond", func(o *exporter.Options) { o.Layers = exporter.Range{Start: 30, End: 40} }, exporter.ErrRange, []string{"30:40", "32"}},
		{"layout", func(o *exporter.Options) { o.Layout = exporter.Layout{20, 4, 6} }, exporter.ErrLayout, []string{"20+4+6", "30", "32"}},
		{"recipe", func(o *exporter.Options) { o.Recipe.Precision = "int3" }, exporter.ErrRecipe, []string{"int3"}},
		{"no recipe", func(o *exporter.Options) { o.Recipe = exporter.Recipe{} }, exporter.ErrRecipe, nil},
		{"slots", func(o *exporter.Options) { o.Recipe.Slots = 1 << 20 }, exporter.ErrRecipe, []string{"1048576"}},
		{"name", func(o *exporter.Options) { o.Name = "a/b" }, exporter.ErrRecipe, []string{`"a/b"`}},
		{"no name", func(o *exporter.Options) { o.Name = "" }, exporter.ErrRecipe, []string{"name"}},
		{"accepted", func(o *exporter.Options) { o.AcceptPartial = []string{"parity"} }, exporter.ErrLadder, []string{"residency", `"parity"`}},
		{"commit of an anchor", func(o *exporter.Options) { o.Anchors = []manifest.Anchor{{Tag: "a", Commit: "xyz"}} }, manifest.ErrInvalid, []string{"anchors[0].commit", "xyz"}},
		{"tag of an anchor", func(o *exporter.Options) { o.Anchors = []manifest.Anchor{{Tag: "", Commit: "b366672"}} }, manifest.ErrInvalid, []string{"anchors[0].tag"}},
		{"anchor with two commits", func(o *exporter.Options) {
			o.Anchors = []manifest.Anchor{{Tag: "a", Commit: "b366672"}, {Tag: "a", Commit: "290e3d3"}}
		}, manifest.ErrInvalid, []string{"anchors[1]"}},
		{"negative reserve", func(o *exporter.Options) { o.Reserve = -1 }, durable.ErrSize, []string{"-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			tt.change(&opt)
			_, err := exporter.Export(context.Background(), opt)
			require.ErrorIs(t, err, tt.err)
			for _, w := range tt.words {
				assert.ErrorContains(t, err, w)
			}
			_, err = mem.Stat(out)
			assert.ErrorIs(t, err, fs.ErrNotExist, "not even the directory is made")
		})
	}
}

// TestMissingTensors wants a checkpoint of which the range's file is elsewhere
// to be refused by name.
func TestMissingTensors(t *testing.T) {
	files := nanoFiles(t)
	index := struct {
		Map map[string]string `json:"weight_map"`
	}{}
	require.NoError(t, json.Unmarshal(files[checkpoint.IndexFile].Data, &index))
	name := checkpoint.TensorName(checkpoint.Down, 31)
	delete(files, index.Map[name])
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Checkpoint = open(t, files)
	refused(t, opt, mem, checkpoint.ErrTensor, index.Map[name])
}
