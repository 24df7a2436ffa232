package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"lockstep/coreml"
	"lockstep/manifest"
)

// How many passes are made before a function's are timed, and how many are
// timed.
const (
	warmUpPasses  = 5
	timedLatency  = 50
	timedCPUOnly  = 20
	usualQuantile = 0.50
	slowQuantile  = 0.95
)

// notExecuted is why nothing is known of a function that no case ran.
const notExecuted = "the function was not executed"

// Latency are the times of single passes, ascending.
type Latency []time.Duration

// Quantile is the nearest-rank quantile: the least time that a share q of all
// passes kept within.
func (l Latency) Quantile(q float64) time.Duration {
	return l[max(0, int(math.Ceil(q*float64(len(l))))-1)]
}

// TimePasses times n passes after those that warm up, each by itself.
func TimePasses(ctx context.Context, now func() time.Time, warm, n int, pass func() error) (Latency, error) {
	var times Latency
	for i := range warm + n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := now()
		if err := pass(); err != nil {
			return nil, err
		}
		if i >= warm {
			times = append(times, now().Sub(start))
		}
	}
	slices.Sort(times)
	return times, nil
}

// latencyMetrics report p50 and p95 of each function, and what the CPU alone
// takes for the same.
func (s *Suite) latencyMetrics(ctx context.Context) []manifest.Metric {
	const what = "p50 and p95 of passes after warm-up, wall clock"
	if reason := s.unasked(MeasureLatency); reason != "" {
		return []manifest.Metric{
			unmeasured("latency", "ms", what, reason),
			unmeasured("latency_cpu_only", "ms", what+", with Core ML kept to the CPU", reason),
		}
	}
	var list []manifest.Metric
	usual := map[int]time.Duration{}
	for _, t := range s.recipe.Rows {
		name := fmt.Sprintf("latency_t%d", t)
		pass, at, err := s.timedPass(ctx, t)
		method := fmt.Sprintf("of %d passes %safter %d to warm up, wall clock", timedLatency, at, warmUpPasses)
		var times Latency
		if err == nil {
			times, err = TimePasses(ctx, s.now, warmUpPasses, timedLatency, pass)
		}
		if err != nil {
			list = append(list, unmeasured(name, "ms", "p50 and p95 "+method, oneLine(err)))
			continue
		}
		usual[t] = times.Quantile(usualQuantile)
		list = append(
			list,
			manifest.Metric{Name: name + "_p50", Value: manifest.NewFigure(milliseconds(usual[t])), Unit: "ms", Method: "p50 " + method},
			manifest.Metric{Name: name + "_p95", Value: manifest.NewFigure(milliseconds(times.Quantile(slowQuantile))), Unit: "ms", Method: "p95 (nearest rank) " + method},
		)
	}
	return append(list, s.cpuOnlyMetrics(ctx, usual)...)
}

// cpuOnlyMetrics time the functions on the plane that keeps to the CPU. That
// the same function is faster where the Neural Engine may be used is what a run
// can say beside the plan, which only anticipates.
func (s *Suite) cpuOnlyMetrics(ctx context.Context, usual map[int]time.Duration) []manifest.Metric {
	const name, what = "latency_cpu_only", "p50 of passes with Core ML kept to the CPU, wall clock"
	reason := s.unasked(MeasureCPUOnly)
	if reason == "" && s.opt.Instruments.CPUOnly == nil {
		reason = "plane " + s.opt.Plane.Name() + " cannot be kept to the CPU"
	}
	if reason == "" && len(usual) == 0 {
		reason = "nothing to hold it against: no latency was measured"
	}
	if reason != "" {
		return []manifest.Metric{unmeasured(name, "ms", what, reason)}
	}
	pkg, err := s.openCPUOnly(ctx)
	if err != nil {
		return []manifest.Metric{unmeasured(name, "ms", what, oneLine(err))}
	}
	var list []manifest.Metric
	for _, t := range s.recipe.Rows {
		if _, ok := usual[t]; ok {
			list = append(list, s.cpuOnly(ctx, pkg, t, usual[t])...)
		}
	}
	if err := pkg.Close(); err != nil {
		return []manifest.Metric{unmeasured(name, "ms", what, oneLine(err))}
	}
	return list
}

