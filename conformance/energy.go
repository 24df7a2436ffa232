package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/internal/powermetrics"
	"lockstep/manifest"
)

// How long powermetrics watches an idle machine, and then one under load.
const (
	powerSamples  = 20
	powerInterval = 250 * time.Millisecond
)

// errPower means that logs give no energy.
var errPower = errors.New("no energy can be told")

// power is the Neural Engine's, in mW, over the samples of a log.
type power struct{ least, mean, most float64 }

// powerOf reads a log, which must have as many samples as were asked for. The
// mean is that over time: samples differ in length.
func powerOf(log []byte) (power, error) {
	samples, err := powermetrics.Parse(log)
	if err != nil {
		return power{}, err
	}
	if len(samples) != powerSamples {
		return power{}, fmt.Errorf("%w: want %d samples, found %d", errPower, powerSamples, len(samples))
	}
	p := power{least: math.Inf(1), most: math.Inf(-1)}
	var energy, elapsed float64
	for _, s := range samples {
		p.least, p.most = min(p.least, s.ANE), max(p.most, s.ANE)
		energy, elapsed = energy+float64(s.ANE*s.Elapsed.Seconds()), elapsed+s.Elapsed.Seconds()
	}
	p.mean = energy / elapsed
	return p, nil
}

// energyPerPass is what a pass costs above an idle machine, in mJ: the range is
// that of any sample under load over any sample of the idle machine. The rail
// is the whole machine's. Where the two ranges meet, what was seen may be
// another process's, or nothing.
func energyPerPass(idle, load power, pass time.Duration) (power, error) {
	if load.least <= idle.most {
		return power{}, fmt.Errorf("%w: the Neural Engine had %.4g to %.4g mW idle and %.4g to %.4g mW under load, which cannot be told apart",
			errPower, idle.least, idle.most, load.least, load.most)
	}
	s := pass.Seconds()
	return power{
		least: float64((load.least - idle.most) * s),
		mean:  float64((load.mean - idle.mean) * s),
		most:  float64((load.most - idle.least) * s),
	}, nil
}

// energyMetrics report each function's energy on the Neural Engine.
func (s *Suite) energyMetrics(ctx context.Context) []manifest.Metric {
	const what = "ANE power rail of powermetrics under passes, less that of a control run"
	one := func(reason string) []manifest.Metric {
		return []manifest.Metric{unmeasured("energy_per_pass", "mJ", what, reason)}
	}
	if reason := s.unasked(MeasureEnergy); reason != "" {
		return one(reason)
	}
	source := s.opt.Instruments.Power
	if source == nil {
		var err error
		if source, err = powermetrics.System(); err != nil {
			return one(oneLine(err))
		}
	}
	var list []manifest.Metric
	for _, t := range s.recipe.Rows {
		list = append(list, s.energy(ctx, source, t)...)
	}
	return list
}

// energy measures one function: a control run, and a run under its passes.
func (s *Suite) energy(ctx context.Context, source powermetrics.Source, t int) []manifest.Metric {
	name := fmt.Sprintf("energy_per_pass_t%d", t)
	pass, at, err := s.timedPass(ctx, t)
	method := fmt.Sprintf("ANE power rail of powermetrics, the whole machine's, %d samples of %v under passes %sless as many of a control run without passes", powerSamples, powerInterval, at)
	fail := func(err error) []manifest.Metric {
		return []manifest.Metric{unmeasured(name, "mJ", method, oneLine(err))}
	}
	if err != nil {
		return fail(err)
	}
	if _, err := TimePasses(ctx, s.now, warmUpPasses, 0, pass); err != nil {
		return fail(err)
	}
	idle, idleLog, err := s.watch(fmt.Sprintf("t%d_idle", t), func() ([]byte, error) { return source.Log(ctx, powerSamples, powerInterval) })
	if err != nil {
		return fail(fmt.Errorf("control run: %w", err))
	}
	var each time.Duration
	load, loadLog, err := s.watch(fmt.Sprintf("t%d_load", t), func() ([]byte, error) {
		var log []byte
		var err error
		log, each, err = s.underLoad(ctx, source, pass)
		return log, err
	})
	if err != nil {
		return fail(err)
	}
	method += fmt.Sprintf("; raw logs %s, %s", idleLog, loadLog)
	list := append(powerMetrics(fmt.Sprintf("ane_power_t%d_idle", t), method, idle), powerMetrics(fmt.Sprintf("ane_power_t%d_load", t), method, load)...)
	energy, err := energyPerPass(idle, load, each)
	if err != nil {
		return append(fail(err), list...)
	}
	of := func(suffix string, v float64, how string) manifest.Metric {
		return manifest.Metric{Name: name + suffix, Value: manifest.NewFigure(v), Unit: "mJ", Method: how + " " + method}
	}
	return append([]manifest.Metric{
		of("", energy.mean, "mean over time of the"),
		of("_min", energy.least, "least sample under load, less the largest of the control run, of the"),
		of("_max", energy.most, "largest sample under load, less the least of the control run, of the"),
	}, list...)
}

