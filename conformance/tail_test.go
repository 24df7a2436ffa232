package conformance_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/reference"
	"lockstep/coreml/worker"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/fakecoreml"
	"lockstep/manifest"
)

// tail is the shard that is built first.
var tail = exporter.Range{Start: 30, End: 32}

// TestTail is the build gate: it exports the tail shard of the subject, or
// finds it up to date, and judges it by the whole catalogue.
//
// LOCKSTEP_CHECKPOINT and LOCKSTEP_OUT judge a real checkpoint;
// LOCKSTEP_PLANE chooses the plane, LOCKSTEP_WORKER and LOCKSTEP_ISOLATE have
// it in a process of its own, and LOCKSTEP_REQUIRE names the checks that must be
// measured.
func TestTail(t *testing.T) { runShard(t, tail, newSubject(t)) }

// TestTailOverFake judges the tail by the native plane over a Core ML in Go: the
// whole catalogue passes but for residency, of which a model this small says
// nothing, and the verdict names the plane for what it is.
func TestTailOverFake(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.plane = fakePlane(t, fakecoreml.Options{})
	verdict := runShard(t, tail, s)
	assert.Equal(t, manifest.PlaneFake, verdict.Plane)
	assert.Equal(t, manifest.Partial, verdict.Result)
	requireResults(t, soundHere(), &verdict)
	for _, c := range verdict.Checks {
		if c.Name == conformance.CheckResidency {
			assert.Contains(t, c.Reason, "subject too small")
		}
	}
}

// TestMissingPackageIsRefused: a package that was moved away is no failed one.
func TestMissingPackageIsRefused(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	res := s.export(t, tail)
	require.NoError(t, os.Rename(res.Dir, res.Dir+".away"))
	_, err := conformance.NewSuite(s.options(tail))
	assert.ErrorIs(t, err, conformance.ErrNoPackage)
}

// TestAnotherCheckpointIsRefused: judging a package by a checkpoint it was not
// made from would leave a failed verdict in the ladder's way.
func TestAnotherCheckpointIsRefused(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.export(t, tail)
	dir := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(context.Background(), dir, synth.Presets()[0].Spec))
	s.useCheckpoint(t, "synth", dir)
	_, err := conformance.NewSuite(s.options(tail))
	assert.ErrorIs(t, err, conformance.ErrCheckpoint)
}

// TestTailRecipes judges nano's tail in both precisions and all norm forms:
// parity is exact in each. The prescaled form fails by design: its eps/d leaves
// float16, which the lint sees in the program and the oracle on small inputs.
func TestTailRecipes(t *testing.T) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		for _, norm := range exporter.Norms() {
			t.Run(string(precision)+"_"+string(norm), func(t *testing.T) {
				t.Parallel()
				s := nanoSubject(t, precision, norm)
				verdict := s.judge(t, tail)
				want := soundHere()
				if norm == exporter.Prescaled {
					want[conformance.CheckLint], want[conformance.CheckOracle] = manifest.Fail, manifest.Fail
				}
				requireResults(t, want, verdict)
			})
		}
	}
}

// TestTailModels judges the last layers of models of other shapes: nothing is
// wired to one model.
func TestTailModels(t *testing.T) {
	for _, preset := range synth.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "checkpoint")
			require.NoError(t, synth.Write(context.Background(), dir, preset.Spec))
			s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
			s.useCheckpoint(t, "synth", dir)
			// int8's thresholds are for models, not for 64 random channels.
			s.recipe.Slots, s.recipe.Precision = 64, exporter.FP16
			layers := s.checkpoint.Config().Layers
			s.layout = exporter.Layout{layers}
			if layers > 1 {
				s.layout = exporter.Layout{layers - 1, 1}
			}
			shards := s.layout.Shards()
			verdict := s.judge(t, shards[len(shards)-1])
			requireResults(t, soundHere(), verdict)
		})
	}
}

// TestTailGGUF judges nano's tail as the Python package wrote it to GGUF: the
// oracle computes from the same file, so what Q8_0 rounded is the model.
func TestTailGGUF(t *testing.T) {
	for _, name := range []string{fixtures.NanoTailF16, fixtures.NanoTailQ8} {
		for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
			t.Run(name+"_"+string(precision), func(t *testing.T) {
				t.Parallel()
				s := nanoSubject(t, precision, exporter.LayerNormConcat)
				ck, err := checkpoint.OpenGGUF(fixtures.NanoGGUF(), name)
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, ck.Close()) })
				s.checkpoint, s.golden = ck, nil
				requireResults(t, soundHere(), s.judge(t, tail))
			})
		}
	}
}

