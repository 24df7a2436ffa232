package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/powermetrics"
	"lockstep/manifest"
)

// clock is a clock that a test moves on.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// warmUp is what a pass that warms up takes in these tests: far more than any
// that counts.
const warmUp = time.Second

// timedFake is a Core ML in Go in which all that takes time takes what the test
// says.
type timedFake struct {
	clock *clock
	other time.Duration // of predictions beyond passes
	// passes are what the next predictions of a function take, the first first.
	passes map[string][]time.Duration
	loads  map[string]time.Duration
	count  atomic.Int64 // of predictions
}

const compiling = 7 * time.Second

func (f *timedFake) took(doing fakecoreml.Doing, function string) {
	switch doing {
	case fakecoreml.Compiling:
		f.clock.pass(compiling)
	case fakecoreml.Loading:
		f.clock.pass(f.loads[function])
	case fakecoreml.Predicting:
		f.count.Add(1)
		d := f.other
		if next := f.passes[function]; len(next) > 0 {
			d, f.passes[function] = next[0], next[1:]
		}
		f.clock.pass(d)
	}
}

func (f *timedFake) plane(t *testing.T, cpuOnly bool) coreml.Plane {
	t.Helper()
	rt := fakecoreml.Start(t, fakecoreml.Options{CPUOnly: cpuOnly, Took: f.took})
	plane, err := native.Over(rt, native.Options{Reserve: 1, CPUOnly: cpuOnly})
	require.NoError(t, err)
	return plane
}

// spread is warm-up, then 1, 2, ... n times unit in an order that is none.
func spread(n int, unit time.Duration) []time.Duration {
	times := slices.Repeat([]time.Duration{warmUp}, warmUpPasses)
	for i := range n {
		times = append(times, time.Duration(i*7%n+1)*unit)
	}
	return times
}

// rig is a suite of nano's tail, both of whose functions have run.
type rig struct {
	*Suite
	fake, cpu *timedFake
	dir       string
}

// measured opens a suite over a timed fake.
func measured(t *testing.T, dir string, opt Options, measure ...string) *rig {
	t.Helper()
	c := newClock()
	r := &rig{
		dir:  dir,
		fake: &timedFake{clock: c, other: time.Millisecond, passes: map[string][]time.Duration{}, loads: map[string]time.Duration{"t1": 300 * time.Millisecond, "t4": 400 * time.Millisecond}},
		cpu:  &timedFake{clock: c, passes: map[string][]time.Duration{}},
	}
	r.fake.passes["t1"], r.fake.passes["t4"] = []time.Duration{50 * time.Millisecond}, []time.Duration{60 * time.Millisecond}
	opt.Dir, opt.Layers, opt.Subject, opt.Measure = dir, exporter.Range{Start: 30, End: 32}, "nano", measure
	if opt.Plane == nil {
		opt.Plane = r.fake.plane(t, false)
	}
	opt.Instruments.Now = c.now
	if opt.Instruments.CPUOnly == nil {
		opt.Instruments.CPUOnly = func(context.Context) (coreml.Plane, error) { return r.cpu.plane(t, true), nil }
	}
	var err error
	r.Suite, err = NewSuite(opt)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	r.runBoth(t)
	return r
}

// runBoth has a case execute both functions.
func (r *rig) runBoth(t *testing.T) {
	t.Helper()
	i := slices.IndexFunc(r.Cases(), func(c Case) bool { return c.Check == CheckParity && strings.HasSuffix(c.Name, "pos=0/live=1") })
	out := r.RunCase(context.Background(), r.Cases()[i])
	require.Equal(t, manifest.Pass, out.Result, out.Reason)
}

// report is the suite's figures by name.
func (r *rig) report(t *testing.T) map[string]manifest.Metric {
	t.Helper()
	byName := map[string]manifest.Metric{}
	for _, m := range r.reportMetrics(context.Background()) {
		require.NotContains(t, byName, m.Name)
		require.NotEqual(t, m.Value == nil, m.NotMeasured == "", m.Name)
		require.NotContains(t, m.Method+m.NotMeasured, "\n")
		byName[m.Name] = m
	}
	return byName
}

