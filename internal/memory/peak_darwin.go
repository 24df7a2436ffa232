package memory

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

func peak() (int64, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return ResidentBytes(runtime.GOOS, usage.Maxrss), nil
}