// judge exports a shard and runs its whole catalogue in one go.
func (s subject) judge(t *testing.T, layers exporter.Range) *manifest.Verdict {
	t.Helper()
	s.export(t, layers)
	verdict, err := conformance.Run(context.Background(), s.options(layers), nil)
	require.NoError(t, err)
	return verdict
}

// soundHere is what every check says of a sound shard on a plane without a
// compute plan that could be judged.
func soundHere() map[string]manifest.Result {
	return map[string]manifest.Result{
		conformance.CheckPackage: manifest.Pass, conformance.CheckLint: manifest.Pass, conformance.CheckEquivalence: manifest.Pass,
		conformance.CheckOracle: manifest.Pass, conformance.CheckParity: manifest.Pass, conformance.CheckResidency: manifest.NotMeasured,
	}
}

func requireResults(t *testing.T, want map[string]manifest.Result, verdict *manifest.Verdict) {
	t.Helper()
	for _, c := range verdict.Checks {
		assert.Equal(t, want[c.Name], c.Result, "%s: %s", c.Name, c.Reason)
	}
}

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
	measure    []string
	cpuOnly    func(context.Context) (coreml.Plane, error)
}

// newSubject reads the suite's settings from the environment.
func newSubject(t *testing.T) subject {
	t.Helper()
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.dir = sharedOut(t)
	s.require = splitList(setting(t, "LOCKSTEP_REQUIRE", false))
	plane := setting(t, "LOCKSTEP_PLANE", false)
	s.plane = choosePlane(t, plane)
	s.measure = splitList(setting(t, "LOCKSTEP_MEASURE", false))
	s.cpuOnly = func(context.Context) (coreml.Plane, error) { return choosePlane(t, plane+native.CPUOnlySuffix), nil }
	if out := setting(t, "LOCKSTEP_OUT", true); out != "" {
		s.dir = out
	}
	name, path := setting(t, "LOCKSTEP_SUBJECT", false), setting(t, "LOCKSTEP_CHECKPOINT", true)
	switch {
	case path != "":
		s.useCheckpoint(t, exporter.ModelName(strings.TrimSuffix(filepath.Base(path), ".gguf")), path)
	case name == "synth":
		require.NotEmpty(t, os.Getenv("LOCKSTEP_OUT"), "LOCKSTEP_SUBJECT=synth writes about 1 GB: name a directory with LOCKSTEP_OUT")
		s.useCheckpoint(t, name, synthCheckpoint(t, s.dir+"-checkpoint"))
	case name != "" && name != "nano":
		require.Fail(t, "LOCKSTEP_SUBJECT", "want nano or synth, found %q; a checkpoint is named by LOCKSTEP_CHECKPOINT", name)
	}
	return s
}

// shared is the directory of all tests that judge the subject of the suite: a
// larger shard finds the smaller ones' verdicts there, from this run's tests.
var shared struct {
	once sync.Once
	dir  string
	err  error
}

