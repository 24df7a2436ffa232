//go:build !linux && !darwin

package native

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/x448/float16"
)

// buffer does not exist where no runtime does that could take it.
type buffer struct{ values []float16.Float16 }

func newBuffer(int) (*buffer, error) {
	return nil, fmt.Errorf("%w: no memory to share on %s", ErrNotHere, runtime.GOOS)
}

func (*buffer) pointer() unsafe.Pointer { return nil }

func (*buffer) free() error { return nil }
