package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"lockstep/exporter"
	"lockstep/manifest"
)

// printNext names the command that exports the next rung of the ladder, if a
// verdict allows it and there is one. One without the oracle never does, and as
// the newest it counts in the place of a better one: then it names the gate run
// that has it.
func (c *gateCommand) printNext(w io.Writer, v *manifest.Verdict) error {
	if c.Package == "" && c.Checkpoint == "" && v.Result == manifest.Partial {
		again := *c
		again.Checkpoint = "PATH"
		fmt.Fprintf(w, "next     %s\n", again.command())
		return nil
	}
	if c.Package != "" || v.Result != manifest.Pass && exporter.AcceptPartial(v.Checks, []string{"residency"}) != nil {
		return nil
	}
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return err
	}
	layers, ok := nextShard(record)
	if !ok {
		return nil
	}
	checkpoint := c.Checkpoint
	if checkpoint == "" {
		checkpoint = "PATH"
	}
	args := []string{"lockstep", "export", "--checkpoint", checkpoint, "--layers", layers.String(), "--out", c.Out}
	args = append(args, recipeArguments(record)...)
	if v.Result == manifest.Partial {
		args = append(args, "--accept-partial", "residency")
	}
	fmt.Fprintf(w, "next     %s\n", commandLine(args...))
	return nil
}

// nextShard is the smallest shard of the layout that is not exported yet.
func nextShard(r *manifest.Record) (exporter.Range, bool) {
	for _, layers := range exporter.Layout(r.Layout).BuildOrder() {
		if !slices.ContainsFunc(r.Shards, func(s manifest.Shard) bool { return s.Start == layers.Start && s.End == layers.End }) {
			return layers, true
		}
	}
	return exporter.Range{}, false
}

// recipeArguments are the flags by which a record's recipe and layout differ
// from the defaults.
func recipeArguments(r *manifest.Record) []string {
	def := exporter.DefaultRecipe()
	var args []string
	for _, flag := range []struct{ name, value, def string }{
		{"--precision", r.Recipe.Precision, string(def.Precision)},
		{"--slots", strconv.Itoa(r.Recipe.Slots), strconv.Itoa(def.Slots)},
		{"--functions", strings.Join(r.Recipe.Functions, ","), strings.Join(def.FunctionNames(), ",")},
		{"--norm", r.Recipe.Norm, string(def.Norm)},
		{"--layout", exporter.Layout(r.Layout).String(), exporter.DefaultLayout().String()},
	} {
		if flag.value != flag.def {
			args = append(args, flag.name, flag.value)
		}
	}
	if r.Recipe.RopeFactor != "" {
		args = append(args, "--rope-factor", r.Recipe.RopeFactor)
	}
	return args
}
