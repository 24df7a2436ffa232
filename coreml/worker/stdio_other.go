//go:build !linux && !darwin

package worker

import (
	"context"
	"errors"
	"fmt"

	"lockstep/coreml"
)

// Main would be Serve over this process's standard input and output.
func Main(context.Context, func(plane string) (coreml.Plane, error)) error {
	return fmt.Errorf("worker: %w", errors.ErrUnsupported)
}
