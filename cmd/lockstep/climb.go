package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/ladder"
	"lockstep/manifest"
)

// walkReport is the JSON of export --all.
type walkReport struct {
	Record   string        `json:"record"`
	Complete bool          `json:"complete"` // everything is exported and has passed
	Steps    []*stepReport `json:"steps"`    // as far as the walk went
	Stopped  string        `json:"stopped"`  // why it went no further
	Missing  []string      `json:"missing"`  // what has not passed, in the order in which it would be made
	Next     string        `json:"next"`     // the command to go on with, if one is known
}

// stepReport is one piece of a walk.
type stepReport struct {
	Piece    string `json:"piece"`
	Package  string `json:"package"` // of the embedding, its file
	Bytes    int64  `json:"bytes"`
	UpToDate bool   `json:"up_to_date"`
	Resumed  int64  `json:"resumed_bytes"`
	// Judged says that this run judged it; else a verdict of an earlier run
	// stands, and nothing judges the embedding.
	Judged  bool            `json:"judged"`
	Result  manifest.Result `json:"result,omitempty"`
	Verdict string          `json:"verdict,omitempty"` // path
}

// climb exports and judges the whole model up the ladder.
func (c *exportCommand) climb(ctx context.Context, opt exporter.Options, to streams) error {
	gate, err := c.gateOptions(ctx, opt)
	if err != nil {
		return err
	}
	report := &walkReport{Steps: []*stepReport{}, Missing: []string{}}
	bar := newProgress(to.err)
	opt.Progress = bar
	w := ladder.Walk{
		Export: opt, Gate: gate, HeadShards: c.HeadShards, Command: func(p ladder.Piece) string { return c.gateAgain(p).command() },
		Exported: func(p ladder.Piece, res *exporter.Result) {
			report.Record = res.Record
			report.Steps = append(report.Steps, &stepReport{Piece: p.String(), Package: res.Dir, Bytes: res.Plan.Bytes, UpToDate: res.UpToDate, Resumed: res.Resumed})
			if !c.JSON {
				fmt.Fprintf(to.out, "export   %s, %d bytes (%s): %s\n", p, res.Plan.Bytes, byteCount(res.Plan.Bytes), stateOf(res))
			}
		},
		Judged: func(p ladder.Piece, j ladder.Judgement) {
			report.judged(p, j)
			if !c.JSON {
				printJudgement(to.out, p, j)
			}
		},
	}
	err = w.Run(ctx)
	bar.finish(err)
	var stopped *ladder.Stopped
	switch {
	case errors.As(err, &stopped):
		return c.stopped(report, stopped, to)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("stopped; what is unfinished keeps its .partial name, and the same command goes on with it: %w", err)
	case err != nil:
		return err
	}
	report.Complete = true
	if c.JSON {
		return writeJSON(to.out, report)
	}
	fmt.Fprintf(to.out, "record   %s\ndone     %d pieces stand: every layer, the LM head, the embedding\n", report.Record, len(report.Steps))
	return nil
}

// gateOptions are those that every gate run of a walk shares.
func (c *exportCommand) gateOptions(ctx context.Context, opt exporter.Options) (conformance.Options, error) {
	plane, err := openIsolated(ctx, "--plane", c.Plane, isolateAuto)
	if err != nil {
		return conformance.Options{}, err
	}
	gate := conformance.Options{Plane: plane, Lockstep: version()}
	if gate.Subject, err = checkpointName(c.Checkpoint); err != nil {
		return gate, err
	}
	if c.Golden != "" {
		golden, err := readGolden(c.Golden, opt.Checkpoint)
		if err != nil {
			return gate, err
		}
		gate.Golden = golden
	}
	return gate, nil
}

// gateAgain is the gate command of a piece.
func (c *exportCommand) gateAgain(p ladder.Piece) *gateCommand {
	of := subjectFlags{Out: c.Out, Checkpoint: c.Checkpoint, Golden: c.Golden, planeFlags: planeFlags{Plane: c.Plane}}
	if of.head = p.Head != (exporter.Head{}); !of.head {
		of.Layers = p.Layers.String()
	}
	return &gateCommand{subjectFlags: of, Head: of.head, AcceptPartial: c.AcceptPartial}
}

// judged fills in what came of judging a piece.
func (r *walkReport) judged(p ladder.Piece, j ladder.Judgement) {
	for _, step := range r.Steps {
		if step.Piece == p.String() && j.Verdict != nil {
			step.Judged, step.Result, step.Verdict = true, j.Verdict.Result, j.Path
		}
	}
}

