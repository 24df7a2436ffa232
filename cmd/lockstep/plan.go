package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	plan, err := exporter.NewPlan(cfg, name, layout, rec)
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

// foresee says which shards the lint will fail for their sizes.
func foresee(plan *exporter.Plan, cfg checkpoint.Config) []string {
	warnings := []string{}
	for _, s := range plan.Shards {
		for _, w := range conformance.ForeseeSizes(cfg.HiddenSize, cfg.HeadDim(), plan.Slots, s.Files[2].Bytes) {
			warnings = append(warnings, fmt.Sprintf("layers %d:%d: the lint will fail it: %s", s.Start, s.End, w))
		}
	}
	return warnings
}

// standingBytes is what the plan's packages hold already.
func standingBytes(plan *exporter.Plan, dir string) int64 {
	var n int64
	for _, s := range plan.Shards {
		for _, f := range s.Files {
			if info, err := os.Stat(filepath.Join(dir, s.Package, filepath.FromSlash(f.Path))); err == nil {
				n += min(info.Size(), f.Bytes)
			}
		}
	}
	return n
}

// printPlan prints the exact sizes, the estimates and the disk. The shards
// stand in build order.
func printPlan(w io.Writer, plan *exporter.Plan, room exporter.Room) error {
	fmt.Fprintf(w, "plan     %s: %d layers as %s, %s, %s, S=%d, functions %s\n",
		plan.Model, plan.Layers, plan.Layout, plan.Precision, plan.Norm, plan.Slots, strings.Join(plan.Functions, ","))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "layers\tmodel bytes\tweight bytes\tpackage bytes\tsize\tpeak while writing\tfits\t")
	for i, s := range plan.Shards {
		fits := "yes"
		if i >= room.Fits {
			fits = "no"
		}
		fmt.Fprintf(t, "%d:%d\t%d\t%d\t%d\t%s\t%d\t%s\t\n",
			s.Start, s.End, s.Files[1].Bytes, s.Files[2].Bytes, s.Bytes, byteCount(s.Bytes), s.Peak, fits)
	}
	fmt.Fprintf(t, "all\t\t\t%d\t%s\t\t\t\n", plan.Bytes, byteCount(plan.Bytes))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "compile  what Core ML would add, estimated; its cache is the system's, never ours to delete")
	fmt.Fprintln(t, "layers\ttemporary copy\t.mlmodelc\tANE cache\t")
	for _, s := range plan.Shards {
		fmt.Fprintf(t, "%d:%d\t~%s\t~%s\t~%s\t\n", s.Start, s.End, byteCount(s.Compile.Temporary), byteCount(s.Compile.Compiled), byteCount(s.Compile.Cache))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "disk     %s free (%d bytes), %s kept in reserve, %s of the plan written already\n",
		byteCount(room.Free), room.Free, byteCount(room.Reserve), byteCount(room.Standing))
	if room.Fits < len(plan.Shards) {
		s := plan.Shards[room.Fits]
		fmt.Fprintf(w, "short    layers %d:%d and larger do not fit: %d bytes are missing (%s); nothing is ever deleted to make room\n",
			s.Start, s.End, room.Missing, byteCount(room.Missing))
	}
	return nil
}
