package main

import (
	"context"
	"fmt"

	"lockstep/conformance"
	"lockstep/exporter"
)

type exportCommand struct {
	Checkpoint    string   `help:"Directory with config.json and safetensors." required:"" placeholder:"PATH"`
	Layers        string   `help:"Decoder layers of the shard, END excluded." required:"" placeholder:"START:END"`
	Out           string   `help:"Output directory: packages, lockstep.json, verdicts." required:"" placeholder:"DIR"`
	Name          string   `help:"Model name in package names; by default the checkpoint folder's." placeholder:"MODEL"`
	Anchor        []string `help:"Tag and commit that the checkpoint is tied to, for the record; may be repeated." placeholder:"TAG=COMMIT"`
	Reserve       int64    `help:"Bytes to leave free." default:"2147483648" placeholder:"BYTES"`
	OffLadder     bool     `help:"Export a range that the ladder does not allow; the record says so."`
	AcceptPartial []string `help:"Checks that may be not measured in the smaller shards' verdicts; the record says so." placeholder:"CHECK"`
	JSON          bool     `name:"json" help:"Print JSON."`
	recipeFlags
}

func (c *exportCommand) Run(ctx context.Context, to streams) (err error) {
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
	bar.wait()
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(to.out, struct {
			Package  string `json:"package"`
			Record   string `json:"record"`
			UpToDate bool   `json:"up_to_date"`
			Resumed  int64  `json:"resumed_bytes"`
			Shard    any    `json:"shard"`
		}{res.Dir, res.Record, res.UpToDate, res.Resumed, res.Shard})
	}
	state := "written"
	switch {
	case res.UpToDate:
		state = "up to date, nothing written"
	case res.Resumed > 0:
		state = fmt.Sprintf("written, %s of an earlier run verified and kept", byteCount(res.Resumed))
	}
	fmt.Fprintf(to.out, "export  layers %s: %s, %s\n", opt.Layers, byteCount(res.Plan.Bytes), state)
	fmt.Fprintf(to.out, "package %s\n", res.Dir)
	fmt.Fprintf(to.out, "digest  %s\n", res.Shard.Package.Digest)
	fmt.Fprintf(to.out, "record  %s\n", res.Record)
	if opt.Recipe.Norm == exporter.Prescaled {
		fmt.Fprintln(to.out, "note    the prescaled norm's eps/d leaves float16 here: the lint will fail this package")
	}
	return nil
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
	name, err := modelName(c.Name, c.Checkpoint)
	if err != nil {
		return exporter.Options{}, err
	}
	tags, err := anchors(c.Anchor)
	if err != nil {
		return exporter.Options{}, err
	}
	return exporter.Options{
		Dir: c.Out, Layers: layers, Layout: layout, Recipe: rec, Name: name, Anchors: tags, Reserve: c.Reserve,
		OffLadder: c.OffLadder, AcceptPartial: c.AcceptPartial, Fresh: conformance.Fresh,
	}, nil
}
