package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// Options are one export: a piece of a checkpoint into an output directory. The
// piece is one of Layers, Head and Embedding.
type Options struct {
	Checkpoint *checkpoint.Checkpoint
	Dir        string // output directory, made if absent
	Layers     Range
	Head       Head // a shard of the LM head; the ladder does not concern it
	Embedding  bool // the embedding as one file of float16 rows, little-endian, row-major
	Layout     Layout
	Recipe     Recipe
	Name       string // model name, see ModelName
	Anchors    []manifest.Anchor
	Reserve    int64 // bytes to leave free

	OffLadder bool // the range is not of the layout; the ladder does not guard it
	// AcceptPartial names checks that may be "not measured" in the smaller
	// shards' verdicts; residency alone can be. The record says so where it was
	// made use of.
	AcceptPartial []string
	// Fresh reports why a verdict no longer counts, for example because the
	// suite has grown. Nil accepts every verdict.
	Fresh func(manifest.Verdict, manifest.Record) error

	FS       durable.FS // the operating system's if nil
	Progress Progress   // may be nil
}

// Result is what an export did.
type Result struct {
	Dir      string // of the package; of the embedding, its file
	Record   string // path of lockstep.json
	UpToDate bool   // the package stood there already, finished and unchanged
	Resumed  int64  // bytes of an unfinished run that were verified, not written
	Plan     ShardPlan
	// Shard is what was exported. For an LM head shard and the embedding, Start
	// and End are rows of the vocabulary, and what the record does not keep of
	// them is empty; the embedding is its one file.
	Shard manifest.Shard
}

// Progress is told how an export goes. No two calls are made at a time, but
// they may come from different goroutines.
type Progress interface {
	// Begin starts a piece of work of the given number of bytes.
	Begin(label string, bytes int64)
	// Advance reports n more bytes.
	Advance(n int64)
	// End closes the piece of work, finished or not.
	End()
}

type noProgress struct{}

func (noProgress) Begin(string, int64) {}
func (noProgress) Advance(int64)       {}
func (noProgress) End()                {}

// ErrConflict means that the output directory holds another checkpoint, recipe
// or package than the one to be exported.
var ErrConflict = errors.New("the output directory holds something else")

// Export writes one shard's package, or the embedding, and its record. It checks
// everything that can be checked before the first byte: config, range, the
// directory's record, ladder, disk. What is killed on the way goes on in the
// next run with the same options.
func Export(ctx context.Context, opt Options) (*Result, error) {
	opt = opt.withDefaults()
	e, err := newExport(opt)
	if err != nil {
		return nil, err
	}
	// Once before anything is made, and once more under the lock.
	if _, err := e.admit(); err != nil {
		return nil, err
	}
	if err := e.ensureFree(); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(opt.FS, opt.Dir); err != nil {
		return nil, err
	}
	lock, err := durable.AcquireLock(opt.FS, opt.Dir)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock() // releases only; the lock file stays
	return e.run(ctx, lock)
}

func (opt Options) withDefaults() Options {
	if opt.FS == nil {
		opt.FS = durable.OS{}
	}
	if opt.Progress == nil {
		opt.Progress = noProgress{}
	}
	return opt
}

// export is one run of Export.
type export struct {
	Options
	shard    *shard
	plan     ShardPlan
	key      string   // of the partial directory
	accepted []string // of AcceptPartial, what a smaller shard's verdict needed; see climb
}

func newExport(opt Options) (*export, error) {
	cfg := opt.Checkpoint.Config()
	if err := opt.Layout.Check(cfg.Layers); err != nil {
		return nil, err
	}
	p, err := opt.part(cfg)
	if err != nil {
		return nil, err
	}
	s, err := newShard(cfg, p, opt.Recipe)
	if err != nil {
		return nil, err
	}
	if ModelName(opt.Name) != opt.Name || opt.Name == "" {
		return nil, fmt.Errorf("%w: name: want letters, digits and underscores, found %q", ErrRecipe, opt.Name)
	}
	if err := checkAccepted(opt.AcceptPartial); err != nil {
		return nil, err
	}
	if p.kind == layerShard {
		if err := opt.Checkpoint.RequireLayers(p.Start, p.End); err != nil {
			return nil, err
		}
	}
	source, err := sourceDigest(opt.Checkpoint, s.weights)
	if err != nil {
		return nil, err
	}
	return &export{
		Options: opt, shard: s, plan: s.plan(opt.Name, opt.Recipe),
		key: opt.Recipe.digest(p, source),
	}, nil
}

func (e *export) packageDir() string { return filepath.Join(e.Dir, e.plan.Package) }

// root is what the paths of the files are relative to: the package, or for the
// embedding's file the output directory.
func (e *export) root() string {
	if e.shard.kind == embeddingFile {
		return e.Dir
	}
	return e.packageDir()
}

// stands reports whether anything is at the package's name.
func (e *export) stands() (bool, error) {
	switch _, err := e.FS.Stat(e.packageDir()); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("%s: %w", e.packageDir(), err)
	}
}

// ensureFree checks the disk for the bytes that do not stand there yet. Where
// the package stands, at most the record is written, for which the reserve is.
func (e *export) ensureFree() error {
	if stands, err := e.stands(); err != nil || stands {
		return err
	}
	standing, err := durable.Standing(e.FS, e.packageDir(), e.key)
	if err != nil {
		return err
	}
	need := max(0, e.plan.Bytes-standing) + recordAllowance
	if err := durable.EnsureFree(e.FS, e.Dir, need, e.Reserve); err != nil {
		return fmt.Errorf("export of %s: %w; free some space or pass a smaller --reserve", e.shard.part, err)
	}
	return nil
}

