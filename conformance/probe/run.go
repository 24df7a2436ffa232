package probe

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

// Options are one run of a probe.
type Options struct {
	Dir        string // where everything is written, made if absent
	Dimensions Dimensions
	// Variants are all that the probe has; Only names those to go on with, none
	// stands for all.
	Variants []Variant
	Only     []string
	// Plane opens a package in a process of its own each time, so that what
	// breaks costs one step.
	Plane   coreml.Plane
	Setup   manifest.ProbeSetup // see Dimensions.Setup
	Reserve int64               // bytes to leave free
	Retry   bool                // try steps that ended in an error again

	FS       durable.FS        // the operating system's if nil
	Progress exporter.Progress // of what is written; may be nil
	Observe  Observer          // may be nil
}

// Observer is told how a run goes.
type Observer interface {
	// Variant is called before a variant of which something is missing, with
	// what it takes and what is free.
	Variant(n Need, at, of int, free int64)
	// Step and Ended enclose a step.
	Step(variant, step, about string)
	Ended(variant string, s manifest.ProbeStep)
}

// Result is what a run knows at its end, from earlier runs too.
type Result struct {
	Probe manifest.Probe
	File  string // that it was written to
	Ran   int    // steps of this run
}

// Run takes each variant through its steps, and goes on with the next one where
// a step breaks. What ended before is not tried again. The error is one of the
// directory, of a disk that is short, or of the context; what was measured until
// then is in the result all the same, nil if that is nothing, and the next run
// goes on from there.
func Run(ctx context.Context, opt Options) (res *Result, err error) {
	if opt.FS == nil {
		opt.FS = durable.OS{}
	}
	if opt.Progress == nil {
		opt.Progress = silent{}
	}
	if opt.Observe == nil {
		opt.Observe = silent{}
	}
	chosen, err := Select(opt.Variants, opt.Only)
	if err != nil {
		return nil, err
	}
	known, err := readResults(opt.FS, opt.Dir, opt.Setup, opt.Variants)
	if err != nil {
		return nil, err
	}
	needs, err := Plan(opt.Dimensions, chosen, opt.Setup.Plane, opt.Dir)
	if err != nil {
		return nil, err
	}
	r := &run{Options: opt, known: known, lab: &lab{
		fs: opt.FS, dir: opt.Dir, dims: opt.Dimensions, reserve: opt.Reserve, progress: opt.Progress, stored: map[weights]string{},
	}}
	defer func() { err = errors.Join(err, r.close()) }()
	for i, v := range chosen {
		if err = r.variant(ctx, v, needs[i], i+1, len(chosen)); err != nil {
			break
		}
	}
	if err != nil && r.ran == 0 {
		return nil, err
	}
	res = &Result{Probe: known.probe(opt.Variants), Ran: r.ran}
	var failed error
	res.File, failed = known.write(res.Probe)
	return res, errors.Join(err, failed)
}

// run is one run of Run.
type run struct {
	Options
	known *results
	lab   *lab
	lock  *durable.Lock // of the results, once something is to be written
	ran   int
}

func (r *run) close() error {
	err := r.lab.Close()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Unlock())
	}
	return err
}

// begin keeps other runs out of the directory: two at a time would disturb each
// other's times.
func (r *run) begin() error {
	if r.lock != nil {
		return nil
	}
	if err := r.known.begin(); err != nil {
		return err
	}
	dir := filepath.Join(r.Dir, resultsDir)
	if err := durable.MkdirAll(r.FS, dir); err != nil {
		return err
	}
	var err error
	r.lock, err = durable.AcquireLock(r.FS, dir)
	return err
}

// missing are the steps of a variant that are to be tried: those without a
// result whose needs are met, or are among them.
func (r *run) missing(v Variant) []step {
	var todo []step
	for _, s := range steps() {
		found := r.known.step(v.Name, s.name)
		has := found != nil && !(r.Retry && found.Result == manifest.ProbeError)
		reachable := r.ready(v, s) || slices.ContainsFunc(todo, func(t step) bool { return t.name == s.needs })
		if !has && reachable {
			todo = append(todo, s)
		}
	}
	return todo
}

