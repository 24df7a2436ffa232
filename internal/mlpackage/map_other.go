//go:build !linux && !darwin

package mlpackage

import (
	"io"
	"os"
)

// mapFile reads the first size bytes of file, where there is no mapping.
func mapFile(file *os.File, size int) (data []byte, release func() error, err error) {
	data = make([]byte, size)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}
