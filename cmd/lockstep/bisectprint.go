package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"lockstep/conformance"
)

// agreedLines bounds the values that are drawn before the one that parts.
const agreedLines = 4

// suspectLines bounds the ops that are printed of those that may be to blame.
const suspectLines = 12

// printBisection draws the path to the first difference, and what was found.
func printBisection(w io.Writer, b *conformance.Bisection, verbose bool) error {
	fmt.Fprintf(w, "bisect   A  %s, %s\n         B  %s, %s\n", b.A, b.WayA, b.B, b.WayB)
	fmt.Fprintf(w, "inputs   layers %s, position %d, %d live, x %s", b.Layers, b.Position, b.Live, b.Inputs)
	if b.Scale != 1 {
		fmt.Fprintf(w, " times %g", b.Scale)
	}
	fmt.Fprintf(w, ", states seeded\nvalues   %s\nagree    %s\n", b.Aligned, b.Tolerance)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, l := range b.Path {
		last := i == len(b.Path)-1
		fmt.Fprintf(t, "         %s %s\t%s\t%s\n", branch(last), l.Name, word(l.Agrees), leaving(l))
		if len(b.Values) > 0 && l.Name == b.Cut || last && b.Cut != "" && b.Cut != l.Name {
			drawValues(t, b.Values, indent(last), verbose)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if b.Found == nil {
		what := "what leaves each layer agrees; --deep compares every value"
		if len(b.Values) > 0 {
			what = "every value that was compared agrees"
		}
		_, err := fmt.Fprintf(w, "found    no difference: %s\n", what)
		return err
	}
	return printFound(w, b.Found)
}

func branch(last bool) string {
	if last {
		return "└─"
	}
	return "├─"
}

func indent(last bool) string {
	if last {
		return "   "
	}
	return "│  "
}

func word(agrees bool) string {
	if agrees {
		return "agrees"
	}
	return "PARTS"
}

// leaving sums up what leaves a layer.
func leaving(l conformance.LayerStep) string {
	parts := make([]string, len(l.Values))
	for i, v := range l.Values {
		parts[i] = v.Name
		if note := amount(v); note != "" {
			parts[i] += " (" + note + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// amount is how far a value is from its counterpart.
func amount(v conformance.ValueStep) string {
	switch {
	case v.NotCompared != "":
		return "not compared: " + v.NotCompared
	case v.Shapes != "":
		return "shapes differ: " + v.Shapes
	case v.Measure == nil:
		return ""
	case v.Measure.First != nil && v.Measure.Relative > 0:
		return fmt.Sprintf("%d of %d differ, relative %.2g", v.Measure.First.Count, v.Measure.Compared, float64(v.Measure.Relative))
	case v.Measure.First != nil:
		return fmt.Sprintf("%d of %d differ", v.Measure.First.Count, v.Measure.Compared)
	case v.Measure.Relative > 0:
		return fmt.Sprintf("relative %.2g", float64(v.Measure.Relative))
	case v.Measure.Largest > 0:
		return fmt.Sprintf("|A-B| up to %.2g", float64(v.Measure.Largest))
	}
	return ""
}

// drawValues draws the last values before the one that parts, or all of them.
func drawValues(w io.Writer, values []conformance.ValueStep, stem string, verbose bool) {
	hidden := 0
	if n := len(values) - 1 - agreedLines; n > 1 && !verbose {
		hidden = n
		agreed := 0
		for _, v := range values[:hidden] {
			if v.NotCompared == "" {
				agreed++
			}
		}
		text := fmt.Sprintf("%d values before", agreed)
		if agreed < hidden {
			text += fmt.Sprintf(", and %d not compared", hidden-agreed)
		}
		fmt.Fprintf(w, "         %s├─ %s\tagrees\n", stem, text)
	}
	for i, v := range values[hidden:] {
		verdict := word(v.Agrees)
		if v.NotCompared != "" {
			verdict = "-"
		}
		if note := amount(v); note != "" {
			verdict += "\t" + note
		}
		fmt.Fprintf(w, "         %s%s %s %s\t%s\n", stem, branch(hidden+i == len(values)-1), v.Op, v.Name, verdict)
	}
}

// printFound prints the first difference.
func printFound(w io.Writer, f *conformance.Found) error {
	fmt.Fprintf(w, "found    %s, op %s: value %s %s\n", f.Layer, f.Step.Op, f.Step.Name, f.Step.Type)
	if m := f.Step.Measure; m != nil && m.First != nil {
		d := m.First
		row := "no row of its own"
		if d.Row >= 0 {
			row = fmt.Sprintf("row %d, the token at position %d", d.Row, d.Position)
		}
		fmt.Fprintf(w, "first    element %d at %v, %s: A %.9g, B %.9g (%d ulp)\n", d.Index, d.At, row, float64(d.A), float64(d.B), d.ULPs)
		fmt.Fprintf(w, "         %d of %d elements differ, |A-B| up to %.6g\n", d.Count, m.Compared, float64(m.Largest))
	} else if f.Step.Shapes != "" {
		fmt.Fprintf(w, "first    the shapes differ: %s\n", f.Step.Shapes)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, o := range f.Operands {
		label := "         "
		if i == 0 {
			label = "reads    "
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\n", label, o.Param, o.A, o.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "culprit  %s\n", f.Culprit)
	for _, list := range []struct {
		label string
		lines []string
	}{{"A", f.SuspectsA}, {"B", f.SuspectsB}} {
		lines := list.lines
		if n := len(lines) - suspectLines; n > 0 {
			fmt.Fprintf(w, "before   %s  (%d more, --json has them)\n", list.label, n)
			lines = lines[n:]
		}
		for _, line := range lines {
			fmt.Fprintf(w, "before   %s  %s\n", list.label, line)
		}
	}
	if f.LineA != "" {
		fmt.Fprintf(w, "op       A  %s\n", f.LineA)
	}
	if f.LineB != "" {
		fmt.Fprintf(w, "         B  %s\n", f.LineB)
	}
	return nil
}