// admit reads the directory's record, which may be absent, and holds the export
// against it and the ladder.
func (e *export) admit() (*manifest.Record, error) {
	old, err := readRecord(e.FS, e.Dir)
	if err != nil {
		return nil, err
	}
	if err := e.compatible(old); err != nil {
		return nil, err
	}
	return old, e.climb(old)
}

// run exports under the directory's lock.
func (e *export) run(ctx context.Context, lock *durable.Lock) (*Result, error) {
	old, err := e.admit()
	if err != nil {
		return nil, err
	}
	stands, err := e.stands()
	if err != nil {
		return nil, err
	}
	res := &Result{Dir: e.packageDir(), Record: filepath.Join(e.Dir, manifest.RecordFile), Plan: e.plan}
	var record manifest.Record
	if recorded := findPart(old, e.shard.part); stands && recorded != nil {
		res.UpToDate, res.Shard = true, *recorded
		record, err = e.upToDate(ctx, old, *recorded)
	} else {
		record, err = e.produce(ctx, lock, old, res)
	}
	if err != nil {
		return nil, err
	}
	if err := writeRecord(lock, record); err != nil {
		return nil, err
	}
	return res, nil
}

// produce writes the package, or adopts the one that stands there without a
// record if it has the same bytes.
func (e *export) produce(ctx context.Context, lock *durable.Lock, old *manifest.Record, res *Result) (manifest.Record, error) {
	if err := e.sameWeights(ctx, old); err != nil {
		return manifest.Record{}, err
	}
	to, err := e.sink(lock)
	if err != nil {
		return manifest.Record{}, err
	}
	record, err := e.write(ctx, to, old, res)
	return record, errors.Join(err, to.Close())
}

// sink takes a package's files.
type sink interface {
	// file starts the file at rel, of exactly size bytes.
	file(rel string, size int64) (sinkFile, error)
	// Publish ends the package.
	Publish() error
	// Close lets go of what is open still.
	Close() error
}

// sinkFile takes one file's bytes.
type sinkFile interface {
	io.Writer
	Finish() (durable.Sum, error)
}

type partialSink struct{ *durable.PartialDir }

func (s partialSink) file(rel string, size int64) (sinkFile, error) { return s.File(rel, size) }

// partialFileSink is a package that is one file.
type partialFileSink struct {
	fs   durable.FS
	dir  string
	key  string
	open *durable.PartialFile
}

func (s *partialFileSink) file(rel string, size int64) (_ sinkFile, err error) {
	s.open, err = durable.OpenFile(s.fs, filepath.Join(s.dir, rel), s.key, size)
	return s.open, err
}

func (s *partialFileSink) Publish() error {
	_, err := s.open.Publish()
	return err
}

func (s *partialFileSink) Close() error {
	if s.open == nil {
		return nil
	}
	return s.open.Close()
}

// sink opens the unfinished package, or what stands at the finished name: the
// work of a run that was killed between the package and its record, or a
// stranger. The bytes decide.
func (e *export) sink(lock *durable.Lock) (sink, error) {
	single, want := e.shard.kind == embeddingFile, "a directory"
	if single {
		want = "a file"
	}
	switch standing, err := e.FS.Stat(e.packageDir()); {
	case err == nil && (single && !standing.Regular || !single && !standing.Dir):
		return nil, fmt.Errorf("%w: %s is not %s; move it away or use another --out", ErrConflict, e.packageDir(), want)
	case err == nil:
		return &standingSink{fs: e.FS, dir: e.root(), planned: e.plan.Files, single: single}, nil
	case single:
		return &partialFileSink{fs: e.FS, dir: e.Dir, key: e.key}, nil
	}
	partial, err := lock.OpenDir(e.plan.Package, e.key)
	if err != nil {
		return nil, err
	}
	return partialSink{partial}, nil
}

// write streams the package into a sink, fills res, and returns the directory's
// new record. The package gets its name only once the record is known to hold
// it.
func (e *export) write(ctx context.Context, to sink, old *manifest.Record, res *Result) (manifest.Record, error) {
	e.Progress.Begin(e.plan.Package, e.shard.weightBytes())
	defer e.Progress.End()
	files := map[string]durable.Sum{}
	put := func(rel string, size int64, fill func(io.Writer) error) error {
		sum, err := writeFile(to, rel, size, fill)
		files[rel] = sum
		res.Resumed += sum.Verified
		return err
	}
	for _, text := range e.shard.texts() {
		if err := put(text.path, int64(len(text.content)), text.writeTo); err != nil {
			return manifest.Record{}, err
		}
	}
	var tensors []manifest.TensorDigest
	var notes Notes
	weights := e.plan.Files[len(e.plan.Files)-1]
	if err := put(weights.Path, weights.Bytes, func(w io.Writer) (err error) {
		tensors, notes, err = streamWeights(ctx, e.Checkpoint, e.shard, w, e.Progress)
		return err
	}); err != nil {
		return manifest.Record{}, err
	}
	var err error
	if res.Shard, err = e.shardRecord(files, notes); err != nil {
		return manifest.Record{}, err
	}
	record, err := e.record(old, res.Shard, tensors)
	if err != nil {
		return manifest.Record{}, err
	}
	return record, to.Publish()
}

func writeFile(to sink, rel string, size int64, fill func(io.Writer) error) (durable.Sum, error) {
	f, err := to.file(rel, size)
	if err != nil {
		return durable.Sum{}, err
	}
	if err := fill(f); err != nil {
		return durable.Sum{}, err
	}
	return f.Finish()
}
