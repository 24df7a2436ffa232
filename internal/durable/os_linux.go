package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// RenameNoReplace implements FS.
func (OS) RenameNoReplace(oldName, newName string) error {
	return noReplace(retry(func() error {
		return unix.Renameat2(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, unix.RENAME_NOREPLACE)
	}))
}

// freeBytes is what an ordinary user may still write: blocks are counted in
// fragments.
func freeBytes(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Frsize) }

// forgetCached drops the clean pages of a file, so that verifying a partial
// reads the device. After a failed fsync Linux marks the pages clean though
// they never reached the disk; a comparison with the page cache would call
// such bytes verified. It is advice, so its error says nothing.
func forgetCached(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// beginWriteback starts writing a range to the device without waiting for it.
// It is advice: the fsync that follows reports what went wrong.
func beginWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
