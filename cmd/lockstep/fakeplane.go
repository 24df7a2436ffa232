//go:build !darwin

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/internal/fakecoreml"
)

// openFake is the native plane over a Core ML in Go that executes packages as
// the reference plane does. It shows that the probe works; its name goes into
// whatever it answers, and nothing but the probe opens it. A Mac's binary is
// without it, so that the classes it names are those of Core ML's table alone.
func openFake() (coreml.Plane, error) {
	temp := filepath.Join(os.TempDir(), fmt.Sprintf("lockstep-fake-%d", os.Getpid()))
	rt, err := fakecoreml.New(fakecoreml.Options{TempDir: temp})
	if err != nil {
		return nil, err
	}
	return native.Over(rt, native.Options{Reserve: 1}) // the probe has kept the reserve
}
