package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
)

// Free returns the bytes that may still be written on the volume where dir is,
// or where it would be made: the nearest ancestor that exists is asked.
func Free(fsys FS, dir string) (int64, error) {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		free, err := fsys.Free(at)
		if err == nil {
			return free, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(at) == at {
			return 0, fault("ask the free space of", at, err)
		}
	}
}

// EnsureFree checks that need bytes can be written into dir and reserve bytes
// are still free afterwards. The error is ErrNoSpace and says how much is
// missing.
func EnsureFree(fsys FS, dir string, need, reserve int64) error {
	if need < 0 || reserve < 0 || need > math.MaxInt64-reserve {
		return fmt.Errorf("%s: need of %d bytes and reserve of %d bytes: %w", dir, need, reserve, ErrSize)
	}
	free, err := Free(fsys, dir)
	if err != nil {
		return err
	}
	if missing := need + reserve - free; missing > 0 {
		return fmt.Errorf("%s: %w: %d bytes to write and %d to keep free, %d are free: %d bytes missing",
			dir, ErrNoSpace, need, reserve, free, missing)
	}
	return nil
}

// MkdirAll makes dir and the ancestors that are absent, and makes each new
// entry durable. What stands there already must be a directory, or a link to
// one.
func MkdirAll(fsys FS, dir string) error {
	dir = filepath.Clean(dir)
	// Asked through the trailing separator, a link to a directory is one.
	info, err := fsys.Stat(dir + string(filepath.Separator))
	switch {
	case err == nil && info.Dir:
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w: wanted a directory", dir, ErrExists)
	case !errors.Is(err, fs.ErrNotExist):
		return fault("look at", dir, err)
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return fault("look at", dir, err)
	}
	if err := MkdirAll(fsys, parent); err != nil {
		return err
	}
	if err := fsys.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault("make directory", dir, err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fault("sync directory", parent, err)
	}
	return nil
}
