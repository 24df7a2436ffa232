package exporter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"pgregory.net/rapid"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// headOptions are the exports of nano's LM head in n shards.
func headOptions(t testing.TB, dir string, n int) []exporter.Options {
	t.Helper()
	var all []exporter.Options
	for i := range n {
		opt := nanoOptions(t, dir)
		opt.Layers, opt.Head = exporter.Range{}, exporter.Head{Shard: i, Of: n}
		all = append(all, opt)
	}
	return all
}

// embeddingOptions export nano's embedding.
func embeddingOptions(t testing.TB, dir string) exporter.Options {
	t.Helper()
	opt := nanoOptions(t, dir)
	opt.Layers, opt.Embedding = exporter.Range{}, true
	return opt
}

// TestHeadRangesCover: every cut covers the vocabulary exactly, in pieces whose
// sizes differ by one row at most.
func TestHeadRangesCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 300_000).Draw(t, "vocab")
		n := rapid.IntRange(1, min(vocab, exporter.MaxHeadShards)).Draw(t, "n")
		ranges, err := exporter.HeadRanges(vocab, n)
		require.NoError(t, err)
		require.Len(t, ranges, n)
		at := 0
		for _, r := range ranges {
			require.Equal(t, at, r.Start)
			require.True(t, r.Len() == vocab/n || r.Len() == vocab/n+1, "%v of %d in %d", r, vocab, n)
			at = r.End
		}
		require.Equal(t, vocab, at)
	})
	for _, n := range []int{-1, 0, 5, exporter.MaxHeadShards + 1} {
		_, err := exporter.HeadRanges(4, n)
		assert.ErrorIs(t, err, exporter.ErrHead, "%d shards", n)
	}
}

// TestExportHead exports LM head and embedding beside the tail: the record is
// golden, and a second run finds each up to date.
func TestExportHead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	tail := nanoOptions(t, dir)
	tail.Anchors = anchorsOfNano()
	all := append([]exporter.Options{tail}, headOptions(t, dir, 4)...)
	all = append(all, embeddingOptions(t, dir))
	plan, err := exporter.NewPlan(tail.Checkpoint.Config(), "nano", tail.Layout, tail.Recipe, 4)
	require.NoError(t, err)
	steps := append(plan.Shards[:1:1], plan.Steps()[len(plan.Shards):]...)
	require.Len(t, steps, len(all))
	for i, opt := range all {
		res := export(t, opt)
		assert.False(t, res.UpToDate)
		assert.Equal(t, steps[i].Package, filepath.Base(res.Dir))
		assert.Equal(t, steps[i].Files, res.Plan.Files)
		assert.Equal(t, steps[i].Bytes, res.Shard.Package.Bytes)
	}
	record, err := exporter.ReadRecord(dir)
	require.NoError(t, err)
	text, err := manifest.EncodeRecord(*record)
	require.NoError(t, err)
	goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".json")).Assert(t, "record_nano_head", text)

	before := filesOf(t, dir)
	for _, opt := range all {
		assert.True(t, export(t, opt).UpToDate)
	}
	assert.Equal(t, before, filesOf(t, dir))
}

// TestHeadPrograms keeps the printed programs under review.
func TestHeadPrograms(t *testing.T) {
	g := goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".txt"))
	nano := nanoOptions(t, "").Checkpoint.Config()
	for _, tt := range []struct {
		name string
		cfg  checkpoint.Config
		rows exporter.Range
		rec  exporter.Recipe
	}{
		{"program_nano_head_fp16_clamped", nano, exporter.Range{End: 64}, nanoRecipe(exporter.FP16, exporter.Clamped)},
		{"program_phi4mini_head_int8_layernorm_concat", phi4Mini(t), exporter.Range{Start: 50016, End: 100032}, exporter.DefaultRecipe()},
	} {
		prog, err := exporter.HeadProgram(tt.cfg, tt.rows, tt.rec)
		require.NoError(t, err)
		var text bytes.Buffer
		require.NoError(t, mil.Print(&text, prog))
		g.Assert(t, tt.name, text.Bytes())
	}
}

