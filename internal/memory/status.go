package memory

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// highWater is the VmHWM of a /proc/PID/status, in bytes.
func highWater(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		digits, ok := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		kibibytes, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 10, 64)
		if !ok || err != nil || kibibytes < 0 || kibibytes > math.MaxInt64>>10 {
			return 0, fmt.Errorf("%w: want VmHWM: <number> kB, found %.80q", ErrUnknown, line)
		}
		return kibibytes << 10, nil
	}
	return 0, fmt.Errorf("%w: no VmHWM in the status", ErrUnknown)
}
