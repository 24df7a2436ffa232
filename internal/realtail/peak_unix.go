//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"

	"lockstep/internal/memory"
)

// peakMemory is the largest resident set of a process that has ended, in
// bytes: VmHWM, as the kernel accounts it at exit. The kernel starts counting
// before exec, with this process's own pages, so the figure is exact while this
// process is the smaller one and never too small.
func peakMemory(ended *os.ProcessState) (int64, bool) {
	usage, ok := ended.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, false
	}
	return memory.ResidentBytes(runtime.GOOS, int64(usage.Maxrss)), true
}
