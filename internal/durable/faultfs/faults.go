package faultfs

import (
	"errors"
	"sync"

	"lockstep/internal/durable"
)

// Op names a call of durable.FS or durable.File.
type Op string

// The operations that can be made to fail.
const (
	OpStat            Op = "stat"
	OpReadDir         Op = "readdir"
	OpMkdir           Op = "mkdir"
	OpOpenRead        Op = "openread"
	OpOpenKeep        Op = "openkeep"
	OpLink            Op = "link"
	OpRename          Op = "rename"
	OpRenameNoReplace Op = "renamenoreplace"
	OpSyncDir         Op = "syncdir"
	OpFree            Op = "free"
	OpRead            Op = "read"
	OpWrite           Op = "write"
	OpSync            Op = "sync"
	OpFileStat        Op = "filestat"
	OpLock            Op = "lock"
	OpClose           Op = "close"
)

// ErrDead is what every call returns after the simulated death of the process.
var ErrDead = errors.New("the process is dead (injected)")

// Call is one call, as an Injector sees it before it is made.
type Call struct {
	Index int // from 0, over all calls of one FS
	Op    Op
	Path  string // the path that would be changed or read
	Len   int    // bytes, for OpRead and OpWrite
}

// Fault is what becomes of a call. Its error is returned in place of the call's
// result; the call is made only as far as Write says.
type Fault struct {
	Err error
	// Write is how many bytes of an OpWrite reach the file. With a nil Err the
	// write is short without an error.
	Write int
}

// Injector decides about each call; nil lets it pass.
type Injector func(Call) *Fault

// FS wraps another file system and asks an Injector about each call.
type FS struct {
	inner  durable.FS
	inject Injector

	mu    sync.Mutex
	calls []Call
}

var _ durable.FS = (*FS)(nil)

// Wrap returns inner with faults. A nil Injector only records.
func Wrap(inner durable.FS, inject Injector) *FS {
	return &FS{inner: inner, inject: inject}
}

// Calls returns the calls so far.
func (f *FS) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// ask records a call and returns its fault.
func (f *FS) ask(op Op, path string, n int) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := Call{Index: len(f.calls), Op: op, Path: path, Len: n}
	f.calls = append(f.calls, c)
	if f.inject == nil {
		return nil
	}
	return f.inject(c)
}

// FailAt makes the call of that index fail with err.
func FailAt(index int, err error) Injector {
	return func(c Call) *Fault {
		if c.Index != index {
			return nil
		}
		return &Fault{Err: err}
	}
}

// DieAt makes the call of that index and all later ones fail with ErrDead: what
// a killed process leaves. A write that dies has written half of its bytes.
func DieAt(index int) Injector {
	return func(c Call) *Fault {
		switch {
		case c.Index < index:
			return nil
		case c.Index == index:
			return &Fault{Err: ErrDead, Write: c.Len / 2}
		default:
			return &Fault{Err: ErrDead}
		}
	}
}

// FullAfter gives the volume that many bytes: the write that goes beyond them
// is cut there and fails with err, and so does every write after it.
func FullAfter(bytes int, err error) Injector {
	left := bytes
	return func(c Call) *Fault {
		if c.Op != OpWrite {
			return nil
		}
		if c.Len <= left {
			left -= c.Len
			return nil
		}
		cut := left
		left = 0
		return &Fault{Err: err, Write: cut}
	}
}

// ShortAt cuts the nth write (from 0) to its first keep bytes without an error.
func ShortAt(nth, keep int) Injector {
	seen := 0
	return func(c Call) *Fault {
		if c.Op != OpWrite {
			return nil
		}
		seen++
		if seen-1 != nth {
			return nil
		}
		return &Fault{Write: min(keep, c.Len)}
	}
}

// Stat implements durable.FS.
func (f *FS) Stat(name string) (durable.Info, error) {
	if fault := f.ask(OpStat, name, 0); fault != nil {
		return durable.Info{}, fault.Err
	}
	return f.inner.Stat(name)
}

// ReadDir implements durable.FS.
func (f *FS) ReadDir(name string) ([]string, error) {
	if fault := f.ask(OpReadDir, name, 0); fault != nil {
		return nil, fault.Err
	}
	return f.inner.ReadDir(name)
}

// Mkdir implements durable.FS.
func (f *FS) Mkdir(name string) error {
	if fault := f.ask(OpMkdir, name, 0); fault != nil {
		return fault.Err
	}
	return f.inner.Mkdir(name)
}

// OpenRead implements durable.FS.
func (f *FS) OpenRead(name string) (durable.File, error) {
	if fault := f.ask(OpOpenRead, name, 0); fault != nil {
		return nil, fault.Err
	}
	return f.opened(name, f.inner.OpenRead)
}

// OpenKeep implements durable.FS.
func (f *FS) OpenKeep(name string) (durable.File, error) {
	if fault := f.ask(OpOpenKeep, name, 0); fault != nil {
		return nil, fault.Err
	}
	return f.opened(name, f.inner.OpenKeep)
}

func (f *FS) opened(name string, open func(string) (durable.File, error)) (durable.File, error) {
	inner, err := open(name)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, inner: inner}, nil
}

// Link implements durable.FS.
func (f *FS) Link(oldName, newName string) error {
	if fault := f.ask(OpLink, newName, 0); fault != nil {
		return fault.Err
	}
	return f.inner.Link(oldName, newName)
}

// Rename implements durable.FS.
func (f *FS) Rename(oldName, newName string) error {
	if fault := f.ask(OpRename, newName, 0); fault != nil {
		return fault.Err
	}
	return f.inner.Rename(oldName, newName)
}

// RenameNoReplace implements durable.FS.
func (f *FS) RenameNoReplace(oldName, newName string) error {
	if fault := f.ask(OpRenameNoReplace, newName, 0); fault != nil {
		return fault.Err
	}
	return f.inner.RenameNoReplace(oldName, newName)
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	if fault := f.ask(OpSyncDir, name, 0); fault != nil {
		return fault.Err
	}
	return f.inner.SyncDir(name)
}

// Free implements durable.FS.
func (f *FS) Free(name string) (int64, error) {
	if fault := f.ask(OpFree, name, 0); fault != nil {
		return 0, fault.Err
	}
	return f.inner.Free(name)
}

// file is an open file of FS.
type file struct {
	fs    *FS
	name  string
	inner durable.File
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	if fault := f.fs.ask(OpRead, f.name, len(p)); fault != nil {
		return 0, fault.Err
	}
	return f.inner.ReadAt(p, offset)
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	fault := f.fs.ask(OpWrite, f.name, len(p))
	if fault == nil {
		return f.inner.WriteAt(p, offset)
	}
	n, err := f.inner.WriteAt(p[:fault.Write], offset)
	return n, errors.Join(fault.Err, err)
}

func (f *file) Stat() (durable.Info, error) {
	if fault := f.fs.ask(OpFileStat, f.name, 0); fault != nil {
		return durable.Info{}, fault.Err
	}
	return f.inner.Stat()
}

func (f *file) Sync() error {
	if fault := f.fs.ask(OpSync, f.name, 0); fault != nil {
		return fault.Err
	}
	return f.inner.Sync()
}

func (f *file) TryLock() error {
	if fault := f.fs.ask(OpLock, f.name, 0); fault != nil {
		return fault.Err
	}
	return f.inner.TryLock()
}

// Close closes the inner file even when the call is made to fail, since the
// system does so, too.
func (f *file) Close() error {
	fault := f.fs.ask(OpClose, f.name, 0)
	err := f.inner.Close()
	if fault != nil {
		return fault.Err
	}
	return err
}
