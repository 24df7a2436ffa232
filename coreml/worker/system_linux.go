package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put a worker into a process group of its own, and have the kernel
// kill it when the thread that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// redirect makes descriptor to another name for from.
func redirect(from, to int) error { return unix.Dup3(from, to, 0) }
