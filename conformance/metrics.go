package conformance

import (
	"context"
	"fmt"
	"math"
	"slices"

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
	peak := s.memoryMetric() // before anything else than what is judged is loaded
	list := s.metrics.figures()
	if s.head {
		list = s.headMetrics.figures()
	}
	if s.opt.Plane.Name() == manifest.PlaneReference {
		for _, t := range s.recipe.Rows {
			list = append(list, s.passTime(ctx, t))
		}
	}
	list = slices.Concat(list, s.openingMetrics(), s.latencyMetrics(ctx), s.energyMetrics(ctx))
	free, err := durable.Free(durable.OS{}, s.volume())
	const statfs = "free space of the volume of the output directory, or of a package without one"
	list = append(
		list,
		measuredIf(true, "disk_free_before", float64(s.freeBytes), "B", statfs, ""),
		measuredIf(err == nil, "disk_free_after", float64(free), "B", statfs, "the volume did not answer"),
		peak,
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

// passTime times a few passes of a function that the cases ran.
func (s *Suite) passTime(ctx context.Context, t int) manifest.Metric {
	plane := s.opt.Plane.Name()
	name := fmt.Sprintf("pass_ms_t%d_%s", t, plane)
	pass, at, err := s.timedPass(ctx, t)
	method := fmt.Sprintf("best of %d passes %son the %s plane, wall clock", timedPasses, at, plane)
	var times Latency
	if err == nil {
		times, err = TimePasses(ctx, s.now, 0, timedPasses, pass)
	}
	if err != nil {
		return unmeasured(name, "ms", method, oneLine(err))
	}
	return manifest.Metric{Name: name, Value: manifest.NewFigure(milliseconds(times[0])), Unit: "ms", Method: method}
}
