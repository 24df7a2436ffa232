package report

import (
	"fmt"
	"slices"
	"strings"

	"lockstep/manifest"
)

// gap is something that was not measured, in one row.
type gap struct{ reason, what, where string }

// notMeasured lists what was not measured by its reason, so that one reason
// stands once however many cases and shards it has.
func (r Report) notMeasured(d *document) {
	var gaps []gap
	var rows []string // that count
	r.each(func(e Export, row Row) {
		if !row.counts() {
			return
		}
		where := fmt.Sprintf("%s on `%s`", r.name(e, row), row.Plane)
		rows = append(rows, where)
		for _, g := range gapsOf(row.Verdict) {
			gaps = append(gaps, gap{g.reason, g.what, where})
		}
	})
	d.section("Not measured", func() {
		grouped := group(gaps)
		if len(grouped) == 0 {
			return
		}
		d.table([]string{"why", "what", "where"})
		for _, g := range grouped {
			where := strings.Join(g.where, ", ")
			if len(rows) > 1 && len(g.where) == len(rows) {
				where = "every verdict above"
			}
			d.row(code(g.reason), strings.Join(g.what, ", "), where)
		}
		d.blank()
	})
}

// gapsOf are the cases, counted by check, and the figures that a verdict has
// not measured.
func gapsOf(v *manifest.Verdict) []gap {
	var out []gap
	for _, c := range v.Checks {
		counts := map[string]int{}
		var reasons []string
		for _, k := range withResult(c, manifest.NotMeasured) {
			if counts[k.Reason] == 0 {
				reasons = append(reasons, k.Reason)
			}
			counts[k.Reason]++
		}
		for _, reason := range reasons {
			out = append(out, gap{reason: reason, what: fmt.Sprintf("**%s** (%s)", c.Name, plural(counts[reason], "case"))})
		}
		if len(c.Cases) == 0 && c.Result == manifest.NotMeasured {
			out = append(out, gap{reason: c.Reason, what: strong(c.Name)})
		}
	}
	for _, m := range v.Metrics {
		if m.Value == nil {
			out = append(out, gap{reason: m.NotMeasured, what: code(m.Name)})
		}
	}
	return out
}

// gapGroup are things that have both reason and rows in common.
type gapGroup struct {
	reason      string
	what, where []string
}

// group gathers gaps by reason, and in it by the rows that they occur in, in
// the order of their first.
func group(gaps []gap) []gapGroup {
	type thing struct{ reason, what string }
	var order []thing
	where := map[thing][]string{}
	for _, g := range gaps {
		t := thing{g.reason, g.what}
		if where[t] == nil {
			order = append(order, t)
		}
		where[t] = append(where[t], g.where)
	}
	var out []gapGroup
	for _, t := range order {
		i := slices.IndexFunc(out, func(g gapGroup) bool { return g.reason == t.reason && slices.Equal(g.where, where[t]) })
		if i < 0 {
			i = len(out)
			out = append(out, gapGroup{reason: t.reason, where: where[t]})
		}
		out[i].what = append(out[i].what, t.what)
	}
	return out
}
