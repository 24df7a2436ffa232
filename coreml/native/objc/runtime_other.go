//go:build !darwin

package objc

import (
	"fmt"
	"runtime"
)

// Open returns ErrNotHere: Core ML is a part of macOS.
func Open() (Runtime, error) {
	return nil, fmt.Errorf("%w: want macOS, found %s", ErrNotHere, runtime.GOOS)
}
