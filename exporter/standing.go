package exporter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"

	"lockstep/internal/durable"
)

// standingSink compares a package that already stands at the finished name
// with the bytes that this export would write. It writes nothing.
type standingSink struct {
	fs  durable.FS
	dir string
}

func (s *standingSink) file(rel string, size int64) (sinkFile, error) {
	name := filepath.Join(s.dir, filepath.FromSlash(rel))
	f, err := s.fs.OpenRead(name)
	if err != nil {
		return nil, s.stranger(rel, "it cannot be read: "+err.Error())
	}
	return &standingFile{sink: s, rel: rel, file: f, size: size, sum: sha256.New()}, nil
}

func (s *standingSink) publish() error { return nil }

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
		return 0, fmt.Errorf("%s: %w", f.rel, err)
	}
	if !bytes.Equal(f.buf[:n], p) {
		return 0, errors.Join(f.sink.stranger(f.rel, fmt.Sprintf("other bytes near offset %d", f.at)), f.file.Close())
	}
	f.sum.Write(p)
	f.at += int64(n)
	return n, nil
}

// Finish wants the file to end where the export does.
func (f *standingFile) Finish() (durable.Sum, error) {
	info, err := f.file.Stat()
	if err = errors.Join(err, f.file.Close()); err != nil {
		return durable.Sum{}, err
	}
	if info.Size != f.size {
		return durable.Sum{}, f.sink.stranger(f.rel, fmt.Sprintf("want %d bytes, found %d", f.size, info.Size))
	}
	return durable.Sum{Bytes: f.at, SHA256: hex.EncodeToString(f.sum.Sum(nil)), Verified: f.at}, nil
}
