package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

type gateCommand struct {
	subjectFlags
	Verdict       string   `help:"With --package: a new file for the verdict; without it the verdict is printed alone." placeholder:"FILE"`
	Require       []string `help:"Checks for which not measured is fail." placeholder:"CHECK"`
	AcceptPartial []string `help:"Check (residency) that may be not measured: a verdict that is partial by it alone exits 0." enum:"residency" placeholder:"CHECK"`
	JSON          bool     `name:"json" help:"Print the verdict's JSON."`
	Verbose       bool     `short:"v" help:"Print every case with its evidence, and each figure's method."`
}

// Help implements kong.HelpProvider.
func (gateCommand) Help() string {
	return "With --out it judges an export and writes a verdict beside it. With --package it judges one package alone: what needs a record " +
		"(digests, plan, stored weights) is left out, and nothing is written but --verdict. Functions are told by the T of x, slots by " +
		"attn_mask, states by name or else by order (keys, then values, of each layer).\n\n" +
		"Exit codes: 0 pass, or an accepted partial; 3 partial: a check was not measured; 1 fail; 2 the run itself broke."
}

func (c *gateCommand) Run(ctx context.Context, to streams) error {
	opt, closeAll, err := c.options()
	if err != nil {
		return err
	}
	defer closeAll()
	verdict, err := c.judge(ctx, opt, to)
	if err != nil {
		return err
	}
	at, err := c.write(*verdict)
	if err != nil {
		return err
	}
	if c.JSON {
		text, err := manifest.EncodeVerdict(*verdict)
		if err != nil {
			return err
		}
		if _, err := to.out.Write(text); err != nil {
			return err
		}
	} else if err := c.print(to.out, verdict, at); err != nil {
		return err
	}
	return c.exit(verdict, to)
}

// print prints a verdict and what to do next.
func (c *gateCommand) print(w io.Writer, v *manifest.Verdict, at artifacts) error {
	if err := printVerdict(w, v, at, c.Verbose); err != nil {
		return err
	}
	return c.printNext(w, v)
}

// write keeps a verdict: beside the export, or where it was asked for.
func (c *gateCommand) write(v manifest.Verdict) (artifacts, error) {
	if c.Package == "" {
		path, err := conformance.WriteVerdict(c.Out, v)
		return artifacts{filepath.Join(c.Out, filepath.FromSlash(v.Package.Path)), filepath.Join(c.Out, manifest.RecordFile), path}, err
	}
	at := artifacts{pkg: c.Package, verdict: c.Verdict}
	if c.Verdict == "" {
		return at, nil
	}
	text, err := manifest.EncodeVerdict(v)
	if err == nil {
		err = durable.WriteNew(durable.OS{}, c.Verdict, text)
	}
	if err != nil {
		return at, fmt.Errorf("--verdict: %w", err)
	}
	return at, nil
}

// judge runs the catalogue.
func (c *gateCommand) judge(ctx context.Context, opt conformance.Options, to streams) (*manifest.Verdict, error) {
	suite, err := c.open(opt)
	if err != nil {
		return nil, err
	}
	defer suite.Close() // opened for reading
	return suite.RunAll(ctx, func(cs conformance.Case, out conformance.Outcome) {
		if c.Verbose && !c.JSON {
			printCase(to.out, cs.ID(), out.Result, out.Reason, out.Evidence)
		}
	})
}

// exit maps the verdict to the exit code.
func (c *gateCommand) exit(v *manifest.Verdict, to streams) error {
	switch v.Result {
	case manifest.Pass:
		return nil
	case manifest.Partial:
		if len(c.AcceptPartial) == 0 {
			return exitCode(exitPartial)
		}
		if err := exporter.AcceptPartial(v.Checks, c.AcceptPartial); err != nil {
			fmt.Fprintf(to.err, "lockstep: partial: %v\n", err)
			return exitCode(exitPartial)
		}
		if !c.JSON {
			fmt.Fprintf(to.out, "accepted %s not measured (--accept-partial)\n", strings.Join(c.AcceptPartial, ", "))
		}
		return nil
	case manifest.Fail:
		return exitCode(exitFail)
	}
	return exitCode(exitError)
}

func (c *gateCommand) options() (conformance.Options, func(), error) {
	for _, name := range c.Require {
		if !slices.Contains(conformance.Checks(), name) {
			return conformance.Options{}, nil, &flagError{"--require", "one of " + strings.Join(conformance.Checks(), ", "), fmt.Sprintf("%q", name)}
		}
	}
	if c.Verdict != "" {
		if c.Package == "" {
			return conformance.Options{}, nil, &flagError{"--verdict", "--package beside it", "--out, where verdicts have their place"}
		}
		if err := wantNewFile("--verdict "+c.Verdict, c.Verdict); err != nil {
			return conformance.Options{}, nil, err
		}
	}
	opt, closeAll, err := c.subjectFlags.options()
	opt.Require, opt.Command = c.Require, c.command()
	return opt, closeAll, err
}

// command repeats this run, but for --verdict, which names a new file.
func (c *gateCommand) command() string {
	args := c.arguments("gate")
	for _, name := range c.Require {
		args = append(args, "--require", name)
	}
	for _, name := range c.AcceptPartial {
		args = append(args, "--accept-partial", name)
	}
	return commandLine(append(args, "--plane", c.Plane)...)
}

// printCase prints one decided case with its evidence below it.
func printCase(w io.Writer, id string, result manifest.Result, reason string, evidence []manifest.Evidence) {
	if reason != "" {
		reason = ": " + reason
	}
	fmt.Fprintf(w, "%-12s  %s%s\n", result, id, reason)
	for _, e := range evidence {
		fmt.Fprintf(w, "              %s = %s\n", e.Name, quantity(e.Value, e.Unit, e.Text))
	}
}
