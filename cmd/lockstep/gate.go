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
	Out           string   `help:"Output directory of an export." required:"" xor:"judged" placeholder:"DIR"`
	Package       string   `help:"A package that lockstep did not write (X.mlpackage); needs --checkpoint. Its interface must be the graph contract." required:"" xor:"judged" placeholder:"P"`
	Map           []string `help:"With --package: what it calls an input, the output or a state: x=hidden_in. Repeatable." placeholder:"NAME=OWN"`
	Verdict       string   `help:"With --package: a new file for the verdict; without it the verdict is printed alone." placeholder:"FILE"`
	Layers        string   `help:"Decoder layers of the shard, END excluded." required:"" placeholder:"START:END"`
	Checkpoint    string   `help:"The checkpoint, for the oracle; without it the oracle of an export is not measured." placeholder:"PATH"`
	Golden        string   `help:"Vectors that another implementation computed from this checkpoint, named as in fixtures/golden." placeholder:"FILE"`
	Plane         string   `help:"What executes the package." default:"reference"`
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
	suite, err := conformance.NewSuite(opt)
	if err != nil {
		return nil, err
	}
	defer suite.Close() // opened for reading
	if c.Golden != "" && !slices.ContainsFunc(suite.Cases(), isGoldenCase) {
		return nil, &flagError{
			"--golden " + c.Golden,
			fmt.Sprintf("hidden states before and after layers %s", opt.Layers), "none of that name; see fixtures/golden for the names",
		}
	}
	return suite.RunAll(ctx, func(cs conformance.Case, out conformance.Outcome) {
		if c.Verbose && !c.JSON {
			printCase(to.out, cs.ID(), out.Result, out.Reason, out.Evidence)
		}
	})
}

func isGoldenCase(c conformance.Case) bool {
	return c.Check == conformance.CheckOracle && strings.HasPrefix(c.Name, "golden/")
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
	none := func() {}
	layers, err := exporter.ParseRange(c.Layers)
	if err != nil {
		return conformance.Options{}, none, fmt.Errorf("--layers: %w", err)
	}
	plane, err := openPlane(c.Plane)
	if err != nil {
		return conformance.Options{}, none, err
	}
	for _, name := range c.Require {
		if !slices.Contains(conformance.Checks(), name) {
			return conformance.Options{}, none, &flagError{"--require", "one of " + strings.Join(conformance.Checks(), ", "), fmt.Sprintf("%q", name)}
		}
	}
	names, err := c.judged()
	if err != nil {
		return conformance.Options{}, none, err
	}
	opt := conformance.Options{
		Dir: c.Out, Package: c.Package, Names: names, Layers: layers, Plane: plane, Subject: "package", Require: c.Require,
		Lockstep: version(), Command: c.command(),
	}
	if c.Checkpoint == "" {
		if c.Golden != "" {
			err = &flagError{"--golden", "--checkpoint beside it, to tell whether the vectors belong to it", "none"}
		}
		return opt, none, err
	}
	if opt.Subject, err = baseName(c.Checkpoint); err != nil {
		return conformance.Options{}, none, err
	}
	if opt.Checkpoint, err = openCheckpoint(c.Checkpoint); err != nil {
		return conformance.Options{}, none, err
	}
	closeAll := func() { opt.Checkpoint.Close() } // opened for reading
	if c.Golden != "" {
		if opt.Golden, err = readGolden(c.Golden, opt.Checkpoint); err != nil {
			closeAll()
			return conformance.Options{}, none, err
		}
	}
	return opt, closeAll, nil
}

// judged checks the flags that say what is judged, and reads the map of names.
func (c *gateCommand) judged() (map[string]string, error) {
	if c.Package == "" {
		switch {
		case len(c.Map) > 0:
			return nil, &flagError{"--map", "--package beside it", "--out"}
		case c.Verdict != "":
			return nil, &flagError{"--verdict", "--package beside it", "--out, where verdicts have their place"}
		}
		return nil, wantRecord(c.Out)
	}
	if err := wantPackage("--package", c.Package); err != nil {
		return nil, err
	}
	if c.Checkpoint == "" {
		return nil, &flagError{"--package", "--checkpoint beside it, to tell the model from", "none"}
	}
	if c.Verdict != "" {
		if err := wantNewFile("--verdict "+c.Verdict, c.Verdict); err != nil {
			return nil, err
		}
	}
	names := map[string]string{}
	for _, pair := range c.Map {
		name, own, ok := strings.Cut(pair, "=")
		if _, twice := names[name]; !ok || name == "" || own == "" || twice {
			return nil, &flagError{"--map", "NAME=OWN, each name of the contract once", fmt.Sprintf("%q", pair)}
		}
		names[name] = own
	}
	return names, nil
}

// command repeats this run, but for --verdict, which names a new file.
func (c *gateCommand) command() string {
	args := []string{"lockstep", "gate", "--out", c.Out}
	if c.Package != "" {
		args = []string{"lockstep", "gate", "--package", c.Package}
		for _, pair := range c.Map {
			args = append(args, "--map", pair)
		}
	}
	args = append(args, "--layers", c.Layers)
	if c.Checkpoint != "" {
		args = append(args, "--checkpoint", c.Checkpoint)
	}
	if c.Golden != "" {
		args = append(args, "--golden", c.Golden)
	}
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
