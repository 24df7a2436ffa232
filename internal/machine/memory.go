package machine

import "errors"

// ErrUnknown means that the system does not tell.
var ErrUnknown = errors.New("the system does not tell")

// PeakMemory is the largest resident memory that this process has had so far,
// in bytes. What the Neural Engine holds is not in it. The error is ErrUnknown
// where the system does not tell.
func PeakMemory() (int64, error) { return peakMemory() }

// ResidentBytes is a ru_maxrss in bytes: macOS counts bytes, other systems
// kibibytes.
func ResidentBytes(goos string, maxrss int64) int64 {
	if goos == "darwin" || goos == "ios" {
		return maxrss
	}
	return maxrss << 10
}
