package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"syscall"
)

// copySize is how many bytes are copied at a time.
const copySize = 1 << 20

// Adopt gives the finished directory made, which somebody put into a temporary
// place for this run, the name final (ErrExists if that is taken). On one
// volume that is a rename, after every file's bytes are durable. From another
// volume the files are copied first, under final's partial name and the lock of
// its directory; made then stays where it is.
func Adopt(ctx context.Context, fsys FS, made, final string) error {
	if err := refuseExisting(fsys, final); err != nil {
		return err
	}
	if err := syncTree(ctx, fsys, made); err != nil {
		return err
	}
	err := fsys.RenameNoReplace(made, final)
	switch {
	case err == nil:
		return syncParent(fsys, final)
	case errors.Is(err, syscall.EXDEV):
		return copyTree(ctx, fsys, made, final)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", final, ErrExists)
	}
	return fault("give the finished name to", made, err)
}

// syncTree makes everything below name durable.
func syncTree(ctx context.Context, fsys FS, name string) error {
	return eachFile(ctx, fsys, name, ".", func(rel string, _ int64) error {
		f, err := fsys.OpenRead(filepath.Join(name, filepath.FromSlash(rel)))
		if err != nil {
			return fault("open", filepath.Join(name, rel), err)
		}
		if err := f.Sync(); err != nil {
			f.Close()
			return fault("sync", filepath.Join(name, rel), err)
		}
		return f.Close()
	}, func(rel string) error {
		dir := filepath.Join(name, filepath.FromSlash(rel))
		if err := fsys.SyncDir(dir); err != nil {
			return fault("sync directory", dir, err)
		}
		return nil
	})
}

// copyTree copies the files below made to a partial of final, and publishes it.
func copyTree(ctx context.Context, fsys FS, made, final string) error {
	lock, err := AcquireLock(fsys, filepath.Dir(final))
	if err != nil {
		return err
	}
	partial, err := lock.OpenDir(filepath.Base(final), final)
	if err == nil {
		err = eachFile(ctx, fsys, made, ".", func(rel string, size int64) error {
			return copyFile(ctx, fsys, filepath.Join(made, filepath.FromSlash(rel)), partial, rel, size)
		}, partial.makeDir)
		if err == nil {
			err = partial.Publish()
		}
		err = errors.Join(err, partial.Close())
	}
	return errors.Join(err, lock.Unlock())
}

func copyFile(ctx context.Context, fsys FS, from string, to *PartialDir, rel string, size int64) error {
	f, err := fsys.OpenRead(from)
	if err != nil {
		return fault("open", from, err)
	}
	defer f.Close() // opened for reading
	w, err := to.File(rel, size)
	if err != nil {
		return err
	}
	buf := make([]byte, min(copySize, size))
	for at := int64(0); at < size; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), size-at)]
		if n, err := f.ReadAt(buf, at); n < len(buf) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fault("read", from, err)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	_, err = w.Finish()
	return err
}

// eachFile visits the files of a directory, then the directory itself, the
// deepest first. Anything but files and directories is ErrNotOurs.
func eachFile(ctx context.Context, fsys FS, root, rel string, file func(rel string, size int64) error, dir func(rel string) error) error {
	at := filepath.Join(root, filepath.FromSlash(rel))
	names, err := fsys.ReadDir(at)
	if err != nil {
		return fault("list", at, err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		child := path.Join(rel, name)
		info, err := fsys.Stat(filepath.Join(at, name))
		switch {
		case err != nil:
			return fault("look at", filepath.Join(at, name), err)
		case info.Dir:
			err = eachFile(ctx, fsys, root, child, file, dir)
		case info.Regular:
			err = file(child, info.Size)
		default:
			err = fmt.Errorf("%s: %w: want a file or a directory", filepath.Join(at, name), ErrNotOurs)
		}
		if err != nil {
			return err
		}
	}
	return dir(rel)
}
