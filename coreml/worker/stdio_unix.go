//go:build linux || darwin

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"lockstep/coreml"
)

// ErrNotStarted means that a process was not started as a worker.
var ErrNotStarted = errors.New("a worker is started by the process that it works for")

// sharedFD is the descriptor of the shared file in the worker.
const sharedFD = 3

// Main is Serve over this process's standard input and output. It keeps the
// standard output for itself: what the plane or a library prints there joins
// the log on standard error. The caller ends the process when Main returns.
func Main(ctx context.Context, open func(plane string) (coreml.Plane, error)) error {
	var st unix.Stat_t
	if err := unix.Fstat(sharedFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 0 {
		return fmt.Errorf("%w: want a nameless file as descriptor %d, found none", ErrNotStarted, sharedFD)
	}
	out, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, sharedFD+1)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := redirect(unix.Stderr, unix.Stdout); err != nil {
		return os.NewSyscallError("dup2", err)
	}
	shared, replies := os.NewFile(sharedFD, "shared file"), os.NewFile(uintptr(out), "replies")
	return Serve(ctx, os.Stdin, replies, shared, open)
}
