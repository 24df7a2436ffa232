package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/mil"
	"lockstep/manifest"
)

// cmdPlans records plans as plan-dump does on a Mac, over a Core ML in Go.
func cmdPlans(ts *testscript.TestScript, args []string) error {
	temp := ts.MkAbs("compiled-" + args[1])
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	opt := fakecoreml.Options{TempDir: temp}
	bytes, plane := int64(-1), ""
	for _, change := range args[2:] {
		name, value, _ := strings.Cut(change, "=")
		switch name {
		case "bytes":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return err
			}
			bytes = n
		case "cpu":
			opt.Place = placeOnCPU(value)
		case "plane":
			plane = value
		case "virtual":
			opt.Virtual = true
		default:
			return fmt.Errorf("unknown change %q", change)
		}
	}
	plans, err := recordOverFake(opt, ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	if bytes >= 0 {
		plans.CompiledBytes = bytes
	}
	if plane != "" {
		plans.Plane = plane
	}
	text, err := manifest.EncodePlans(*plans)
	if err != nil {
		return err
	}
	return os.WriteFile(ts.MkAbs(args[1]), text, 0o644)
}

// recordOverFake records the plans; the fake's faults are errors.
func recordOverFake(opt fakecoreml.Options, dir string) (*manifest.Plans, error) {
	rt, err := fakecoreml.New(opt)
	if err != nil {
		return nil, err
	}
	plane, err := native.Over(rt, native.Options{Reserve: 1})
	if err != nil {
		return nil, err
	}
	plans, err := conformance.RecordPlans(context.Background(), plane, dir, "(devel)")
	if faults := rt.Stop(); len(faults) > 0 {
		err = errors.Join(err, errors.New(strings.Join(faults, "; ")))
	}
	return plans, err
}

// placeOnCPU prefers the CPU for one type of op.
func placeOnCPU(typ string) func(string, *mil.Op) fakecoreml.Placement {
	return func(_ string, op *mil.Op) fakecoreml.Placement {
		p := fakecoreml.OnEngine()
		switch {
		case op.Type == "const" || strings.HasPrefix(op.Type, "constexpr_"):
			return fakecoreml.Placement{}
		case op.Type == typ:
			p.Preferred = coreml.DeviceCPU
		}
		return p
	}
}
