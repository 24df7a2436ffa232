package main

import (
	"fmt"

	"lockstep/coreml"
	"lockstep/manifest"
)

// openFake refuses: on a Mac there is Core ML itself to ask.
func openFake() (coreml.Plane, error) {
	return nil, fmt.Errorf("plane %s: a Mac's lockstep does not have it; want %s or %s", manifest.PlaneFake, manifest.PlaneCoreML, manifest.PlaneReference)
}