// TestHeadWeights reads LM head shards back: each row is the checkpoint's, in
// its place, tied or not, also where the shards do not divide the vocabulary,
// and both functions share them.
func TestHeadWeights(t *testing.T) {
	for _, name := range []string{"odd_dimensions", "one_kv_head_untied"} {
		files := synthFiles(t, preset(t, name))
		for _, precision := range []exporter.Precision{exporter.Int8, exporter.FP16} {
			t.Run(fmt.Sprintf("%s/%s", name, precision), func(t *testing.T) {
				ck := open(t, files)
				cfg := ck.Config()
				const n = 5
				ranges, err := exporter.HeadRanges(cfg.VocabSize, n)
				require.NoError(t, err)
				require.NotZero(t, cfg.VocabSize%n, "the vocabulary is cut unevenly")
				norm, err := ck.Tensor(checkpoint.FinalNorm, 0)
				require.NoError(t, err)
				head, err := ck.Tensor(checkpoint.LMHead, 0)
				require.NoError(t, err)
				assert.Equal(t, cfg.TieWordEmbeddings, head.Name == checkpoint.TensorName(checkpoint.Embedding, 0))
				dir := filepath.Join(t.TempDir(), "out")
				for i, rows := range ranges {
					res := export(t, exporter.Options{
						Checkpoint: ck, Dir: dir, Head: exporter.Head{Shard: i, Of: n}, Layout: exporter.Layout{cfg.Layers},
						Recipe: nanoRecipe(precision, exporter.Clamped), Name: "made",
					})
					pkg, err := mlpackage.Open(res.Dir)
					require.NoError(t, err)
					t.Cleanup(func() { assert.NoError(t, pkg.Close()) })
					require.NoError(t, mlpackage.Check(pkg))
					for _, f := range pkg.Model.Program.Functions {
						stored := weightsOf(t, f)
						require.Len(t, stored, 2)
						checkWeight(t, pkg, norm, stored[contract.FinalNormWeight], precision)
						checkRows(t, pkg, head, rows, stored[contract.LogitsWeight], precision)
					}
				}
			})
		}
	}
}

// TestEmbedding: the file is the checkpoint's rows in float16, little-endian,
// row-major.
func TestEmbedding(t *testing.T) {
	opt := embeddingOptions(t, filepath.Join(t.TempDir(), "out"))
	res := export(t, opt)
	table, err := opt.Checkpoint.Tensor(checkpoint.Embedding, 0)
	require.NoError(t, err)
	rows := make([]float32, table.Rows()*table.RowLen())
	require.NoError(t, table.ReadRows(rows, 0))
	var want bytes.Buffer
	for _, v := range rows {
		require.NoError(t, binary.Write(&want, binary.LittleEndian, float16.Fromfloat32(v).Bits()))
	}
	found, err := os.ReadFile(res.Dir)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want.Bytes(), found))
	assert.Equal(t, exporter.EmbeddingName("nano"), filepath.Base(res.Dir))
}

// TestEmbeddingOverflow names the value that float16 cannot hold, and leaves no
// file.
func TestEmbeddingOverflow(t *testing.T) {
	files := synthFiles(t, preset(t, "plain_rope_one_layer"))
	name := checkpoint.TensorName(checkpoint.Embedding, 0)
	setBF16(t, files, name, 5, 1<<17)
	opt := oneLayerOf(t, files, exporter.Int8)
	opt.Layers, opt.Embedding = exporter.Range{}, true
	_, err := exporter.Export(context.Background(), opt)
	var value *checkpoint.ValueError
	require.ErrorAs(t, err, &value)
	assert.Equal(t, name, value.Tensor)
	assert.Equal(t, 5, value.Row*opt.Checkpoint.Config().HiddenSize+value.Col)
	_, err = opt.FS.Stat(out + "/" + exporter.EmbeddingName("made"))
	assert.Error(t, err)
	_, err = opt.FS.Stat(out + "/" + manifest.RecordFile)
	assert.Error(t, err)
}

// TestHeadRefuses: options that name no piece, or more than one.
func TestHeadRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*exporter.Options)
		want   error
	}{
		"nothing":         {func(opt *exporter.Options) { opt.Layers = exporter.Range{} }, exporter.ErrRange},
		"layers and head": {func(opt *exporter.Options) { opt.Head = exporter.Head{Of: 4} }, exporter.ErrRange},
		"layers and file": {func(opt *exporter.Options) { opt.Embedding = true }, exporter.ErrRange},
		"shard 4 of 4": {func(opt *exporter.Options) {
			opt.Layers, opt.Head = exporter.Range{}, exporter.Head{Shard: 4, Of: 4}
		}, exporter.ErrHead},
		"no shards": {func(opt *exporter.Options) {
			opt.Layers, opt.Head = exporter.Range{}, exporter.Head{Shard: 1}
		}, exporter.ErrHead},
	} {
		t.Run(name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			tt.change(&opt)
			refused(t, opt, mem, tt.want)
		})
	}
}

