package exporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// maxRecordBytes bounds what is read as a record or verdict.
const maxRecordBytes = 64 << 20

// ReadRecord reads a directory's lockstep.json; an absent one is
// fs.ErrNotExist.
func ReadRecord(dir string) (*manifest.Record, error) {
	return mustRecord(durable.OS{}, dir)
}

func mustRecord(fsys durable.FS, dir string) (*manifest.Record, error) {
	name := filepath.Join(dir, manifest.RecordFile)
	text, err := readSmall(fsys, name)
	if err != nil {
		return nil, err
	}
	r, err := manifest.DecodeRecord(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// readRecord is mustRecord, with nil for a directory without a record.
func readRecord(fsys durable.FS, dir string) (*manifest.Record, error) {
	r, err := mustRecord(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

func readSmall(fsys durable.FS, name string) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close() // opened for reading
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxRecordBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxRecordBytes {
		return nil, fmt.Errorf("%s: %w: want at most %d bytes, found more", name, manifest.ErrInvalid, maxRecordBytes)
	}
	return text, nil
}

// writeRecord replaces lockstep.json, keeping its old text.
func writeRecord(lock *durable.Lock, r manifest.Record) error {
	text, err := manifest.EncodeRecord(r)
	if err != nil {
		return err
	}
	return lock.ReplaceKept(manifest.RecordFile, text)
}

// findPart is the record's entry of a piece, in the form of Result.Shard, or
// nil; there may be no record.
func findPart(r *manifest.Record, p part) *manifest.Shard {
	if r == nil {
		return nil
	}
	is := func(start, end int) bool { return start == p.Start && end == p.End }
	switch p.kind {
	case headShard:
		for _, h := range r.LMHead {
			if is(h.Start, h.End) {
				return &manifest.Shard{Start: h.Start, End: h.End, Package: h.Package, Functions: h.Functions, Notes: h.Notes}
			}
		}
	case embeddingFile:
		if e := r.Embedding; e != nil {
			file := manifest.File{Path: e.Path, Bytes: e.Bytes, SHA256: e.SHA256}
			return &manifest.Shard{End: e.Rows, Package: manifest.Package{Path: e.Path, Bytes: e.Bytes, Files: []manifest.File{file}}}
		}
	default:
		for i, s := range r.Shards {
			if is(s.Start, s.End) {
				return &r.Shards[i]
			}
		}
	}
	return nil
}

// addPart puts an entry of that form where the record has its place.
func addPart(r *manifest.Record, p part, s manifest.Shard) {
	switch p.kind {
	case headShard:
		r.LMHead = []manifest.LMHeadShard{{Start: s.Start, End: s.End, Package: s.Package, Functions: s.Functions, Notes: s.Notes}}
	case embeddingFile:
		file := s.Package.Files[0]
		r.Embedding = &manifest.Embedding{Path: file.Path, Bytes: file.Bytes, SHA256: file.SHA256, Rows: s.End}
	default:
		r.Shards = []manifest.Shard{s}
	}
}

// identity is the record of this export before any shard: what must agree with
// the directory's.
func (e *export) identity() (manifest.Record, error) {
	r, err := Identity(e.Checkpoint.Config(), e.Checkpoint.ConfigDigest(), e.Name, e.Layout, e.Recipe)
	anchors := slices.SortedFunc(slices.Values(e.Anchors), func(a, b manifest.Anchor) int { return strings.Compare(a.Tag, b.Tag) })
	r.Anchors = slices.Compact(anchors)
	return r, err
}

// Identity is the record of an output directory before any shard: model, layout
// and recipe. Two of them that manifest.SameCheckpointAndRecipe tells apart
// cannot share a directory.
func Identity(cfg checkpoint.Config, configDigest, name string, layout Layout, rec Recipe) (manifest.Record, error) {
	r := manifest.Record{
		Schema: manifest.RecordSchema,
		Model:  ModelIdentity(cfg, name, configDigest),
		Layout: layout,
		Recipe: manifest.Recipe{
			Slots: rec.Slots, Functions: rec.FunctionNames(), Precision: string(rec.Precision),
			Norm: string(rec.Norm), RopeFactor: rec.ropeFactor(), Writer: rec.Writer,
		},
	}
	if rec.FoldRope {
		r.Model.Rope.AttentionFactor = 1 // the host's; the weights carry the model's
	}
	digest, err := r.Recipe.Digest()
	r.RecipeSHA256 = digest
	return r, err
}

// ModelIdentity is a config as the record states it, without tensors.
func ModelIdentity(cfg checkpoint.Config, name, configDigest string) manifest.Model {
	rope := manifest.Rope{
		Theta: cfg.RopeTheta, Dim: cfg.RotaryDim(), Table: manifest.RopeNone,
		AttentionFactor: cfg.AttentionFactor(), OriginalMax: cfg.OriginalMaxPositions, Max: cfg.MaxPositions,
	}
	if cfg.Rope.Type == checkpoint.RopeLongRope {
		// S stays within the original maximum, where the short factors hold.
		rope.Table, rope.Factors = manifest.RopeShort, cfg.Rope.ShortFactor
	}
	return manifest.Model{
		Name: name, ConfigSHA256: configDigest,
		Dims: manifest.Dims{
			Layers: cfg.Layers, Hidden: cfg.HiddenSize, Intermediate: cfg.IntermediateSize, Heads: cfg.Heads,
			KVHeads: cfg.KVHeads, HeadDim: cfg.HeadDim(), RotaryDim: cfg.RotaryDim(), Vocab: cfg.VocabSize,
		},
		RMSNormEps: cfg.RMSNormEps, Rope: rope, Tied: cfg.TieWordEmbeddings,
	}
}

// compatible refuses a directory that holds another checkpoint or recipe, or
// another cut of the LM head, and anchors that the record could not hold.
func (e *export) compatible(old *manifest.Record) error {
	r, err := e.identity()
	if err == nil {
		_, err = e.merged(old, r)
	}
	if err == nil && old != nil && e.shard.kind == headShard {
		err = e.sameCut(*old)
	}
	return err
}

// sameCut refuses a record with an LM head shard that is none of this cut's.
func (e *export) sameCut(old manifest.Record) error {
	cut, err := HeadRanges(old.Model.Dims.Vocab, e.Head.Of)
	if err != nil {
		return err
	}
	for _, h := range old.LMHead {
		if !slices.Contains(cut, Range{h.Start, h.End}) {
			return fmt.Errorf("%w: %s: LM head rows %d:%d are recorded, none of %d head shards (%s); use the same --head-shards as before, or another --out",
				ErrConflict, filepath.Join(e.Dir, manifest.RecordFile), h.Start, h.End, e.Head.Of, rangeList(cut))
		}
	}
	return nil
}

// merged is the directory's record with added in it.
func (e *export) merged(old *manifest.Record, added manifest.Record) (manifest.Record, error) {
	if err := added.Verify(); err != nil {
		return added, fmt.Errorf("the record cannot hold this export: %w", err)
	}
	if old == nil {
		return added, nil
	}
	r, err := manifest.Merge(*old, added)
	if err != nil {
		return r, fmt.Errorf("%w: %s: %w; use another --out", ErrConflict, filepath.Join(e.Dir, manifest.RecordFile), err)
	}
	return r, nil
}

// sameWeights compares a recorded piece with the checkpoint: two fine-tunes of
// a model share their config, and only weights tell them apart. It takes the
// last layer of which this machine has a file, since training that changes
// anything changes the last layers; where no layer is recorded, the LM head or
// the embedding.
func (e *export) sameWeights(ctx context.Context, old *manifest.Record) error {
	if old == nil {
		return nil
	}
	var parts []part
	for _, s := range slices.Backward(old.Shards) {
		parts = append(parts, layersPart(Range{s.End - 1, s.End}))
	}
	for _, h := range old.LMHead {
		parts = append(parts, headPart(Range{h.Start, h.End}))
	}
	if old.Embedding != nil {
		parts = append(parts, embeddingPart(e.Checkpoint.Config()))
	}
	for _, p := range parts {
		compared, err := e.compareWeights(ctx, old, sourceWeights(e.Checkpoint.Config(), p))
		if err != nil || compared > 0 {
			return err
		}
	}
	return nil
}

// compareWeights compares the recorded digests of weights with the
// checkpoint's, and returns how many it could compare: the checkpoint's other
// files may be elsewhere.
func (e *export) compareWeights(ctx context.Context, old *manifest.Record, weights []weight) (compared int, err error) {
	recorded := map[string]string{}
	for _, t := range old.Model.Tensors {
		recorded[t.Name] = t.SHA256
	}
	for _, w := range weights {
		t, err := e.Checkpoint.Tensor(w.role, w.layer)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return compared, err
		}
		name := w.source(t)
		want, ok := recorded[name]
		if !ok {
			continue
		}
		digest, err := hashRows(ctx, t, w.first, w.first+w.rows())
		if err != nil {
			return compared, err
		}
		if want != digest {
			return compared, fmt.Errorf("%w: %s was made from another checkpoint: %s: tensor %s has sha256 %s in the record, %s in %s; use another --out",
				ErrConflict, e.Dir, manifest.RecordFile, name, want, digest, t.File)
		}
		compared++
	}
	return compared, nil
}

// isAbsent reports whether a tensor is not there, in contrast to one that is
// there and wrong.
func isAbsent(err error) bool {
	var t *checkpoint.TensorError
	return errors.As(err, &t) && (t.Field == "name" || t.Field == "file")
}

// hashRows is the SHA-256 of a tensor's rows [first, end) as stored, in hex.
func hashRows(ctx context.Context, t *checkpoint.Tensor, first, end int) (string, error) {
	sum := sha256.New()
	rows := max(1, chunkBytes/t.RowBytes())
	buf := make([]byte, min(rows, end-first)*t.RowBytes())
	for ; first < end; first += rows {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		part := buf[:min(rows, end-first)*t.RowBytes()]
		if err := t.ReadRaw(part, first); err != nil {
			return "", err
		}
		sum.Write(part)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// sourceDigest stands for the checkpoint in the names of partial files: its
// config and the first row of each weight. Two fine-tunes of one model that are
// exported into one directory would else write over each other's unfinished
// files.
func sourceDigest(ck *checkpoint.Checkpoint, weights []weight) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "config %s\n", ck.ConfigDigest())
	for _, w := range weights {
		t, err := ck.Tensor(w.role, w.layer)
		if err != nil {
			return "", err
		}
		row := make([]byte, t.RowBytes())
		if err := t.ReadRaw(row, w.first); err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %s %x\n", t.Name, t.DType, sha256.Sum256(row))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// shardRecord describes the finished package.
func (e *export) shardRecord(files map[string]durable.Sum, notes Notes) (manifest.Shard, error) {
	pkg := manifest.Package{Path: e.plan.Package, Bytes: e.plan.Bytes}
	for rel, sum := range files {
		pkg.Files = append(pkg.Files, manifest.File{Path: rel, Bytes: sum.Bytes, SHA256: sum.SHA256})
	}
	slices.SortFunc(pkg.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	digest, err := manifest.PackageDigest(pkg.Files)
	if err != nil {
		return manifest.Shard{}, err
	}
	pkg.Digest = digest
	shard := manifest.Shard{
		Start: e.shard.Start, End: e.shard.End,
		Package: pkg,
		Notes: map[string]int64{
			"weights_underflowed": notes.Underflowed,
			"int8_scales_raised":  notes.ScalesRaised,
			"int8_zero_rows":      notes.ZeroRows,
		},
	}
	if e.shard.kind == layerShard {
		shard.OffLadder, shard.AcceptedPartial = e.OffLadder, e.accepted
	}
	if e.shard.model != nil {
		shard.Functions = describeFunctions(e.shard.model, e.Recipe)
	}
	return shard, nil
}

// describeFunctions lists the package's functions with their op counts.
func describeFunctions(m *mlpackage.Model, rec Recipe) []manifest.Function {
	var out []manifest.Function
	for _, t := range rec.Rows {
		name := rec.FunctionName(t)
		d := m.Description.Function(name)
		f := manifest.Function{
			Name: name, T: t, Inputs: features(d.Inputs), Outputs: features(d.Outputs), States: features(d.States),
			OpCounts: opCounts(m.Program.Function(name)),
		}
		out = append(out, f)
	}
	return out
}

func features(fs []mlpackage.Feature) []manifest.Feature {
	out := make([]manifest.Feature, len(fs))
	for i, f := range fs {
		out[i] = manifest.Feature{Name: f.Name, Shape: f.Shape}
	}
	return out
}

func opCounts(f *mil.Function) map[string]int {
	counts := map[string]int{}
	for _, op := range f.Ops {
		counts[op.Type]++
	}
	return counts
}

// record merges this export's shard and tensors into the directory's record.
func (e *export) record(old *manifest.Record, shard manifest.Shard, tensors []manifest.TensorDigest) (manifest.Record, error) {
	r, err := e.identity()
	if err != nil {
		return r, err
	}
	r.Model.Tensors = slices.SortedFunc(slices.Values(tensors), func(a, b manifest.TensorDigest) int { return strings.Compare(a.Name, b.Name) })
	addPart(&r, e.shard.part, shard)
	return e.merged(old, r)
}

// ConfigOf is the part of a config that a record states: enough for Program,
// PlanShard and NewPlan.
func ConfigOf(m manifest.Model) checkpoint.Config {
	cfg := checkpoint.Config{
		HiddenSize: m.Dims.Hidden, IntermediateSize: m.Dims.Intermediate, Layers: m.Dims.Layers,
		Heads: m.Dims.Heads, KVHeads: m.Dims.KVHeads, VocabSize: m.Dims.Vocab,
		MaxPositions: m.Rope.Max, OriginalMaxPositions: m.Rope.OriginalMax,
		RMSNormEps: m.RMSNormEps, RopeTheta: m.Rope.Theta, TieWordEmbeddings: m.Tied,
		// Up by one ulp, so that truncating head_dim times it gives RotaryDim back.
		PartialRotaryFactor: math.Nextafter(float64(m.Dims.RotaryDim)/float64(m.Dims.HeadDim), 2),
		Rope:                checkpoint.Rope{Type: checkpoint.RopeDefault},
	}
	if m.Rope.Table != manifest.RopeNone {
		cfg.Rope = checkpoint.Rope{
			Type: checkpoint.RopeLongRope, ShortFactor: m.Rope.Factors, LongFactor: m.Rope.Factors,
			AttentionFactor: m.Rope.AttentionFactor,
		}
	}
	return cfg
}

// ropeFactor is how the record spells FoldRope.
func (r Recipe) ropeFactor() string {
	if r.FoldRope {
		return manifest.RopeFactorFolded
	}
	return ""
}

// RecipeOf is a record's recipe.
func RecipeOf(r manifest.Recipe) (Recipe, error) {
	rows, err := ParseFunctions(strings.Join(r.Functions, ","))
	if err != nil {
		return Recipe{}, err
	}
	rec := Recipe{
		Slots: r.Slots, Rows: rows, Precision: Precision(r.Precision), Norm: Norm(r.Norm),
		FoldRope: r.RopeFactor == manifest.RopeFactorFolded, Writer: r.Writer,
	}
	return rec, rec.Check()
}
