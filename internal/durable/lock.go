package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LockName is the lock file's name inside an output directory. It stays there
// for good: removing a lock file lets two runs hold two files of one name.
const LockName = ".lockstep.lock"

// lockTextSize is the fixed length of the lock file's text, so that a shorter
// text overwrites a longer one whole.
const lockTextSize = 32

// Lock is the exclusive hold of one output directory. What must not be done by
// two runs at once is a method of it.
type Lock struct {
	fsys FS
	dir  string
	file File
}

// AcquireLock takes the lock of an existing output directory, or returns
// ErrLocked at once, naming the holder's process when the lock file tells it.
// The system drops the lock of a process that dies.
func AcquireLock(fsys FS, dir string) (*Lock, error) {
	name := filepath.Join(dir, LockName)
	f, err := fsys.OpenKeep(name)
	if err != nil {
		return nil, fault("open the lock file", name, err)
	}
	if err := claim(f, name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Lock{fsys: fsys, dir: filepath.Clean(dir), file: f}, nil
}

// claim locks the open lock file and writes this process's id into it.
func claim(f File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return fault("look at", name, err)
	}
	if !info.Regular {
		return fmt.Errorf("%s: %w: wanted a regular file", name, ErrNotOurs)
	}
	err = f.TryLock()
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("%s: %w (%s)", name, ErrLocked, holder(f))
	}
	if err != nil {
		return fault("lock", name, err)
	}
	text := fmt.Sprintf("%-*s\n", lockTextSize-1, fmt.Sprintf("pid %d", os.Getpid()))
	return writeAt(f, name, []byte(text), 0)
}

// holder reads who holds the lock. The text may be absent (the holder is just
// starting), so it is an aid and never decides anything.
func holder(f File) string {
	buf := make([]byte, lockTextSize)
	n, _ := f.ReadAt(buf, 0)
	text := strings.TrimSpace(string(buf[:n]))
	if pid, ok := strings.CutPrefix(text, "pid "); ok && strings.Trim(pid, "0123456789") == "" {
		return text
	}
	return "holder unknown"
}

// Dir returns the locked directory.
func (l *Lock) Dir() string { return l.dir }

// Unlock gives the directory free. The lock file stays.
func (l *Lock) Unlock() error {
	if err := l.file.Close(); err != nil {
		return fault("unlock", filepath.Join(l.dir, LockName), err)
	}
	return nil
}
