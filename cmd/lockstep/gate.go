package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/safetensors"
	"lockstep/manifest"
)

type gateCommand struct {
	Out           string   `help:"Output directory of an export." required:"" placeholder:"DIR"`
	Layers        string   `help:"Decoder layers of the shard." required:"" placeholder:"START:END"`
	Checkpoint    string   `help:"The checkpoint, for the oracle; without it the oracle is not measured." placeholder:"PATH"`
	Golden        string   `help:"Golden vectors (safetensors) of an independent implementation of this checkpoint." placeholder:"FILE"`
	Plane         string   `help:"What executes the package." default:"reference"`
	Require       []string `help:"Checks that must be measured: not measured becomes fail." placeholder:"CHECK"`
	AcceptPartial []string `help:"Checks that may be not measured: a partial verdict by these alone exits 0." placeholder:"CHECK"`
	JSON          bool     `name:"json" help:"Print the verdict as JSON."`
	Verbose       bool     `short:"v" help:"Print every case."`
}

func (c *gateCommand) Run(ctx context.Context, to streams) error {
	opt, closeAll, err := c.options()
	if err != nil {
		return err
	}
	defer closeAll()
	observe := func(cs conformance.Case, out conformance.Outcome) {
		if c.Verbose && !c.JSON {
			fmt.Fprintf(to.out, "  %-12s  %s\n", out.Result, cs.ID())
		}
	}
	verdict, err := conformance.Run(ctx, opt, observe)
	if err != nil {
		return err
	}
	path, err := conformance.WriteVerdict(c.Out, *verdict)
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
	} else {
		printVerdict(to.out, verdict, c.Out, path)
	}
	return c.exit(verdict, to)
}

// exit maps the verdict to the exit code.
func (c *gateCommand) exit(v *manifest.Verdict, to streams) error {
	switch v.Result {
	case manifest.Pass:
		return nil
	case manifest.Partial:
		if exporter.AcceptPartial(v.Checks, c.AcceptPartial) == nil {
			if !c.JSON {
				fmt.Fprintf(to.out, "accepted as partial: %s\n", strings.Join(notMeasured(v), ", "))
			}
			return nil
		}
		return exitCode(exitPartial)
	case manifest.Fail:
		return exitCode(exitFail)
	}
	return exitCode(exitError)
}

func notMeasured(v *manifest.Verdict) []string {
	var names []string
	for _, c := range v.Checks {
		if c.Result == manifest.NotMeasured {
			names = append(names, c.Name+" "+string(c.Result))
		}
	}
	return names
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
	for _, name := range slices.Concat(c.Require, c.AcceptPartial) {
		if !slices.Contains(conformance.Checks(), name) {
			return conformance.Options{}, none, fmt.Errorf("--require, --accept-partial: want one of %v, found %q", conformance.Checks(), name)
		}
	}
	opt := conformance.Options{
		Dir: c.Out, Layers: layers, Plane: plane, Subject: "package", Require: c.Require,
		Lockstep: version(), Command: c.command(),
	}
	if c.Golden != "" {
		if opt.Golden, err = readTensors("--golden", c.Golden); err != nil {
			return conformance.Options{}, none, err
		}
	}
	if c.Checkpoint == "" {
		return opt, none, nil
	}
	opt.Subject = filepath.Base(filepath.Clean(c.Checkpoint))
	if opt.Checkpoint, err = openCheckpoint(c.Checkpoint); err != nil {
		return conformance.Options{}, none, err
	}
	return opt, func() { opt.Checkpoint.Close() }, nil // opened for reading
}

// command repeats this run.
func (c *gateCommand) command() string {
	args := []string{"lockstep", "gate", "--out", c.Out, "--layers", c.Layers}
	if c.Checkpoint != "" {
		args = append(args, "--checkpoint", c.Checkpoint)
	}
	if c.Golden != "" {
		args = append(args, "--golden", c.Golden)
	}
	for _, r := range c.Require {
		args = append(args, "--require", r)
	}
	return strings.Join(append(args, "--plane", c.Plane), " ")
}

// printVerdict prints checks, failures first by their locus, and where the
// artifacts lie.
func printVerdict(w io.Writer, v *manifest.Verdict, dir, path string) {
	fmt.Fprintf(w, "gate    layers %d:%d on plane %s, subject %s: %d of %d cases ran\n", v.Shard.Start, v.Shard.End, v.Plane, v.Subject, v.Catalogue.Ran, v.Catalogue.Cases)
	for _, c := range v.Checks {
		line := fmt.Sprintf("  %-10s  %-12s  %d cases", c.Name, c.Result, len(c.Cases))
		if c.Reason != "" {
			line += "  " + c.Reason
		}
		fmt.Fprintln(w, line)
	}
	for _, m := range v.Metrics {
		if m.NotMeasured != "" {
			fmt.Fprintf(w, "  %-28s  not measured: %s\n", m.Name, m.NotMeasured)
			continue
		}
		fmt.Fprintf(w, "  %-28s  %.9g %s  (%s)\n", m.Name, float64(*m.Value), m.Unit, m.Method)
	}
	fmt.Fprintf(w, "verdict %s\n", v.Result)
	fmt.Fprintf(w, "package %s\n", filepath.Join(dir, v.Package.Path))
	fmt.Fprintf(w, "record  %s\n", filepath.Join(dir, manifest.RecordFile))
	fmt.Fprintf(w, "written %s\n", path)
}

// readTensors reads a safetensors file of small tensors that a flag names.
func readTensors(flag, name string) (*safetensors.Values, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	values, err := safetensors.ParseValues(name, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return values, nil
}