// value is a figure that must have been measured.
func value(t *testing.T, list map[string]manifest.Metric, name string) float64 {
	t.Helper()
	require.Contains(t, list, name)
	require.NotNil(t, list[name].Value, "%s: %s", name, list[name].NotMeasured)
	return float64(*list[name].Value)
}

// exportDir is an export of nano's tail of the test's own.
func exportDir(t *testing.T) string {
	t.Helper()
	pkg, _ := nanoTail(t)
	return filepath.Dir(pkg)
}

// TestLatency: p50 and p95 are those of the passes after warm-up, by function
// and in milliseconds; compiling, loading and the first prediction stand apart;
// the CPU's figures are the CPU's.
func TestLatency(t *testing.T) {
	r := measured(t, exportDir(t), Options{}, MeasureLatency, MeasureCPUOnly)
	r.fake.passes["t1"], r.fake.passes["t4"] = spread(timedLatency, time.Millisecond), spread(timedLatency, 2*time.Millisecond)
	r.cpu.passes["t1"], r.cpu.passes["t4"] = spread(timedCPUOnly, 10*time.Millisecond), spread(timedCPUOnly, 1500*time.Microsecond)
	list := r.report(t)
	for name, want := range map[string]float64{
		"compile": 7000, "load_t1": 300, "load_t4": 400, "first_predict_t1": 50, "first_predict_t4": 60,
		"latency_t1_p50": 25, "latency_t1_p95": 48, "latency_t4_p50": 50, "latency_t4_p95": 96,
		"latency_t1_cpu_only_p50": 100, "latency_t4_cpu_only_p50": 15,
	} {
		assert.InDelta(t, want, value(t, list, name), 1e-9, name)
		assert.Equal(t, "ms", list[name].Unit, name)
	}
	assert.InDelta(t, 4, value(t, list, "latency_t1_cpu_only_ratio"), 1e-9)
	assert.InDelta(t, 0.3, value(t, list, "latency_t4_cpu_only_ratio"), 1e-9)
	assert.Equal(t, "p95 (nearest rank) of 50 passes at position 32 of 64 slots after 5 to warm up, wall clock", list["latency_t4_p95"].Method)
	assert.Contains(t, list["load_t1"].Method, "this run had compiled")
	assert.Contains(t, list["latency_t1_cpu_only_p50"].Method, "of 20 passes")
	for _, f := range []*timedFake{r.fake, r.cpu} {
		assert.Empty(t, slices.Concat(slices.Collect(maps.Values(f.passes))...), "every pass that was planned was made")
	}
	assert.NotContains(t, list, "pass_ms_t1_fake", "one figure a thing")

	again := measured(t, r.dir, Options{}).report(t)
	assert.Equal(t, "an earlier run had compiled the package", again["compile"].NotMeasured)
	assert.Contains(t, again["load_t1"].Method, "an earlier run had compiled")
	assert.InDelta(t, 300, value(t, again, "load_t1"), 1e-9)
}

// TestMutantsOfLatency: each wrong way to take the figures gives other
// ones, so that TestLatency can fail.
func TestMutantsOfLatency(t *testing.T) {
	c := newClock()
	times := spread(timedLatency, time.Millisecond)
	next := 0
	pass := func() error { c.pass(times[next]); next++; return nil }
	sound, err := TimePasses(context.Background(), c.now, warmUpPasses, timedLatency, pass)
	require.NoError(t, err)
	next = 0
	warm, err := TimePasses(context.Background(), c.now, 0, warmUpPasses+timedLatency, pass)
	require.NoError(t, err)
	const ms = time.Millisecond
	assert.Equal(t, 48*ms, sound.Quantile(slowQuantile))
	assert.Equal(t, warmUp, warm.Quantile(slowQuantile), "warm-up counted in")
	assert.Equal(t, 3*ms, sound.Quantile(1-slowQuantile), "p95 from the wrong end")
	assert.Equal(t, 25*ms, sound.Quantile(usualQuantile))
	assert.InDelta(t, 48, milliseconds(sound.Quantile(slowQuantile)), 0)
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		n         int
		q         float64
		wantIndex int
	}{{1, 0.5, 0}, {1, 0.95, 0}, {2, 0.5, 0}, {3, 0.5, 1}, {20, 0.95, 18}, {21, 0.95, 19}, {100, 0.95, 94}, {4, 0, 0}, {4, 1, 3}} {
		l := make(Latency, tt.n)
		for i := range l {
			l[i] = time.Duration(i)
		}
		assert.EqualValues(t, tt.wantIndex, l.Quantile(tt.q), "%v of %d", tt.q, tt.n)
	}
}

