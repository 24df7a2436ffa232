package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxNumber bounds the numbers of kept texts and of numbered files.
const maxNumber = 1_000_000

// contentKey is the key of a file whose whole content is at hand.
func contentKey(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// WriteNew writes the file name, which must not exist (ErrExists), whole or not
// at all.
func WriteNew(fsys FS, name string, data []byte) error {
	f, err := OpenFile(fsys, name, contentKey(data), int64(len(data)))
	if err != nil {
		return err
	}
	defer f.Close() // after an error; Publish has closed it otherwise
	if _, err := f.Write(data); err != nil {
		return err
	}
	_, err = f.Publish()
	return err
}

// ReplaceKept gives the file name (a base name inside the locked directory) a
// new text. The old text is linked to name.<n> first, n the first free number
// from 1 on, and stays there. The same text again changes nothing.
func (l *Lock) ReplaceKept(name string, data []byte) error {
	final, err := l.inside(name)
	if err != nil {
		return err
	}
	info, err := l.fsys.Stat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return WriteNew(l.fsys, final, data)
	case err != nil:
		return fault("look at", final, err)
	case !info.Regular:
		return fmt.Errorf("%s: %w: wanted a regular file", final, ErrNotOurs)
	}
	if same, err := holds(l.fsys, final, data); err != nil {
		return err
	} else if same {
		return syncParent(l.fsys, final) // an earlier run may have died before it
	}
	partial, err := writePartial(l.fsys, final, data)
	if err != nil {
		return err
	}
	if err := l.keepOld(final, info); err != nil {
		return err
	}
	if err := l.fsys.Rename(partial, final); err != nil {
		return fault("give the finished name to", partial, err)
	}
	return syncParent(l.fsys, final)
}

// writePartial writes and syncs data under final's partial name.
func writePartial(fsys FS, final string, data []byte) (string, error) {
	w, err := openWriter(fsys, PartialName(final, contentKey(data)), int64(len(data)))
	if err != nil {
		return "", err
	}
	defer w.Close() // after an error; Finish has closed it otherwise
	if _, err := w.Write(data); err != nil {
		return "", err
	}
	if _, err := w.Finish(); err != nil {
		return "", err
	}
	return w.Name(), nil
}

// keepOld links the old text to its numbered name and makes that name durable
// before the old name is given away.
func (l *Lock) keepOld(final string, old Info) error {
	for n := 1; n <= maxNumber; n++ {
		kept := final + "." + strconv.Itoa(n)
		err := l.fsys.Link(final, kept)
		if errors.Is(err, fs.ErrExist) {
			// A run that died between link and rename has kept it already.
			if info, err := l.fsys.Stat(kept); err != nil {
				return fault("look at", kept, err)
			} else if !info.same(old) {
				continue
			}
			err = nil
		}
		if err != nil {
			return fault("keep the old text of "+final+" as", kept, err)
		}
		return syncParent(l.fsys, kept)
	}
	return fmt.Errorf("%s: %w: no number up to %d is free for the old text", final, ErrExists, maxNumber)
}

// holds reports whether the file's content is data.
func holds(fsys FS, name string, data []byte) (bool, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return false, fault("open", name, err)
	}
	defer f.Close() // opened for reading
	info, err := f.Stat()
	if err != nil {
		return false, fault("look at", name, err)
	}
	if info.Size != int64(len(data)) {
		return false, nil
	}
	found := make([]byte, len(data))
	if n, err := f.ReadAt(found, 0); n < len(found) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return false, fault("read", name, err)
	}
	return bytes.Equal(found, data), nil
}

// AppendNumbered writes data to a new file dir/<prefix>NNNN<ext> and returns
// its path. The number is one above the highest that stands there, from 0001
// on, so that the highest is always the newest. dir is made if absent.
func AppendNumbered(fsys FS, dir, prefix, ext string, data []byte) (string, error) {
	if err := MkdirAll(fsys, dir); err != nil {
		return "", err
	}
	// The number is chosen last, so the partial has none.
	partial, err := writePartial(fsys, filepath.Join(dir, prefix+"new"+ext), data)
	if err != nil {
		return "", err
	}
	return publishNumbered(fsys, partial, dir, prefix, ext)
}

// publishNumbered gives a synced partial the next number that is free.
func publishNumbered(fsys FS, partial, dir, prefix, ext string) (string, error) {
	numbers, err := numbersOf(fsys, dir, prefix, ext)
	if err != nil {
		return "", err
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	for ; next <= maxNumber; next++ {
		final := filepath.Join(dir, fmt.Sprintf("%s%04d%s", prefix, next, ext))
		err := publish(fsys, partial, final)
		if errors.Is(err, ErrExists) {
			continue // another run was faster
		}
		if err != nil {
			return "", err
		}
		return final, nil
	}
	return "", fmt.Errorf("%s: %w: numbers up to %d are taken", filepath.Join(dir, prefix), ErrExists, maxNumber)
}

// Numbered lists the files dir/<prefix>NNNN<ext>, the newest last. A directory
// that is absent has none.
func Numbered(fsys FS, dir, prefix, ext string) ([]string, error) {
	numbers, err := numbersOf(fsys, dir, prefix, ext)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(numbers))
	for i, n := range numbers {
		paths[i] = filepath.Join(dir, fmt.Sprintf("%s%04d%s", prefix, n, ext))
	}
	return paths, nil
}

// numbersOf returns the numbers that are taken, ascending.
func numbersOf(fsys FS, dir, prefix, ext string) ([]int, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fault("list", dir, err)
	}
	var numbers []int
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		digits, ok := strings.CutSuffix(rest, ext)
		n, err := strconv.Atoi(digits)
		if ok && err == nil && n > 0 && n <= maxNumber && fmt.Sprintf("%04d", n) == digits {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
