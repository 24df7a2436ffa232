package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// partialSuffix ends every unfinished name.
const partialSuffix = ".partial"

// keyLength is how many hex digits of the key's digest a partial name carries.
const keyLength = 16

// PartialName is the name that final has while it is unfinished. key stands
// for everything that decides the bytes; equal keys mean equal bytes.
func PartialName(final, key string) string {
	sum := sha256.Sum256([]byte(key))
	return final + "." + hex.EncodeToString(sum[:])[:keyLength] + partialSuffix
}

// Leftovers lists the partials of final that stand beside it, sorted: work of
// killed runs, of this content and of others. They are reported, never
// touched.
func Leftovers(fsys FS, final string) ([]string, error) {
	dir, base := filepath.Split(filepath.Clean(final))
	if dir == "" {
		dir = "."
	}
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault("list", dir, err)
	}
	var left []string
	for _, name := range names {
		if strings.HasPrefix(name, base+".") && strings.HasSuffix(name, partialSuffix) {
			left = append(left, filepath.Join(dir, name))
		}
	}
	return left, nil
}

// Standing returns the bytes that already stand under final's partial name, a
// file or a directory. A run that resumes needs that much less free space, if
// they prove right: wrong ones are written over in place.
func Standing(fsys FS, final, key string) (int64, error) {
	return standing(fsys, PartialName(final, key))
}

// standing sums the sizes of the files at and below name.
func standing(fsys FS, name string) (int64, error) {
	info, err := fsys.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fault("look at", name, err)
	case info.Regular:
		return info.Size, nil
	case !info.Dir:
		return 0, nil
	}
	names, err := fsys.ReadDir(name)
	if err != nil {
		return 0, fault("list", name, err)
	}
	var sum int64
	for _, child := range names {
		n, err := standing(fsys, filepath.Join(name, child))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// PartialFile is one unfinished file that will get the name final.
type PartialFile struct {
	*Writer
	fsys  FS
	final string
}

// OpenFile starts or resumes the file final of size bytes under its partial
// name. ErrExists if something stands at final.
func OpenFile(fsys FS, final, key string, size int64) (*PartialFile, error) {
	if err := refuseExisting(fsys, final); err != nil {
		return nil, err
	}
	w, err := openWriter(fsys, PartialName(final, key), size)
	if err != nil {
		return nil, err
	}
	return &PartialFile{Writer: w, fsys: fsys, final: final}, nil
}

// Publish finishes the file and gives it its name.
func (p *PartialFile) Publish() (Sum, error) {
	sum, err := p.Finish()
	if err != nil {
		return Sum{}, err
	}
	return sum, publish(p.fsys, p.name, p.final)
}

// refuseExisting returns ErrExists if anything stands at name.
func refuseExisting(fsys FS, name string) error {
	found, err := exists(fsys, name)
	if err == nil && found {
		err = fmt.Errorf("%s: %w", name, ErrExists)
	}
	return err
}

// publish gives synced bytes their finished name and makes the name durable.
func publish(fsys FS, partial, final string) error {
	if err := fsys.RenameNoReplace(partial, final); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w; what was written stays at %s", final, ErrExists, partial)
		}
		return fault("give the finished name to", partial, err)
	}
	return syncParent(fsys, final)
}

// syncParent makes the entry of name durable.
func syncParent(fsys FS, name string) error {
	dir := filepath.Dir(name)
	if err := fsys.SyncDir(dir); err != nil {
		return fault("sync directory", dir, err)
	}
	return nil
}

// PartialDir is one unfinished directory, a package, that will get the name
// final. It is not safe for concurrent use, its writers neither.
type PartialDir struct {
	fsys  FS
	path  string
	final string
	dirs  map[string]bool // relative, slash-separated; "." included
	files map[string]*Writer
}

// OpenDir starts or resumes the directory name (a base name inside the locked
// directory) under its partial name. ErrExists if something stands at name.
func (l *Lock) OpenDir(name, key string) (*PartialDir, error) {
	final, err := l.inside(name)
	if err != nil {
		return nil, err
	}
	if err := refuseExisting(l.fsys, final); err != nil {
		return nil, err
	}
	p := &PartialDir{
		fsys: l.fsys, path: PartialName(final, key), final: final,
		dirs: map[string]bool{}, files: map[string]*Writer{},
	}
	if err := p.makeDir("."); err != nil {
		return nil, err
	}
	return p, nil
}

// inside joins a base name to the locked directory.
func (l *Lock) inside(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("%q in %s: %w: wanted a plain file name", name, l.dir, fs.ErrInvalid)
	}
	return filepath.Join(l.dir, name), nil
}

// Path returns where the directory is while it is unfinished.
func (p *PartialDir) Path() string { return p.path }

