package main

import (
	"context"
	"path/filepath"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/worker"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// instruments are what the gate measures with: the system's, the plane kept to
// the CPU where there is one, in a process of its own if the judged one is, and
// with --package a place for raw logs.
func (c *gateCommand) instruments() conformance.Instruments {
	var with conformance.Instruments
	if c.Plane == manifest.PlaneCoreML {
		with.CPUOnly = func(ctx context.Context) (coreml.Plane, error) {
			where := isolation(c.Plane, c.Isolate)
			return isolatedPlane(ctx, where, worker.Options{Plane: planeCPUOnly, Exclusive: where == isolateFunction})
		}
	}
	if c.Verdict != "" {
		with.KeepLog = func(name string, log []byte) (string, error) {
			path, err := durable.AppendNumbered(durable.OS{}, filepath.Dir(c.Verdict), filepath.Base(c.Verdict)+"."+name+".", ".txt", log)
			return filepath.Base(path), err
		}
	}
	return with
}
