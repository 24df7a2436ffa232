package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"lockstep/conformance/probe"
	"lockstep/manifest"
)

// probeProgress tells of the steps as they go: one of them may take minutes.
type probeProgress struct {
	to   io.Writer
	work string
}

// Begin implements exporter.Progress: what is written is over within seconds.
func (p *probeProgress) Begin(label string, bytes int64) {
	if bytes >= quietBelow {
		fmt.Fprintf(p.to, "write    %s, %s\n", label, byteCount(bytes))
	}
}

// Advance implements exporter.Progress.
func (*probeProgress) Advance(int64) {}

// End implements exporter.Progress.
func (*probeProgress) End() {}

// Variant implements probe.Observer.
func (p *probeProgress) Variant(n probe.Need, at, of int, free int64) {
	fmt.Fprintf(p.to, "variant  %d of %d: %s; at most %s more in %s, %s for a while in the temporary directory, ~%s in the system's cache; %s free\n",
		at, of, n.Variant, byteCount(n.Sources+n.Package+n.Compiled), p.work, byteCount(n.Temporary), byteCount(n.Cache), byteCount(free))
}

// Step implements probe.Observer.
func (p *probeProgress) Step(variant, step, about string) {
	fmt.Fprintf(p.to, "step     %s %s: %s\n", variant, step, about)
}

// Ended implements probe.Observer.
func (p *probeProgress) Ended(variant string, s manifest.ProbeStep) {
	text := string(s.Result)
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	fmt.Fprintf(p.to, "ended    %s %s after %.1f s: %s\n", variant, s.Name, float64(s.Seconds), text)
}

// probeErrors counts the steps that ended in an error.
func probeErrors(p *manifest.Probe) int {
	n := 0
	for _, v := range p.Variants {
		for _, s := range v.Steps {
			if s.Result == manifest.ProbeError {
				n++
			}
		}
	}
	return n
}

func printProbePlan(w io.Writer, plan probePlan) error {
	fmt.Fprintf(w, "probe    plane %s, dimensions %s: %d variants, one at a time; each: %s\n",
		plan.Plane, plan.Dimensions, len(plan.Variants), strings.Join(probe.Steps(), ", "))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "variant\tsources\tpackage\t.mlmodelc\ttemporary copy\tANE cache\tall so far\tfits\t")
	for _, n := range plan.Variants {
		fits := "yes"
		if plan.Free-n.Added < plan.Reserve {
			fits = "no"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t~%s\t~%s\t~%s\t%s\t%s\t\n", n.Variant, byteCount(n.Sources), byteCount(n.Package),
			byteCount(n.Compiled), byteCount(n.Temporary), byteCount(n.Cache), byteCount(n.Added), fits)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	last := plan.Variants[len(plan.Variants)-1]
	fmt.Fprintf(w, "peak     %s more in the directory at most (%d bytes): every variant stays; less by shared weights where the file system has hard links\n",
		byteCount(last.Added), last.Added)
	fmt.Fprintf(w, "disk     %s free (%d bytes), %s kept in reserve\n", byteCount(plan.Free), plan.Free, byteCount(plan.Reserve))
	if plan.Missing > 0 {
		fmt.Fprintf(w, "short    %d bytes are missing (%s) for all of them; the probe stops before the first that does not fit\n", plan.Missing, byteCount(plan.Missing))
	}
	fmt.Fprintln(w, "nothing  was written")
	return nil
}

// column is one column of the probe's table: what it shows of a variant. A cell
// that is empty stands for a step without that figure.
type column struct {
	head string
	step string
	cell func(s *manifest.ProbeStep) string
}

func probeColumns() []column {
	return []column{
		{"program", probe.StepProgram, text("sound")},
		{"compile s", probe.StepCompile, compileTime},
		{"load s t1", probe.StepLoad, number("t1_load", "%.2f")},
		{"load s t4", probe.StepLoad, number("t4_load", "%.2f")},
		{"t1 ane/cpu/gpu/?", probe.StepPlan, devices("t1")},
		{"t4 ane/cpu/gpu/?", probe.StepPlan, devices("t4")},
		{"t4=t1", probe.StepParity, bitwise("block_singles")},
		{"caches", probe.StepParity, bitwise("block_singles_caches")},
		{"t1=ref", probe.StepParity, bitwise("singles_reference")},
		{"t4=ref", probe.StepParity, bitwise("block_reference")},
		{"cosine", probe.StepParity, number("cosine_hidden_minus_x", "%.6f")},
		{"state shared", probe.StepState, text("shared")},
		{"rows alone", probe.StepRows, text("independent")},
		{"ms t1 p50", probe.StepLatency, number("t1_p50", "%.3f")},
		{"p95", probe.StepLatency, number("t1_p95", "%.3f")},
		{"ms t4 p50", probe.StepLatency, number("t4_p50", "%.3f")},
		{"p95", probe.StepLatency, number("t4_p95", "%.3f")},
	}
}