// TestHeadConflicts: another cut of the head, another checkpoint, a stranger at
// the name, a changed file.
func TestHeadConflicts(t *testing.T) {
	opt, mem := inMemory(headOptions(t, "", 2)[0])
	export(t, opt)
	other, _ := inMemory(headOptions(t, "", 4)[0])
	other.FS = mem
	refused(t, other, mem, exporter.ErrConflict, "LM head rows 0:128", "4 head shards", "0:64, 64:128")

	table := embeddingOptions(t, filepath.Join(t.TempDir(), "out"))
	file := export(t, table).Dir
	damaged, err := os.ReadFile(file)
	require.NoError(t, err)
	damaged[7] ^= 1
	require.NoError(t, os.WriteFile(file, damaged, 0o600))
	_, err = exporter.Export(context.Background(), table)
	require.ErrorIs(t, err, exporter.ErrConflict)
	assert.ErrorContains(t, err, exporter.EmbeddingName("nano")+": the record wants")

	table.Dir = t.TempDir()
	stranger := filepath.Join(table.Dir, exporter.EmbeddingName("nano"))
	require.NoError(t, os.WriteFile(stranger, damaged, 0o600))
	_, err = exporter.Export(context.Background(), table)
	require.ErrorIs(t, err, exporter.ErrConflict)
	assert.ErrorContains(t, err, "other bytes near offset 0")
	left, err := os.ReadFile(stranger)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(damaged, left))
}

// TestEmbeddingNameTaken: a directory at the file's name, and a file at a
// package's.
func TestEmbeddingNameTaken(t *testing.T) {
	table := embeddingOptions(t, t.TempDir())
	require.NoError(t, os.Mkdir(filepath.Join(table.Dir, exporter.EmbeddingName("nano")), 0o700))
	_, err := exporter.Export(context.Background(), table)
	require.ErrorIs(t, err, exporter.ErrConflict)
	assert.ErrorContains(t, err, "is not a file")

	head := headOptions(t, t.TempDir(), 1)[0]
	require.NoError(t, os.WriteFile(filepath.Join(head.Dir, "nano_head0_256_int8.mlpackage"), nil, 0o600))
	_, err = exporter.Export(context.Background(), head)
	require.ErrorIs(t, err, exporter.ErrConflict)
	assert.ErrorContains(t, err, "is not a directory")
}

// TestHeadOfAnotherFineTune: a directory without layers is told apart by its LM
// head, or by its embedding.
func TestHeadOfAnotherFineTune(t *testing.T) {
	files := synthFiles(t, preset(t, "plain_rope_one_layer"))
	for name, first := range map[string]func(*exporter.Options){
		"head":      func(opt *exporter.Options) { opt.Head = exporter.Head{Of: 1} },
		"embedding": func(opt *exporter.Options) { opt.Embedding = true },
	} {
		t.Run(name, func(t *testing.T) {
			opt := oneLayerOf(t, files, exporter.Int8)
			opt.Layers = exporter.Range{}
			first(&opt)
			export(t, opt)
			changed := synthFiles(t, preset(t, "plain_rope_one_layer"))
			setBF16(t, changed, checkpoint.TensorName(checkpoint.Embedding, 0), 3, 0.5)
			setBF16(t, changed, checkpoint.TensorName(checkpoint.FinalNorm, 0), 3, 0.5)
			next := oneLayerOf(t, changed, exporter.Int8)
			next.FS = opt.FS
			_, err := exporter.Export(context.Background(), next)
			require.ErrorIs(t, err, exporter.ErrConflict)
			assert.ErrorContains(t, err, "another checkpoint")
		})
	}
}

// TestPlanHeadRefuses: rows outside the vocabulary.
func TestPlanHeadRefuses(t *testing.T) {
	_, err := exporter.PlanHead(phi4Mini(t), "m", exporter.Range{Start: 200_000, End: 200_065}, exporter.DefaultRecipe())
	assert.ErrorIs(t, err, exporter.ErrRange)
	_, err = exporter.NewPlan(phi4Mini(t), "m", exporter.DefaultLayout(), exporter.DefaultRecipe(), 0)
	assert.ErrorIs(t, err, exporter.ErrHead)
	assert.Equal(t, "nano_head0_64_int8.mlpackage", exporter.HeadPackageName("nano", exporter.Range{End: 64}, exporter.Int8))
}
