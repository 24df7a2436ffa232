//go:build linux || darwin

package native

import (
	"fmt"
	"unsafe"

	"github.com/x448/float16"
	"golang.org/x/sys/unix"
)

// buffer is memory outside Go's heap, whose address Core ML may keep: anonymous
// pages, so it begins on a page.
type buffer struct {
	pages  []byte
	values []float16.Float16
}

func newBuffer(elements int) (*buffer, error) {
	pages, err := unix.Mmap(-1, 0, elements*bytesPerElement, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", elements*bytesPerElement, err)
	}
	return &buffer{pages, unsafe.Slice((*float16.Float16)(unsafe.Pointer(unsafe.SliceData(pages))), elements)}, nil
}

func (m *buffer) pointer() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(m.pages)) }

func (m *buffer) free() error { return unix.Munmap(m.pages) }