func text(name string) func(*manifest.ProbeStep) string {
	return func(s *manifest.ProbeStep) string { return s.Text(name) }
}

func number(name, form string) func(*manifest.ProbeStep) string {
	return func(s *manifest.ProbeStep) string {
		if f := s.Figure(name); f != nil {
			return fmt.Sprintf(form, float64(*f))
		}
		return ""
	}
}

// compileTime is no figure where an earlier run had compiled the package.
func compileTime(s *manifest.ProbeStep) string {
	if s.Text("compiled_before") == "yes" {
		return "found"
	}
	return number("compile", "%.2f")(s)
}

// devices are a function's ops on each.
func devices(function string) func(*manifest.ProbeStep) string {
	return func(s *manifest.ProbeStep) string {
		var counts []string
		for _, d := range []string{"ane", "cpu", "gpu", "unknown"} {
			f := s.Figure(function + "_ops_" + d)
			if f == nil {
				return ""
			}
			counts = append(counts, fmt.Sprintf("%.0f", float64(*f)))
		}
		return strings.Join(counts, "/")
	}
}

// bitwise is yes where every bit is the same, else the largest difference.
func bitwise(prefix string) func(*manifest.ProbeStep) string {
	return func(s *manifest.ProbeStep) string {
		values, differ, odd, most := s.Figure(prefix+"_values"), s.Figure(prefix+"_differ"), s.Figure(prefix+"_non_finite"), s.Figure(prefix+"_max_abs")
		switch {
		case values == nil || differ == nil || odd == nil || most == nil || *values == 0:
			return ""
		case *odd > 0:
			return fmt.Sprintf("no, %.0f non-finite", float64(*odd))
		case *differ > 0:
			return fmt.Sprintf("no, %.2g", float64(*most))
		}
		return "bitwise"
	}
}

// cellOf is what a column shows of a variant: a figure, or in a word why there
// is none.
func cellOf(v *manifest.ProbeVariant, c column) string {
	s := v.Step(c.step)
	switch {
	case s == nil:
		return "not run"
	case s.Result == manifest.ProbeError:
		return "error"
	case s.Result == manifest.ProbeNotRun:
		return "not run"
	}
	if cell := c.cell(s); cell != "" {
		return cell
	}
	return "-"
}

// printProbe prints the table, a row of each variant, and under it why cells
// have no figure. Every row names its plane.
func printProbe(w io.Writer, p *manifest.Probe) error {
	s := p.Setup
	fmt.Fprintf(w, "probe    plane %s, dimensions %s: hidden %d, intermediate %d, %d heads, %d KV heads, %d slots; %s/%s %s %s\n", s.Plane, s.Dimensions,
		s.Model.Hidden, s.Model.Intermediate, s.Model.Heads, s.Model.KVHeads, s.Model.Slots, s.Machine.GOOS, s.Machine.GOARCH, s.Machine.Chip, s.Machine.OSBuild)
	if s.Plane != manifest.PlaneCoreML {
		fmt.Fprintf(w, "note     plane %s: no Core ML was asked, and nothing here says what the Neural Engine does\n", s.Plane)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := probeColumns()
	head := []string{"head     plane", "variant"}
	for _, c := range columns {
		head = append(head, c.head)
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for i := range p.Variants {
		v := &p.Variants[i]
		cells := []string{"row      " + s.Plane, v.Name}
		for _, c := range columns {
			cells = append(cells, cellOf(v, c))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range p.Variants {
		for _, step := range v.Steps {
			printStep(w, s.Plane, v.Name, step)
		}
	}
	return nil
}

// printStep prints what a cell has no room for.
func printStep(w io.Writer, plane, variant string, s manifest.ProbeStep) {
	line := func(word, format string, args ...any) {
		fmt.Fprintf(w, "%-8s %s %s %s\n", word, plane, variant, fmt.Sprintf(format, args...))
	}
	switch s.Result {
	case manifest.ProbeError:
		line("error", "%s: %s", s.Name, s.Reason)
	case manifest.ProbeNotMeasured:
		line("none", "%s: %s", s.Name, s.Reason)
	case manifest.ProbeDone:
		for _, e := range s.Figures {
			function, residency := strings.CutSuffix(e.Name, "_residency")
			if residency {
				line("plan", "%s: %s", function, e.Text)
			}
			if e.Name == "refused" {
				line("refused", "%s: %s", s.Name, e.Text)
			}
		}
	}
}
