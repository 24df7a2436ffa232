//go:build !linux && !darwin

package worker

import (
	"errors"
	"fmt"
	"os"
)

func mapShared(*os.File, int) ([]byte, error) {
	return nil, fmt.Errorf("worker: shared memory: %w", errors.ErrUnsupported)
}

func unmapShared([]byte) error { return nil }
