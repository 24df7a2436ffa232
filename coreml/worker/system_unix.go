//go:build linux || darwin

package worker

import (
	"os"
	"syscall"
)

// killGroup kills a worker that has not been waited for, and whatever it has
// started.
func killGroup(p *os.Process) {
	// An error means that there is nobody left.
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	_ = p.Kill()
}
