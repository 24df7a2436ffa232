package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"lockstep/conformance/probe"
	"lockstep/coreml"
	"lockstep/coreml/worker"
	"lockstep/internal/durable"
	"lockstep/internal/machine"
	"lockstep/manifest"
)

type probeCommand struct {
	Work       string   `help:"Directory for packages, what is compiled from them, and results; made if absent. The next run there goes on with what is missing." placeholder:"DIR"`
	Plane      string   `help:"What executes the packages: coreml, on macOS 15 or later; reference, which compiles and plans nothing; or fake, the coreml plane over a Core ML in Go, which says nothing about any Mac." default:"coreml"`
	Dimensions string   `help:"Size of the layer: real, Phi-4-mini's, or nano, too small to be judged." enum:"real,nano" default:"real"`
	Only       []string `help:"Variants to try, as --list names them; by default all. Repeatable." placeholder:"NAME"`
	List       bool     `help:"List the variants and the steps, and do nothing."`
	DryRun     bool     `help:"Print the steps, their sizes and what the disk has room for, and write nothing."`
	Retry      bool     `help:"Try steps that ended in an error again."`
	Reserve    byteSize `help:"Bytes to leave free, plain or like 500MB or 2GiB." default:"2GiB"`
	JSON       bool     `name:"json" help:"Print the probe's JSON (with --dry-run the plan's) in place of the table."`
}

// Help implements kong.HelpProvider.
func (probeCommand) Help() string {
	return "It settles on a Mac which form of the graph the Neural Engine takes: for each open choice it makes a package of one layer with " +
		"seeded weights, a baseline with that one choice made otherwise, and compiles it, loads it, makes its compute plans, holds a block " +
		"against singles and the reference plane, and times it. Each step runs in a process of its own: what hangs or crashes costs one row. " +
		"docs/probe.md says how to read the table; the JSON file that it names at the end is what to send back.\n\n" +
		"A step that ended is not tried again, and nothing is deleted: the packages stay in --work, and the system's caches are the system's.\n\n" +
		"Exit codes: 0 every step that was asked for came to a result; 1 some ended in an error, which the table shows; 2 the probe itself could not go on."
}

// Run lists, plans or probes.
func (c *probeCommand) Run(ctx context.Context, to streams) error {
	variants := probe.Variants()
	if c.List {
		return listVariants(to.out, variants)
	}
	chosen, err := probe.Select(variants, c.Only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if err := c.check(); err != nil {
		return err
	}
	dims, err := probe.ParseDimensions(c.Dimensions)
	if err != nil {
		return fmt.Errorf("--dimensions: %w", err)
	}
	if c.DryRun {
		return c.dryRun(to.out, dims, chosen)
	}
	setup, err := c.setup(dims, variants)
	if err != nil {
		return err
	}
	plane, err := c.openPlane(ctx)
	if err != nil {
		return err
	}
	watch := &probeProgress{to: to.err, work: c.Work}
	res, err := probe.Run(ctx, probe.Options{
		Dir: c.Work, Dimensions: dims, Variants: variants, Only: c.Only, Plane: plane, Setup: setup,
		Reserve: int64(c.Reserve), Retry: c.Retry, Progress: watch, Observe: watch,
	})
	if res == nil {
		return err
	}
	return errors.Join(err, c.print(to.out, res, err))
}

// check reports flags that cannot be used together.
func (c *probeCommand) check() error {
	if c.Work == "" {
		return &flagError{"--work", "a directory", "none"}
	}
	if _, err := os.Lstat(c.Work); err == nil {
		if err := wantDirectory("--work "+c.Work, c.Work, "a directory"); err != nil {
			return err
		}
	}
	known := append(planes(), manifest.PlaneFake)
	if !slices.Contains(known, c.Plane) {
		return &flagError{"--plane", strings.Join(known, " or "), fmt.Sprintf("%q", c.Plane)}
	}
	return nil
}

// openPlane has workers of this binary open the plane.
func (c *probeCommand) openPlane(ctx context.Context) (coreml.Plane, error) {
	plane, err := isolatedPlane(ctx, isolatePackage, worker.Options{Plane: c.Plane})
	if err != nil {
		return nil, fmt.Errorf("--plane %s: %w", c.Plane, err)
	}
	return plane, nil
}

// setup tells this machine.
func (c *probeCommand) setup(dims probe.Dimensions, variants []probe.Variant) (manifest.ProbeSetup, error) {
	facts := machine.Look(machine.ThisProcess(), machine.Here{})
	return dims.Setup(
		variants, c.Plane,
		manifest.Machine{GOOS: facts.OS, GOARCH: facts.Arch, Chip: facts.Chip, OSBuild: facts.Build},
		manifest.Versions{Lockstep: version(), Go: runtime.Version()},
	)
}

// print prints what is known, and the exit code's reason.
func (c *probeCommand) print(w io.Writer, res *probe.Result, failed error) error {
	if c.JSON {
		text, err := manifest.EncodeProbe(res.Probe)
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	} else {
		if err := printProbe(w, &res.Probe); err != nil {
			return err
		}
		if res.File != "" {
			fmt.Fprintf(w, "written  %s\n", res.File)
		}
	}
	if failed == nil && probeErrors(&res.Probe) > 0 {
		return exitCode(exitFail)
	}
	return nil
}

func listVariants(w io.Writer, variants []probe.Variant) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range variants {
		fmt.Fprintf(t, "variant  %s\t%s\n", v.Name, v.About)
	}
	fmt.Fprintf(t, "steps    of each: %s\n", strings.Join(probe.Steps(), ", "))
	return t.Flush()
}

// probePlan is the JSON of a dry run.
type probePlan struct {
	Plane      string       `json:"plane"`
	Dimensions string       `json:"dimensions"`
	Free       int64        `json:"free"`
	Reserve    int64        `json:"reserve"`
	Variants   []probe.Need `json:"variants"`
	// Missing is what the directory's volume lacks for all of them; 0 if they
	// fit.
	Missing int64 `json:"missing"`
}

// dryRun prints what a probe of the variants would write beside what stands in
// the directory already.
func (c *probeCommand) dryRun(w io.Writer, dims probe.Dimensions, chosen []probe.Variant) error {
	needs, err := probe.Plan(dims, chosen, c.Plane, c.Work)
	if err != nil {
		return err
	}
	free, err := durable.Free(durable.OS{}, c.Work)
	if err != nil {
		return err
	}
	plan := probePlan{
		Plane: c.Plane, Dimensions: dims.Name, Free: free, Reserve: int64(c.Reserve), Variants: needs,
		Missing: max(0, int64(c.Reserve)-(free-needs[len(needs)-1].Added)),
	}
	if c.JSON {
		return writeJSON(w, plan)
	}
	return printProbePlan(w, plan)
}
