package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"lockstep/conformance"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

type planDumpCommand struct {
	Package string `help:"Package directory (X.mlpackage); it is compiled beside itself." required:"" placeholder:"P"`
	Plans   string `help:"New file for the plans." required:"" placeholder:"FILE"`
	Plane   string `help:"What makes the plans." default:"coreml"`
}

// Help implements kong.HelpProvider.
func (planDumpCommand) Help() string {
	return "Each function of the package is loaded for the Neural Engine and its compute plan made, which can take minutes. " +
		"The file says where Core ML would run each op; \"lockstep residency\" judges it, on any machine."
}

// Run writes the plans of every function.
func (c *planDumpCommand) Run(ctx context.Context, to streams) error {
	plane, err := openIsolated(ctx, "--plane", c.Plane, isolateAuto)
	if err != nil {
		return err
	}
	if err := wantPackage("--package", c.Package); err != nil {
		return err
	}
	if err := wantNewFile("--plans "+c.Plans, c.Plans); err != nil {
		return err
	}
	plans, err := conformance.RecordPlans(ctx, plane, c.Package, version())
	if err != nil {
		return err
	}
	text, err := manifest.EncodePlans(*plans)
	if err != nil {
		return err
	}
	if err := durable.WriteNew(durable.OS{}, c.Plans, text); err != nil {
		return fmt.Errorf("--plans: %w", err)
	}
	for _, f := range plans.Functions {
		fmt.Fprintf(to.out, "plan     %s: %d ops\n", f.Function, len(f.Ops))
	}
	fmt.Fprintf(to.out, "written  %s\n", c.Plans)
	return nil
}

type residencyCommand struct {
	Package string `help:"The package that the plans are of, byte for byte." required:"" placeholder:"P"`
	Plans   string `help:"Plans that plan-dump wrote." required:"" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (residencyCommand) Help() string {
	return "It judges recorded compute plans as gate judges those of its own run. It writes no verdict, and the ladder does not " +
		"heed it: only a run on the machine itself does.\n\n" +
		"Exit codes: 0 pass; 1 fail; 3 not measured: no real Neural Engine, or a model too small; 2 the plans cannot be judged."
}

// Run judges the plans.
func (c *residencyCommand) Run(to streams) error {
	if err := wantPackage("--package", c.Package); err != nil {
		return err
	}
	text, err := os.ReadFile(c.Plans)
	if err != nil {
		return fmt.Errorf("--plans: %w", err)
	}
	plans, err := manifest.DecodePlans(text)
	if err != nil {
		return fmt.Errorf("--plans: %s: %w", c.Plans, err)
	}
	check, err := conformance.JudgePlans(plans, c.Package)
	if err != nil {
		return fmt.Errorf("--plans: %s: %w", c.Plans, err)
	}
	if err := printResidency(to.out, plans, check); err != nil {
		return err
	}
	switch check.Result {
	case manifest.Pass:
		return nil
	case manifest.NotMeasured:
		return exitCode(exitPartial)
	case manifest.Fail:
		return exitCode(exitFail)
	}
	return exitCode(exitError)
}

// printResidency prints every function's outcome with its counts.
func printResidency(w io.Writer, plans *manifest.Plans, check manifest.Check) error {
	fmt.Fprintf(w, "plans    %s, plane %s, %s/%s, %d bytes compiled\n",
		plans.Package.Path, plans.Plane, plans.Machine.GOOS, plans.Machine.GOARCH, plans.CompiledBytes)
	for _, k := range check.Cases {
		printCase(w, check.Name+"/"+k.Name, k.Result, k.Reason, k.Evidence)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "check    %s\t%s\t%s\n", check.Name, check.Result, casesOf(check))
	return t.Flush()
}
