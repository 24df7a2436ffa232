package faultfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"lockstep/internal/durable"
)

// Mem is a file system in memory. It keeps beside each file and directory what
// has been synced, and Crash goes back to that. Names are absolute, with
// slashes; the root exists. It is safe for concurrent use.
type Mem struct {
	mu    *sync.Mutex
	root  *node
	nodes uint64
	// FreeBytes is what Free returns. Writes do not lower it.
	FreeBytes int64
}

var _ durable.FS = (*Mem)(nil)

// node is a file or a directory.
type node struct {
	inode  uint64
	dir    bool
	links  uint64
	locked *memFile

	data, syncedData []byte

	entries, syncedEntries map[string]*node
	pending                []func(entries map[string]*node) // since the last sync, in order
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	m := &Mem{mu: new(sync.Mutex), FreeBytes: 1 << 40}
	m.root = m.newNode(true)
	return m
}

func (m *Mem) newNode(dir bool) *node {
	m.nodes++
	n := &node{inode: m.nodes, dir: dir}
	if dir {
		n.entries, n.syncedEntries = map[string]*node{}, map[string]*node{}
	}
	return n
}

// change applies a change to a directory's entries now, and at the next sync or
// a merciful crash to those on the disk.
func (n *node) change(apply func(entries map[string]*node)) {
	apply(n.entries)
	n.pending = append(n.pending, apply)
}

func (n *node) info() durable.Info {
	return durable.Info{
		Size: int64(len(n.data)), Dir: n.dir, Regular: !n.dir, Links: n.links, Device: 1, Inode: n.inode,
	}
}

// parts splits a name.
func parts(name string) []string {
	name = strings.Trim(path.Clean("/"+filepath.ToSlash(name)), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// find returns the node at name, or nil.
func (m *Mem) find(name string) *node {
	n := m.root
	for _, part := range parts(name) {
		if n == nil || !n.dir {
			return nil
		}
		n = n.entries[part]
	}
	return n
}

// parent returns the directory that holds name, and name's last part.
func (m *Mem) parent(name string) (*node, string, error) {
	all := parts(name)
	if len(all) == 0 {
		return nil, "", fs.ErrExist
	}
	dir := m.find("/" + strings.Join(all[:len(all)-1], "/"))
	if dir == nil || !dir.dir {
		return nil, "", fs.ErrNotExist
	}
	return dir, all[len(all)-1], nil
}

// Stat implements durable.FS.
func (m *Mem) Stat(name string) (durable.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil {
		return durable.Info{}, fs.ErrNotExist
	}
	return n.info(), nil
}

// ReadDir implements durable.FS.
func (m *Mem) ReadDir(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil || !n.dir {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(maps.Keys(n.entries)), nil
}

// Mkdir implements durable.FS.
func (m *Mem) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return err
	}
	if dir.entries[base] != nil {
		return fs.ErrExist
	}
	made := m.newNode(true)
	dir.change(func(entries map[string]*node) { entries[base] = made })
	return nil
}

// OpenRead implements durable.FS.
func (m *Mem) OpenRead(name string) (durable.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{fs: m, node: n, readOnly: true}, nil
}

// OpenKeep implements durable.FS.
func (m *Mem) OpenKeep(name string) (durable.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	if n != nil && n.dir {
		return nil, fmt.Errorf("%w: is a directory", fs.ErrInvalid)
	}
	if n == nil {
		n = m.newNode(false)
		n.links = 1
		dir.change(func(entries map[string]*node) { entries[base] = n })
	}
	return &memFile{fs: m, node: n}, nil
}

// Link implements durable.FS.
func (m *Mem) Link(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(oldName)
	dir, base, err := m.parent(newName)
	switch {
	case err != nil:
		return err
	case n == nil:
		return fs.ErrNotExist
	case n.dir:
		return fs.ErrPermission
	case dir.entries[base] != nil:
		return fs.ErrExist
	}
	n.links++
	dir.change(func(entries map[string]*node) { entries[base] = n })
	return nil
}

// Rename implements durable.FS.
func (m *Mem) Rename(oldName, newName string) error { return m.rename(oldName, newName, true) }

// RenameNoReplace implements durable.FS.
func (m *Mem) RenameNoReplace(oldName, newName string) error {
	return m.rename(oldName, newName, false)
}

// rename moves within one directory, which is one atomic change of its entries.
func (m *Mem) rename(oldName, newName string, replace bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, from, err := m.parent(oldName)
	if err != nil {
		return err
	}
	target, to, err := m.parent(newName)
	if err != nil {
		return err
	}
	if dir != target {
		return fmt.Errorf("%w: rename between directories", durable.ErrUnsupported)
	}
	n, old := dir.entries[from], dir.entries[to]
	switch {
	case n == nil:
		return fs.ErrNotExist
	case old != nil && (!replace || old.dir != n.dir):
		return fs.ErrExist
	case old != nil:
		old.links--
	}
	dir.change(func(entries map[string]*node) {
		delete(entries, from)
		entries[to] = n
	})
	return nil
}

// SyncDir implements durable.FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(name)
	if n == nil || !n.dir {
		return fs.ErrNotExist
	}
	n.syncedEntries = maps.Clone(n.entries)
	n.pending = nil
	return nil
}

