package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// reader takes the header's fields one after another and keeps the first
// error; after it every read gives a zero. Left counts down from the bytes
// that the header may still take, so no length is believed that the file
// cannot hold.
type reader struct {
	file  string
	src   *bufio.Reader
	at    int64 // offset of the next byte
	left  int64
	bound string // what left counts, for messages
	err   error
	buf   [8]byte
}

func newReader(r io.ReaderAt, size int64, name string) *reader {
	out := &reader{file: name, left: size, bound: "the end of the file"}
	if size > MaxHeader {
		out.left, out.bound = MaxHeader, fmt.Sprintf("the limit of %d bytes before the data", int64(MaxHeader))
	}
	out.src = bufio.NewReaderSize(io.NewSectionReader(r, 0, out.left), 1<<16)
	return out
}

// fail keeps an error about key or tensor, whichever is not empty.
func (r *reader) fail(key, tensor, field, want string, found any) {
	if r.err == nil {
		r.err = &FormatError{File: r.file, Key: key, Tensor: tensor, Field: field, Want: want, Found: fmt.Sprint(found)}
	}
}

// claim takes n bytes off what is left, or fails.
func (r *reader) claim(n uint64, field string) bool {
	if r.err != nil {
		return false
	}
	if n > uint64(r.left) {
		r.fail("", "", field, fmt.Sprintf("%d bytes at offset %d", n, r.at), fmt.Sprintf("%d before %s", r.left, r.bound))
		return false
	}
	r.left -= int64(n)
	r.at += int64(n)
	return true
}

// broken keeps an error of the source. Only a file that has shrunk since its
// size was taken ends early.
func (r *reader) broken(field string, err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = fmt.Errorf("%s: %s: %w", r.file, field, err)
}

// number reads n little-endian bytes, at most eight.
func (r *reader) number(n int, field string) uint64 {
	if !r.claim(uint64(n), field) {
		return 0
	}
	r.buf = [8]byte{}
	if _, err := io.ReadFull(r.src, r.buf[:n]); err != nil {
		r.broken(field, err)
		return 0
	}
	return binary.LittleEndian.Uint64(r.buf[:])
}

// text reads a string: its length in eight bytes, then its bytes.
func (r *reader) text(field string) string {
	n := r.number(8, field+" length")
	if !r.claim(n, field) {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.src, b); err != nil {
		r.broken(field, err)
		return ""
	}
	return string(b)
}

// skip passes over n bytes.
func (r *reader) skip(n uint64, field string) {
	if !r.claim(n, field) {
		return
	}
	if _, err := io.CopyN(io.Discard, r.src, int64(n)); err != nil {
		r.broken(field, err)
	}
}
