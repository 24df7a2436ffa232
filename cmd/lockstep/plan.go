package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
)

type planCommand struct {
	Checkpoint string `help:"Directory with config.json; no weights are read." required:"" placeholder:"PATH"`
	Out        string `help:"Output directory whose volume is asked for its free space." required:"" placeholder:"DIR"`
	Name       string `help:"Model name in package names; by default the checkpoint folder's." placeholder:"MODEL"`
	Reserve    int64  `help:"Bytes to leave free." default:"2147483648" placeholder:"BYTES"`
	JSON       bool   `name:"json" help:"Print JSON."`
	recipeFlags
}

// planReport is plan's JSON: the plan and what fits.
type planReport struct {
	*exporter.Plan
	Room exporter.Room `json:"room"`
}

func (c *planCommand) Run(to streams) error {
	rec, layout, err := c.recipe()
	if err != nil {
		return err
	}
	if err := wantDirectory(c.Checkpoint); err != nil {
		return err
	}
	cfg, err := checkpoint.ReadConfig(os.DirFS(c.Checkpoint))
	if err != nil {
		return err
	}
	name, err := modelName(c.Name, c.Checkpoint)
	if err != nil {
		return err
	}
	plan, err := exporter.NewPlan(cfg, name, layout, rec)
	if err != nil {
		return err
	}
	free, err := durable.Free(durable.OS{}, c.Out)
	if err != nil {
		return err
	}
	room := plan.Fit(free, c.Reserve, standingBytes(plan, c.Out))
	if c.JSON {
		return writeJSON(to.out, planReport{plan, room})
	}
	return printPlan(to.out, plan, room)
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

func printPlan(w io.Writer, plan *exporter.Plan, room exporter.Room) error {
	fmt.Fprintf(w, "plan    %s, %d layers as %s, %s, %s, S=%d, functions %v\n",
		plan.Model, plan.Layers, plan.Layout, plan.Precision, plan.Norm, plan.Slots, plan.Functions)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "layers\tpackage bytes\tmodel\tweights\tpeak\tfits\tcompile: temporary\tmlmodelc\tANE cache\t")
	for i, s := range plan.Shards {
		fits := "yes"
		if i >= room.Fits {
			fits = "no"
		}
		fmt.Fprintf(t, "%d:%d\t%d\t%d\t%d\t%d\t%s\t~%d\t~%d\t~%d\t\n", s.Start, s.End, s.Bytes, s.Files[1].Bytes, s.Files[2].Bytes,
			s.Peak, fits, s.Compile.Temporary, s.Compile.Compiled, s.Compile.Cache)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "total   %d bytes (%s); sizes are exact, ~ marks an estimate of what Core ML adds (the cache is the system's)\n", plan.Bytes, byteCount(plan.Bytes))
	fmt.Fprintf(w, "disk    %d bytes free (%s), %d kept in reserve, %d of the plan written already\n", room.Free, byteCount(room.Free), room.Reserve, room.Standing)
	if room.Fits < len(plan.Shards) {
		s := plan.Shards[room.Fits]
		fmt.Fprintf(w, "short   layers %d:%d and larger do not fit: %d bytes are missing; nothing is ever deleted to make room\n", s.Start, s.End, room.Missing)
	}
	return nil
}