// variant tries the missing steps of one variant.
func (r *run) variant(ctx context.Context, v Variant, n Need, at, of int) error {
	missing := r.missing(v)
	if len(missing) == 0 {
		return nil
	}
	free, err := durable.Free(r.FS, r.Dir)
	if err != nil {
		return err
	}
	r.Observe.Variant(n, at, of, free)
	s := &subject{lab: r.lab, variant: v, plane: r.Plane}
	if s.dir, err = r.pack(ctx, v, n); err != nil {
		return err
	}
	if s.identity, err = r.identity(s.dir); err != nil {
		return err
	}
	for _, step := range missing {
		if !r.ready(v, step) {
			continue
		}
		if err := r.step(ctx, s, step); err != nil {
			return err
		}
	}
	return nil
}

// ready reports whether what the step needs is done.
func (r *run) ready(v Variant, s step) bool {
	if s.needs == "" {
		return true
	}
	found := r.known.step(v.Name, s.needs)
	return found != nil && found.Result == manifest.ProbeDone
}

// pack makes the package, or finds it.
func (r *run) pack(ctx context.Context, v Variant, n Need) (string, error) {
	if err := n.ensureFree(r.FS, r.Dir, r.Reserve); err != nil {
		return "", err
	}
	if err := r.begin(); err != nil {
		return "", err
	}
	return r.lab.pack(ctx, v)
}

// step tries one step and writes down what came of it.
func (r *run) step(ctx context.Context, s *subject, tried step) error {
	r.Observe.Step(s.variant.Name, tried.name, tried.about)
	began := time.Now()
	figures, err := tried.run(s, ctx)
	if ctx.Err() != nil {
		return ctx.Err() // the step did not end
	}
	out := manifest.ProbeStep{Name: tried.name, Result: manifest.ProbeDone, Seconds: manifest.Figure(time.Since(began).Seconds()), Figures: figures}
	switch {
	case errors.Is(err, errNotMeasured):
		out.Result, out.Reason = manifest.ProbeNotMeasured, shorten(strings.TrimPrefix(err.Error(), errNotMeasured.Error()+": "))
	case err != nil:
		out.Result, out.Reason = manifest.ProbeError, shorten(err.Error())
	}
	return r.take(s, out)
}

// take writes a step down. Figures that have no text, whatever the plane made of
// them, cost the step and not the run.
func (r *run) take(s *subject, out manifest.ProbeStep) error {
	one := func() manifest.ProbeVariant {
		return manifest.ProbeVariant{Name: s.variant.Name, About: s.variant.About, Package: s.identity, Steps: []manifest.ProbeStep{out}}
	}
	err := r.known.add(one())
	if errors.Is(err, manifest.ErrInvalid) {
		out.Result, out.Reason, out.Figures = manifest.ProbeError, shorten(err.Error()), nil
		err = r.known.add(one())
	}
	if err != nil {
		return err
	}
	r.ran++
	r.Observe.Ended(s.variant.Name, out)
	return nil
}

// identity is the package's path inside the probe's directory, and its digest.
func (r *run) identity(dir string) (*manifest.VerdictPackage, error) {
	found, err := conformance.Identify(dir)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(r.Dir, dir)
	if err != nil {
		return nil, err
	}
	found.Path = filepath.ToSlash(rel)
	return &found, nil
}

type silent struct{}

func (silent) Begin(string, int64)              {}
func (silent) Advance(int64)                    {}
func (silent) End()                             {}
func (silent) Variant(Need, int, int, int64)    {}
func (silent) Step(string, string, string)      {}
func (silent) Ended(string, manifest.ProbeStep) {}
