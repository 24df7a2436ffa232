package report

import (
	"fmt"
	"slices"
	"strings"

	"lockstep/manifest"
)

// casesShown bounds the broken cases that are shown of one check.
const casesShown = 5

// whatPlane says in the verdict line what a plane is, so that none reads as
// Core ML that is not.
var whatPlane = map[string]string{
	manifest.PlaneCoreML:    "Core ML on a Mac",
	manifest.PlaneReference: "an independent reading of the package, not Core ML",
	manifest.PlaneFake:      "a stand-in for tests, which says nothing of Core ML",
}

// Markdown renders the report for GitHub: the verdict lines and the matrix in
// the open, then what is wrong, then the rest, long tables folded.
func (r Report) Markdown() string {
	d := &document{}
	planes := r.Planes()
	d.line("## lockstep: %s", headline(planes))
	d.blank()
	for _, l := range planes {
		d.line("- %s", r.planeLine(l))
	}
	if !slices.ContainsFunc(planes, func(l PlaneLine) bool { return l.Plane == manifest.PlaneCoreML }) {
		d.line("- Core ML judged nothing here: no verdict on plane `coreml`.")
	}
	d.blank()
	r.matrix(d)
	r.broken(d)
	r.stale(d)
	r.mutants(d)
	r.tests(d)
	r.notMeasured(d)
	r.warnings(d)
	r.figures(d)
	r.files(d)
	return d.text()
}

// headline names the worst first.
func headline(planes []PlaneLine) string {
	if len(planes) == 0 {
		return "no verdict"
	}
	parts := make([]string, len(planes))
	for i, l := range planes {
		parts[i] = fmt.Sprintf("%s on %s", l.Standing, l.Plane)
	}
	return strings.Join(parts, ", ")
}

// planeLine says what keeps a plane from passing.
func (r Report) planeLine(l PlaneLine) string {
	text := fmt.Sprintf("**%s** on `%s` (%s): %d of %s judged", l.Standing, l.Plane, whatPlane[l.Plane], l.Judged, plural(l.Shards, "shard"))
	why := map[string][]string{}
	var order []string
	add := func(reason, where string) {
		if why[reason] == nil {
			order = append(order, reason)
		}
		why[reason] = append(why[reason], where)
	}
	for _, e := range r.Exports {
		for _, row := range e.Rows {
			if row.Plane == l.Plane {
				for _, reason := range blame(row) {
					add(reason, r.name(e, row))
				}
			}
		}
		for _, row := range e.missing(l.Plane) {
			add(string(NoVerdict), r.name(e, row))
		}
	}
	for _, reason := range order {
		text += fmt.Sprintf("; %s (%s)", reason, strings.Join(why[reason], ", "))
	}
	return text
}

// missing are the rows of shards that a plane has no verdict of, one for each.
func (e Export) missing(plane string) []Row {
	var out []Row
	seen := map[manifest.Piece]bool{}
	for _, row := range e.Rows {
		seen[row.Piece] = seen[row.Piece] || row.Plane == plane
	}
	for _, row := range e.Rows {
		if !seen[row.Piece] {
			seen[row.Piece] = true
			out = append(out, row)
		}
	}
	return out
}

// blame is what keeps a row from passing.
func blame(row Row) []string {
	if !row.counts() {
		return []string{string(row.Standing)}
	}
	var out []string
	for _, c := range row.Verdict.Checks {
		if c.Result != manifest.Pass {
			out = append(out, fmt.Sprintf("%s %s", c.Name, c.Result))
		}
	}
	return out
}

// name is a row's shard, with its directory where there are several.
func (r Report) name(e Export, row Row) string {
	text := row.Piece.String()
	if len(r.Exports) > 1 {
		text += " in " + code(e.Dir)
	}
	return text
}

// each calls do with every row.
func (r Report) each(do func(e Export, row Row)) {
	for _, e := range r.Exports {
		for _, row := range e.Rows {
			do(e, row)
		}
	}
}