// powerMetrics are the mean and the range of a log.
func powerMetrics(name, method string, p power) []manifest.Metric {
	of := func(suffix string, v float64, how string) manifest.Metric {
		return manifest.Metric{Name: name + suffix, Value: manifest.NewFigure(v), Unit: "mW", Method: how + " of the samples; " + method}
	}
	return []manifest.Metric{of("", p.mean, "mean over time"), of("_min", p.least, "least"), of("_max", p.most, "largest")}
}

// underLoad makes one pass after another for as long as the power is watched,
// so that no sample is of an idle machine, and returns the mean time of a pass.
func (s *Suite) underLoad(ctx context.Context, source powermetrics.Source, pass func() error) ([]byte, time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type result struct {
		log []byte
		err error
	}
	watched := make(chan result, 1)
	start := s.now()
	go func() {
		log, err := source.Log(ctx, powerSamples, powerInterval)
		watched <- result{log, err}
	}()
	for passes := 1; ; passes++ {
		if err := pass(); err != nil {
			stop()
			r := <-watched // no process is left behind
			return r.log, 0, err
		}
		select {
		case r := <-watched:
			return r.log, s.now().Sub(start) / time.Duration(passes), r.err
		default:
		}
	}
}

// watch keeps the raw log before it is read, whatever came of the run.
func (s *Suite) watch(what string, run func() ([]byte, error)) (power, string, error) {
	log, failed := run()
	if failed != nil && len(log) == 0 {
		return power{}, "", failed
	}
	kept, err := s.keepLog(what, log)
	if err != nil {
		return power{}, "", errors.Join(failed, fmt.Errorf("raw log: %w", err))
	}
	p, err := powerOf(log)
	if failed != nil {
		err = failed
	}
	if err != nil {
		return power{}, kept, fmt.Errorf("%w; raw log %s", err, kept)
	}
	return p, kept, nil
}

// logExt ends the names of raw logs: no verdict's name does.
const logExt = ".txt"

// keepLog keeps a raw log beside the verdicts.
func (s *Suite) keepLog(what string, log []byte) (string, error) {
	name := "powermetrics_" + what
	if s.opt.Instruments.KeepLog != nil {
		return s.opt.Instruments.KeepLog(name, log)
	}
	if s.opt.Dir == "" {
		return "", fmt.Errorf("%w: there is no place for it", errPower)
	}
	prefix := exporter.VerdictPrefix(s.opt.Layers, s.opt.Plane.Name())
	if s.head {
		prefix = exporter.HeadVerdictPrefix(s.opt.Vocab, s.opt.Plane.Name())
	}
	path, err := durable.AppendNumbered(durable.OS{}, filepath.Join(s.opt.Dir, exporter.VerdictDir), prefix+name+".", logExt, log)
	if err != nil {
		return "", err
	}
	return exporter.VerdictDir + "/" + filepath.Base(path), nil
}
