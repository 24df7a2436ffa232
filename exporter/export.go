package exporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Options are one export: a range of a checkpoint into an output directory.
type Options struct {
	Checkpoint *checkpoint.Checkpoint
	Dir        string // output directory, made if absent
	Layers     Range
	Layout     Layout
	Recipe     Recipe
	Name       string // model name, see ModelName
	Anchors    []manifest.Anchor
	Reserve    int64 // bytes to leave free

	OffLadder bool // the range is not of the layout; the ladder does not guard it
	// AcceptPartial names checks that may be "not measured" in the smaller
	// shards' verdicts.
	AcceptPartial []string
	// Fresh reports why a verdict no longer counts, for example because the
	// suite has grown. Nil accepts every verdict.
	Fresh func(manifest.Verdict, manifest.Record) error

	FS       durable.FS // the operating system's if nil
	Progress Progress   // may be nil
}

// Result is what an export did.
type Result struct {
	Dir      string // of the package
	Record   string // path of lockstep.json
	UpToDate bool   // the package stood there already, finished and unchanged
	Resumed  int64  // bytes of an unfinished run that were verified, not written
	Plan     ShardPlan
	Shard    manifest.Shard

	tensors []manifest.TensorDigest
}

// ErrConflict means that the output directory holds another checkpoint, recipe
// or package than the one to be exported.
var ErrConflict = errors.New("the output directory holds something else")

