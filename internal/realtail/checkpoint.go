package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
)

// source is a synthetic checkpoint and the SHA-256 of its weight files, in the
// order of their names.
type source struct {
	spec synth.Spec
	sums []string
}

// realTailSums are those of synth.RealTail, the same on every machine: figures
// of different runs can be compared.
var realTailSums = []string{
	"03e95759c001e8fff91680309dc7074bfbdd0a81bab691c9b35acafbe1be6889",
	"90b26bc4d3ebb46424d89f9c4963ad17507b0a8b9b39f7f84ae8af929c5ae8b5",
}

// bytes is what the weights take as bfloat16.
func (s source) bytes() int64 {
	var layer int64
	for _, role := range checkpoint.LayerRoles() {
		n := int64(2)
		for _, d := range s.spec.Config.Shape(role) {
			n *= int64(d)
		}
		layer += n
	}
	return layer * int64(s.spec.End-s.spec.Start)
}

// ensureCheckpoint writes the checkpoint, or finds it whole. Afterwards its
// files are on the disk and have been read once: what is timed next neither
// pays for writing them nor has a colder cache than what follows.
func (r *runner) ensureCheckpoint(ctx context.Context) error {
	start, state := time.Now(), "made"
	if _, err := os.Stat(r.checkpointDir()); err == nil {
		state = "found"
	} else if err := synth.Write(ctx, r.checkpointDir(), r.source.spec); err != nil {
		return err
	}
	files, err := r.weightFiles()
	if err != nil {
		return err
	}
	var sums []string
	for _, name := range files {
		if err := syncFile(name); err != nil {
			return err
		}
		sum, err := fileSum(name)
		if err != nil {
			return err
		}
		sums = append(sums, sum)
	}
	if !slices.Equal(sums, r.source.sums) {
		hint := "a stopped run may have left it: delete it and run again"
		if state == "made" {
			hint = "fixtures/synth makes other bytes than it did"
		}
		return fmt.Errorf("%s: weight files with sha256 %v, want %v; %s", r.checkpointDir(), sums, r.source.sums, hint)
	}
	r.printf("source  %s %s: %s in %s\n", r.checkpointDir(), state, megabytes(r.source.bytes()), seconds(time.Since(start)))
	return nil
}

// weightFiles are the checkpoint's safetensors files, sorted.
func (r *runner) weightFiles() ([]string, error) {
	return filepath.Glob(filepath.Join(r.checkpointDir(), "*.safetensors"))
}

// timeCopy is what an export's time is compared with: cp of the weight files,
// fsync of the copies, SHA-256 of sources and copies, by the same SHA-256 that
// export uses. It is 0 if a copy stands there already.
func (r *runner) timeCopy(ctx context.Context) (time.Duration, error) {
	files, err := r.weightFiles()
	if err != nil {
		return 0, err
	}
	if err := durable.MkdirAll(durable.OS{}, r.dir); err != nil {
		return 0, err
	}
	if err := os.Mkdir(r.copyDir(), 0o755); errors.Is(err, fs.ErrExist) {
		return 0, nil // cp must not write over it
	} else if err != nil {
		return 0, err
	}
	start := time.Now()
	for _, src := range files {
		if err := copyFile(ctx, src, filepath.Join(r.copyDir(), filepath.Base(src))); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// copyFile copies a file as one who wants to be sure does it by hand.
func copyFile(ctx context.Context, src, dst string) error {
	if text, err := exec.CommandContext(ctx, "cp", src, dst).CombinedOutput(); err != nil {
		return fmt.Errorf("cp %s %s: %w: %s", src, dst, err, text)
	}
	if err := syncFile(dst); err != nil {
		return err
	}
	want, err := fileSum(src)
	if err != nil {
		return err
	}
	got, err := fileSum(dst)
	if err == nil && got != want {
		err = fmt.Errorf("%s: sha256 %s, want %s, which %s has", dst, got, want, src)
	}
	return err
}

// syncFile makes a file's bytes durable.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fileSum is a file's SHA-256 in hex.
func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() // opened for reading
	sum := sha256.New()
	// Large reads, as the exporter makes them: hiding what else the file can do
	// keeps CopyBuffer to its buffer.
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
