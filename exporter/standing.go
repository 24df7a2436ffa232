package exporter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/internal/durable"
	"lockstep/manifest"
)

// upToDate verifies a recorded package that stands at its name: the record
// against what this program would write, the checkpoint against the record, and
// the files against the record. It returns the directory's new record.
func (e *export) upToDate(ctx context.Context, old *manifest.Record, recorded manifest.Shard) (manifest.Record, error) {
	err := e.samePlan(recorded.Package)
	if err == nil {
		var compared int
		if compared, err = e.compareWeights(ctx, old, e.shard.weights); err == nil && compared < len(e.shard.weights) {
			err = fmt.Errorf("%w: %s has digests of %d of the %d tensors of %s; use another --out",
				ErrConflict, filepath.Join(e.Dir, manifest.RecordFile), compared, len(e.shard.weights), e.shard.part)
		}
	}
	if err == nil {
		err = e.verifyFiles(ctx, recorded.Package)
	}
	if err != nil {
		return manifest.Record{}, err
	}
	return e.record(old, recorded, nil)
}

// samePlan wants the recorded package to be the one that this program writes,
// as far as that can be told without the weights.
func (e *export) samePlan(recorded manifest.Package) error {
	sizes := map[string]int64{}
	digests := map[string]string{}
	for _, f := range recorded.Files {
		sizes[f.Path], digests[f.Path] = f.Bytes, f.SHA256
	}
	other := func(what string) error {
		return fmt.Errorf("%w: %s was written by another build of lockstep: %s; use another --out", ErrConflict, e.packageDir(), what)
	}
	if recorded.Path != e.plan.Package || len(sizes) != len(e.plan.Files) {
		return other(fmt.Sprintf("the record wants %d files in %s, this build writes %d in %s", len(sizes), recorded.Path, len(e.plan.Files), e.plan.Package))
	}
	for _, f := range e.plan.Files {
		if sizes[f.Path] != f.Bytes {
			return other(fmt.Sprintf("%s has %d bytes in the record, this build writes %d", f.Path, sizes[f.Path], f.Bytes))
		}
	}
	for _, f := range e.shard.texts() {
		if sum := sha256.Sum256(f.content); digests[f.path] != hex.EncodeToString(sum[:]) {
			return other(fmt.Sprintf("%s has sha256 %s in the record, this build writes %x", f.path, digests[f.path], sum))
		}
	}
	return nil
}

// verifyFiles hashes a recorded package's files against the record.
func (e *export) verifyFiles(ctx context.Context, recorded manifest.Package) error {
	e.Progress.Begin(e.plan.Package+" (verify)", recorded.Bytes)
	defer e.Progress.End()
	changed := func(rel, what string) error {
		return fmt.Errorf("%w: %s: %s: %s; move the package away and export again", ErrConflict, e.packageDir(), rel, what)
	}
	for _, f := range recorded.Files {
		digest, n, err := hashFile(ctx, e.FS, filepath.Join(e.root(), filepath.FromSlash(f.Path)), e.Progress)
		if errors.Is(err, fs.ErrNotExist) {
			return changed(f.Path, "it is missing")
		}
		if err != nil {
			return err
		}
		if digest != f.SHA256 || n != f.Bytes {
			return changed(f.Path, fmt.Sprintf("the record wants %d bytes with sha256 %s, found %d bytes with %s", f.Bytes, f.SHA256, n, digest))
		}
	}
	if e.shard.kind == embeddingFile {
		return nil
	}
	stray, err := strayFile(e.FS, e.packageDir(), "", e.plan.Files)
	if err == nil && stray != "" {
		err = changed(stray, "it is no part of the package")
	}
	return err
}

// strayFile is the first entry below dir/rel that is neither a planned file nor
// on the way to one, or "".
func strayFile(fsys durable.FS, dir, rel string, planned []FileSize) (string, error) {
	names, err := fsys.ReadDir(filepath.Join(dir, filepath.FromSlash(rel)))
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", dir, rel, err)
	}
	for _, name := range names {
		child := strings.TrimPrefix(rel+"/"+name, "/")
		if slices.ContainsFunc(planned, func(f FileSize) bool { return f.Path == child }) {
			continue
		}
		if !slices.ContainsFunc(planned, func(f FileSize) bool { return strings.HasPrefix(f.Path, child+"/") }) {
			return child, nil
		}
		if stray, err := strayFile(fsys, dir, child, planned); err != nil || stray != "" {
			return stray, err
		}
	}
	return "", nil
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

// standingSink compares a package that already stands at the finished name
// with the bytes that this export would write. It writes nothing.
type standingSink struct {
	fs      durable.FS
	dir     string
	planned []FileSize
	single  bool // the package is one file, and other things lie in dir
	open    []*standingFile
}

func (s *standingSink) file(rel string, size int64) (sinkFile, error) {
	f, err := s.fs.OpenRead(filepath.Join(s.dir, filepath.FromSlash(rel)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.stranger(rel, "it is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.dir, rel, err)
	}
	file := &standingFile{sink: s, rel: rel, file: f, size: size, sum: sha256.New()}
	s.open = append(s.open, file)
	return file, nil
}

// Publish wants nothing else to be in the package; its name it has.
func (s *standingSink) Publish() error {
	if s.single {
		return nil
	}
	stray, err := strayFile(s.fs, s.dir, "", s.planned)
	if err == nil && stray != "" {
		err = s.stranger(stray, "it is no part of the package")
	}
	return err
}

func (s *standingSink) Close() error {
	var errs []error
	for _, f := range s.open {
		errs = append(errs, f.file.Close())
	}
	s.open = nil
	return errors.Join(errs...)
}

func (s *standingSink) stranger(rel, what string) error {
	return fmt.Errorf("%w: another package at the name %s: %s: %s; move it away or use another --out", ErrConflict, s.dir, rel, what)
}

// standingFile is one file under comparison.
type standingFile struct {
	sink *standingSink
	rel  string
	file durable.File
	size int64
	at   int64
	sum  hash.Hash
	buf  []byte
}

// Write compares p with what stands at the current offset.
func (f *standingFile) Write(p []byte) (int, error) {
	f.buf = grow(f.buf, len(p))
	n, err := f.file.ReadAt(f.buf, f.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%s: %s: %w", f.sink.dir, f.rel, err)
	}
	if !bytes.Equal(f.buf[:n], p) {
		return 0, f.sink.stranger(f.rel, fmt.Sprintf("other bytes near offset %d", f.at))
	}
	f.sum.Write(p)
	f.at += int64(n)
	return n, nil
}

// Finish wants the file to end where the export does.
func (f *standingFile) Finish() (durable.Sum, error) {
	info, err := f.file.Stat()
	if err != nil {
		return durable.Sum{}, fmt.Errorf("%s: %s: %w", f.sink.dir, f.rel, err)
	}
	if info.Size != f.size {
		return durable.Sum{}, f.sink.stranger(f.rel, fmt.Sprintf("want %d bytes, found %d", f.size, info.Size))
	}
	return durable.Sum{Bytes: f.at, SHA256: hex.EncodeToString(f.sum.Sum(nil)), Verified: f.at}, nil
}
