package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The sentinels of this package. Errors wrap them together with the system's
// own error and name the path.
var (
	// ErrNoSpace means that the volume or the quota is full, or would be.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrExists means that something already stands at the finished name. It is
	// left as it is.
	ErrExists = errors.New("already exists and is never overwritten")
	// ErrLocked means that another process holds the output directory.
	ErrLocked = errors.New("locked by another run")
	// ErrPartialTooLong means that a partial is longer than what is to be
	// written there. It is not shortened.
	ErrPartialTooLong = errors.New("unfinished file is longer than planned")
	// ErrNotOurs means that a name that this run would write to holds something
	// that no run of lockstep made there: a link, a directory, an extra file.
	ErrNotOurs = errors.New("not made by lockstep")
	// ErrSize means that more or fewer bytes were streamed than planned.
	ErrSize = errors.New("size differs from the plan")
	// ErrUnfinished means that a directory was to be published before all of
	// its files were finished.
	ErrUnfinished = errors.New("not finished")
	// ErrUnsupported means that the operating system or the file system cannot
	// do what keeping the promises of this package needs.
	ErrUnsupported = errors.New("not supported here")
)

// Info describes one directory entry, or one open file.
type Info struct {
	Size    int64
	Dir     bool
	Regular bool // neither directory, symbolic link, device, pipe nor socket
	Links   uint64
	// Device and Inode together tell whether two names are the same file.
	Device, Inode uint64
}

// same reports whether two infos are of the same file.
func (i Info) same(o Info) bool { return i.Device == o.Device && i.Inode == o.Inode }

// FS is the seam over the file system. It has no way to remove, shorten or
// open for truncation. Errors that mean "there is something at that name" and
// "there is nothing" satisfy errors.Is with fs.ErrExist and fs.ErrNotExist.
type FS interface {
	// Stat describes name itself; a symbolic link is not followed.
	Stat(name string) (Info, error)
	// ReadDir returns the base names of a directory, sorted.
	ReadDir(name string) ([]string, error)
	// Mkdir makes one directory; anything at that name is fs.ErrExist.
	Mkdir(name string) error
	// OpenRead opens for reading; a symbolic link is followed.
	OpenRead(name string) (File, error)
	// OpenKeep opens for reading and writing, creates what is absent, and keeps
	// every byte of what is there. A symbolic link is refused.
	OpenKeep(name string) (File, error)
	// Link gives a file a second name; an existing name is fs.ErrExist.
	Link(oldName, newName string) error
	// Rename moves a file over whatever stands at the new name.
	Rename(oldName, newName string) error
	// RenameNoReplace moves a file or directory; an existing new name is
	// fs.ErrExist, atomically.
	RenameNoReplace(oldName, newName string) error
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
	// Free returns the bytes that an ordinary user may still write on the
	// volume of name, which exists.
	Free(name string) (int64, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	Stat() (Info, error)
	// Sync makes the file's bytes durable.
	Sync() error
	// TryLock takes the file's exclusive advisory lock, which lasts until
	// Close, or returns ErrLocked at once.
	TryLock() error
	Close() error
}

// fault wraps the system's error with what was being done to which path, and
// with ErrNoSpace where the system says that the volume is full.
func fault(doing, name string, err error) error {
	err = bare(err)
	if isNoSpace(err) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%s %s: %w: %w", doing, name, ErrNoSpace, err)
	}
	return fmt.Errorf("%s %s: %w", doing, name, err)
}

// bare strips the os package's wrapping, whose path fault repeats.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

// exists reports whether anything stands at name, even a dangling link.
func exists(fsys FS, name string) (bool, error) {
	switch _, err := fsys.Stat(name); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fault("look at", name, err)
	}
}
