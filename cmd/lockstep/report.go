package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"lockstep/conformance"
	verdicts "lockstep/conformance/report"
	"lockstep/internal/durable"
)

type reportCommand struct {
	Dirs    []string `arg:"" name:"dir" help:"Output directories of exports."`
	Mutants string   `help:"Directory with the tallies that the mutants' tests left, see LOCKSTEP_TALLIES." placeholder:"DIR"`
	JUnit   string   `name:"junit" help:"JUnit file of the tests, for their totals." placeholder:"FILE"`
	Summary string   `help:"Also add the Markdown at the end of this file, as to $GITHUB_STEP_SUMMARY." placeholder:"FILE"`
	JSON    bool     `name:"json" help:"Print JSON: the same, with every verdict in full."`
}

// Help implements kong.HelpProvider.
func (reportCommand) Help() string {
	return "It prints Markdown for a pull request, made of the newest verdict of each shard and plane: a line for each plane, shard by check, " +
		"what failed with the command that repeats it, what no longer counts, mutants, and what was not measured and why. " +
		"It judges nothing: it exits 0 whatever the verdicts say; gate has the exit codes."
}

func (c *reportCommand) Run(to streams) error {
	doc, err := c.gather()
	if err != nil {
		return err
	}
	text := doc.Markdown()
	if c.Summary != "" {
		// The file may end inside a line.
		if err := durable.Append(durable.OS{}, c.Summary, []byte("\n"+text)); err != nil {
			return fmt.Errorf("--summary: %w", err)
		}
	}
	if c.JSON {
		return writeJSON(to.out, doc)
	}
	_, err = fmt.Fprint(to.out, text)
	return err
}

// gather reads what the flags name.
func (c *reportCommand) gather() (verdicts.Report, error) {
	doc := verdicts.Report{Schema: verdicts.Schema, Exports: []verdicts.Export{}, Mutants: []verdicts.Mutants{}}
	for _, dir := range c.Dirs {
		if err := wantDirectory(dir, dir, "the output directory of an export"); err != nil {
			return doc, err
		}
		export, err := verdicts.Read(os.DirFS(dir), dir, conformance.Fresh)
		if err != nil {
			return doc, err
		}
		doc.Exports = append(doc.Exports, export)
	}
	if err := c.mutants(&doc); err != nil {
		return doc, err
	}
	return doc, c.tests(&doc)
}

// mutants reads the tallies. That there are none is worth a word and no error:
// the tests may not have come to them.
func (c *reportCommand) mutants(doc *verdicts.Report) error {
	if c.Mutants == "" {
		doc.MutantsNotMeasured = "no tallies were named (--mutants)"
		return nil
	}
	tallies, err := verdicts.ReadMutants(os.DirFS(c.Mutants))
	if err != nil {
		return fmt.Errorf("--mutants %s: %w", c.Mutants, err)
	}
	if len(tallies) == 0 {
		doc.MutantsNotMeasured = "no tally of a test run in the directory that was named"
		return nil
	}
	doc.Mutants = tallies
	return nil
}

// tests reads the JUnit file. One that is not there is left out, since a
// report is also wanted where the tests did not come to their end.
func (c *reportCommand) tests(doc *verdicts.Report) error {
	if c.JUnit == "" {
		return nil
	}
	f, err := os.Open(c.JUnit)
	if errors.Is(err, fs.ErrNotExist) {
		doc.TestsNotMeasured = "the JUnit file that was named is not there"
		return nil
	}
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	defer f.Close() // opened for reading
	if doc.Tests, err = verdicts.ReadTests(f); err != nil {
		return fmt.Errorf("--junit %s: %w", c.JUnit, err)
	}
	return nil
}
