package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"lockstep/manifest"
)

// casesShown bounds the broken cases that are printed of one check; all of
// them stand in the verdict.
const casesShown = 3

// artifacts are the paths of what a gate run read and wrote; those that there
// are not are empty.
type artifacts struct{ pkg, record, verdict string }

// printVerdict prints what failed first, with its evidence and the command
// that repeats it, then every check, the figures, and where the artifacts lie.
func printVerdict(w io.Writer, v *manifest.Verdict, at artifacts, methods bool) error {
	what := fmt.Sprintf("layers %d:%d", v.Shard.Start, v.Shard.End)
	if v.Vocab != nil {
		what = fmt.Sprintf("LM head rows %d:%d", v.Vocab.Start, v.Vocab.End)
	}
	fmt.Fprintf(w, "gate     %s, subject %s, plane %s: %d of %d cases ran\n",
		what, v.Subject, v.Plane, v.Catalogue.Ran, v.Catalogue.Cases)
	broken := false
	for _, c := range v.Checks {
		if c.Result == manifest.Fail || c.Result == manifest.Error {
			printBroken(w, c, at.verdict != "")
			broken = true
		}
	}
	if broken {
		fmt.Fprintf(w, "again    %s\n", v.Command)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range v.Checks {
		fmt.Fprintf(t, "check    %s\t%s\t%s\n", c.Name, c.Result, casesOf(c))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range v.Metrics {
		text := "not measured: " + m.NotMeasured
		if m.NotMeasured == "" {
			text = quantity(m.Value, m.Unit, "")
		}
		if methods {
			text += "  (" + m.Method + ")"
		}
		fmt.Fprintf(t, "figure   %s\t%s\n", m.Name, text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printWarnings(w, v.Ranges)
	for _, a := range []struct{ what, path string }{{"package", at.pkg}, {"record ", at.record}, {"written", at.verdict}} {
		if a.path != "" {
			fmt.Fprintf(w, "%s  %s\n", a.what, a.path)
		}
	}
	fmt.Fprintf(w, "verdict  %s%s\n", v.Result, blame(v))
	return nil
}

// printBroken prints a check's first broken cases, and where the others are.
func printBroken(w io.Writer, c manifest.Check, written bool) {
	shown, more := 0, 0
	for _, k := range c.Cases {
		switch {
		case k.Result != manifest.Fail && k.Result != manifest.Error:
		case shown == casesShown:
			more++
		default:
			shown++
			printCase(w, c.Name+"/"+k.Name, k.Result, k.Reason, k.Evidence)
		}
	}
	if more > 0 {
		where := "the verdict has them all"
		if !written {
			where = "-v prints them all"
		}
		fmt.Fprintf(w, "              and %d more cases of %s; %s\n", more, c.Name, where)
	}
}

// casesOf counts a check's cases by result, in the order of results' first
// case, and gives the reason of what is not a pass.
func casesOf(c manifest.Check) string {
	var order []manifest.Result
	counts := map[manifest.Result]int{}
	for _, k := range c.Cases {
		if counts[k.Result] == 0 {
			order = append(order, k.Result)
		}
		counts[k.Result]++
	}
	text := fmt.Sprintf("%d cases", len(c.Cases))
	if len(c.Cases) == 1 {
		text = "1 case"
	}
	if len(order) <= 1 {
		if c.Result == manifest.NotMeasured || c.Result == manifest.NotRun {
			text += "; " + c.Reason
		}
		return text
	}
	parts := make([]string, len(order))
	for i, r := range order {
		parts[i] = fmt.Sprintf("%d %s", counts[r], r)
	}
	return text + ": " + strings.Join(parts, ", ")
}

// blame names the checks that kept a verdict from passing.
func blame(v *manifest.Verdict) string {
	var parts []string
	for _, c := range v.Checks {
		if c.Result != manifest.Pass {
			parts = append(parts, fmt.Sprintf("%s %s", c.Name, c.Result))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// quantity prints a figure or a text; a ratio or count goes without its unit,
// bytes with a readable size.
func quantity(value *manifest.Figure, unit, text string) string {
	switch {
	case value == nil:
		return text
	case unit == "1":
		return fmt.Sprintf("%.9g", float64(*value))
	case unit == "B":
		return fmt.Sprintf("%.0f B (%s)", float64(*value), byteCount(int64(*value)))
	}
	return fmt.Sprintf("%.9g %s", float64(*value), unit)
}
