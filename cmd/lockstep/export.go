package main

import (
	"context"
	"errors"
	"fmt"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/manifest"
)

type exportCommand struct {
	Checkpoint    string   `help:"Directory with config.json and safetensors files, or a .gguf file." required:"" placeholder:"PATH"`
	Layers        string   `help:"Decoder layers of the shard, END excluded." required:"" placeholder:"START:END"`
	Out           string   `help:"Output directory: packages, lockstep.json, verdicts." required:"" placeholder:"DIR"`
	Name          string   `help:"Model name in package names; by default the checkpoint's." placeholder:"MODEL"`
	Anchor        []string `help:"Tag and commit that the checkpoint is tied to, for the record; may be repeated." placeholder:"TAG=COMMIT"`
	Reserve       byteSize `help:"Bytes to leave free, plain or like 500MB or 2GiB." default:"2GiB"`
	OffLadder     bool     `help:"Export a range that the ladder does not allow; the record says so."`
	AcceptPartial []string `help:"Check (residency) that may be not measured in the smaller shards' verdicts; the record says so." enum:"residency" placeholder:"CHECK"`
	JSON          bool     `name:"json" help:"Print JSON."`
	recipeFlags
}

// exportReport is export's JSON.
type exportReport struct {
	Package  string         `json:"package"`
	Record   string         `json:"record"`
	UpToDate bool           `json:"up_to_date"`
	Resumed  int64          `json:"resumed_bytes"`
	Shard    manifest.Shard `json:"shard"`
}

func (c *exportCommand) Run(ctx context.Context, to streams) error {
	opt, err := c.options()
	if err != nil {
		return err
	}
	if opt.Checkpoint, err = openCheckpoint(c.Checkpoint); err != nil {
		return err
	}
	defer opt.Checkpoint.Close() // opened for reading
	bar := newProgress(to.err)
	opt.Progress = bar
	res, err := exporter.Export(ctx, opt)
	bar.finish(err)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopped; what is unfinished keeps its .partial name, and the same command goes on with it: %w", err)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return c.printJSON(to, opt, res)
	}
	c.print(to, opt, res)
	return nil
}

// printJSON prints the shard as the record has it.
func (c *exportCommand) printJSON(to streams, opt exporter.Options, res *exporter.Result) error {
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return err
	}
	for _, s := range record.Shards {
		if s.Start == opt.Layers.Start && s.End == opt.Layers.End {
			return writeJSON(to.out, exportReport{res.Dir, res.Record, res.UpToDate, res.Resumed, s})
		}
	}
	return fmt.Errorf("%s: layers %s: want them recorded, found no such shard: another run has replaced the record", res.Record, opt.Layers)
}

func (c *exportCommand) print(to streams, opt exporter.Options, res *exporter.Result) {
	state := "written"
	switch {
	case res.UpToDate:
		state = "up to date, nothing written"
	case res.Resumed > 0:
		state = fmt.Sprintf("written, %s of an earlier run verified and kept", byteCount(res.Resumed))
	}
	fmt.Fprintf(to.out, "export   layers %s, %d bytes (%s): %s\n", opt.Layers, res.Plan.Bytes, byteCount(res.Plan.Bytes), state)
	fmt.Fprintf(to.out, "package  %s\n", res.Dir)
	fmt.Fprintf(to.out, "digest   %s\n", res.Shard.Package.Digest)
	fmt.Fprintf(to.out, "record   %s\n", res.Record)
	if opt.Recipe.Norm == exporter.Prescaled {
		fmt.Fprintln(to.out, "note     the prescaled norm's eps/d leaves float16 at useful widths; the gate's lint says whether it does here")
	}
	fmt.Fprintf(to.out, "next     %s\n", commandLine("lockstep", "gate", "--out", c.Out, "--layers", opt.Layers.String(), "--checkpoint", c.Checkpoint))
}

func (c *exportCommand) options() (exporter.Options, error) {
	rec, layout, err := c.recipe()
	if err != nil {
		return exporter.Options{}, err
	}
	layers, err := exporter.ParseRange(c.Layers)
	if err != nil {
		return exporter.Options{}, fmt.Errorf("--layers: %w", err)
	}
	if err := wantOut(c.Out); err != nil {
		return exporter.Options{}, err
	}
	name, err := modelName(c.Name, c.Checkpoint, c.Out)
	if err != nil {
		return exporter.Options{}, err
	}
	tags, err := anchors(c.Anchor)
	if err != nil {
		return exporter.Options{}, err
	}
	return exporter.Options{
		Dir: c.Out, Layers: layers, Layout: layout, Recipe: rec, Name: name, Anchors: tags, Reserve: int64(c.Reserve),
		OffLadder: c.OffLadder, AcceptPartial: c.AcceptPartial, Fresh: conformance.Fresh,
	}, nil
}
