package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	Head          bool     `help:"With --out: every shard of the LM head, each with a verdict of its own." required:"" xor:"piece"`
	Verdict       string   `help:"With --package: a new file for the verdict; without it the verdict is printed alone." placeholder:"FILE"`
	Require       []string `help:"Checks for which not measured is fail." placeholder:"CHECK"`
	AcceptPartial []string `help:"Check (residency) that may be not measured: a verdict that is partial by it alone exits 0." enum:"residency" placeholder:"CHECK"`
	Measure       []string `help:"Figures that take time: latency, cpu_only (the same kept to the CPU), energy (as root; half a minute). Not on plane reference." enum:"latency,cpu_only,energy" default:"latency,cpu_only" placeholder:"FIGURE"`
	JSON          bool     `name:"json" help:"Print the verdict's JSON."`
	Verbose       bool     `short:"v" help:"Print every case with its evidence, and each figure's method."`
}

// Help implements kong.HelpProvider.
func (gateCommand) Help() string {
	return "With --out it judges an export and writes a verdict beside it. With --package it judges one package alone: what needs a record " +
		"(digests, plan, stored weights) is left out, and nothing is written but --verdict. Functions are told by the T of x, slots by " +
		"attn_mask, states by name or else by order (keys, then values, of each layer).\n\n" +
		"With --head the exit code is that of the worst verdict, and --json prints a list.\n\n" +
		"Exit codes: 0 pass, or an accepted partial; 3 partial: a check was not measured; 1 fail; 2 the run itself broke."
}

func (c *gateCommand) Run(ctx context.Context, to streams) error {
	opt, closeAll, err := c.options(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	shards, err := c.shards(opt)
	if err != nil {
		return err
	}
	var verdicts []*manifest.Verdict
	for _, shard := range shards {
		verdict, err := c.judge(ctx, shard, to)
		if err != nil {
			return err
		}
		at, err := c.write(*verdict)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict)
		if !c.JSON {
			if err := printVerdict(to.out, verdict, at, c.Verbose); err != nil {
				return err
			}
		}
	}
	if c.JSON {
		err = c.printJSON(to.out, verdicts)
	} else {
		err = c.printNext(to.out, worst(verdicts))
	}
	if err != nil {
		return err
	}
	return c.exit(worst(verdicts), to)
}

// shards are what the flags ask to judge.
func (c *gateCommand) shards(opt conformance.Options) ([]conformance.Options, error) {
	if !c.Head {
		return []conformance.Options{opt}, nil
	}
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return nil, err
	}
	if len(record.LMHead) == 0 {
		return nil, fmt.Errorf("%w: %s: the LM head; run lockstep export --head first", conformance.ErrNoShard, filepath.Join(c.Out, manifest.RecordFile))
	}
	var all []conformance.Options
	for _, h := range record.LMHead {
		opt.Vocab = exporter.Range{Start: h.Start, End: h.End}
		all = append(all, opt)
	}
	return all, nil
}

// worst is the verdict that decides the exit code: the first of an error, of a
// fail, of a partial, of a pass.
func worst(verdicts []*manifest.Verdict) *manifest.Verdict {
	for _, r := range []manifest.Result{manifest.Error, manifest.Fail, manifest.Partial} {
		if i := slices.IndexFunc(verdicts, func(v *manifest.Verdict) bool { return v.Result == r }); i >= 0 {
			return verdicts[i]
		}
	}
	return verdicts[0]
}

// printJSON prints the verdict, or with --head the list of them.
func (c *gateCommand) printJSON(w io.Writer, verdicts []*manifest.Verdict) error {
	texts := make([]json.RawMessage, len(verdicts))
	for i, v := range verdicts {
		text, err := manifest.EncodeVerdict(*v)
		if err != nil {
			return err
		}
		texts[i] = text
	}
	if c.Head {
		return writeJSON(w, texts)
	}
	_, err := w.Write(texts[0])
	return err
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

func (c *gateCommand) options(ctx context.Context) (conformance.Options, func(), error) {
	c.head = c.Head
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
	if err := c.wantWritable(); err != nil {
		return conformance.Options{}, nil, err
	}
	opt, closeAll, err := c.subjectFlags.options(ctx)
	opt.Require, opt.Command = c.Require, c.command()
	opt.Measure, opt.Instruments = c.Measure, c.instruments()
	return opt, closeAll, err
}

// wantWritable reports a place in which the verdict could not be written, before
// anything is judged.
func (c *gateCommand) wantWritable() error {
	flag, dir := "--out", filepath.Join(c.Out, exporter.VerdictDir)
	switch {
	case c.Verdict != "":
		flag, dir = "--verdict", filepath.Dir(c.Verdict)
	case c.Package != "":
		return nil
	}
	err := durable.Writable(dir)
	if errors.Is(err, fs.ErrNotExist) { // it is made beside the record
		err = durable.Writable(filepath.Dir(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what is missing, others say better
	}
	if err != nil {
		return fmt.Errorf("%s: the verdict could not be written: %w", flag, err)
	}
	return nil
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
	if c.Plane != manifest.PlaneReference && len(c.Measure) > 0 { // reference measures none of them
		args = append(args, "--measure", strings.Join(c.Measure, ","))
	}
	return commandLine(append(args, c.planeArguments()...)...)
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