func sharedOut(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() { shared.dir, shared.err = os.MkdirTemp("", "lockstep-conformance-") })
	require.NoError(t, shared.err)
	return filepath.Join(shared.dir, "out")
}

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == brittleArg {
		os.Exit(runBrittle(os.Args[2], os.Args[3]))
	}
	code := m.Run()
	if shared.dir != "" {
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// choosePlane makes the plane of a name. One that is not to be had ends the
// test: there is never another in its place. LOCKSTEP_WORKER names a lockstep
// binary in whose workers the plane then is, as LOCKSTEP_ISOLATE says. This
// binary is none: each build of it would have the system compile the models
// anew.
func choosePlane(t *testing.T, name string) coreml.Plane {
	t.Helper()
	if name == "" {
		name = manifest.PlaneReference
	}
	path, mode := setting(t, "LOCKSTEP_WORKER", true), setting(t, "LOCKSTEP_ISOLATE", false)
	require.Contains(t, []string{"", "package", "function"}, mode, "LOCKSTEP_ISOLATE")
	if path != "" {
		plane, err := worker.New(context.Background(), worker.Options{
			Plane: name, Path: path, Args: []string{"worker"}, Exclusive: mode == "function",
		})
		require.NoError(t, err, "LOCKSTEP_WORKER")
		return plane
	}
	require.Empty(t, mode, "LOCKSTEP_ISOLATE: name the lockstep binary with LOCKSTEP_WORKER")
	switch name {
	case manifest.PlaneReference:
		return reference.Plane{}
	case manifest.PlaneCoreML:
		plane, err := native.New(native.Options{})
		require.NoError(t, err, "LOCKSTEP_PLANE=%s", name)
		return plane
	case manifest.PlaneCoreML + native.CPUOnlySuffix:
		plane, err := native.New(native.Options{CPUOnly: true})
		require.NoError(t, err)
		return plane
	case manifest.PlaneFake:
		return fakePlane(t, fakecoreml.Options{})
	case manifest.PlaneFake + native.CPUOnlySuffix:
		plane, err := native.Over(fakecoreml.Start(t, fakecoreml.Options{CPUOnly: true}), native.Options{Reserve: 1, CPUOnly: true})
		require.NoError(t, err)
		return plane
	}
	require.Fail(t, "LOCKSTEP_PLANE", "want %s, %s or %s, found %q", manifest.PlaneReference, manifest.PlaneCoreML, manifest.PlaneFake, name)
	return nil
}

// fakePlane is the native plane over an Objective-C runtime in Go, whose faults
// fail the test.
func fakePlane(t *testing.T, opt fakecoreml.Options) coreml.Plane {
	t.Helper()
	plane, err := native.Over(fakecoreml.Start(t, opt), native.Options{Reserve: 1})
	require.NoError(t, err)
	return plane
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// useCheckpoint judges a checkpoint, a directory or a GGUF file, by the default
// recipe.
func (s *subject) useCheckpoint(t *testing.T, name, path string) {
	t.Helper()
	ck, err := checkpoint.OpenPath(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	s.name, s.checkpoint, s.golden, s.recipe = name, ck, nil, exporter.DefaultRecipe()
}

// synthCheckpoint writes the synthetic tail of the real dimensions, or finds
// it.
func synthCheckpoint(t *testing.T, dir string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, checkpoint.ConfigFile)); err != nil {
		require.NoError(t, synth.Write(context.Background(), dir, synth.RealTail()))
	}
	return dir
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

// exportOptions are an export without what is exported.
func (s subject) exportOptions() exporter.Options {
	opt := exporter.Options{
		Checkpoint: s.checkpoint, Dir: s.dir, Layout: s.layout, Recipe: s.recipe, Name: s.name,
		Reserve: exporter.DefaultReserve, Fresh: conformance.Fresh,
	}
	if !slices.Contains(s.require, conformance.CheckResidency) {
		opt.AcceptPartial = []string{conformance.CheckResidency}
	}
	if s.name == "nano" {
		opt.Anchors = anchorsOfNano()
	}
	return opt
}

func (s subject) export(t *testing.T, layers exporter.Range) *exporter.Result {
	t.Helper()
	opt := s.exportOptions()
	opt.Layers = layers
	res, err := exporter.Export(context.Background(), opt)
	require.NoError(t, err)
	return res
}

func (s subject) options(layers exporter.Range) conformance.Options {
	return conformance.Options{
		Dir: s.dir, Layers: layers, Plane: s.plane, Checkpoint: s.checkpoint, Golden: s.golden, Subject: s.name,
		Require: s.require, Lockstep: "(devel)", Command: "go test ./conformance -run Tail -count=1",
		Measure: s.measure, Instruments: conformance.Instruments{CPUOnly: s.cpuOnly},
	}
}

// runShard exports a shard and runs each case of its catalogue as a subtest.
func runShard(t *testing.T, layers exporter.Range, s subject) manifest.Verdict {
	t.Helper()
	s.export(t, layers)
	return judgeShard(t, s.options(layers), s.dir)
}

// judgeShard runs each case of a shard's catalogue as a subtest and writes the
// verdict beside the export.
func judgeShard(t *testing.T, opt conformance.Options, dir string) manifest.Verdict {
	t.Helper()
	requireTime(t, opt.Plane.Name())
	suite, err := conformance.NewSuite(opt)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, suite.Close()) })
	for _, c := range suite.Cases() {
		t.Run(c.ID(), func(t *testing.T) {
			out := suite.RunCase(context.Background(), c)
			setAttributes(t, caseAttributes(c, out))
			reportCase(t, out)
		})
	}
	if filtered() {
		t.Log("some cases were left out by -run or -skip: no verdict")
		return manifest.Verdict{}
	}
	verdict, err := suite.Verdict(context.Background())
	require.NoError(t, err)
	t.Logf("verdict %s: %d of %d cases ran on plane %s", verdict.Result, verdict.Catalogue.Ran, verdict.Catalogue.Cases, verdict.Plane)
	assert.Equal(t, verdict.Catalogue.Cases, verdict.Catalogue.Ran, "an unfiltered run must run the whole catalogue")
	setAttributes(t, verdictAttributes(*verdict))
	path, err := conformance.WriteVerdict(dir, *verdict)
	require.NoError(t, err)
	t.Logf("verdict written to %s", path)
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