// matrix is shard by check in words.
func (r Report) matrix(d *document) {
	var checks []string
	rows := 0
	r.each(func(_ Export, row Row) {
		rows++
		if !row.counts() {
			return
		}
		for _, c := range row.Verdict.Checks {
			if !slices.Contains(checks, c.Name) {
				checks = append(checks, c.Name)
			}
		}
	})
	if rows > 0 {
		d.table(slices.Concat([]string{"shard", "plane", "verdict"}, checks))
		r.each(func(e Export, row Row) {
			cells := []string{r.name(e, row), row.Plane, strong(string(row.Standing))}
			if row.Plane == "" {
				cells[1] = "-"
			}
			for _, name := range checks {
				cells = append(cells, cell(row, name))
			}
			d.row(cells...)
		})
		d.blank()
	}
	for _, e := range r.Exports {
		if e.Model == "" {
			d.line("There is no %s in %s.", code(manifest.RecordFile), code(e.Dir))
			d.blank()
		}
		if len(e.NotExported) > 0 {
			names := make([]string, len(e.NotExported))
			for i, s := range e.NotExported {
				names[i] = s.String()
			}
			d.line("Not exported to %s yet: %s.", code(e.Dir), strings.Join(names, ", "))
			d.blank()
		}
	}
}

// cell is one check of a row: its result, and how many of its cases have it
// where not all do.
func cell(row Row, name string) string {
	if !row.counts() {
		return "-"
	}
	i := slices.IndexFunc(row.Verdict.Checks, func(c manifest.Check) bool { return c.Name == name })
	if i < 0 {
		return "-"
	}
	c := row.Verdict.Checks[i]
	text := strong(string(c.Result))
	if n := len(withResult(c, c.Result)); n < len(c.Cases) {
		text += fmt.Sprintf(" (%d of %d)", n, len(c.Cases))
	}
	return text
}

// withResult are the cases of a check that came to a result.
func withResult(c manifest.Check, results ...manifest.Result) []manifest.Case {
	var out []manifest.Case
	for _, k := range c.Cases {
		if slices.Contains(results, k.Result) {
			out = append(out, k)
		}
	}
	return out
}

// broken lists the checks that failed or broke, each with where it did.
func (r Report) broken(d *document) {
	d.section("Failures", func() {
		r.each(func(e Export, row Row) {
			if row.Verdict == nil && row.Standing == Error {
				d.line("**%s on `%s`: error**", r.name(e, row), row.Plane)
				d.blank()
				d.line("- %s: %s", code(row.File), code(row.Reason))
				d.blank()
				return
			}
			if row.Standing != Fail && row.Standing != Error {
				return
			}
			for _, c := range row.Verdict.Checks {
				if c.Result == manifest.Fail || c.Result == manifest.Error {
					r.brokenCheck(d, e, row, c)
				}
			}
			d.again(row.Verdict.Command)
		})
	})
}

func (r Report) brokenCheck(d *document, e Export, row Row, c manifest.Check) {
	bad := withResult(c, manifest.Fail, manifest.Error)
	d.line("**%s on `%s`: %s %s** (%d of %s)", r.name(e, row), row.Plane, c.Name, c.Result, len(bad), plural(len(c.Cases), "case"))
	d.blank()
	if len(bad) == 0 { // required, or without cases
		d.line("- %s", code(c.Reason))
	}
	shown := bad[:min(casesShown, len(bad))]
	for _, k := range shown {
		d.line("- %s %s: %s", k.Result, code(k.Name), code(k.Reason))
	}
	if more := len(bad) - len(shown); more > 0 {
		d.line("- and %d more; %s has them all", more, code(row.File))
	}
	d.blank()
	if slices.ContainsFunc(shown, func(k manifest.Case) bool { return len(k.Evidence) > 0 }) {
		d.fold("Evidence", func() {
			d.table([]string{"case", "observed", "value"})
			for _, k := range shown {
				for _, ev := range k.Evidence {
					d.row(code(k.Name), code(ev.Name), code(quantity(ev.Value, ev.Unit, ev.Text)))
				}
			}
		})
	}
}

// stale lists the verdicts that no longer count.
func (r Report) stale(d *document) {
	d.section("Stale", func() {
		r.each(func(e Export, row Row) {
			if row.Standing != Stale {
				return
			}
			d.line("**%s on `%s`** was %s, and no longer counts: %s", r.name(e, row), row.Plane, row.Verdict.Result, code(row.Reason))
			d.blank()
			d.again(row.Verdict.Command)
		})
	})
}

