package cut

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
)

// nameDigits is how many hex digits of its content's digest a cut's name has.
const nameDigits = 16

// copyBytes is how much of a weight file is copied at a time.
const copyBytes = 1 << 20

// cutFile is a file of a package of which the content is at hand.
type cutFile struct {
	path    string
	content []byte
}

// Write writes model into the directory work as a package with the weights of
// the package source, and returns the new package's directory. Its name tells
// its content, so that the same cut, made again, is found there. The weight file
// is linked where the file system allows that, and else copied, if reserve bytes
// stay free. Nothing is deleted or overwritten; what is written becomes visible
// under its name when it is complete. Errors wrap those of package durable.
func Write(ctx context.Context, fsys durable.FS, source string, model *mlpackage.Model, work string, reserve int64) (dir string, err error) {
	data, err := mlpackage.EncodeModel(model)
	if err != nil {
		return "", err
	}
	weights := filepath.Join(source, filepath.FromSlash(mlpackage.WeightsPath))
	sum, size, err := digest(ctx, weights)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	has := err == nil
	files := []cutFile{{mlpackage.ManifestPath, mlpackage.EncodeManifest(has)}, {mlpackage.ModelPath, data}}
	key := contentKey(files, sum)
	stem := strings.TrimSuffix(filepath.Base(filepath.Clean(source)), ".mlpackage")
	name := fmt.Sprintf("%s_cut_%s.mlpackage", stem, key[:nameDigits])

	if err := durable.MkdirAll(fsys, work); err != nil {
		return "", err
	}
	lock, err := durable.AcquireLock(fsys, work)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	dir = filepath.Join(work, name)
	switch _, err := fsys.Stat(dir); {
	case err == nil:
		return dir, verify(ctx, dir, files, sum)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := durable.EnsureFree(fsys, work, textBytes(files), reserve); err != nil {
		return "", err
	}
	partial, err := lock.OpenDir(name, key)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, partial.Close()) }()
	if has {
		if err := share(ctx, fsys, partial, weights, size, work, reserve); err != nil {
			return "", err
		}
	}
	for _, f := range files {
		if err := stream(ctx, partial, f.path, int64(len(f.content)), bytes.NewReader(f.content)); err != nil {
			return "", err
		}
	}
	return dir, partial.Publish()
}

// contentKey stands for all bytes of a package.
func contentKey(files []cutFile, weights string) string {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s %x\n", f.path, sha256.Sum256(f.content))
	}
	fmt.Fprintf(sum, "%s %s\n", mlpackage.WeightsPath, weights)
	return hex.EncodeToString(sum.Sum(nil))
}

func textBytes(files []cutFile) int64 {
	var n int64
	for _, f := range files {
		n += int64(len(f.content))
	}
	return n
}

// share gives the unfinished package the weights: a second name for the file,
// or a copy of it where that cannot be had.
func share(ctx context.Context, fsys durable.FS, partial *durable.PartialDir, weights string, size int64, work string, reserve int64) error {
	if err := partial.Link(mlpackage.WeightsPath, weights); err == nil {
		return nil
	}
	if err := durable.EnsureFree(fsys, work, size, reserve); err != nil {
		return err
	}
	in, err := os.Open(weights)
	if err != nil {
		return err
	}
	defer in.Close() // opened for reading
	return stream(ctx, partial, mlpackage.WeightsPath, size, in)
}

// stream writes one file of the unfinished package.
func stream(ctx context.Context, partial *durable.PartialDir, rel string, size int64, from io.Reader) error {
	w, err := partial.File(rel, size)
	if err != nil {
		return err
	}
	if err := copyAll(ctx, w, from); err != nil {
		return err
	}
	_, err = w.Finish()
	return err
}

func copyAll(ctx context.Context, to io.Writer, from io.Reader) error {
	buf := make([]byte, copyBytes)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// digest is a file's SHA-256 and length.
func digest(ctx context.Context, name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // opened for reading
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s: want a regular file, found %s", name, info.Mode())
	}
	sum := sha256.New()
	if err := copyAll(ctx, sum, f); err != nil {
		return "", 0, fmt.Errorf("%s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), info.Size(), nil
}

// verify holds a package that stands at a cut's name against what the name
// promises.
func verify(ctx context.Context, dir string, files []cutFile, weights string) error {
	want := map[string]string{}
	for _, f := range files {
		want[f.path] = fmt.Sprintf("%x", sha256.Sum256(f.content))
	}
	if weights != "" {
		want[mlpackage.WeightsPath] = weights
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		sum := want[path]
		found, _, err := digest(ctx, filepath.Join(dir, filepath.FromSlash(path)))
		if err == nil && found != sum {
			err = fmt.Errorf("%s: want sha256 %s, found %s", path, sum, found)
		}
		if err != nil {
			return fmt.Errorf("%s: %w, but it is not this cut: %w; move it away and run again", dir, durable.ErrExists, err)
		}
	}
	return nil
}
