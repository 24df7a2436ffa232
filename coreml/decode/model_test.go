package decode_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/oracle"
	"lockstep/coreml"
	"lockstep/coreml/decode"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// exported is a small synthetic model, exported whole.
type exported struct {
	checkpoint *checkpoint.Checkpoint
	dir        string
	record     manifest.Record
}

func exportPreset(t *testing.T, p synth.Preset, rows ...int) exported {
	t.Helper()
	source := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(background, source, p.Spec))
	ck, err := checkpoint.OpenDir(source)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	layers := ck.Config().Layers
	layout := exporter.Layout{layers}
	if layers > 1 {
		layout = exporter.Layout{layers - 1, 1}
	}
	opt := exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "out"), Layout: layout, Name: "small",
		Recipe: exporter.Recipe{Slots: 32, Rows: rows, Precision: exporter.FP16, Norm: exporter.LayerNormConcat, Writer: exporter.WriterVersion},
		// The ladder is not what is tested.
		OffLadder: true,
	}
	var parts []exporter.Options
	for _, r := range layout.Shards() {
		part := opt
		part.Layers = r
		parts = append(parts, part)
	}
	for i := range 4 {
		part := opt
		part.Head = exporter.Head{Shard: i, Of: 4}
		parts = append(parts, part)
	}
	opt.Embedding = true
	for _, part := range append(parts, opt) {
		_, err := exporter.Export(background, part)
		require.NoError(t, err)
	}
	record, err := exporter.ReadRecord(opt.Dir)
	require.NoError(t, err)
	return exported{ck, opt.Dir, *record}
}

func (e exported) open(t *testing.T, plane coreml.Plane) *decode.Model {
	t.Helper()
	m, err := decode.Open(background, plane, e.dir, e.record)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

func program(t *testing.T, c *decode.Cache, rows int) *decode.Program {
	t.Helper()
	p, err := c.Program(background, rows)
	require.NoError(t, err)
	return p
}

func newCache(t *testing.T, m *decode.Model) *decode.Cache {
	t.Helper()
	c, err := m.NewCache()
	require.NoError(t, err)
	return c
}

// someIDs are tokens that go through the vocabulary.
func someIDs(n, vocab int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = (i*37 + 5) % vocab
	}
	return ids
}

// TestChainIsTheModel: through every small model's shards, blocks and singles
// give the same logits, bit for bit, and the independent model's closely. The
// block has seven rows of which the last pass leaves some dead.
func TestChainIsTheModel(t *testing.T) {
	for _, preset := range synth.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			e := exportPreset(t, preset, 1, 7)
			m := e.open(t, reference.Plane{})
			assert.Equal(t, []int{1, 7}, m.Rows())
			ids := someIDs(20, e.record.Model.Dims.Vocab)
			block, single := program(t, newCache(t, m), 7), program(t, newCache(t, m), 1)
			var blocks, singles [][]float32
			for pos := 0; pos < len(ids); pos += 7 {
				blocks = append(blocks, copyRows(t, block, pos, ids[pos:min(pos+7, len(ids))])...)
			}
			for pos := range ids {
				singles = append(singles, copyRows(t, single, pos, ids[pos:pos+1])...)
			}
			want := oracleLogits(t, e.checkpoint, ids)
			for pos := range ids {
				require.True(t, slices.Equal(blocks[pos], singles[pos]), "position %d", pos)
				require.Greater(t, cosine(blocks[pos], want[pos]), 0.9995, "position %d", pos)
			}
		})
	}
}

func copyRows(t *testing.T, p decode.Passer, pos int, ids []int) [][]float32 {
	t.Helper()
	rows, err := p.Pass(background, pos, ids)
	require.NoError(t, err)
	require.Len(t, rows, len(ids))
	var out [][]float32
	for _, row := range rows {
		out = append(out, slices.Clone(row))
	}
	return out
}

func oracleLogits(t *testing.T, ck *checkpoint.Checkpoint, ids []int) [][]float64 {
	t.Helper()
	model, err := oracle.Load(background, ck, 0, ck.Config().Layers)
	require.NoError(t, err)
	head, err := oracle.LoadHead(background, ck)
	require.NoError(t, err)
	cache := model.NewCache(len(ids))
	var out [][]float64
	for pos, id := range ids {
		x, err := head.Embed(id)
		require.NoError(t, err)
		x, err = model.Forward(background, x, pos, cache)
		require.NoError(t, err)
		logits, err := head.Logits(background, x)
		require.NoError(t, err)
		out = append(out, logits)
	}
	return out
}

