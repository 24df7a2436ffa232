package conformance

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/x448/float16"

	"lockstep/internal/durable"
	"lockstep/manifest"
)

// metrics gathers what is reported and never judged.
type metrics struct {
	worst    likeness
	measured bool
}

// cosine keeps the worst likeness over all tokens.
func (m *metrics) cosine(l likeness) {
	if !m.measured {
		m.worst, m.measured = l, true
		return
	}
	m.worst.hidden, m.worst.delta = math.Min(m.worst.hidden, l.hidden), math.Min(m.worst.delta, l.delta)
	m.worst.maxAbs = math.Max(m.worst.maxAbs, l.maxAbs)
}

// byOracle is how the oracle's figures come about.
const byOracle = "minimum over all tokens of the oracle's cases"

// figures are the cosines and differences.
func (m *metrics) figures() []manifest.Metric {
	return []manifest.Metric{
		measuredIf(m.measured, "cosine_hidden_min", m.worst.hidden, "1", byOracle, "no oracle case ran"),
		measuredIf(m.measured, "cosine_hidden_minus_x_min", m.worst.delta, "1", byOracle, "no oracle case ran"),
		measuredIf(m.measured, "max_abs_difference", m.worst.maxAbs, "1", "maximum over all tokens of the oracle's cases", "no oracle case ran"),
	}
}

// reportMetrics lists every figure but the ranges', or why it was not measured.
func (s *Suite) reportMetrics(ctx context.Context) []manifest.Metric {
	list := s.metrics.figures()
	if s.head {
		list = s.headMetrics.figures()
	}
	for _, t := range s.recipe.Rows {
		list = append(list, s.passTime(ctx, t))
	}
	free, err := durable.Free(durable.OS{}, s.volume())
	const statfs = "free space of the volume of the output directory, or of a package without one"
	list = append(
		list,
		measuredIf(true, "disk_free_before", float64(s.freeBytes), "B", statfs, ""),
		measuredIf(err == nil, "disk_free_after", float64(free), "B", statfs, "the volume did not answer"),
		unmeasured("latency_ane", "ms", "p50 of predictions through Core ML", noCoreML),
		unmeasured("energy_per_pass", "mJ", "ANE power rail of powermetrics", noCoreML),
		unmeasured("perplexity", "1", "held-out text through every shard", "one shard is not the whole model"),
	)
	if s.record.Model.Dims.Hidden < sizeRulesFrom {
		list = append(list, unmeasured("lint_size_rules", "1", "lint rules state and package_bytes", sizeRulesNotApplied))
	}
	return list
}

func measuredIf(ok bool, name string, v float64, unit, method, otherwise string) manifest.Metric {
	if !ok {
		return unmeasured(name, unit, method, otherwise)
	}
	return manifest.Metric{Name: name, Value: manifest.NewFigure(v), Unit: unit, Method: method}
}

func unmeasured(name, unit, method, reason string) manifest.Metric {
	return manifest.Metric{Name: name, Unit: unit, Method: method, NotMeasured: reason}
}

// timedPasses is how many passes are timed; the best counts, as the machine is
// shared.
const timedPasses = 3

// passTime times a few passes of a function whose driver the cases opened.
func (s *Suite) passTime(ctx context.Context, t int) manifest.Metric {
	plane := s.opt.Plane.Name()
	name := fmt.Sprintf("pass_ms_t%d_%s", t, plane)
	method := fmt.Sprintf("best of %d passes at position 0 on the %s plane, wall clock", timedPasses, plane)
	rows := hiddenRows("metrics x", t, s.record.Model.Dims.Hidden)
	var pass func() error
	var err error
	if d, ok := s.drivers[t]; ok {
		pass, err = d.timed(ctx, rows)
	} else if p, ok := s.projectors[t]; ok {
		pass = func() error { _, err := p.run(ctx, rows); return err }
	} else {
		return unmeasured(name, "ms", method, "the function was not executed")
	}
	if err != nil {
		return unmeasured(name, "ms", method, err.Error())
	}
	best, err := bestTime(pass)
	if err != nil {
		return unmeasured(name, "ms", method, err.Error())
	}
	return manifest.Metric{Name: name, Value: manifest.NewFigure(best), Unit: "ms", Method: method}
}

// timed is a pass over rows, each time at position 0 of one state.
func (d *driver) timed(ctx context.Context, rows [][]float16.Float16) (func() error, error) {
	st, err := d.newState(nil)
	return func() error { _, err := d.run(ctx, st, 0, rows); return err }, err
}

// bestTime is the best duration of a pass, in milliseconds.
func bestTime(pass func() error) (float64, error) {
	best := math.Inf(1)
	for range timedPasses {
		start := time.Now()
		if err := pass(); err != nil {
			return 0, err
		}
		best = min(best, float64(time.Since(start).Microseconds())/1000)
	}
	return best, nil
}
