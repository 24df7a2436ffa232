package main

import (
	"context"
	"fmt"
	"os"

	"lockstep/coreml"
	"lockstep/coreml/worker"
	"lockstep/manifest"
)

// planeFlags choose what executes a package, and in which process.
type planeFlags struct {
	Plane   string `help:"What executes the package." default:"reference"`
	Isolate string `help:"Execute in a worker process, where a hang or a crash costs one case: none, package (one worker), function (a worker holds one function at a time), or auto: package for Core ML, else none." enum:"auto,none,package,function" default:"auto"`
}

// The values of --isolate.
const (
	isolateAuto     = "auto"
	isolateNone     = "none"
	isolatePackage  = "package"
	isolateFunction = "function"
)

// isolation is --isolate with its default resolved.
func (f *planeFlags) isolation() string {
	switch {
	case f.Isolate != isolateAuto && f.Isolate != "":
		return f.Isolate
	case f.Plane == manifest.PlaneCoreML:
		return isolatePackage
	}
	return isolateNone
}

// openPlane opens the plane, in this process or in a worker of this binary.
func (f *planeFlags) openPlane(ctx context.Context) (coreml.Plane, error) {
	isolation := f.isolation()
	if isolation == isolateNone {
		return openPlane(f.Plane)
	}
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("--isolate %s: %w", isolation, err)
	}
	plane, err := worker.New(ctx, worker.Options{
		Plane: f.Plane, Path: path, Args: []string{"worker"}, Exclusive: isolation == isolateFunction,
	})
	if err != nil {
		return nil, err
	}
	return plane, nil
}

// planeArguments repeat the choice.
func (f *planeFlags) planeArguments() []string {
	args := []string{"--plane", f.Plane}
	if f.Isolate != isolateAuto && f.Isolate != "" {
		args = append(args, "--isolate", f.Isolate)
	}
	return args
}

// workerCommand is the process in which a plane is isolated. People have no use
// for it.
type workerCommand struct{}

// Run answers requests until its standard input ends.
func (workerCommand) Run(ctx context.Context) error { return worker.Main(ctx, openPlane) }