func (r Report) mutants(d *document) {
	d.section("Mutants", func() {
		if len(r.Mutants) == 0 {
			d.line("- not measured: %s", r.MutantsNotMeasured)
		}
		for _, m := range r.Mutants {
			text := fmt.Sprintf("%s: %d of %d killed, %d equal to the sound package, %d survived", m.Name, m.Killed, m.Mutants, m.Equal, len(m.Survived))
			if m.Undecided > 0 {
				text += fmt.Sprintf(", **%d without a result**", m.Undecided)
			}
			d.line("- %s (%s)", text, code(m.Command))
			for _, name := range m.Survived {
				d.line("  - **survived** %s", code(name))
			}
		}
		d.blank()
	})
}

func (r Report) tests(d *document) {
	d.section("Tests", func() {
		if r.TestsNotMeasured != "" {
			d.line("- not measured: %s", r.TestsNotMeasured)
			d.blank()
		}
		if r.Tests == nil {
			return
		}
		d.line("%s: %d failed, %d skipped (a case that is not measured is a skipped test).", plural(r.Tests.Tests, "test"), r.Tests.Failed, r.Tests.Skipped)
		for _, name := range r.Tests.Failures[:min(len(r.Tests.Failures), casesShown)] {
			d.line("- failed %s", code(name))
		}
		if more := len(r.Tests.Failures) - casesShown; more > 0 {
			d.line("- and %d more", more)
		}
		d.blank()
	})
}

// warnings are those of the ranges.
func (r Report) warnings(d *document) {
	d.section("Range warnings", func() {
		r.each(func(e Export, row Row) {
			if !row.counts() || row.Verdict.Ranges == nil {
				return
			}
			for _, w := range row.Verdict.Ranges.Warnings {
				d.line("- %s on `%s`: %s", r.name(e, row), row.Plane, code(w))
			}
		})
		if d.open { // anything was written
			d.blank()
		}
	})
}

// figures lists what was measured and not judged.
func (r Report) figures(d *document) {
	d.section("Figures", func() {
		r.each(func(e Export, row Row) {
			if !row.counts() {
				return
			}
			measured := slices.DeleteFunc(slices.Clone(row.Verdict.Metrics), func(m manifest.Metric) bool { return m.Value == nil })
			if len(measured) == 0 {
				return
			}
			d.fold(fmt.Sprintf("%s on %s, %s", plainName(r, e, row), row.Plane, machine(row.Verdict)), func() {
				d.table([]string{"figure", "value", "method"})
				for _, m := range measured {
					d.row(code(m.Name), quantity(m.Value, m.Unit, ""), code(m.Method))
				}
			})
		})
	})
}

// plainName is name without Markdown.
func plainName(r Report, e Export, row Row) string {
	text := row.Piece.String()
	if len(r.Exports) > 1 {
		text += " in " + e.Dir
	}
	return text
}

// machine is where a verdict's run was.
func machine(v *manifest.Verdict) string {
	parts := []string{v.Machine.GOOS + "/" + v.Machine.GOARCH}
	for _, known := range []string{v.Machine.Chip, v.Machine.OSBuild} {
		if known != "" {
			parts = append(parts, known)
		}
	}
	return strings.Join(parts, ", ")
}

// files says which texts the report is made of.
func (r Report) files(d *document) {
	some := false
	r.each(func(_ Export, row Row) { some = some || row.File != "" })
	if !some {
		return
	}
	d.fold("Verdict files", func() {
		d.table([]string{"file", "subject", "package", "lockstep"})
		r.each(func(e Export, row Row) {
			if v := row.Verdict; v != nil {
				d.row(code(e.Dir+"/"+row.File), code(v.Subject), code(fmt.Sprintf("%.12s", v.Package.Digest)), code(v.Versions.Lockstep+" "+v.Versions.Go))
			}
		})
		for _, e := range r.Exports {
			for _, name := range e.Unread {
				d.row(code(e.Dir+"/"+manifest.VerdictDir+"/"+name), "not read: no verdict's name", "-", "-")
			}
		}
	})
}

// plural counts things.
func plural(n int, what string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// quantity prints a figure or a text; a ratio or count goes without its unit.
func quantity(value *manifest.Figure, unit, text string) string {
	switch {
	case value == nil:
		return text
	case unit == "1":
		return fmt.Sprintf("%.9g", float64(*value))
	case unit == "B":
		return fmt.Sprintf("%.0f B", float64(*value))
	}
	return fmt.Sprintf("%.9g %s", float64(*value), unit)
}