// Export writes one shard's package and its record. It checks everything that
// can be checked before the first byte: config, range, ladder, disk. What is
// killed on the way goes on in the next run with the same options.
func Export(ctx context.Context, opt Options) (*Result, error) {
	opt = opt.withDefaults()
	e, err := newExport(opt)
	if err != nil {
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
	shard *shard
	plan  ShardPlan
	key   string // of the partial directory
}

func newExport(opt Options) (*export, error) {
	cfg := opt.Checkpoint.Config()
	if err := opt.Layout.Check(cfg.Layers); err != nil {
		return nil, err
	}
	s, err := newShard(cfg, opt.Layers, opt.Recipe)
	if err != nil {
		return nil, err
	}
	if ModelName(opt.Name) != opt.Name || opt.Name == "" {
		return nil, fmt.Errorf("%w: name: want letters, digits and underscores, found %q", ErrRecipe, opt.Name)
	}
	if err := opt.Checkpoint.RequireLayers(opt.Layers.Start, opt.Layers.End); err != nil {
		return nil, err
	}
	return &export{
		Options: opt, shard: s, plan: s.plan(opt.Name, opt.Recipe),
		key: opt.Recipe.Digest(opt.Layers, opt.Checkpoint.ConfigDigest()),
	}, nil
}

func (e *export) packageDir() string { return filepath.Join(e.Dir, e.plan.Package) }

// ensureFree checks the disk for the bytes that do not stand there yet.
func (e *export) ensureFree() error {
	need := int64(recordAllowance)
	for _, root := range []string{e.packageDir(), durable.PartialName(e.packageDir(), e.key)} {
		if _, err := e.FS.Stat(root); err != nil {
			continue
		}
		for _, f := range e.plan.Files {
			if info, err := e.FS.Stat(filepath.Join(root, filepath.FromSlash(f.Path))); err == nil {
				need -= min(info.Size, f.Bytes)
			}
		}
	}
	need += e.plan.Bytes
	if err := durable.EnsureFree(e.FS, e.Dir, max(0, need), e.Reserve); err != nil {
		return fmt.Errorf("export of layers %s: %w; free some space or pass a smaller --reserve", e.Layers, err)
	}
	return nil
}

// run exports under the directory's lock.
func (e *export) run(ctx context.Context, lock *durable.Lock) (*Result, error) {
	old, err := readRecord(e.FS, e.Dir)
	if err != nil {
		return nil, err
	}
	if err := e.compatible(ctx, old); err != nil {
		return nil, err
	}
	if err := e.climb(old); err != nil {
		return nil, err
	}
	res := &Result{Dir: e.packageDir(), Record: filepath.Join(e.Dir, manifest.RecordFile), Plan: e.plan}
	standing, err := e.FS.Stat(e.packageDir())
	switch {
	case err == nil && old != nil && findShard(old, e.Layers) != nil:
		res.UpToDate, res.Shard = true, *findShard(old, e.Layers)
		err = e.verifyStanding(ctx, res.Shard)
	case err == nil && !standing.Dir:
		return nil, fmt.Errorf("%w: %s is not a directory; move it away or use another --out", ErrConflict, e.packageDir())
	case err == nil:
		// A run that was killed between the package and its record, or a
		// stranger: the bytes decide.
		err = e.write(ctx, &standingSink{fs: e.FS, dir: e.packageDir()}, res)
	default:
		var partial *durable.PartialDir
		if partial, err = lock.OpenDir(e.plan.Package, e.key); err == nil {
			err = e.write(ctx, partialSink{partial}, res)
			err = errors.Join(err, partial.Close())
		}
	}
	if err != nil {
		return nil, err
	}
	record, err := e.record(old, res)
	if err != nil {
		return nil, err
	}
	return res, writeRecord(lock, record)
}

// sink takes a package's files.
type sink interface {
	// file starts the file at rel, of exactly size bytes.
	file(rel string, size int64) (sinkFile, error)
	// publish ends the package.
	publish() error
}

// sinkFile takes one file's bytes.
type sinkFile interface {
	io.Writer
	Finish() (durable.Sum, error)
}

type partialSink struct{ dir *durable.PartialDir }

func (s partialSink) file(rel string, size int64) (sinkFile, error) { return s.dir.File(rel, size) }
func (s partialSink) publish() error                                { return s.dir.Publish() }

// write streams the package into a sink and fills res.Shard.
func (e *export) write(ctx context.Context, to sink, res *Result) error {
	e.Progress.Begin(e.plan.Package, e.shard.layout.Size())
	defer e.Progress.End()
	files := map[string]durable.Sum{}
	for _, f := range []struct {
		path    string
		content []byte
	}{{mlpackage.ManifestPath, e.shard.manifestBytes}, {mlpackage.ModelPath, e.shard.modelBytes}} {
		sum, err := writeFile(to, f.path, int64(len(f.content)), func(w io.Writer) error {
			_, err := w.Write(f.content)
			return err
		})
		if err != nil {
			return err
		}
		files[f.path] = sum
	}
	var tensors []manifest.TensorDigest
	var notes Notes
	sum, err := writeFile(to, mlpackage.WeightsPath, e.shard.layout.Size(), func(w io.Writer) (err error) {
		tensors, notes, err = streamWeights(ctx, e.Checkpoint, e.shard, w, e.Progress)
		return err
	})
	if err != nil {
		return err
	}
	files[mlpackage.WeightsPath] = sum
	if err := to.publish(); err != nil {
		return err
	}
	for _, f := range files {
		res.Resumed += f.Verified
	}
	res.Shard, err = e.shardRecord(files, notes)
	res.tensors = tensors
	return err
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

// verifyStanding hashes a recorded package's files against the record.
func (e *export) verifyStanding(ctx context.Context, recorded manifest.Shard) error {
	e.Progress.Begin(e.plan.Package+" (verify)", recorded.Package.Bytes)
	defer e.Progress.End()
	for _, f := range recorded.Package.Files {
		digest, n, err := hashFile(ctx, e.FS, filepath.Join(e.packageDir(), filepath.FromSlash(f.Path)), e.Progress)
		if err != nil {
			return err
		}
		if digest != f.SHA256 || n != f.Bytes {
			return fmt.Errorf("%w: %s: %s: the record wants %d bytes with sha256 %s, found %d bytes with %s; move the package away and export again",
				ErrConflict, e.packageDir(), f.Path, f.Bytes, f.SHA256, n, digest)
		}
	}
	return nil
}

// hashFile is the SHA-256 of a file, in hex, and its length.
func hashFile(ctx context.Context, fsys durable.FS, name string, progress Progress) (string, int64, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // opened for reading
	sum, buf, at := sha256.New(), make([]byte, chunkBytes), int64(0)
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		n, err := f.ReadAt(buf, at)
		sum.Write(buf[:n])
		at += int64(n)
		progress.Advance(int64(n))
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), at, nil
		}
		if err != nil {
			return "", 0, fmt.Errorf("%s: %w", name, err)
		}
	}
}
