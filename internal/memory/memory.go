package memory

import "errors"

// ErrUnknown means that the system does not tell.
var ErrUnknown = errors.New("the system does not tell the peak of memory")

// Peak is the largest resident memory that this process has had so far, in
// bytes, and no other's: not that of the process which started it either. What
// the Neural Engine holds is not in it. The error is ErrUnknown.
func Peak() (int64, error) { return peak() }

// ResidentBytes is a ru_maxrss in bytes: macOS counts bytes, other systems
// kibibytes.
func ResidentBytes(goos string, maxrss int64) int64 {
	if goos == "darwin" || goos == "ios" {
		return maxrss
	}
	return maxrss << 10
}
