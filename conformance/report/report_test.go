package report_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/report"
	"lockstep/manifest"
)

var (
	head = manifest.LayerRange{Start: 0, End: 4}
	tail = manifest.LayerRange{Start: 4, End: 6}
)

// of reads crafted directories.
func of(t *testing.T, dirs ...*crafted) report.Report {
	t.Helper()
	r := report.Report{Schema: report.Schema, MutantsNotMeasured: "no tallies were named (--mutants)"}
	for i, c := range dirs {
		e, err := report.Read(c.files, fmt.Sprintf("crafted%d", i), fresh)
		require.NoError(t, err)
		r.Exports = append(r.Exports, e)
	}
	return r
}

// TestMarkdown holds what each kind of directory comes to. The directories are
// crafted: nothing here was measured.
func TestMarkdown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		headline string
		report   func(t *testing.T) report.Report
	}{
		{"pass_coreml", "pass on coreml", func(t *testing.T) report.Report {
			c := craft(t, tail)
			r := of(t, c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil)))
			r.Mutants = []report.Mutants{{Schema: report.MutantsSchema, Name: "named", Mutants: 75, Killed: 73, Equal: 2, Command: "go test ./x"}}
			r.Tests = &report.Tests{Tests: 12, Skipped: 1}
			return r
		}},
		{"partial_reference", "partial on reference", func(t *testing.T) report.Report {
			c := craft(t, tail)
			return of(t, c.add(1, c.verdict(tail, manifest.PlaneReference, nil)))
		}},
		{"partial_unjudged", "partial on coreml", func(t *testing.T) report.Report {
			c := craft(t, head, tail)
			return of(t, c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil)))
		}},
		{"fail_parity", "fail on coreml, partial on reference", failing},
		{"fail_package", "fail on reference", func(t *testing.T) report.Report {
			c := craft(t, tail)
			return of(t, c.add(1, c.verdict(tail, manifest.PlaneReference, func(v *manifest.Verdict) {
				spoil(v, "package", manifest.Fail, "file weight.bin: the record wants another digest", 0)
				for _, name := range []string{"lint", "oracle", "parity", "residency"} {
					spoil(v, name, manifest.NotRun, `package/digests is "fail"`, 0)
				}
				v.Catalogue.Ran = 2
			})))
		}},
		{"error", "error on coreml, error on reference", func(t *testing.T) report.Report {
			c := craft(t, tail)
			c.add(1, c.verdict(tail, manifest.PlaneReference, func(v *manifest.Verdict) {
				spoil(v, "oracle", manifest.Error, "the harness broke: no such file", 1)
			}))
			return of(t, c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil)).put("layers4_6.coreml.0002.json", "{cut of"))
		}},
		{"stale", "stale on coreml, stale on reference", func(t *testing.T) report.Report {
			c := craft(t, tail)
			c.add(1, c.verdict(tail, manifest.PlaneCoreML, func(v *manifest.Verdict) { v.Package.Digest = sha("d") }))
			c.add(1, c.verdict(tail, manifest.PlaneReference, func(v *manifest.Verdict) { v.Catalogue.Digest = catalogueBefore }))
			return of(t, c.add(1, c.verdict(head, manifest.PlaneReference, nil)))
		}},
		{"several", "fail on coreml, partial on reference, pass on fake", several},
		{"head", "partial on reference, pass on coreml", func(t *testing.T) report.Report {
			c := craft(t, tail)
			c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil)).addHead(manifest.PlaneCoreML)
			return of(t, c.add(1, c.verdict(tail, manifest.PlaneReference, nil)))
		}},
		{"none", "no verdict", func(t *testing.T) report.Report {
			empty := &crafted{t: t, files: fstest.MapFS{}}
			return of(t, empty, craft(t, head, tail))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.report(t).Markdown()
			first, _, _ := strings.Cut(text, "\n")
			assert.Equal(t, "## lockstep: "+tt.headline, first)
			goldie.New(t, goldie.WithNameSuffix(".md")).Assert(t, tt.name, []byte(text))
		})
	}
}

// failing has more broken cases than are shown, texts that are no Markdown, and
// a range warning.
func failing(t *testing.T) report.Report {
	c := craft(t, tail)
	c.add(1, c.verdict(tail, manifest.PlaneReference, nil))
	v := c.verdict(tail, manifest.PlaneCoreML, func(v *manifest.Verdict) {
		parity := check(v, "parity")
		for i := range 6 {
			parity.Cases = append(parity.Cases, manifest.Case{Name: fmt.Sprintf("t4_vs_4xt1/pos=%d/live=4", 60+i), Result: manifest.Pass})
		}
		v.Catalogue.Cases, v.Catalogue.Ran = 15, 15
		spoil(v, "parity", manifest.Fail, "state layers_0_k_state differs at [head 0, slot 3, dim 1]: 1.5 | 1.25, <b>4</b> ulp, `x`", 1)
		parity.Cases[1].Evidence = []manifest.Evidence{
			{Name: "max_abs_difference", Value: manifest.NewFigure(0.25), Unit: "1"}, {Name: "where", Text: "a|b"},
		}
		v.Ranges = craftedRanges()
		v.Command += " --checkpoint '/two  spaces'"
	})
	r := of(t, c.add(1, v))
	r.Mutants = []report.Mutants{{Schema: report.MutantsSchema, Name: "named", Mutants: 3, Killed: 1, Survived: []string{"rope|whole_head"}, Undecided: 1, Command: "go test ./x"}}
	r.Tests = &report.Tests{Tests: 12, Failed: 3, Failures: []string{"lockstep/x.TestTail/parity/t4"}}
	return r
}