// TestTimePassesEnds: a pass that fails, or a run that is stopped, ends the timing
// and gives no figure.
func TestTimePassesEnds(t *testing.T) {
	c := newClock()
	_, err := TimePasses(context.Background(), c.now, 1, 3, func() error { return os.ErrClosed })
	require.ErrorIs(t, err, os.ErrClosed)
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, err = TimePasses(ctx, c.now, 1, 3, func() error { calls++; cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, calls)
}

// TestWhyNotMeasured: every figure that is not there says why.
func TestWhyNotMeasured(t *testing.T) {
	dir := exportDir(t)
	reasons := func(list map[string]manifest.Metric, names ...string) []string {
		var out []string
		for _, name := range names {
			require.Contains(t, list, name)
			out = append(out, list[name].NotMeasured)
		}
		return out
	}
	t.Run("on the reference plane", func(t *testing.T) {
		list := measured(t, dir, Options{Plane: reference.Plane{}}, Measures()...).report(t)
		const why = "plane reference: its passes say nothing of the Neural Engine"
		assert.Equal(t, []string{why, why, why}, reasons(list, "latency", "latency_cpu_only", "energy_per_pass"))
		assert.NotContains(t, list, "load_t1")
		value(t, list, "pass_ms_t1_reference")
	})
	t.Run("not asked for", func(t *testing.T) {
		list := measured(t, dir, Options{}).report(t)
		assert.Equal(t, []string{"not asked for: --measure latency", "not asked for: --measure latency", "not asked for: --measure energy"},
			reasons(list, "latency", "latency_cpu_only", "energy_per_pass"))
		list = measured(t, dir, Options{}, MeasureLatency).report(t)
		assert.Equal(t, []string{"not asked for: --measure cpu_only"}, reasons(list, "latency_cpu_only"))
	})
	t.Run("nothing was executed", func(t *testing.T) {
		s, err := NewSuite(Options{
			Dir: dir, Layers: exporter.Range{Start: 30, End: 32}, Plane: (&timedFake{clock: newClock()}).plane(t, false), Measure: Measures(),
			Instruments: Instruments{CPUOnly: func(context.Context) (coreml.Plane, error) { return nil, os.ErrClosed }, Power: waiting{}},
		})
		require.NoError(t, err)
		list := (&rig{Suite: s}).report(t)
		r := measured(t, dir, Options{Plane: mute{(&timedFake{clock: newClock()}).plane(t, false)}})
		delete(r.opening.first, 4)
		muted := r.report(t)
		assert.Equal(t, "the plane does not tell", muted["compile"].NotMeasured)
		assert.NotContains(t, muted["load_t1"].Method, "compiled")
		assert.Equal(t, "there was none, or it failed", muted["first_predict_t4"].NotMeasured)
		for _, name := range []string{"compile", "load_t1", "first_predict_t4", "latency_t1", "latency_t4", "energy_per_pass_t1"} {
			assert.Equal(t, notExecuted, list[name].NotMeasured, name)
		}
		assert.Contains(t, list["latency_cpu_only"].NotMeasured, "no latency was measured")
	})
	t.Run("a clock that stands still", func(t *testing.T) {
		r := measured(t, dir, Options{}, MeasureLatency, MeasureCPUOnly)
		r.fake.other = 0
		assert.Contains(t, r.report(t)["latency_t1_cpu_only_ratio"].NotMeasured, "too coarse")
	})
	t.Run("no plane that keeps to the CPU", func(t *testing.T) {
		r := measured(t, dir, Options{}, MeasureLatency, MeasureCPUOnly)
		r.opt.Instruments.CPUOnly = nil
		assert.Equal(t, "plane fake cannot be kept to the CPU", r.report(t)["latency_cpu_only"].NotMeasured)
	})
	t.Run("the judged plane in place of the CPU", func(t *testing.T) {
		r := measured(t, dir, Options{}, MeasureLatency, MeasureCPUOnly)
		r.opt.Instruments.CPUOnly = func(context.Context) (coreml.Plane, error) { return r.opt.Plane, nil }
		assert.Contains(t, r.report(t)["latency_cpu_only"].NotMeasured, "has the name fake of the judged one")
	})
	t.Run("the CPU's plane is not to be had", func(t *testing.T) {
		r := measured(t, dir, Options{}, MeasureLatency, MeasureCPUOnly)
		r.opt.Instruments.CPUOnly = func(context.Context) (coreml.Plane, error) { return nil, errors.New("two\nlines") }
		assert.Equal(t, "two lines", r.report(t)["latency_cpu_only"].NotMeasured)
	})
	t.Run("unknown", func(t *testing.T) {
		_, err := NewSuite(Options{Dir: dir, Layers: exporter.Range{Start: 30, End: 32}, Plane: reference.Plane{}, Measure: []string{"heat"}})
		assert.ErrorContains(t, err, `found "heat"`)
	})
}

// mute is a plane whose packages do not tell whether they were compiled.
type mute struct{ coreml.Plane }

func (p mute) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return struct{ coreml.Package }{pkg}, err
}

