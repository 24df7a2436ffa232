package exporter_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
	"lockstep/manifest"
)

// rung is a layout with three sizes: the ladder goes [31,32), [29,31), [0,29).
func rung() exporter.Layout { return exporter.Layout{29, 2, 1} }

var (
	smallest = exporter.Range{Start: 31, End: 32}
	middle   = exporter.Range{Start: 29, End: 31}
)

// climber exports nano's smallest shard and returns options for the middle one.
func climber(t *testing.T) (exporter.Options, *faultfs.Mem, *exporter.Result) {
	t.Helper()
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Layout, opt.Layers = rung(), smallest
	res := export(t, opt)
	opt.Layers = middle
	return opt, mem, res
}

// check is a check with one case of the same result.
func check(name string, r manifest.Result) manifest.Check {
	reason := ""
	if r != manifest.Pass {
		reason = "for this test"
	}
	return manifest.Check{Name: name, Result: r, Reason: reason, Cases: []manifest.Case{{Name: "case", Result: r, Reason: reason}}}
}

// verdict is a verdict on a plane about the package of the smallest shard.
func verdict(res *exporter.Result, plane string, checks ...manifest.Check) manifest.Verdict {
	v := manifest.Verdict{
		Schema:  manifest.VerdictSchema,
		Package: manifest.VerdictPackage{Path: res.Shard.Package.Path, Digest: res.Shard.Package.Digest},
		Shard:   manifest.LayerRange{Start: res.Shard.Start, End: res.Shard.End},
		Subject: "nano", Plane: plane, Result: manifest.Overall(checks), Checks: checks,
		Catalogue: manifest.Catalogue{Digest: strings.Repeat("d", 64), Cases: len(checks), Ran: len(checks)},
		Machine:   manifest.Machine{GOOS: "linux", GOARCH: "amd64"},
		Versions:  manifest.Versions{Lockstep: "(devel)", Go: "go1.26"},
		Command:   "lockstep gate",
	}
	if v.Result != manifest.Pass && v.Result != manifest.Partial {
		v.Catalogue.Ran--
	}
	return v
}

// record appends verdicts as the gate does, each under the name of a plane and
// a range.
func record(t *testing.T, mem *faultfs.Mem, layers exporter.Range, plane string, vs ...manifest.Verdict) {
	t.Helper()
	for _, v := range vs {
		text, err := manifest.EncodeVerdict(v)
		require.NoError(t, err)
		_, err = durable.AppendNumbered(mem, out+"/"+exporter.VerdictDir, exporter.VerdictPrefix(layers, plane), exporter.VerdictExt, text)
		require.NoError(t, err)
	}
}

