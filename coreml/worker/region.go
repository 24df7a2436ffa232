package worker

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/coreml"
)

// spanAlign is what tensors in the shared file are aligned to: a cache line.
const spanAlign = 64

// region is the shared file and this process's mapping of it.
type region struct {
	file *os.File
	data []byte
}

// smallestRegion is the first size of a shared file: the inputs of a pass at
// the real dimensions with 2048 slots take some 80 kB.
const smallestRegion = 1 << 20

// grow makes room for n bytes. What is added is written, not left as a hole:
// a full volume is then an error here and not a fault in the middle of a pass.
func (r *region) grow(n int64) error {
	size := int64(len(r.data))
	if n <= size {
		return nil
	}
	want := max(size, smallestRegion)
	for want < n {
		want *= 2
	}
	zeros := make([]byte, smallestRegion) // which divides every size
	for ; size < want; size += int64(len(zeros)) {
		if _, err := r.file.WriteAt(zeros, size); err != nil {
			return fmt.Errorf("room for tensors: %w", err)
		}
	}
	return r.remap(want)
}

// remap maps the first n bytes of the file.
func (r *region) remap(n int64) error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if n <= 0 || n > info.Size() { // beyond it, touching the mapping would end the process
		return fmt.Errorf("%w: want a mapping of 1 to %d bytes, found %d", ErrProtocol, info.Size(), n)
	}
	if err := r.unmap(); err != nil {
		return err
	}
	r.data, err = mapShared(r.file, int(n))
	return err
}

// unmap ends the mapping; spans of it are invalid afterwards.
func (r *region) unmap() error {
	if r.data == nil {
		return nil
	}
	data := r.data
	r.data = nil
	return unmapShared(data)
}

// values are the float16 values of a span, in the mapping.
func (r *region) values(s span) ([]float16.Float16, error) {
	if s.At < 0 || s.At%spanAlign != 0 || s.Count < 0 || s.At > int64(len(r.data)) || s.Count > (int64(len(r.data))-s.At)/2 {
		return nil, fmt.Errorf("%w: want a span inside %d bytes, found %d values at %d", ErrProtocol, len(r.data), s.Count, s.At)
	}
	if s.Count == 0 {
		return nil, nil
	}
	return unsafe.Slice((*float16.Float16)(unsafe.Pointer(&r.data[s.At])), s.Count), nil
}

// tensors are the tensors of ports, in the mapping.
func (r *region) tensors(ports []port) (map[string]coreml.Tensor, error) {
	out := make(map[string]coreml.Tensor, len(ports))
	for _, p := range ports {
		data, err := r.values(p.Span)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", p.Name, err)
		}
		out[p.Name] = coreml.Tensor{Shape: p.Shape, Data: data}
	}
	return out, nil
}

// layout gives spans their places one after another.
type layout struct{ end int64 }

func (l *layout) add(count int) span {
	s := span{At: l.end, Count: int64(count)}
	l.end += (2*s.Count + spanAlign - 1) / spanAlign * spanAlign
	return s
}