// TestFirstPredictionThatFails is no first prediction, and neither is the next.
func TestFirstPredictionThatFails(t *testing.T) {
	var took []time.Duration
	c := newClock()
	f := &firstTimed{Function: failing{}, now: c.now, took: func(d time.Duration) { took = append(took, d) }}
	require.ErrorIs(t, f.Predict(context.Background(), nil, nil, nil), os.ErrClosed)
	f.Function = passing{clock: c}
	require.NoError(t, f.Predict(context.Background(), nil, nil, nil))
	assert.Empty(t, took)

	f = &firstTimed{Function: passing{clock: c}, now: c.now, took: func(d time.Duration) { took = append(took, d) }}
	require.NoError(t, f.Predict(context.Background(), nil, nil, nil))
	require.NoError(t, f.Predict(context.Background(), nil, nil, nil))
	assert.Equal(t, []time.Duration{time.Second}, took)
}

type failing struct{ coreml.Function }

func (failing) Predict(context.Context, map[string]coreml.Tensor, coreml.State, map[string]coreml.Tensor) error {
	return os.ErrClosed
}

type passing struct {
	coreml.Function
	clock *clock
}

func (p passing) Predict(context.Context, map[string]coreml.Tensor, coreml.State, map[string]coreml.Tensor) error {
	p.clock.pass(time.Second)
	return nil
}

// elsewhere is a plane that executes in other processes.
type elsewhere struct {
	coreml.Plane
	err error
}

func (p elsewhere) PeakMemory() (int64, error) { return 3_750_000_000, p.err }

// growing is a plane whose memory is what has passed on a clock, in ms.
type growing struct {
	coreml.Plane
	clock *clock
}

func (p growing) PeakMemory() (int64, error) {
	return p.clock.at.Sub(newClock().at).Milliseconds(), nil
}

// TestPeakMemoryIsOfWhatIsJudged: what is only measured comes after it.
func TestPeakMemoryIsOfWhatIsJudged(t *testing.T) {
	f := &timedFake{clock: newClock(), other: time.Millisecond}
	r := measured(t, exportDir(t), Options{Plane: growing{f.plane(t, false), f.clock}}, MeasureLatency, MeasureCPUOnly)
	before := float64(f.clock.at.Sub(newClock().at).Milliseconds())
	assert.InDelta(t, before, value(t, r.report(t), "memory_peak"), 0)
	assert.Greater(t, float64(f.clock.at.Sub(newClock().at).Milliseconds()), before)
}

// TestPeakMemory: the memory is that of the process that executes.
func TestPeakMemory(t *testing.T) {
	s := emptySuite(Options{Plane: elsewhere{Plane: reference.Plane{}}})
	list := map[string]manifest.Metric{"memory_peak": s.memoryMetric()}
	assert.InDelta(t, 3_750_000_000, value(t, list, "memory_peak"), 0)
	assert.Contains(t, list["memory_peak"].Method, "a process that executed the package")

	s = emptySuite(Options{Plane: elsewhere{reference.Plane{}, os.ErrClosed}})
	assert.Equal(t, os.ErrClosed.Error(), s.memoryMetric().NotMeasured, "no other process's in its place")

	s = emptySuite(Options{Plane: reference.Plane{}})
	list["memory_peak"] = s.memoryMetric()
	assert.Positive(t, value(t, list, "memory_peak"))
	assert.NotEqual(t, 3_750_000_000.0, value(t, list, "memory_peak"))
}

