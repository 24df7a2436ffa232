package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put a worker into a process group of its own. This system has no
// way to tie it to the process that started it: the worker's standard input,
// which ends with that process, does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// redirect makes descriptor to another name for from.
func redirect(from, to int) error { return unix.Dup2(from, to) }
