package memory

import (
	"fmt"
	"os"
)

// peak reads VmHWM. Linux begins ru_maxrss with the memory of the process that
// started this one, which a worker is not to be charged with.
func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return highWater(status)
}
