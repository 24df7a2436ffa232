package decode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lockstep/manifest"
)

// ErrDigest means a file that is not the record's.
var ErrDigest = errors.New("another file than the record's")

// VerifyFiles reads every file of a whole model that the record of dir lists
// and compares its length and SHA-256. Other shards are left alone, as Open
// does. The error for a difference is ErrDigest.
func VerifyFiles(ctx context.Context, dir string, record manifest.Record) error {
	layers, err := chainOf(record)
	if err != nil {
		return err
	}
	if err := wantWholeHead(record); err != nil {
		return err
	}
	e := record.Embedding
	files := []manifest.File{{Path: e.Path, Bytes: e.Bytes, SHA256: e.SHA256}}
	add := func(p manifest.Package) {
		for _, f := range p.Files {
			f.Path = p.Path + "/" + f.Path
			files = append(files, f)
		}
	}
	for _, s := range layers {
		add(s.Package)
	}
	for _, s := range record.LMHead {
		add(s.Package)
	}
	for _, f := range files {
		if err := verifyFile(ctx, filepath.Join(dir, filepath.FromSlash(f.Path)), f); err != nil {
			return err
		}
	}
	return nil
}

func verifyFile(ctx context.Context, name string, want manifest.File) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() // opened for reading
	sum := sha256.New()
	n, err := io.Copy(sum, contextReader{ctx, f})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if digest := hex.EncodeToString(sum.Sum(nil)); n != want.Bytes || digest != want.SHA256 {
		return fmt.Errorf("%s: %w: want %d bytes with sha256 %s, found %d with %s", name, ErrDigest, want.Bytes, want.SHA256, n, digest)
	}
	return nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