// stateOf says what an export did.
func stateOf(res *exporter.Result) string {
	switch {
	case res.UpToDate:
		return "up to date, nothing written"
	case res.Resumed > 0:
		return fmt.Sprintf("written, %s of an earlier run verified and kept", byteCount(res.Resumed))
	}
	return "written"
}

// printJudgement prints a piece's verdict in one line.
func printJudgement(w io.Writer, p ladder.Piece, j ladder.Judgement) {
	if j.Verdict == nil {
		fmt.Fprintf(w, "verdict  %s: one that counts stands already, not judged again\n", p)
		return
	}
	v := j.Verdict
	fmt.Fprintf(w, "verdict  %s: %s%s; %d of %d cases ran\nwritten  %s\n", p, v.Result, blame(v), v.Catalogue.Ran, v.Catalogue.Cases, j.Path)
}

// stopped reports where the walk stopped, what is missing, and how to go on.
func (c *exportCommand) stopped(report *walkReport, at *ladder.Stopped, to streams) error {
	report.Stopped = at.Error()
	for _, p := range at.Missing {
		report.Missing = append(report.Missing, p.String())
	}
	report.Next = c.next(at)
	if c.JSON {
		if err := writeJSON(to.out, report); err != nil {
			return err
		}
		return exitOf(at.Verdict)
	}
	if v := at.Verdict; v != nil {
		for _, check := range v.Checks {
			if check.Result == manifest.Fail || check.Result == manifest.Error {
				printBroken(to.out, check, true)
			}
		}
	}
	fmt.Fprintf(to.out, "stopped  %s\n", report.Stopped)
	record, err := exporter.ReadRecord(c.Out)
	for _, p := range at.Missing {
		stands := ""
		if err == nil && standing(record, p) {
			stands = ": exported, has not passed"
		}
		fmt.Fprintf(to.out, "missing  %s%s\n", p, stands)
	}
	fmt.Fprintf(to.out, "next     %s\n", report.Next)
	return exitOf(at.Verdict)
}

// standing reports a piece that is exported.
func standing(r *manifest.Record, p ladder.Piece) bool {
	switch {
	case p.Embedding:
		return r.Embedding != nil
	case p.Head != exporter.Head{}:
		return slices.ContainsFunc(r.LMHead, func(h manifest.LMHeadShard) bool { return h.Start == p.Rows.Start && h.End == p.Rows.End })
	}
	return slices.ContainsFunc(r.Shards, func(s manifest.Shard) bool { return s.Start == p.Layers.Start && s.End == p.Layers.End })
}

// next is the command to go on with: the walk itself where only an accepted
// residency is wanting, the next shard past the ladder where the recipe has no
// block to judge, else the gate run that failed.
func (c *exportCommand) next(at *ladder.Stopped) string {
	record, err := exporter.ReadRecord(c.Out) // it was written by this walk
	residencyAlone := at.Verdict != nil && exporter.AcceptPartial(at.Verdict.Checks, []string{conformance.CheckResidency}) == nil
	if err != nil || !residencyAlone {
		return c.nextBeside(record, at)
	}
	args := []string{"lockstep", "export", "--checkpoint", c.Checkpoint, "--all", "--out", c.Out}
	args = append(args, recipeArguments(record)...)
	if c.HeadShards != exporter.DefaultHeadShards {
		args = append(args, "--head-shards", fmt.Sprint(c.HeadShards))
	}
	if c.Golden != "" {
		args = append(args, "--golden", c.Golden)
	}
	return commandLine(append(args, "--accept-partial", conformance.CheckResidency)...)
}

// nextBeside goes on where the walk would stop at the same place again.
func (c *exportCommand) nextBeside(record *manifest.Record, at *ladder.Stopped) string {
	if record != nil && len(record.Recipe.Functions) == 1 && at.Verdict != nil && at.Verdict.Result == manifest.Partial {
		if layers, ok := nextShard(record); ok {
			args := []string{"lockstep", "export", "--checkpoint", c.Checkpoint, "--layers", layers.String(), "--out", c.Out}
			return commandLine(append(append(args, recipeArguments(record)...), "--off-ladder")...)
		}
	}
	return c.gateAgain(at.At).command()
}

// exitOf is the exit code of a verdict that stopped a walk.
func exitOf(v *manifest.Verdict) error {
	switch {
	case v == nil || v.Result == manifest.Error:
		return exitCode(exitError)
	case v.Result == manifest.Fail:
		return exitCode(exitFail)
	}
	return exitCode(exitPartial)
}