func cosine(a []float32, b []float64) float64 {
	var ab, aa, bb float64
	for i, v := range a {
		ab, aa, bb = ab+float64(v)*b[i], aa+float64(v)*float64(v), bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

// TestProgramsShareTheCache: a single sees what a block wrote and the other way
// round, and Feed writes what Pass does.
func TestProgramsShareTheCache(t *testing.T) {
	e := exportPreset(t, synth.Presets()[0], 1, 4)
	m := e.open(t, reference.Plane{})
	ids := someIDs(9, e.record.Model.Dims.Vocab)
	alone := program(t, newCache(t, m), 1)
	var want []float32
	for pos := range ids {
		want = copyRows(t, alone, pos, ids[pos:pos+1])[0]
	}
	c := newCache(t, m)
	block, single := program(t, c, 4), program(t, c, 1)
	require.NoError(t, block.Feed(background, 0, ids[:4]))
	require.NoError(t, single.Feed(background, 4, ids[4:5]))
	got := copyRows(t, block, 5, ids[5:9])
	assert.True(t, slices.Equal(want, got[3]))
}

// TestSessionOverTheChain: speculation over packages gives greedy decoding's
// tokens, and fills the context to its last slot.
func TestSessionOverTheChain(t *testing.T) {
	e := exportPreset(t, synth.Presets()[0], 1, 4)
	m := e.open(t, reference.Plane{})
	generate := func(d decode.Draft) *decode.Result {
		s, err := decode.NewSession(program(t, newCache(t, m), 4), nil, decode.Options{Draft: d})
		require.NoError(t, err)
		res, err := s.Generate(background, []int{1, 2, 3, 4, 5}, 100, nil)
		require.NoError(t, err)
		return res
	}
	plain := generate(nil)
	assert.Equal(t, decode.FullContext, plain.Reason)
	assert.Len(t, plain.Tokens, 32-5+1)
	truth := append([]int{1, 2, 3, 4, 5}, plain.IDs()...)
	half := generate(oracleDraft{truth, func(i, id int) int { return (id + i%2) % 96 }, 0})
	assert.Equal(t, plain.IDs(), half.IDs())
	assert.Positive(t, half.Stats.Accepted)
	assert.Less(t, half.Stats.Accepted, half.Stats.Drafted)
}

// TestPackagesOfOneFunction: with one function in the recipe its name is main.
func TestPackagesOfOneFunction(t *testing.T) {
	e := exportPreset(t, synth.Presets()[3], 4)
	m := e.open(t, reference.Plane{})
	_, err := newCache(t, m).Program(background, 1)
	require.ErrorIs(t, err, decode.ErrOptions)
	s, err := decode.NewSession(program(t, newCache(t, m), 4), nil, decode.Options{})
	require.NoError(t, err)
	res, err := s.Generate(background, []int{1}, 3, nil)
	require.NoError(t, err)
	assert.Len(t, res.Tokens, 3)
}

func TestOpenRefuses(t *testing.T) {
	e := exportPreset(t, synth.Presets()[0], 1, 4)
	for _, tt := range []struct {
		name string
		edit func(*manifest.Record)
		want error
		says string
	}{
		{"no record at all", func(r *manifest.Record) { *r = manifest.Record{} }, manifest.ErrSchemaVersion, "schema"},
		{"a shard missing", func(r *manifest.Record) { r.Shards = r.Shards[1:] }, decode.ErrIncomplete, "layers 0:2"},
		{"no head", func(r *manifest.Record) { r.LMHead = nil }, decode.ErrIncomplete, "up to vocabulary row 96"},
		{"a gap in the head", func(r *manifest.Record) { r.LMHead = slices.Delete(slices.Clone(r.LMHead), 1, 2) }, decode.ErrIncomplete, "row 24"},
		{"the head's end missing", func(r *manifest.Record) { r.LMHead = r.LMHead[:3] }, decode.ErrIncomplete, "row 96"},
		{"no embedding", func(r *manifest.Record) { r.Embedding = nil }, decode.ErrIncomplete, "embedding"},
		{"embedding of another size", func(r *manifest.Record) {
			other := *r.Embedding
			other.Bytes++
			r.Embedding = &other
		}, decode.ErrIncomplete, "96 rows"},
		{"embedding not there", func(r *manifest.Record) {
			other := *r.Embedding
			other.Path = "elsewhere.bin"
			r.Embedding = &other
		}, os.ErrNotExist, "elsewhere.bin"},
		{"a package not there", func(r *manifest.Record) {
			r.Shards = slices.Clone(r.Shards)
			r.Shards[1].Package.Path = "elsewhere.mlpackage"
		}, os.ErrNotExist, "layers 2:3"},
		{"more slots than the factors are for", func(r *manifest.Record) { r.Model.Rope.OriginalMax = 31 }, decode.ErrContext, "31 positions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			record := e.record
			tt.edit(&record)
			_, err := decode.Open(background, reference.Plane{}, e.dir, record)
			require.ErrorIs(t, err, tt.want)
			assert.ErrorContains(t, err, tt.says)
			if tt.want == decode.ErrIncomplete && !strings.HasPrefix(tt.name, "embedding") {
				assert.ErrorIs(t, decode.VerifyFiles(background, e.dir, record), decode.ErrIncomplete)
			}
		})
	}
}

func TestPassRefuses(t *testing.T) {
	e := exportPreset(t, synth.Presets()[3], 4)
	p := program(t, newCache(t, e.open(t, reference.Plane{})), 4)
	for _, tt := range []struct {
		name string
		pos  int
		ids  []int
		want error
	}{
		{"no token", 0, nil, decode.ErrContext},
		{"too many tokens", 0, make([]int, 5), decode.ErrContext},
		{"negative position", -1, make([]int, 1), decode.ErrContext},
		{"beyond the last slot", 29, make([]int, 4), decode.ErrContext},
		{"largest position", math.MaxInt, make([]int, 1), decode.ErrContext},
		{"id of the vocabulary's size", 0, []int{1, 96}, decode.ErrToken},
		{"negative id", 0, []int{-1}, decode.ErrToken},
	} {
		_, err := p.Pass(background, tt.pos, tt.ids)
		assert.ErrorIs(t, err, tt.want, tt.name)
	}
}

// spoiling is a plane whose functions leave a NaN in their output from the
// given pass on, in packages whose name contains a word. Core ML reports no
// such thing by itself.
type spoiling struct {
	coreml.Plane
	word string
	from int
}

func (p spoiling) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	if err != nil || !strings.Contains(filepath.Base(dir), p.word) {
		return pkg, err
	}
	return spoiledPackage{pkg, p.from}, nil
}

