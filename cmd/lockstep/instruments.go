package main

import (
	"path/filepath"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// instruments are what the gate measures with: the system's, the plane kept to
// the CPU where there is one, and with --package a place for raw logs.
func (c *gateCommand) instruments() conformance.Instruments {
	var with conformance.Instruments
	if c.Plane == manifest.PlaneCoreML {
		with.CPUOnly = func() (coreml.Plane, error) { return native.New(native.Options{CPUOnly: true}) }
	}
	if c.Verdict != "" {
		with.KeepLog = func(name string, log []byte) (string, error) {
			path, err := durable.AppendNumbered(durable.OS{}, filepath.Dir(c.Verdict), filepath.Base(c.Verdict)+"."+name+".", ".txt", log)
			return filepath.Base(path), err
		}
	}
	return with
}
