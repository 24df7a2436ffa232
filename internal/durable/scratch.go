package durable

import (
	"errors"
	"os"
)

// Scratch returns an empty file without a name, for memory that processes
// share: its room is the system's again when the last of them has let go of it,
// however they end. It is made in the directory for temporary files under a
// name of its own, which is taken away at once; a process killed between the
// two leaves an empty lockstep-*.partial there.
func Scratch() (*os.File, error) {
	f, err := os.CreateTemp("", "lockstep-*.partial")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
