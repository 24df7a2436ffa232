package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockstep/coreml"
	"lockstep/internal/memory"
	"lockstep/internal/powermetrics"
	"lockstep/manifest"
)

// What can be measured beyond the figures that cost nothing.
const (
	// MeasureLatency times passes of each function.
	MeasureLatency = "latency"
	// MeasureCPUOnly times them once more where Core ML keeps to the CPU.
	MeasureCPUOnly = "cpu_only"
	// MeasureEnergy has powermetrics watch the Neural Engine's power.
	MeasureEnergy = "energy"
)

// Measures lists what Options.Measure may name.
func Measures() []string { return []string{MeasureLatency, MeasureCPUOnly, MeasureEnergy} }

// Instruments are what figures are measured with. The zero value stands for
// the system's.
type Instruments struct {
	// Now is the clock; nil stands for time.Now.
	Now func() time.Time
	// CPUOnly opens the plane that is judged a second time, kept to the CPU. It
	// is measured and never judged. nil: there is no such plane.
	CPUOnly func(context.Context) (coreml.Plane, error)
	// Power is what watches the power; nil stands for the system's
	// powermetrics.
	Power powermetrics.Source
	// KeepLog keeps the raw text of a log under a new name that name is a part
	// of, and returns what the verdict calls it. nil keeps it beside the
	// verdicts of the export.
	KeepLog func(name string, log []byte) (string, error)
}

// checkMeasures refuses what nobody can measure.
func checkMeasures(names []string) error {
	for _, name := range names {
		if !slices.Contains(Measures(), name) {
			return fmt.Errorf("measure: want one of %v, found %q", Measures(), name)
		}
	}
	return nil
}

// now reads the clock.
func (s *Suite) now() time.Time {
	if s.opt.Instruments.Now != nil {
		return s.opt.Instruments.Now()
	}
	return time.Now()
}

// unasked is why something that takes time or rights is not measured, or "".
func (s *Suite) unasked(what string) string {
	if s.opt.Plane.Name() == manifest.PlaneReference {
		return "plane " + manifest.PlaneReference + ": its passes say nothing of the Neural Engine"
	}
	if !slices.Contains(s.opt.Measure, what) {
		return "not asked for: --measure " + what
	}
	return ""
}

// opening is how the package came to be open, and its functions loaded.
type opening struct {
	took     time.Duration // of Plane.Open
	compiled *bool         // Open compiled it; nil: the plane does not compile, or does not tell
	loads    map[int]time.Duration
	first    map[int]time.Duration // predictions
}

// open opens the package that is judged, once.
func (s *Suite) open(ctx context.Context) (coreml.Package, error) {
	if s.pkg != nil {
		return s.pkg, nil
	}
	start := s.now()
	pkg, err := s.opt.Plane.Open(ctx, s.packageDir())
	if err != nil {
		return nil, err
	}
	s.opening = opening{took: s.now().Sub(start), loads: map[int]time.Duration{}, first: map[int]time.Duration{}}
	if c, ok := pkg.(coreml.Compiler); ok {
		compiled := c.Compiled()
		s.opening.compiled = &compiled
	}
	s.pkg = s.named(pkg)
	return s.pkg, nil
}

// named shows a package by the contract's names.
func (s *Suite) named(pkg coreml.Package) coreml.Package {
	if s.foreign == nil {
		return pkg
	}
	return renamedPackage{pkg, s.foreign.names}
}

// load loads the function of t rows, and has its first prediction timed: it is
// apart from the others, since Core ML may leave work to it.
func (s *Suite) load(ctx context.Context, pkg coreml.Package, t int) (coreml.Function, error) {
	start := s.now()
	fn, err := pkg.Function(ctx, s.functionName(t))
	if err != nil {
		return nil, err
	}
	s.opening.loads[t] = s.now().Sub(start)
	if _, ok := fn.(coreml.Tracer); ok {
		return fn, nil // no Core ML, and its values are to be seen
	}
	return &firstTimed{Function: fn, now: s.now, took: func(d time.Duration) { s.opening.first[t] = d }}, nil
}

// firstTimed times the first prediction of a function, if it comes to an end.
type firstTimed struct {
	coreml.Function
	now  func() time.Time
	took func(time.Duration)
	done bool
}

// Predict implements coreml.Function.
func (f *firstTimed) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	if f.done {
		return f.Function.Predict(ctx, inputs, st, outputs)
	}
	f.done = true
	start := f.now()
	err := f.Function.Predict(ctx, inputs, st, outputs)
	if err == nil {
		f.took(f.now().Sub(start))
	}
	return err
}

// openingMetrics report compiling, loading and first predictions, apart.
func (s *Suite) openingMetrics() []manifest.Metric {
	if s.opt.Plane.Name() == manifest.PlaneReference {
		return nil // it neither compiles nor loads
	}
	anew, why, state := s.compiledAnew()
	list := []manifest.Metric{measuredIf(anew, "compile", milliseconds(s.opening.took), "ms", "opening a package that was not compiled before, wall clock", why)}
	for _, t := range s.recipe.Rows {
		took, loaded := s.opening.loads[t]
		list = append(list, measuredIf(loaded, fmt.Sprintf("load_t%d", t), milliseconds(took), "ms",
			"loading the function from the package"+state+"; what the system's own cache had of it is not known; wall clock", notExecuted))
		first, predicted := s.opening.first[t]
		why := notExecuted
		if loaded {
			why = "there was none, or it failed"
		}
		list = append(list, measuredIf(predicted, fmt.Sprintf("first_predict_t%d", t), milliseconds(first), "ms",
			"the first prediction after loading, whichever case made it, wall clock", why))
	}
	return list
}

// compiledAnew reports whether this run compiled the package, why that is no
// figure if it did not, and what is to be said of it in words.
func (s *Suite) compiledAnew() (anew bool, why, state string) {
	switch {
	case s.pkg == nil:
		return false, notExecuted, ""
	case s.opening.compiled == nil:
		return false, "the plane does not tell", ""
	case *s.opening.compiled:
		return true, "", ", which this run had compiled"
	}
	return false, "an earlier run had compiled the package", ", which an earlier run had compiled"
}

// memoryMetric is the peak memory of what executes.
func (s *Suite) memoryMetric() manifest.Metric {
	peak, method := memory.Peak, "largest resident memory of this process since it began; what the Neural Engine holds is not in it"
	if meter, ok := s.opt.Plane.(coreml.MemoryMeter); ok {
		peak, method = meter.PeakMemory, "largest resident memory of a process that executed the package; what the Neural Engine holds is not in it"
	}
	const name = "memory_peak"
	bytes, err := peak()
	if err != nil {
		return unmeasured(name, "B", method, oneLine(err))
	}
	return manifest.Metric{Name: name, Value: manifest.NewFigure(float64(bytes)), Unit: "B", Method: method}
}

// milliseconds are what times are reported in.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// oneLine is an error as a reason: verdicts have no text of several lines.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, err.Error())
}
