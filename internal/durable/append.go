package durable

import "fmt"

// Append adds data at the end of the file name, which is made if absent. What
// stands in it stays: nothing is shortened, rewritten or renamed, so a run that
// dies or finds the volume full leaves the old text with a beginning of data
// after it, and not more.
//
// The file may be another program's, so it gets no partial name. It must be a
// regular one (ErrNotOurs), and two runs do not append at once (ErrLocked);
// what another program writes to it in the same moment is not guarded.
func Append(fsys FS, name string, data []byte) error {
	f, err := fsys.OpenKeep(name)
	if err != nil {
		return fault("open", name, err)
	}
	if err := appendTo(f, name, data); err != nil {
		f.Close() // the first error tells more
		return err
	}
	if err := f.Close(); err != nil {
		return fault("close", name, err)
	}
	return syncParent(fsys, name) // it may be new
}

// appendTo writes data behind an open file's last byte and makes it durable.
func appendTo(f File, name string, data []byte) error {
	if err := f.TryLock(); err != nil {
		return fault("lock", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return fault("look at", name, err)
	}
	if !info.Regular {
		return fmt.Errorf("%s: %w: wanted a regular file", name, ErrNotOurs)
	}
	if err := writeAt(f, name, data, info.Size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fault("sync", name, err)
	}
	return nil
}