// TestLadder gives the smallest shard verdicts and asks for the next one.
func TestLadder(t *testing.T) {
	const ref, coreml = manifest.PlaneReference, manifest.PlaneCoreML
	pass := func(r *exporter.Result, plane string) manifest.Verdict {
		return verdict(r, plane, check("package", manifest.Pass), check("residency", manifest.Pass))
	}
	partial := func(r *exporter.Result, plane string) manifest.Verdict {
		return verdict(r, plane, check("package", manifest.Pass), check("residency", manifest.NotMeasured))
	}
	fail := func(r *exporter.Result, plane string) manifest.Verdict {
		return verdict(r, plane, check("package", manifest.Fail), check("residency", manifest.Pass))
	}
	twoOpen := func(r *exporter.Result, plane string) manifest.Verdict {
		return verdict(r, plane, check("oracle", manifest.NotMeasured), check("residency", manifest.NotMeasured))
	}
	foreign := func(v manifest.Verdict) manifest.Verdict {
		v.Package.Digest = strings.Repeat("f", 64)
		return v
	}
	type given struct {
		plane string
		v     func(*exporter.Result) manifest.Verdict
	}
	of := func(plane string, f func(*exporter.Result, string) manifest.Verdict) given {
		return given{plane, func(r *exporter.Result) manifest.Verdict { return f(r, plane) }}
	}
	ofForeign := func(plane string, f func(*exporter.Result, string) manifest.Verdict) given {
		return given{plane, func(r *exporter.Result) manifest.Verdict { return foreign(f(r, plane)) }}
	}
	for _, tt := range []struct {
		name     string
		verdicts []given
		accept   bool     // residency as not measured
		words    []string // of the refusal; nil where the export goes on
		accepted bool     // as the record says it
	}{
		{name: "no verdict", words: []string{"29:31 wait for layers 31:32", "no coreml verdict", "--accept-partial"}},
		{name: "no verdict, partial accepted", accept: true, words: []string{"no verdict", "gate --out /out --layers 31:32 --checkpoint"}},
		{name: "pass on coreml", verdicts: []given{of(coreml, pass)}},
		{name: "pass on coreml, partial accepted", verdicts: []given{of(coreml, pass)}, accept: true},
		{name: "fail on coreml", verdicts: []given{of(coreml, fail)}, words: []string{"coreml", `"fail"`}},
		{name: "partial on coreml", verdicts: []given{of(coreml, partial)}, accept: true, words: []string{"coreml", `"partial"`}},
		{name: "fail after pass", verdicts: []given{of(coreml, pass), of(coreml, fail)}, words: []string{`"fail"`}},
		{name: "pass after fail", verdicts: []given{of(coreml, fail), of(coreml, pass)}},
		{name: "fail on coreml counts more than partial on reference", verdicts: []given{of(coreml, fail), of(ref, partial)}, accept: true, words: []string{"coreml", `"fail"`}},
		{name: "pass on reference is not enough", verdicts: []given{of(ref, pass)}, words: []string{"no coreml verdict"}},
		{name: "partial not accepted", verdicts: []given{of(ref, partial)}, words: []string{"no coreml verdict"}},
		{name: "partial accepted", verdicts: []given{of(ref, partial)}, accept: true, accepted: true},
		{name: "more than residency open", verdicts: []given{of(ref, twoOpen)}, accept: true, words: []string{"reference", "check oracle", `"not measured"`}},
		{name: "fail on reference", verdicts: []given{of(ref, fail)}, accept: true, words: []string{"reference", `"fail"`}},
		{name: "newest partial", verdicts: []given{of(ref, fail), of(ref, partial)}, accept: true, accepted: true},
		{name: "newest fail", verdicts: []given{of(ref, partial), of(ref, fail)}, accept: true, words: []string{`"fail"`}},
		{name: "verdict of another package", verdicts: []given{ofForeign(coreml, pass)}, words: []string{"no coreml verdict of their package"}},
		{name: "others do not hide its own", verdicts: []given{of(coreml, pass), ofForeign(coreml, fail)}},
		{name: "others do not stand in for its own", verdicts: []given{of(coreml, fail), ofForeign(coreml, pass)}, words: []string{`"fail"`}},
		{name: "other plane under this name", verdicts: []given{{coreml, func(r *exporter.Result) manifest.Verdict { return pass(r, ref) }}}, words: []string{"coreml.0001.json", "reference"}},
		{name: "other layers under this name", verdicts: []given{{coreml, func(r *exporter.Result) manifest.Verdict {
			v := pass(r, coreml)
			v.Shard = manifest.LayerRange{Start: 29, End: 31}
			return v
		}}}, words: []string{"coreml.0001.json", "found layers 29:31"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem, res := climber(t)
			for _, g := range tt.verdicts {
				record(t, mem, smallest, g.plane, g.v(res))
			}
			if tt.accept {
				opt.AcceptPartial = []string{"residency"}
			}
			if tt.words != nil {
				refused(t, opt, mem, exporter.ErrLadder, tt.words...)
				opt.OffLadder, opt.AcceptPartial = true, nil
			}
			made := export(t, opt)
			r := readRecord(t, mem)
			assert.Equal(t, made.Shard, r.Shards[0])
			assert.Equal(t, tt.words != nil, r.Shards[0].OffLadder, "the record tells when the ladder was left")
			var accepted []string
			if tt.accepted {
				accepted = []string{"residency"}
			}
			assert.ElementsMatch(t, accepted, r.Shards[0].AcceptedPartial, "the record tells what was let pass")
			assert.Empty(t, r.Shards[1].AcceptedPartial)
		})
	}
}

