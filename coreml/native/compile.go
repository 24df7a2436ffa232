package native

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lockstep/coreml/native/objc"
	"lockstep/internal/durable"
)

// compiledSuffix is the ending of what Core ML makes of a package.
const compiledSuffix = ".mlmodelc"

// packageSuffix is the ending of packages.
const packageSuffix = ".mlpackage"

// keyDigits is how many digits of the package's digest a compiled model's name
// carries.
const keyDigits = 16

// CompiledPath is where the compiled form of the package dir lies: beside it,
// under a name that the package's bytes decide. A package that was written
// again therefore never meets what was compiled from its old bytes.
func CompiledPath(ctx context.Context, dir string) (string, error) {
	path, _, err := compiledPath(ctx, dir)
	return path, err
}

func compiledPath(ctx context.Context, dir string) (path string, bytes int64, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", 0, err
	}
	digest, bytes, err := digestTree(ctx, dir)
	if err != nil {
		return "", 0, err
	}
	return strings.TrimSuffix(dir, packageSuffix) + "." + digest[:keyDigits] + compiledSuffix, bytes, nil
}

// digestTree hashes the names and contents of all files below dir.
func digestTree(ctx context.Context, dir string) (digest string, bytes int64, err error) {
	all := sha256.New()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s: want a regular file, found %s", path, d.Type())
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sum, n, err := digestFile(ctx, path)
		if err != nil {
			return err
		}
		bytes += n
		fmt.Fprintf(all, "%s  %d  %s\n", sum, n, filepath.ToSlash(rel))
		return nil
	})
	if err == nil && bytes == 0 {
		err = fmt.Errorf("%s: want a package directory, found nothing in it", dir)
	}
	return hex.EncodeToString(all.Sum(nil)), bytes, err
}

func digestFile(ctx context.Context, path string) (digest string, bytes int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // opened for reading
	sum := sha256.New()
	n, err := io.Copy(sum, &cancellable{ctx, f})
	return hex.EncodeToString(sum.Sum(nil)), n, err
}

// cancellable ends reading with the context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// compile returns the compiled form of dir, its size in bytes, and whether it
// was made anew. Core ML compiles into the temporary directory; the result is
// moved beside the package by a rename that cannot replace, so a compiled model
// is there whole or not at all, and what another run put there meanwhile stays.
func (p *Plane) compile(ctx context.Context, dir string) (path string, bytes int64, anew bool, err error) {
	path, need, err := compiledPath(ctx, dir)
	if err != nil {
		return "", 0, false, err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return "", 0, false, fmt.Errorf("%s: %w: want a compiled model, found a file", path, durable.ErrNotOurs)
	case errors.Is(err, fs.ErrNotExist):
		anew = true
		if err := p.compileAnew(ctx, dir, path, need); err != nil {
			return "", 0, false, err
		}
	case err != nil:
		return "", 0, false, err
	}
	bytes, err = treeBytes(path)
	return path, bytes, anew, err
}

func (p *Plane) compileAnew(ctx context.Context, dir, path string, need int64) error {
	for _, volume := range []string{os.TempDir(), filepath.Dir(path)} {
		if err := durable.EnsureFree(p.opt.Files, volume, need, p.opt.Reserve); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	made, err := p.compileTemporary(ctx, dir)
	if err != nil {
		return err
	}
	if err := durable.Adopt(ctx, p.opt.Files, made, path); err != nil && !errors.Is(err, durable.ErrExists) {
		return fmt.Errorf("compile: %w; the compiled model stays at %s", err, made)
	}
	return nil
}

// compileTemporary has Core ML compile dir and returns where it put the result.
func (p *Plane) compileTemporary(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	made := ""
	err = p.b.await(ctx, "compile", "MLModel compileModelAtURL:completionHandler:",
		func(s *scope) (objc.ID, []objc.Value) {
			return s.class("MLModel"), []objc.Value{objc.Of(s.url(dir))}
		},
		func(s *scope, url objc.ID) error {
			made = s.goText(s.object(url, "NSURL path"))
			return nil
		})
	if err == nil && made == "" {
		err = fmt.Errorf("compile: Core ML named no directory")
	}
	return made, err
}

// treeBytes sums the sizes of the files below dir.
func treeBytes(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
