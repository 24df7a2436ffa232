//go:build linux || darwin

package worker

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapShared maps the first n bytes of file, n positive, for reading and
// writing.
func mapShared(file *os.File, n int) ([]byte, error) {
	data, err := unix.Mmap(int(file.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return data, os.NewSyscallError("mmap", err)
}

func unmapShared(data []byte) error { return os.NewSyscallError("munmap", unix.Munmap(data)) }