type spoiledPackage struct {
	coreml.Package
	from int
}

func (p spoiledPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	return &spoiledFunction{f, p.from}, err
}

type spoiledFunction struct {
	coreml.Function
	left int
}

func (f *spoiledFunction) Predict(ctx context.Context, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error {
	err := f.Function.Predict(ctx, in, st, out)
	if f.left--; f.left < 0 {
		for _, tensor := range out {
			tensor.Data[0] = half.NaN
		}
	}
	return err
}

// TestNonFiniteEndsTheSession: a NaN of any package is an error that names it.
func TestNonFiniteEndsTheSession(t *testing.T) {
	e := exportPreset(t, synth.Presets()[0], 1, 4)
	for word, label := range map[string]string{"layers0_2": "layers 0:2", "layers2_3": "layers 2:3", "head": "LM head"} {
		t.Run(label, func(t *testing.T) {
			m := e.open(t, spoiling{reference.Plane{}, word, 3})
			s, err := decode.NewSession(program(t, newCache(t, m), 4), nil, decode.Options{})
			require.NoError(t, err)
			res, err := s.Generate(background, []int{1, 2, 3}, 20, nil)
			require.ErrorIs(t, err, coreml.ErrNonFinite)
			assert.ErrorContains(t, err, label)
			assert.Len(t, res.Tokens, 3, "the passes before it")
			_, err = s.Generate(background, []int{1}, 1, nil)
			assert.ErrorIs(t, err, decode.ErrEnded)
		})
	}
}

func TestVerifyFiles(t *testing.T) {
	e := exportPreset(t, synth.Presets()[3], 4)
	require.NoError(t, decode.VerifyFiles(background, e.dir, e.record))
	ctx, cancel := context.WithCancel(background)
	cancel()
	require.ErrorIs(t, decode.VerifyFiles(ctx, e.dir, e.record), context.Canceled)
	for _, rel := range []string{e.record.Embedding.Path, e.record.LMHead[3].Package.Path + "/" + e.record.LMHead[3].Package.Files[0].Path} {
		name := filepath.Join(e.dir, filepath.FromSlash(rel))
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(name, content, 0o644))
		err = decode.VerifyFiles(background, e.dir, e.record)
		require.ErrorIs(t, err, decode.ErrDigest)
		assert.ErrorContains(t, err, name)
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(name, content, 0o644))
	}
	require.NoError(t, decode.VerifyFiles(background, e.dir, e.record))
}

// TestPassAllocatesNothingBig: a pass of the chain allocates less than one row
// of logits would take.
func TestPassAllocatesNothingBig(t *testing.T) {
	e := exportPreset(t, synth.Presets()[0], 4)
	p := program(t, newCache(t, e.open(t, reference.Plane{})), 4)
	run := func() {
		if _, err := p.Pass(background, 4, []int{1, 2, 3, 4}); err != nil {
			panic(err)
		}
	}
	run()
	var before, after runtime.MemStats
	const passes = 50
	runtime.ReadMemStats(&before)
	for range passes {
		run()
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)/passes, uint64(4*e.record.Model.Dims.Vocab))
}
