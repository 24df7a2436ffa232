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
	Plane   string `help:"What executes the package: reference, anywhere, or coreml, on macOS 15 or later." default:"reference"`
	Isolate string `help:"Execute in a worker process, where a hang or a crash costs one case: none, package (one worker), function (a worker holds one function at a time), or auto: for Core ML package, or function where the functions of a package weigh more than the Neural Engine holds for one process; else none." enum:"auto,none,package,function" default:"auto"`
}

// The values of --isolate.
const (
	isolateAuto     = "auto"
	isolateNone     = "none"
	isolatePackage  = "package"
	isolateFunction = "function"
)

// engineMemory is what the Neural Engine is known to hold for one process, in
// bytes: loads beyond 3 to 3.75 GB ended in error -14.
const engineMemory = 3_000_000_000

// isolation is the value of --isolate that auto, or none at all, stands for.
func isolation(plane, asked string) string {
	switch {
	case asked != isolateAuto && asked != "":
		return asked
	case plane == manifest.PlaneCoreML:
		return isolatePackage
	}
	return isolateNone
}

// openPlane opens the plane, in this process or in workers.
func (f *planeFlags) openPlane(ctx context.Context) (coreml.Plane, error) {
	return openIsolated(ctx, "--plane", f.Plane, f.Isolate)
}

// openIsolated opens the plane that a flag names, in this process or in workers
// of this binary.
func openIsolated(ctx context.Context, flag, name, asked string) (coreml.Plane, error) {
	if err := wantPlane(flag, name); err != nil {
		return nil, err
	}
	where := isolation(name, asked)
	opt := worker.Options{Plane: name, Exclusive: where == isolateFunction}
	if asked != isolatePackage {
		opt.Memory = engineMemory
	}
	plane, err := isolatedPlane(ctx, where, opt)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, name, err)
	}
	return plane, nil
}

func isolatedPlane(ctx context.Context, where string, opt worker.Options) (coreml.Plane, error) {
	if where == isolateNone {
		return newPlane(opt.Plane)
	}
	var err error
	if opt.Path, err = os.Executable(); err != nil {
		return nil, err
	}
	opt.Args = []string{"worker"}
	return worker.New(ctx, opt)
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

// Run answers requests until its standard input ends. The fake plane is the
// probe's: no other command asks for it.
func (workerCommand) Run(ctx context.Context) error {
	return worker.Main(ctx, func(name string) (coreml.Plane, error) {
		if name == manifest.PlaneFake {
			return openFake()
		}
		return newPlane(name)
	})
}
