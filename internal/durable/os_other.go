//go:build !linux && !darwin

package durable

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// errSystem says that no file is written on this operating system, because it
// has no rename here that cannot replace.
func errSystem() error {
	return fmt.Errorf("%w: writing packages needs linux or darwin, this is %s", ErrUnsupported, runtime.GOOS)
}

// isNoSpace reports whether err already says that the volume is full.
func isNoSpace(err error) bool { return errors.Is(err, ErrNoSpace) }

// Writable reports that no files are made here.
func Writable(string) error { return errSystem() }

// Stat implements FS.
func (OS) Stat(name string) (Info, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: info.Size(), Dir: info.IsDir(), Regular: info.Mode().IsRegular(), Links: 1}, nil
}

// OpenRead implements FS.
func (OS) OpenRead(string) (File, error) { return nil, errSystem() }

// OpenKeep implements FS.
func (OS) OpenKeep(string) (File, error) { return nil, errSystem() }

// RenameNoReplace implements FS.
func (OS) RenameNoReplace(string, string) error { return errSystem() }

// SyncDir implements FS.
func (OS) SyncDir(string) error { return errSystem() }

// Free implements FS.
func (OS) Free(string) (int64, error) { return 0, errSystem() }
