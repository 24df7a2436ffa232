package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// compareSize is how many standing bytes are read at a time for comparison.
const compareSize = 256 << 10

// Sum is what a finished file holds.
type Sum struct {
	Bytes    int64
	SHA256   string // lower-case hex of the whole stream
	Verified int64  // bytes that stood there already and were right
}

// Writer writes one file of a known size, resuming what a killed run left: the
// caller streams all true bytes from the start, standing bytes are read and
// compared in place of being written, and from the first difference on
// everything is written. Each byte of the stream goes through SHA-256 as it
// passes. A Writer is not safe for concurrent use.
type Writer struct {
	file File
	name string

	size     int64 // planned
	standing int64 // bytes that were there when the file was opened
	offset   int64 // bytes streamed so far
	verified int64
	written  int64

	diverged bool
	finished bool
	err      error // sticky: after one failure the file's state is unknown

	sum     hash.Hash
	compare []byte
}

// openWriter opens name for writing size bytes. A standing file must be a
// regular one with a single name and at most size bytes long; otherwise it is
// refused and left as it is.
func openWriter(fsys FS, name string, size int64) (*Writer, error) {
	if size < 0 {
		return nil, fmt.Errorf("write %s: %w: planned size is %d", name, ErrSize, size)
	}
	f, err := fsys.OpenKeep(name)
	if err != nil {
		return nil, fault("open", name, err)
	}
	w := &Writer{file: f, name: name, size: size, sum: sha256.New()}
	if err := w.admit(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// admit looks at what stands in the file.
func (w *Writer) admit() error {
	info, err := w.file.Stat()
	switch {
	case err != nil:
		return fault("look at", w.name, err)
	case !info.Regular:
		return fmt.Errorf("%s: %w: wanted a regular file", w.name, ErrNotOurs)
	case info.Links > 1:
		// Writing would change the file under its other names, too.
		return fmt.Errorf("%s: %w: it has %d names (hard links); move it away and run again", w.name, ErrNotOurs, info.Links)
	case info.Size > w.size:
		return fmt.Errorf("%s: %w: %d bytes stand there, %d are planned; move it away and run again",
			w.name, ErrPartialTooLong, info.Size, w.size)
	}
	w.standing = info.Size
	return nil
}

// Name returns the path that is being written.
func (w *Writer) Name() string { return w.name }

// Verified returns how many standing bytes were right and not written again.
func (w *Writer) Verified() int64 { return w.verified }

// Written returns how many bytes were written by this run.
func (w *Writer) Written() int64 { return w.written }

// Write takes the next bytes of the stream. More bytes than planned are ErrSize
// before any of them is written. After an error every call fails.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.finished {
		return 0, fmt.Errorf("write %s: %w: already finished", w.name, ErrSize)
	}
	if int64(len(p)) > w.size-w.offset {
		w.err = fmt.Errorf("write %s: %w: %d bytes come after the first %d, %d are planned", w.name, ErrSize, len(p), w.offset, w.size)
		return 0, w.err
	}
	n, err := w.pass(p)
	w.sum.Write(p[:n])
	w.err = err
	return n, err
}

// pass verifies or writes p and returns how many of its bytes are now in the
// file.
func (w *Writer) pass(p []byte) (int, error) {
	same := 0
	if !w.diverged {
		var err error
		if same, err = w.verify(p); err != nil {
			return same, err
		}
	}
	if same == len(p) {
		return same, nil
	}
	rest := p[same:]
	if err := writeAt(w.file, w.name, rest, w.offset); err != nil {
		return same, err
	}
	w.offset += int64(len(rest))
	w.written += int64(len(rest))
	return len(p), nil
}

// verify compares the standing bytes with p and returns how many agree. It
// ends the comparing for good at the first difference or the standing end.
func (w *Writer) verify(p []byte) (int, error) {
	same := 0
	for same < len(p) {
		left := w.standing - w.offset
		if left == 0 {
			w.diverged = true
			return same, nil
		}
		if w.compare == nil {
			w.compare = make([]byte, min(compareSize, w.standing))
		}
		want := p[same:]
		want = want[:min(int64(len(want)), left, int64(len(w.compare)))]
		found := w.compare[:len(want)]
		if n, err := w.file.ReadAt(found, w.offset); n < len(found) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // somebody else changes the file
			}
			return same, fault("read back", w.name, err)
		}
		n := agree(found, want)
		same += n
		w.offset += int64(n)
		w.verified += int64(n)
		if n < len(want) {
			w.diverged = true
			return same, nil
		}
	}
	return same, nil
}

// agree returns the length of the common prefix of a and b, of equal length.
func agree(a, b []byte) int {
	if bytes.Equal(a, b) {
		return len(a)
	}
	n := 0
	for a[n] == b[n] {
		n++
	}
	return n
}

// Finish checks the exact size, syncs and closes the file. The file still has
// its partial name.
func (w *Writer) Finish() (Sum, error) {
	if w.err != nil {
		return Sum{}, w.err
	}
	if w.finished {
		return w.result(), nil
	}
	if err := w.settle(); err != nil {
		w.err = err
		w.Close()
		return Sum{}, err
	}
	w.finished = true
	return w.result(), nil
}

// settle makes the file's bytes durable.
func (w *Writer) settle() error {
	if w.offset != w.size {
		return fmt.Errorf("finish %s: %w: %d bytes were streamed, %d are planned", w.name, ErrSize, w.offset, w.size)
	}
	info, err := w.file.Stat()
	if err != nil {
		return fault("look at", w.name, err)
	}
	if info.Size != w.size {
		return fmt.Errorf("finish %s: %w: the file holds %d bytes, %d are planned: another process writes to it",
			w.name, ErrSize, info.Size, w.size)
	}
	if err := w.file.Sync(); err != nil {
		return fault("sync", w.name, err)
	}
	f := w.file
	w.file = nil
	if err := f.Close(); err != nil {
		return fault("close", w.name, err)
	}
	return nil
}

// result describes the finished file.
func (w *Writer) result() Sum {
	return Sum{Bytes: w.offset, SHA256: hex.EncodeToString(w.sum.Sum(nil)), Verified: w.verified}
}

// Close lets go of an unfinished file and leaves it for the next run. It does
// nothing after Finish.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	if w.err == nil {
		w.err = fmt.Errorf("write %s: %w: closed before its end", w.name, ErrUnfinished)
	}
	if err := f.Close(); err != nil {
		return fault("close", w.name, err)
	}
	return nil
}

// writeAt writes all of p or returns an error that names the file.
func writeAt(f File, name string, p []byte, offset int64) error {
	n, err := f.WriteAt(p, offset)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fault("write", name, err)
	}
	return nil
}