// openCPUOnly opens the package once more. The plane must not be the judged
// one: a latency over itself is 1, whatever the Neural Engine does.
func (s *Suite) openCPUOnly(ctx context.Context) (coreml.Package, error) {
	plane, err := s.opt.Instruments.CPUOnly(ctx)
	if err != nil {
		return nil, err
	}
	if plane.Name() == s.opt.Plane.Name() {
		return nil, fmt.Errorf("%w: the plane that keeps to the CPU has the name %s of the judged one", errHarness, plane.Name())
	}
	pkg, err := plane.Open(ctx, s.packageDir())
	if err != nil {
		return nil, err
	}
	return s.named(pkg), nil
}

// cpuOnly times one function on the CPU.
func (s *Suite) cpuOnly(ctx context.Context, pkg coreml.Package, t int, usual time.Duration) []manifest.Metric {
	name := fmt.Sprintf("latency_t%d_cpu_only", t)
	var times Latency
	at := ""
	fn, err := pkg.Function(ctx, s.functionName(t))
	if err == nil {
		var pass func() error
		if pass, at, err = s.passOf(ctx, pkg, fn, t); err == nil {
			times, err = TimePasses(ctx, s.now, warmUpPasses, timedCPUOnly, pass)
		}
	}
	method := fmt.Sprintf("p50 of %d passes %safter %d to warm up, with Core ML kept to the CPU, wall clock", timedCPUOnly, at, warmUpPasses)
	if err != nil {
		return []manifest.Metric{unmeasured(name, "ms", method, oneLine(err))}
	}
	p50 := times.Quantile(usualQuantile)
	ratio := fmt.Sprintf("%s_p50 over latency_t%d_p50: above 1, the function is faster where Core ML may use the Neural Engine", name, t)
	return []manifest.Metric{
		{Name: name + "_p50", Value: manifest.NewFigure(milliseconds(p50)), Unit: "ms", Method: method},
		measuredIf(usual > 0, name+"_ratio", float64(p50)/float64(usual), "1", ratio, "the clock is too coarse: it saw no time pass"),
	}
}

// timedPass is a pass of a function that the cases ran, with words for where it
// is made that end in a space, or none.
func (s *Suite) timedPass(ctx context.Context, t int) (pass func() error, at string, err error) {
	fn, ok := s.functions[t]
	if !ok {
		return nil, "", errors.New(notExecuted)
	}
	return s.passOf(ctx, s.pkg, fn, t)
}

// passOf is a prediction with all rows live, inputs that are there already, and
// a state of its own: what is timed is the plane's part, and not the host's.
func (s *Suite) passOf(ctx context.Context, pkg coreml.Package, fn coreml.Function, t int) (pass func() error, at string, err error) {
	rows := HiddenRows("metrics x", t, s.record.Model.Dims.Hidden)
	if s.head {
		p, err := newProjector(fn, pkg, t, s.record.Model.Dims.Hidden, s.opt.Vocab.Len())
		if err != nil {
			return nil, "", err
		}
		p.fill(rows)
		return func() error { return p.predict(ctx) }, "over seeded hidden states ", nil
	}
	d, err := newDriver(fn, pkg, s.shape(t), s.rope())
	if err != nil {
		return nil, "", err
	}
	st, err := d.newState(nil)
	if err != nil {
		return nil, "", err
	}
	pos := min(s.recipe.Slots/2, s.recipe.Slots-t)
	if err := d.pass.Fill(d.rope, pos, t, rows); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errHarness, err)
	}
	return func() error { return d.predict(ctx, st) }, fmt.Sprintf("at position %d of %d slots ", pos, s.recipe.Slots), nil
}
