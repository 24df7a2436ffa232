//go:build linux || darwin

package mlpackage

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of file read-only; size is positive. The
// mapping outlives the file's descriptor and ends with release.
func mapFile(file *os.File, size int) (data []byte, release func() error, err error) {
	data, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return os.NewSyscallError("munmap", unix.Munmap(data)) }, nil
}