// log is a log of powermetrics.
func log(samples ...powermetrics.Sample) []byte {
	var b strings.Builder
	for _, s := range samples {
		fmt.Fprintf(&b, "*** Sampled system activity (now) (%.2fms elapsed) ***\nCPU Power: 900 mW\nANE Power: %v mW\n", milliseconds(s.Elapsed), s.ANE)
	}
	return []byte(b.String())
}

// samples are as many as are asked for, of two powers by turns; those of the
// first last thrice as long.
func samples(a, b float64) []powermetrics.Sample {
	return slices.Repeat([]powermetrics.Sample{{Elapsed: 300 * time.Millisecond, ANE: a}, {Elapsed: 100 * time.Millisecond, ANE: b}}, powerSamples/2)
}

// meter is a powermetrics that prints an idle log and one of a load by turns.
type meter struct {
	t          *testing.T
	fake       *timedFake
	idle, load []byte
	fail       error // of the load
	calls      int
}

// Log implements powermetrics.Source. Under load it goes on until some passes
// were made.
func (m *meter) Log(ctx context.Context, n int, interval time.Duration) ([]byte, error) {
	assert.Equal(m.t, powerSamples, n)
	assert.Equal(m.t, powerInterval, interval)
	m.calls++
	if m.calls%2 == 1 {
		return m.idle, nil
	}
	for before := m.fake.count.Load(); m.fake.count.Load() < before+4; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		runtime.Gosched()
	}
	return m.load, m.fail
}

// TestEnergy: what a pass costs is power above the control run's times the
// time of a pass, each by sample time, and both raw logs stay.
func TestEnergy(t *testing.T) {
	dir := exportDir(t)
	run := func() map[string]manifest.Metric {
		r := measured(t, dir, Options{}, MeasureEnergy)
		r.fake.other = 20 * time.Millisecond
		r.opt.Instruments.Power = &meter{t: t, fake: r.fake, idle: log(samples(8, 16)...), load: log(samples(2000, 1600)...)}
		return r.report(t)
	}
	list := run()
	for name, want := range map[string]struct {
		value float64
		unit  string
	}{
		"ane_power_t1_idle": {10, "mW"}, "ane_power_t1_idle_min": {8, "mW"}, "ane_power_t1_idle_max": {16, "mW"},
		"ane_power_t4_load": {1900, "mW"}, "ane_power_t4_load_min": {1600, "mW"}, "ane_power_t4_load_max": {2000, "mW"},
		"energy_per_pass_t1": {1890 * 0.02, "mJ"}, "energy_per_pass_t1_min": {1584 * 0.02, "mJ"}, "energy_per_pass_t1_max": {1992 * 0.02, "mJ"},
		"energy_per_pass_t4": {1890 * 0.02, "mJ"},
	} {
		assert.InDelta(t, want.value, value(t, list, name), 1e-9, name)
		assert.Equal(t, want.unit, list[name].Unit, name)
	}
	const idle, load = "verdicts/layers30_32.fake.powermetrics_t1_idle.0001.txt", "verdicts/layers30_32.fake.powermetrics_t1_load.0001.txt"
	assert.Contains(t, list["energy_per_pass_t1"].Method, "raw logs "+idle+", "+load)
	assert.Contains(t, list["energy_per_pass_t1"].Method, "20 samples of 250ms under passes at position 32 of 64 slots")
	requireText(t, dir, idle, log(samples(8, 16)...))
	requireText(t, dir, load, log(samples(2000, 1600)...))

	again := run()
	assert.Contains(t, again["energy_per_pass_t1"].Method, "t1_idle.0002.txt")
	requireText(t, dir, idle, log(samples(8, 16)...))
}

