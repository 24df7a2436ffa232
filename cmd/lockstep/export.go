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
	Layers        string   `help:"Decoder layers of the shard, END excluded." required:"" xor:"piece" placeholder:"START:END"`
	Head          bool     `help:"The LM head, every shard of it; the ladder does not concern it." required:"" xor:"piece"`
	Embedding     bool     `help:"The embedding: one file of float16 rows, little-endian, row-major, for the host." required:"" xor:"piece"`
	All           bool     `help:"The whole model up the ladder: each shard, smallest first, is exported and judged, then the LM head and the embedding. It stops at the first that does not pass; a later run goes on." required:"" xor:"piece"`
	Golden        string   `help:"With --all: vectors that another implementation computed from this checkpoint, for the gate." placeholder:"FILE"`
	Plane         string   `help:"With --all: what executes the packages." default:"reference"`
	Out           string   `help:"Output directory: packages, lockstep.json, verdicts." required:"" placeholder:"DIR"`
	Name          string   `help:"Model name in package names; by default the checkpoint's." placeholder:"MODEL"`
	Anchor        []string `help:"Tag and commit that the checkpoint is tied to, for the record; may be repeated." placeholder:"TAG=COMMIT"`
	Reserve       byteSize `help:"Bytes to leave free, plain or like 500MB or 2GiB." default:"2GiB"`
	OffLadder     bool     `help:"Export a range that the ladder does not allow; the record says so."`
	AcceptPartial []string `help:"Check (residency) that may be not measured in the smaller shards' verdicts; the record says so." enum:"residency" placeholder:"CHECK"`
	JSON          bool     `name:"json" help:"Print JSON."`
	recipeFlags
}

// exportReport is export's JSON: what was exported, as the record has it. With
// --head it is a list of them.
type exportReport struct {
	Package   string                `json:"package"` // of the embedding, its file
	Record    string                `json:"record"`
	UpToDate  bool                  `json:"up_to_date"`
	Resumed   int64                 `json:"resumed_bytes"`
	Shard     *manifest.Shard       `json:"shard,omitempty"`
	LMHead    *manifest.LMHeadShard `json:"lm_head,omitempty"`
	Embedding *manifest.Embedding   `json:"embedding,omitempty"`
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
	if c.All {
		return c.climb(ctx, opt, to)
	}
	pieces, err := c.pieces(opt)
	if err != nil {
		return err
	}
	var results []*exporter.Result
	for _, piece := range pieces {
		res, err := c.export(ctx, piece, to)
		if err != nil {
			return err
		}
		results = append(results, res)
		if !c.JSON {
			c.print(to, piece, res)
		}
	}
	if c.JSON {
		return c.printJSON(to, results)
	}
	c.printNext(to, opt)
	return nil
}

// pieces are the exports that the flags ask for.
func (c *exportCommand) pieces(opt exporter.Options) ([]exporter.Options, error) {
	if !c.Head {
		return []exporter.Options{opt}, nil
	}
	cut, err := exporter.HeadRanges(opt.Checkpoint.Config().VocabSize, c.HeadShards)
	if err != nil {
		return nil, fmt.Errorf("--head-shards: %w", err)
	}
	var all []exporter.Options
	for i := range cut {
		opt.Head = exporter.Head{Shard: i, Of: len(cut)}
		all = append(all, opt)
	}
	return all, nil
}

// export exports one piece under a progress bar.
func (c *exportCommand) export(ctx context.Context, opt exporter.Options, to streams) (*exporter.Result, error) {
	bar := newProgress(to.err)
	opt.Progress = bar
	res, err := exporter.Export(ctx, opt)
	bar.finish(err)
	if errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("stopped; what is unfinished keeps its .partial name, and the same command goes on with it: %w", err)
	}
	return res, err
}

// printJSON prints what the record has of the results.
func (c *exportCommand) printJSON(to streams, results []*exporter.Result) error {
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return err
	}
	reports := make([]exportReport, len(results))
	for i, res := range results {
		if reports[i], err = reportOf(record, res); err != nil {
			return err
		}
	}
	if c.Head {
		return writeJSON(to.out, reports)
	}
	return writeJSON(to.out, reports[0])
}

// reportOf finds a result's place in the record.
func reportOf(record *manifest.Record, res *exporter.Result) (exportReport, error) {
	report := exportReport{Package: res.Dir, Record: res.Record, UpToDate: res.UpToDate, Resumed: res.Resumed}
	path := res.Plan.Package
	for i, s := range record.Shards {
		if s.Package.Path == path {
			report.Shard = &record.Shards[i]
			return report, nil
		}
	}
	for i, s := range record.LMHead {
		if s.Package.Path == path {
			report.LMHead = &record.LMHead[i]
			return report, nil
		}
	}
	if e := record.Embedding; e != nil && e.Path == path {
		report.Embedding = e
		return report, nil
	}
	return report, fmt.Errorf("%s: want %s recorded, found nothing of that name: another run has replaced the record", res.Record, path)
}

func (c *exportCommand) print(to streams, opt exporter.Options, res *exporter.Result) {
	what, where, digest := "layers "+opt.Layers.String(), "package", res.Shard.Package.Digest
	switch {
	case opt.Embedding:
		what, where, digest = "embedding", "file   ", res.Shard.Package.Files[0].SHA256
	case opt.Head != exporter.Head{}:
		what = fmt.Sprintf("LM head rows %d:%d", res.Plan.Start, res.Plan.End)
	}
	fmt.Fprintf(to.out, "export   %s, %d bytes (%s): %s\n", what, res.Plan.Bytes, byteCount(res.Plan.Bytes), stateOf(res))
	fmt.Fprintf(to.out, "%s  %s\n", where, res.Dir)
	fmt.Fprintf(to.out, "digest   %s\n", digest)
	fmt.Fprintf(to.out, "record   %s\n", res.Record)
}

// printNext names the command that judges what was exported. Nothing executes
// the embedding: its digest is all there is to it.
func (c *exportCommand) printNext(to streams, opt exporter.Options) {
	if opt.Embedding {
		return
	}
	if opt.Recipe.Norm == exporter.Prescaled {
		fmt.Fprintln(to.out, "note     the prescaled norm's eps/d leaves float16 at useful widths; the gate's lint says whether it does here")
	}
	piece := []string{"--layers", opt.Layers.String()}
	if c.Head {
		piece = []string{"--head"}
	}
	args := append([]string{"lockstep", "gate", "--out", c.Out}, piece...)
	fmt.Fprintf(to.out, "next     %s\n", commandLine(append(args, "--checkpoint", c.Checkpoint)...))
}

func (c *exportCommand) options() (exporter.Options, error) {
	rec, layout, err := c.recipe()
	if err != nil {
		return exporter.Options{}, err
	}
	if c.Golden != "" && !c.All {
		return exporter.Options{}, &flagError{"--golden", "--all beside it; lockstep gate takes it, too", "none"}
	}
	if c.All && c.OffLadder {
		return exporter.Options{}, &flagError{"--off-ladder", "a range of layers beside it", "--all, which is the ladder"}
	}
	var layers exporter.Range
	if !c.Head && !c.Embedding && !c.All {
		if layers, err = exporter.ParseRange(c.Layers); err != nil {
			return exporter.Options{}, fmt.Errorf("--layers: %w", err)
		}
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
		Dir: c.Out, Layers: layers, Embedding: c.Embedding, Layout: layout, Recipe: rec, Name: name, Anchors: tags, Reserve: int64(c.Reserve),
		OffLadder: c.OffLadder, AcceptPartial: c.AcceptPartial, Fresh: conformance.Fresh,
	}, nil
}
