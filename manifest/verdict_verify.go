package manifest

import (
	"fmt"
	"slices"
)

// Verify checks that the verdict agrees with itself: each check's result
// follows from its cases, the overall result from the checks, what did not run
// names a failure that it depends on, and a pass ran the whole catalogue. The
// error is ErrInvalid with the JSON path of the first fault, or
// ErrSchemaVersion.
func (d Verdict) Verify() error {
	if d.Schema != VerdictSchema {
		return fmt.Errorf("$.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, VerdictSchema, d.Schema)
	}
	v := &verifier{}
	v.check(isRelative(d.Package.Path), "$.package.path", "wanted a relative path with slashes, found %.80q", d.Package.Path)
	v.digest("$.package.digest", d.Package.Digest)
	v.judgedRange(d.Shard, d.Vocab)
	v.line("$.subject", d.Subject)
	v.oneOf("$.plane", d.Plane, PlaneReference, PlaneCoreML, PlaneFake)
	v.check(len(d.Checks) > 0, "$.checks", "has no check")
	for i := range d.Checks {
		v.judged(fmt.Sprintf("$.checks[%d]", i), d.Checks[i], d.Checks[:i], d.Required)
	}
	v.unique("$.checks", keysOf(d.Checks, func(c Check) string { return c.Name }))
	v.metrics(d.Metrics)
	if d.Ranges != nil {
		v.ranges(*d.Ranges, d.Shard)
	}
	v.required(d)
	v.catalogue(d.Catalogue, d.Result)
	v.line("$.machine.goos", d.Machine.GOOS)
	v.line("$.machine.goarch", d.Machine.GOARCH)
	v.optionalLine("$.machine.chip", d.Machine.Chip)
	v.optionalLine("$.machine.os_build", d.Machine.OSBuild)
	v.line("$.versions.lockstep", d.Versions.Lockstep)
	v.line("$.versions.go", d.Versions.Go)
	v.line("$.command", d.Command)
	v.check(d.Result.OfRun() && d.Result == Overall(d.Checks), "$.result",
		"wanted %q, which follows from the checks, found %.80q", Overall(d.Checks), d.Result)
	return v.err
}

// judgedRange wants layers, or rows of the vocabulary.
func (v *verifier) judgedRange(layers LayerRange, rows *VocabRange) {
	if rows == nil {
		v.check(0 <= layers.Start && layers.Start < layers.End, "$.shard", "[%d,%d) is no range", layers.Start, layers.End)
		return
	}
	v.check(layers == LayerRange{}, "$.shard", "wanted [0,0) beside $.vocab, found [%d,%d)", layers.Start, layers.End)
	v.check(0 <= rows.Start && rows.Start < rows.End, "$.vocab", "[%d,%d) is no range", rows.Start, rows.End)
}

// judged checks one check against its cases and the checks before it.
func (v *verifier) judged(at string, c Check, before []Check, required []string) {
	v.form(at+".name", lowerSnakeForm, c.Name)
	v.outcome(at, c.Result, c.Reason)
	for i, k := range c.Cases {
		path := fmt.Sprintf("%s.cases[%d]", at, i)
		v.line(path+".name", k.Name)
		v.outcome(path, k.Result, k.Reason)
		v.evidence(path+".evidence", k.Evidence)
	}
	v.unique(at+".cases", keysOf(c.Cases, func(k Case) string { return k.Name }))
	v.followsFromCases(at, c, required)
	v.dependencies(at, c, before)
}

// outcome checks one result with its reason.
func (v *verifier) outcome(at string, r Result, reason string) {
	v.check(r.OfCheck(), at+".result", "no result of a check: %.80q", r)
	if r == Pass {
		v.check(reason == "", at+".reason", "a pass needs none")
	} else {
		v.line(at+".reason", reason)
	}
}

// followsFromCases checks that the check's result is that of its cases. A
// check without cases cannot have passed; one that is required and was not
// measured has failed.
func (v *verifier) followsFromCases(at string, c Check, required []string) {
	if len(c.Cases) == 0 {
		v.check(c.Result != Pass, at+".cases", "a check that ran no case did not pass")
		return
	}
	results := make([]Result, len(c.Cases))
	for i, k := range c.Cases {
		results[i] = k.Result
	}
	want := Combine(results...)
	if want == NotMeasured && slices.Contains(required, c.Name) {
		want = Fail
	}
	v.check(c.Result == want, at+".result", "wanted %q, which follows from the cases, found %.80q", want, c.Result)
}

// dependencies checks that a check depends on earlier ones, did not run if one
// of them broke, and ran otherwise.
func (v *verifier) dependencies(at string, c Check, before []Check) {
	broken := false
	for i, name := range c.DependsOn {
		path := fmt.Sprintf("%s.depends_on[%d]", at, i)
		j := slices.IndexFunc(before, func(b Check) bool { return b.Name == name })
		v.check(j >= 0, path, "%.80q is no earlier check", name)
		if j >= 0 {
			r := before[j].Result
			broken = broken || r == Fail || r == Error || r == NotRun
		}
	}
	v.unique(at+".depends_on", c.DependsOn)
	v.check((c.Result == NotRun) == broken, at+".result",
		"found %.80q: a check is not run exactly if one that it depends on failed", c.Result)
}

func (v *verifier) evidence(at string, evidence []Evidence) {
	for i, e := range evidence {
		path := fmt.Sprintf("%s[%d]", at, i)
		v.line(path+".name", e.Name)
		v.check((e.Value == nil) != (e.Text == ""), path, "wanted either a value or a text")
		v.optionalLine(path+".text", e.Text)
		v.optionalLine(path+".unit", e.Unit)
		v.check(e.Value == nil || e.Unit != "", path+".unit", "a value needs its unit")
	}
}

func (v *verifier) metrics(metrics []Metric) {
	for i, m := range metrics {
		path := fmt.Sprintf("$.metrics[%d]", i)
		v.line(path+".name", m.Name)
		v.line(path+".unit", m.Unit)
		v.line(path+".method", m.Method)
		v.check((m.Value == nil) != (m.NotMeasured == ""), path, "wanted either a value or why it was not measured")
		v.optionalLine(path+".not_measured", m.NotMeasured)
	}
	v.unique("$.metrics", keysOf(metrics, func(m Metric) string { return m.Name }))
}

// required checks that what was required is not left as not measured.
func (v *verifier) required(d Verdict) {
	for i, name := range d.Required {
		path := fmt.Sprintf("$.required[%d]", i)
		j := slices.IndexFunc(d.Checks, func(c Check) bool { return c.Name == name })
		v.check(j >= 0, path, "%.80q is no check of this run", name)
		if j >= 0 {
			v.check(d.Checks[j].Result != NotMeasured, fmt.Sprintf("$.checks[%d].result", j), "%q is required, so not measured is fail", name)
		}
	}
	v.ascending("$.required", d.Required)
}

func (v *verifier) catalogue(c Catalogue, r Result) {
	v.digest("$.catalogue.digest", c.Digest)
	v.positive("$.catalogue.cases", c.Cases)
	v.check(0 <= c.Ran && c.Ran <= c.Cases, "$.catalogue.ran", "wanted 0 to %d, found %d", c.Cases, c.Ran)
	if r == Pass || r == Partial {
		v.check(c.Ran == c.Cases, "$.catalogue.ran", "%q needs all %d cases, %d ran", r, c.Cases, c.Ran)
	}
}

func (v *verifier) optionalLine(at, s string) {
	if s != "" {
		v.line(at, s)
	}
}