func requireText(t *testing.T, dir, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// TestMutantsOfEnergy: each wrong way to tell the energy gives another figure.
func TestMutantsOfEnergy(t *testing.T) {
	idle, err := powerOf(log(samples(8, 16)...))
	require.NoError(t, err)
	load, err := powerOf(log(samples(2000, 1600)...))
	require.NoError(t, err)
	sound, err := energyPerPass(idle, load, 20*time.Millisecond)
	require.NoError(t, err)
	assert.InDelta(t, 37.8, sound.mean, 1e-9)
	none, err := energyPerPass(power{}, load, 20*time.Millisecond)
	require.NoError(t, err)
	assert.Greater(t, none.mean, sound.mean, "the control run left out")
	assert.NotEqual(t, 1800.0, load.mean, "samples weighed alike although they differ in length")
	assert.Less(t, sound.least, sound.mean)
	assert.Greater(t, sound.most, sound.mean)
}

// TestEnergyNotTold: what is no energy of this function is not measured, and
// its log stays.
func TestEnergyNotTold(t *testing.T) {
	dir := exportDir(t)
	sound := log(samples(2000, 1600)...)
	for _, tt := range []struct {
		name       string
		idle, load []byte
		fail       error
		reason     string
	}{
		{"the engine was not used", log(samples(0, 0)...), log(samples(0, 0)...), nil, "which cannot be told apart"},
		{"another process used it in the control run", log(samples(0, 1700)...), sound, nil, "0 to 1700 mW idle and 1600 to 2000 mW under load"},
		{"too few samples under load", log(samples(0, 0)...), sound[:len(sound)/2], nil, "raw log"},
		{"too many samples", log(samples(0, 0)...), append(slices.Clone(sound), sound...), nil, "want 20 samples, found 40"},
		{"no log of powermetrics", []byte("usage"), sound, nil, "control run: not a log of powermetrics"},
		{"a program that failed", log(samples(0, 0)...), []byte("half"), powermetrics.ErrRun, powermetrics.ErrRun.Error()},
		{"a program that failed in silence", log(samples(0, 0)...), nil, powermetrics.ErrRun, powermetrics.ErrRun.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := measured(t, dir, Options{}, MeasureEnergy)
			r.recipe.Rows = r.recipe.Rows[:1]
			r.opt.Instruments.Power = &meter{t: t, fake: r.fake, idle: tt.idle, load: tt.load, fail: tt.fail}
			list := r.report(t)
			require.Contains(t, list, "energy_per_pass_t1")
			assert.Nil(t, list["energy_per_pass_t1"].Value)
			assert.Contains(t, list["energy_per_pass_t1"].NotMeasured, tt.reason)
		})
	}
	kept, err := filepath.Glob(filepath.Join(dir, "verdicts", "layers30_32.fake.powermetrics_t1_load.*.txt"))
	require.NoError(t, err)
	assert.Len(t, kept, 5, "what was printed is kept, whatever came of it")
}

// TestPassesFailUnderLoad: the watching process is told to end.
func TestPassesFailUnderLoad(t *testing.T) {
	r := measured(t, exportDir(t), Options{}, MeasureEnergy)
	_, _, err := r.underLoad(context.Background(), waiting{}, func() error { return os.ErrClosed })
	assert.ErrorIs(t, err, os.ErrClosed)
}

// waiting is a powermetrics that only its context ends.
type waiting struct{}

func (waiting) Log(ctx context.Context, _ int, _ time.Duration) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestEnergyHere: without an instrument the system's powermetrics is used,
// which there is none of here.
func TestEnergyHere(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("not measured: this system may have a powermetrics")
	}
	list := measured(t, exportDir(t), Options{}, MeasureEnergy).report(t)
	assert.Contains(t, list["energy_per_pass"].NotMeasured, "powermetrics cannot be used: there is none on")
}

// TestLogsHaveAPlace: a log that cannot be kept gives no figure.
func TestLogsHaveAPlace(t *testing.T) {
	s := emptySuite(Options{Plane: reference.Plane{}})
	_, err := s.keepLog("t1_idle", nil)
	require.ErrorIs(t, err, errPower)
	s.opt.Instruments.KeepLog = func(name string, _ []byte) (string, error) { return name, os.ErrPermission }
	_, _, err = s.watch("t1_idle", func() ([]byte, error) { return log(samples(0, 0)...), nil })
	assert.ErrorIs(t, err, os.ErrPermission)
}
