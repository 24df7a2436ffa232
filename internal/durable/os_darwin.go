package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// RenameNoReplace implements FS.
func (OS) RenameNoReplace(oldName, newName string) error {
	return noReplace(retry(func() error {
		return unix.RenamexNp(oldName, newName, unix.RENAME_EXCL)
	}))
}

// freeBytes is what an ordinary user may still write.
func freeBytes(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Bsize) }

// forgetCached does nothing: this system has no call that drops the cached
// pages of one file, and its fsync (F_FULLFSYNC) reports what failed.
func forgetCached(*os.File) {}

// beginWriteback does nothing: macOS has no call to start writing a range.
func beginWriteback(*os.File, int64, int64) {}