// TestLadderOrder asks for shards out of order.
func TestLadderOrder(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Layout = rung()
	for _, layers := range []exporter.Range{middle, {Start: 0, End: 29}} {
		opt.Layers = layers
		refused(t, opt, mem, exporter.ErrLadder, "wait for layers 31:32", "not exported yet")
	}
	opt.Layers = exporter.Range{Start: 30, End: 31}
	refused(t, opt, mem, exporter.ErrLadder, "30:31", "29+2+1", "0:29, 29:31, 31:32", "--off-ladder")
	opt.Layers = smallest
	res := export(t, opt)
	record(t, mem, smallest, manifest.PlaneCoreML, verdict(res, manifest.PlaneCoreML, check("package", manifest.Pass)))
	opt.Layers = exporter.Range{Start: 0, End: 29}
	refused(t, opt, mem, exporter.ErrLadder, "wait for layers 29:31", "not exported yet")
}

// TestEqualsDoNotWait exports the second of two smallest shards first.
func TestEqualsDoNotWait(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	opt.Layout = exporter.Layout{28, 2, 2}
	for _, layers := range []exporter.Range{{Start: 30, End: 32}, {Start: 28, End: 30}} {
		opt.Layers = layers
		export(t, opt)
	}
	assert.Len(t, readRecord(t, mem).Shards, 2)
	opt.Layers = exporter.Range{Start: 0, End: 28}
	refused(t, opt, mem, exporter.ErrLadder, "wait for layers 28:30")
}

// TestStaleVerdict lets the suite have grown since the verdict.
func TestStaleVerdict(t *testing.T) {
	opt, mem, res := climber(t)
	record(t, mem, smallest, manifest.PlaneCoreML, verdict(res, manifest.PlaneCoreML, check("package", manifest.Pass)))
	var asked []string
	grown := errors.New("the catalogue has grown")
	opt.Fresh = func(v manifest.Verdict, r manifest.Record) error {
		asked = append(asked, v.Package.Digest, r.Model.Name)
		return grown
	}
	before := mem.Content()
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, exporter.ErrLadder)
	require.ErrorIs(t, err, grown)
	assert.ErrorContains(t, err, "stale")
	assert.Equal(t, []string{res.Shard.Package.Digest, "nano"}, asked)
	sameContent(t, before, mem.Content())
	opt.Fresh = func(manifest.Verdict, manifest.Record) error { return nil }
	export(t, opt)
}

// TestUnreadableVerdict wants a damaged verdict to be an error, not absent.
func TestUnreadableVerdict(t *testing.T) {
	opt, mem, res := climber(t)
	record(t, mem, smallest, manifest.PlaneCoreML, verdict(res, manifest.PlaneCoreML, check("package", manifest.Pass)))
	name := out + "/" + exporter.VerdictDir + "/layers31_32.coreml.0001.json"
	flip(t, mem, name, 0)
	refused(t, opt, mem, exporter.ErrLadder, name)
}

func TestAcceptPartial(t *testing.T) {
	open := check("residency", manifest.NotMeasured)
	for _, tt := range []struct {
		name     string
		checks   []manifest.Check
		accepted []string
		word     string
	}{
		{"all passed", []manifest.Check{check("lint", manifest.Pass)}, nil, ""},
		{"not accepted", []manifest.Check{open}, nil, "residency"},
		{"accepted", []manifest.Check{check("lint", manifest.Pass), open}, []string{"residency"}, ""},
		{"other accepted", []manifest.Check{open}, []string{"lint"}, "residency"},
		{"accepted, but failed", []manifest.Check{check("residency", manifest.Fail)}, []string{"residency"}, `"fail"`},
		{"accepted, but not run", []manifest.Check{check("residency", manifest.NotRun)}, []string{"residency"}, `"not run"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := exporter.AcceptPartial(tt.checks, tt.accepted)
			if tt.word == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.word)
		})
	}
}