// Free implements durable.FS.
func (m *Mem) Free(name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(name) == nil {
		return 0, fs.ErrNotExist
	}
	return m.FreeBytes, nil
}

// Content returns the content of every file by its name.
func (m *Mem) Content() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := map[string]string{}
	var walk func(n *node, at string)
	walk = func(n *node, at string) {
		if !n.dir {
			files[at] = string(n.data)
			return
		}
		for name, child := range n.entries {
			walk(child, at+"/"+name)
		}
	}
	walk(m.root, "")
	return files
}

// Survival decides what gets to the disk though it was not synced.
type Survival struct {
	// Names says whether the ith of n changes of a directory survives. Each
	// change is whole or absent, in any order: not every system has a journal.
	Names func(i, n int) bool
	// Data says whether a file's bytes survive. If not, they read as before the
	// last sync, and as zeros beyond, as on file systems that journal lengths
	// alone.
	Data func() bool
}

// Nothing survives that was not synced.
func Nothing() Survival {
	return Survival{Names: func(int, int) bool { return false }, Data: func() bool { return false }}
}

// NamesOnly survive, without the data of their files.
func NamesOnly() Survival {
	return Survival{Names: func(int, int) bool { return true }, Data: func() bool { return false }}
}

// LastName survives of each directory, before all changes that came earlier.
func LastName() Survival {
	return Survival{Names: func(i, n int) bool { return i == n-1 }, Data: func() bool { return false }}
}

// Crash returns the file system as it may stand after a loss of power. Locks
// are gone, and open files of the old Mem are not part of the new one.
func (m *Mem) Crash(survival Survival) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := &Mem{mu: new(sync.Mutex), nodes: m.nodes, FreeBytes: m.FreeBytes}
	copies := map[*node]*node{}
	var restore func(n *node) *node
	restore = func(n *node) *node {
		if c := copies[n]; c != nil {
			c.links++ // a second name
			return c
		}
		c := &node{inode: n.inode, dir: n.dir}
		copies[n] = c
		if !n.dir {
			c.links = 1
			c.data = slices.Clone(n.data)
			if !slices.Equal(n.data, n.syncedData) && !survival.Data() {
				c.data = make([]byte, len(n.data))
				copy(c.data, n.syncedData)
			}
			c.syncedData = slices.Clone(c.data)
			return c
		}
		entries := maps.Clone(n.syncedEntries)
		for i, apply := range n.pending {
			if survival.Names(i, len(n.pending)) {
				apply(entries)
			}
		}
		c.entries = map[string]*node{}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			c.entries[name] = restore(entries[name])
		}
		c.syncedEntries = maps.Clone(c.entries)
		return c
	}
	after.root = restore(m.root)
	return after
}

// memFile is an open file of Mem.
type memFile struct {
	fs       *Mem
	node     *node
	readOnly bool
	closed   bool
}

func (f *memFile) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.readOnly {
		return 0, fs.ErrPermission
	}
	if missing := int(offset) + len(p) - len(f.node.data); missing > 0 {
		f.node.data = append(f.node.data, make([]byte, missing)...)
	}
	return copy(f.node.data[offset:], p), nil
}

func (f *memFile) Stat() (durable.Info, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return durable.Info{}, fs.ErrClosed
	}
	return f.node.info(), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.node.syncedData = slices.Clone(f.node.data)
	return nil
}

func (f *memFile) TryLock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.locked != nil && f.node.locked != f {
		return durable.ErrLocked
	}
	f.node.locked = f
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	if f.node.locked == f {
		f.node.locked = nil
	}
	return nil
}
