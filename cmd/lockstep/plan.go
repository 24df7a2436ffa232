package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

type planCommand struct {
	Checkpoint string   `help:"Directory with config.json, of which nothing else is read, or a .gguf file." required:"" placeholder:"PATH"`
	Out        string   `help:"Output directory; its volume is asked for its free space." required:"" placeholder:"DIR"`
	Name       string   `help:"Model name in package names; by default the checkpoint's." placeholder:"MODEL"`
	Reserve    byteSize `help:"Bytes to leave free, plain or like 500MB or 2GiB." default:"2GiB"`
	JSON       bool     `name:"json" help:"Print JSON."`
	recipeFlags
}

// planReport is plan's JSON: the plan and what fits.
type planReport struct {
	*exporter.Plan
	Room     exporter.Room `json:"room"`
	Warnings []string      `json:"warnings"`
}

func (c *planCommand) Run(to streams) error {
	rec, layout, err := c.recipe()
	if err != nil {
		return err
	}
	if err := errors.Join(wantCheckpoint(c.Checkpoint), wantOut(c.Out)); err != nil {
		return err
	}
	cfg, digest, err := checkpoint.ReadConfigPath(c.Checkpoint)
	if err != nil {
		return err
	}
	name, err := modelName(c.Name, c.Checkpoint, c.Out)
	if err != nil {
		return err
	}
	plan, err := exporter.NewPlan(cfg, name, layout, rec, c.HeadShards)
	if err != nil {
		return err
	}
	if err := c.sameDirectory(cfg, digest, name, layout, rec); err != nil {
		return err
	}
	free, err := durable.Free(durable.OS{}, c.Out)
	if err != nil {
		return err
	}
	room := plan.Fit(free, int64(c.Reserve), standingBytes(plan, c.Out))
	warnings := foresee(plan, cfg)
	if c.JSON {
		return writeJSON(to.out, planReport{plan, room, warnings})
	}
	if err := printPlan(to.out, plan, room); err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintf(to.out, "warn     %s\n", w)
	}
	return nil
}

// sameDirectory refuses a plan for a directory that holds another checkpoint or
// recipe: export would refuse it too.
func (c *planCommand) sameDirectory(cfg checkpoint.Config, configDigest, name string, layout exporter.Layout, rec exporter.Recipe) error {
	old, err := exporter.ReadRecord(c.Out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	planned, err := exporter.Identity(cfg, configDigest, name, layout, rec)
	if err != nil {
		return err
	}
	if err := manifest.SameCheckpointAndRecipe(*old, planned); err != nil {
		return fmt.Errorf("%s: %w; use another --out", filepath.Join(c.Out, manifest.RecordFile), err)
	}
	return nil
}

// foresee says which packages the lint will fail for their sizes.
func foresee(plan *exporter.Plan, cfg checkpoint.Config) []string {
	warnings := []string{}
	add := func(s exporter.ShardPlan, found []string) {
		for _, w := range found {
			warnings = append(warnings, fmt.Sprintf("%s: the lint will fail it: %s", s, w))
		}
	}
	for _, s := range plan.Shards {
		add(s, conformance.ForeseeSizes(cfg.HiddenSize, cfg.HeadDim(), plan.Slots, s.WeightBytes()))
	}
	for _, s := range plan.LMHead {
		add(s, conformance.ForeseeHeadSizes(cfg.HiddenSize, s.WeightBytes()))
	}
	return warnings
}

// standingBytes is what the plan's packages hold already.
func standingBytes(plan *exporter.Plan, dir string) int64 {
	var n int64
	for _, s := range plan.Steps() {
		for _, f := range s.Files {
			if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(s.FileName(f)))); err == nil {
				n += min(info.Size(), f.Bytes)
			}
		}
	}
	return n
}

// printPlan prints the exact sizes, the estimates and the disk. The steps stand
// in build order.
func printPlan(w io.Writer, plan *exporter.Plan, room exporter.Room) error {
	fmt.Fprintf(w, "plan     %s: %d layers as %s, %s, %s, S=%d, functions %s\n",
		plan.Model, plan.Layers, plan.Layout, plan.Precision, plan.Norm, plan.Slots, strings.Join(plan.Functions, ","))
	if plan.RopeFactor != "" {
		fmt.Fprintln(w, "rope     attention factor folded into the turned rows of the q and k weights")
	}
	steps := plan.Steps()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "step\tmodel bytes\tweight bytes\tpackage bytes\tsize\tpeak while writing\tfits\t")
	for i, s := range steps {
		fits := "yes"
		if i >= room.Fits {
			fits = "no"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%d\t%s\t\n", s, modelBytes(s), s.WeightBytes(), s.Bytes, byteCount(s.Bytes), s.Peak, fits)
	}
	fmt.Fprintf(t, "all\t\t\t%d\t%s\t\t\t\n", plan.Bytes, byteCount(plan.Bytes))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "compile  what Core ML would add, estimated; its cache is the system's, never ours to delete")
	fmt.Fprintln(t, "step\ttemporary copy\t.mlmodelc\tANE cache\tall of them so far\t")
	var sum int64
	for _, s := range steps {
		if s.Compile == (exporter.CompileEstimate{}) {
			continue // the embedding: nothing compiles it
		}
		sum += s.Compile.Compiled + s.Compile.Cache // the temporary copy goes again
		fmt.Fprintf(t, "%s\t~%s\t~%s\t~%s\t~%s\t\n", s, byteCount(s.Compile.Temporary), byteCount(s.Compile.Compiled), byteCount(s.Compile.Cache), byteCount(sum))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "disk     %s free (%d bytes), %s kept in reserve, %s of the plan written already\n",
		byteCount(room.Free), room.Free, byteCount(room.Reserve), byteCount(room.Standing))
	if room.Fits < len(steps) {
		fmt.Fprintf(w, "short    %s and what follows do not fit: %d bytes are missing (%s); nothing is ever deleted to make room\n",
			steps[room.Fits], room.Missing, byteCount(room.Missing))
	}
	return nil
}

// modelBytes is the size of a package's program; the embedding has none.
func modelBytes(s exporter.ShardPlan) string {
	if len(s.Files) == 1 {
		return ""
	}
	return strconv.FormatInt(s.Files[1].Bytes, 10)
}
