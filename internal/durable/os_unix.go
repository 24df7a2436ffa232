//go:build linux || darwin

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isNoSpace reports whether the system says that the volume or quota is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Writable reports a directory in which this process may not make files. It
// looks and touches nothing, so that long work need not end in that error. The
// error wraps fs.ErrPermission, or says that the volume is read-only.
func Writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "make files in", Path: dir, Err: err}
	}
	return nil
}

// Stat implements FS.
func (OS) Stat(name string) (Info, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

// infoOf converts what the os package knows of a file.
func infoOf(info fs.FileInfo) Info {
	out := Info{Size: info.Size(), Dir: info.IsDir(), Regular: info.Mode().IsRegular(), Links: 1}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		out.Links = uint64(st.Nlink)
		out.Device, out.Inode = uint64(st.Dev), st.Ino
	}
	return out
}

// OpenRead implements FS.
func (OS) OpenRead(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// OpenKeep implements FS.
func (OS) OpenKeep(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: is a symbolic link", ErrNotOurs)
	}
	if err != nil {
		return nil, err
	}
	forgetCached(f)
	return osFile{f}, nil
}

// Free implements FS.
func (OS) Free(name string) (int64, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(name, &st) }); err != nil {
		return 0, err
	}
	return freeBytes(&st), nil
}

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		// Some network file systems have no such call for directories; they
		// write entries through.
		err = nil
	}
	return errors.Join(err, d.Close())
}

// osFile is an open file of OS.
type osFile struct{ *os.File }

// Stat implements File.
func (f osFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

// WriteAt implements File. It asks the system to begin writing the bytes back
// at once, so that the fsync at the end of a large file finds little to do.
func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if n >= writebackFrom {
		beginWriteback(f.File, off, int64(n))
	}
	return n, err
}

// writebackFrom is the length from which a single write is worth the advice.
const writebackFrom = 1 << 20

// TryLock implements File.
func (f osFile) TryLock() error {
	err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// noReplace makes the error of a no-replace rename say what it means.
func noReplace(err error) error {
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("%w: this file system cannot rename without replacing; choose a directory on another: %w", ErrUnsupported, err)
	default:
		return err
	}
}