// craftedRanges warn of one layer.
func craftedRanges() *manifest.Ranges {
	layer := 4
	return &manifest.Ranges{
		Function: "t1", Inputs: "seeded", LayersBy: "name", Passes: 1, Positions: []int{0},
		Layers: []manifest.LayerRanges{{Layer: &layer, MaxByPosition: []manifest.Figure{32752}, Values: []manifest.ValueRange{
			{Op: "conv", Value: "qkv", MaxAbs: 32752, Headroom: manifest.HeadroomOf(32752, 0)},
		}}},
		Warnings: []string{"layer 4: qkv (conv) reaches 32752"},
	}
}

// several has two directories and all planes; one shard fails on one plane.
func several(t *testing.T) report.Report {
	a, b := craft(t, head, tail), craft(t, tail)
	a.add(1, a.verdict(head, manifest.PlaneReference, nil)).add(1, a.verdict(tail, manifest.PlaneReference, nil))
	a.add(3, a.verdict(tail, manifest.PlaneCoreML, nil)).add(2, a.verdict(tail, manifest.PlaneCoreML, func(v *manifest.Verdict) {
		spoil(v, "lint", manifest.Fail, "an older verdict", 0)
	}))
	a.add(1, a.verdict(head, manifest.PlaneCoreML, func(v *manifest.Verdict) {
		spoil(v, "residency", manifest.Fail, "2 ops are not on the Neural Engine, first conv \"qkv\" on cpu", 1)
	}))
	a.put("notes.json", "{}")
	b.add(1, b.verdict(tail, manifest.PlaneReference, nil))
	for _, c := range []*crafted{a, b} {
		c.add(1, c.verdict(tail, manifest.PlaneFake, nil))
	}
	return of(t, a.add(1, a.verdict(head, manifest.PlaneFake, nil)), b)
}

// TestOlderVerdictOfTheRecordedPackage counts, as it does for the ladder, where
// the newest one is about another package.
func TestOlderVerdictOfTheRecordedPackage(t *testing.T) {
	c := craft(t, tail)
	c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil))
	c.add(2, c.verdict(tail, manifest.PlaneCoreML, func(v *manifest.Verdict) { v.Package.Digest = sha("d") }))
	row := of(t, c).Exports[0].Rows[0]
	assert.Equal(t, report.Pass, row.Standing)
	assert.Equal(t, "verdicts/layers4_6.coreml.0001.json", row.File)
}

// TestNoRecord: without one nothing tells whether a verdict still counts.
func TestNoRecord(t *testing.T) {
	c := craft(t, tail)
	c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil))
	delete(c.files, manifest.RecordFile)
	row := of(t, c).Exports[0].Rows[0]
	assert.Equal(t, report.Stale, row.Standing)
	assert.Contains(t, row.Reason, manifest.RecordFile)
}

// TestNameAndTextDisagree: such a verdict is none.
func TestNameAndTextDisagree(t *testing.T) {
	c := craft(t, head, tail)
	c.add(1, c.verdict(tail, manifest.PlaneCoreML, nil))
	c.files["verdicts/layers0_4.coreml.0001.json"] = c.files["verdicts/layers4_6.coreml.0001.json"]
	rows := of(t, c).Exports[0].Rows
	assert.Equal(t, report.Error, rows[0].Standing)
	assert.Contains(t, rows[0].Reason, "layers 0:4 on plane coreml")
	assert.Equal(t, report.Pass, rows[1].Standing)
}

func TestBrokenRecord(t *testing.T) {
	c := craft(t, tail)
	c.files[manifest.RecordFile] = &fstest.MapFile{Data: []byte("{}")}
	_, err := report.Read(c.files, "crafted", fresh)
	require.ErrorIs(t, err, manifest.ErrMissingField)
	assert.ErrorContains(t, err, "crafted: lockstep.json: ")
}

// TestPassIsOnlyPass: whatever one verdict of many is, the headline never says
// pass unless all of the plane's are.
func TestPassIsOnlyPass(t *testing.T) {
	for result, spoiled := range map[report.Standing]func(*manifest.Verdict){
		report.Pass:    nil,
		report.Partial: func(v *manifest.Verdict) { unmeasure(v, "oracle", "no checkpoint") },
		report.Fail:    func(v *manifest.Verdict) { spoil(v, "parity", manifest.Fail, "differs", 0) },
		report.Error:   func(v *manifest.Verdict) { spoil(v, "parity", manifest.Error, "broke", 0) },
		report.Stale:   func(v *manifest.Verdict) { v.Catalogue.Digest = catalogueBefore },
	} {
		c := craft(t, head, tail)
		c.add(1, c.verdict(head, manifest.PlaneCoreML, nil)).add(1, c.verdict(tail, manifest.PlaneCoreML, spoiled))
		planes := of(t, c).Planes()
		require.Len(t, planes, 1)
		assert.Equal(t, result, planes[0].Standing)
	}
}

// TestJSON: a report is one document with every verdict in full.
func TestJSON(t *testing.T) {
	text, err := json.Marshal(several(t))
	require.NoError(t, err)
	var back report.Report
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, several(t).Markdown(), back.Markdown())
}