// File starts or resumes the file at rel, a slash-separated relative path, of
// exactly size bytes. Directories on the way are made.
func (p *PartialDir) File(rel string, size int64) (*Writer, error) {
	if !fs.ValidPath(rel) || rel == "." || strings.Contains(rel, `\`) {
		return nil, fmt.Errorf("%q in %s: %w: wanted a relative path", rel, p.path, fs.ErrInvalid)
	}
	if p.files[rel] != nil {
		return nil, fmt.Errorf("%q in %s: %w: started twice", rel, p.path, fs.ErrInvalid)
	}
	if err := p.makeDir(path.Dir(rel)); err != nil {
		return nil, err
	}
	w, err := openWriter(p.fsys, p.at(rel), size)
	if err != nil {
		return nil, err
	}
	p.files[rel] = w
	return w, nil
}

// Link gives the regular file source a second name, rel in the directory, in
// place of a copy: neither may be written to from then on. A link that stands
// there already is accepted. Where the file system has no links, or source is on
// another one, the error is the system's, and File may write a copy instead.
func (p *PartialDir) Link(rel, source string) error {
	if !fs.ValidPath(rel) || rel == "." || strings.Contains(rel, `\`) {
		return fmt.Errorf("%q in %s: %w: wanted a relative path", rel, p.path, fs.ErrInvalid)
	}
	if p.files[rel] != nil {
		return fmt.Errorf("%q in %s: %w: started twice", rel, p.path, fs.ErrInvalid)
	}
	info, err := p.fsys.Stat(source)
	if err != nil {
		return fault("look at", source, err)
	}
	if !info.Regular {
		return fmt.Errorf("%s: %w: wanted a regular file", source, ErrUnsupported)
	}
	if err := p.makeDir(path.Dir(rel)); err != nil {
		return err
	}
	if err := p.fsys.Link(source, p.at(rel)); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return fault("link "+source+" as", p.at(rel), err)
		}
		found, err := p.fsys.Stat(p.at(rel))
		if err != nil {
			return fault("look at", p.at(rel), err)
		}
		if !found.same(info) {
			return fmt.Errorf("%s: %w", p.at(rel), ErrExists)
		}
	}
	p.files[rel] = &Writer{name: p.at(rel), finished: true}
	return nil
}

// at turns a path inside the directory into one of the file system.
func (p *PartialDir) at(rel string) string {
	return filepath.Join(p.path, filepath.FromSlash(rel))
}

// makeDir makes the directory rel of the partial and its ancestors, or accepts
// the real directory that stands there.
func (p *PartialDir) makeDir(rel string) error {
	if p.dirs[rel] {
		return nil
	}
	if rel != "." {
		if err := p.makeDir(path.Dir(rel)); err != nil {
			return err
		}
	}
	name := p.at(rel)
	if err := p.fsys.Mkdir(name); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return fault("make directory", name, err)
		}
		info, err := p.fsys.Stat(name)
		if err != nil {
			return fault("look at", name, err)
		}
		if !info.Dir {
			return fmt.Errorf("%s: %w: wanted a directory; move it away and run again", name, ErrNotOurs)
		}
	}
	p.dirs[rel] = true
	return nil
}

// Publish gives the directory its finished name. Every started file must be
// finished, and nothing else may lie in the directory: an extra file is
// ErrNotOurs, since it would get into the package and cannot be removed.
func (p *PartialDir) Publish() error {
	for _, rel := range slices.Sorted(maps.Keys(p.files)) {
		if !p.files[rel].finished {
			return fmt.Errorf("%s: %w", p.at(rel), ErrUnfinished)
		}
	}
	if len(p.files) == 0 {
		return fmt.Errorf("%s: %w: it has no files", p.path, ErrUnfinished)
	}
	// Longest first puts every directory before its parent.
	dirs := slices.Sorted(maps.Keys(p.dirs))
	slices.SortStableFunc(dirs, func(a, b string) int { return depth(b) - depth(a) })
	for _, rel := range dirs {
		if err := p.refuseExtra(rel); err != nil {
			return err
		}
		if err := p.fsys.SyncDir(p.at(rel)); err != nil {
			return fault("sync directory", p.at(rel), err)
		}
	}
	return publish(p.fsys, p.path, p.final)
}

// depth counts the elements of a relative path; "." has none.
func depth(rel string) int {
	if rel == "." {
		return 0
	}
	return strings.Count(rel, "/") + 1
}

// refuseExtra checks that the directory rel holds what this run put there.
func (p *PartialDir) refuseExtra(rel string) error {
	names, err := p.fsys.ReadDir(p.at(rel))
	if err != nil {
		return fault("list", p.at(rel), err)
	}
	for _, name := range names {
		child := path.Join(rel, name)
		if p.files[child] == nil && !p.dirs[child] {
			return fmt.Errorf("%s: %w: it is no part of the package; move it away and run again", p.at(child), ErrNotOurs)
		}
	}
	return nil
}

// Close lets go of the files that are still open and leaves everything for the
// next run.
func (p *PartialDir) Close() error {
	var errs []error
	for _, rel := range slices.Sorted(maps.Keys(p.files)) {
		errs = append(errs, p.files[rel].Close())
	}
	return errors.Join(errs...)
}
