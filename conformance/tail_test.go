package conformance_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// tail is the shard that is built first.
var tail = exporter.Range{Start: 30, End: 32}

// TestTail is the build gate: it exports the tail shard of the subject, or
// finds it up to date, and judges it by the whole catalogue.
//
// LOCKSTEP_CHECKPOINT and LOCKSTEP_OUT judge a real checkpoint;
// LOCKSTEP_PLANE chooses the plane and LOCKSTEP_REQUIRE the checks that must
// be measured.
func TestTail(t *testing.T) { runShard(t, tail, newSubject(t)) }

// subject is what a test judges.
type subject struct {
	name       string
	checkpoint *checkpoint.Checkpoint
	golden     conformance.Golden
	dir        string
	recipe     exporter.Recipe
	layout     exporter.Layout
	plane      coreml.Plane
	require    []string
}

// newSubject reads the suite's settings from the environment.
func newSubject(t *testing.T) subject {
	t.Helper()
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	if path := setting(t, "LOCKSTEP_CHECKPOINT", true); path != "" {
		ck, err := checkpoint.OpenDir(path)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, ck.Close()) })
		s.name, s.checkpoint, s.golden, s.recipe = exporter.ModelName(filepath.Base(path)), ck, nil, exporter.DefaultRecipe()
	}
	if out := setting(t, "LOCKSTEP_OUT", true); out != "" {
		s.dir = out
	}
	if precision := setting(t, "LOCKSTEP_PRECISION", false); precision != "" {
		s.recipe.Precision = exporter.Precision(precision)
	}
	if slots := setting(t, "LOCKSTEP_SLOTS", false); slots != "" {
		n, err := strconv.Atoi(slots)
		require.NoError(t, err, "LOCKSTEP_SLOTS")
		s.recipe.Slots = n
	}
	if plane := setting(t, "LOCKSTEP_PLANE", false); plane != "" {
		require.Equal(t, manifest.PlaneReference, plane, "LOCKSTEP_PLANE: this build has the reference plane alone")
	}
	if names := setting(t, "LOCKSTEP_REQUIRE", false); names != "" {
		s.require = strings.Split(names, ",")
	}
	return s
}

// setting reads an environment variable; paths must be absolute, since tests
// run in their package's directory.
func setting(t *testing.T, name string, path bool) string {
	t.Helper()
	value := os.Getenv(name)
	if path && value != "" {
		require.True(t, filepath.IsAbs(value), "%s: want an absolute path, found %q", name, value)
	}
	return value
}

// nanoSubject is the bundled checkpoint with a recipe, in a directory of the
// test's own.
func nanoSubject(t *testing.T, p exporter.Precision, n exporter.Norm) subject {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Precision, rec.Norm = 256, p, n
	return subject{
		name: "nano", checkpoint: ck, golden: golden, dir: filepath.Join(t.TempDir(), "out"),
		recipe: rec, layout: exporter.DefaultLayout(), plane: reference.Plane{},
	}
}

// anchorsOfNano tie the bundled checkpoint's record to the runs that it
// follows.
func anchorsOfNano() []manifest.Anchor {
	return []manifest.Anchor{
		{Tag: "phi4-mini-ane-v0-spec-2026-04-29", Commit: "b366672"},
		{Tag: "phi4-mini-t4-layer0-pass-2026-04-29", Commit: "290e3d3"},
	}
}

func (s subject) export(t *testing.T, layers exporter.Range) *exporter.Result {
	t.Helper()
	opt := exporter.Options{
		Checkpoint: s.checkpoint, Dir: s.dir, Layers: layers, Layout: s.layout, Recipe: s.recipe, Name: s.name,
		Reserve: exporter.DefaultReserve, Fresh: conformance.Fresh,
	}
	if s.name == "nano" {
		opt.Anchors = anchorsOfNano()
	}
	res, err := exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	return res
}

func (s subject) options(layers exporter.Range) conformance.Options {
	return conformance.Options{
		Dir: s.dir, Layers: layers, Plane: s.plane, Checkpoint: s.checkpoint, Golden: s.golden, Subject: s.name,
		Require: s.require, Lockstep: "(devel)", Command: "go test ./conformance -run Tail -count=1",
	}
}

// runShard exports a shard and runs each case of its catalogue as a subtest.
func runShard(t *testing.T, layers exporter.Range, s subject) manifest.Verdict {
	t.Helper()
	s.export(t, layers)
	suite, err := conformance.NewSuite(s.options(layers))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, suite.Close()) })
	for _, c := range suite.Cases() {
		t.Run(c.ID(), func(t *testing.T) { reportCase(t, suite.RunCase(context.Background(), c)) })
	}
	verdict, err := suite.Verdict(context.Background())
	require.NoError(t, err)
	t.Logf("verdict %s: %d of %d cases ran on plane %s", verdict.Result, verdict.Catalogue.Ran, verdict.Catalogue.Cases, verdict.Plane)
	if filtered() {
		return *verdict
	}
	assert.Equal(t, verdict.Catalogue.Cases, verdict.Catalogue.Ran, "an unfiltered run must run the whole catalogue")
	path, err := conformance.WriteVerdict(s.dir, *verdict)
	require.NoError(t, err)
	t.Logf("verdict written to %s", filepath.Join(filepath.Base(s.dir), exporter.VerdictDir, filepath.Base(path)))
	return *verdict
}

// reportCase turns an outcome into a subtest's result: only what is not
// measured is a skip, with the reason first.
func reportCase(t *testing.T, out conformance.Outcome) {
	t.Helper()
	for _, e := range out.Evidence {
		if e.Value != nil {
			t.Logf("%s = %.9g %s", e.Name, float64(*e.Value), e.Unit)
		} else {
			t.Logf("%s: %s", e.Name, e.Text)
		}
	}
	switch out.Result {
	case manifest.Pass:
	case manifest.NotMeasured:
		t.Skipf("not measured: %s", out.Reason)
	default:
		t.Errorf("%s: %s", out.Result, out.Reason)
	}
}

// filtered reports whether the command line chose among the cases.
func filtered() bool {
	return strings.Contains(flag.Lookup("test.run").Value.String(), "/") || flag.Lookup("test.skip").Value.String() != ""
}
