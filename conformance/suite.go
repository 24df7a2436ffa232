package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"lockstep/conformance/oracle"
	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Options say what is judged, on which plane, against what: the shard of an
// export, in Dir, or a package that lockstep did not write.
type Options struct {
	Dir    string // output directory with lockstep.json
	Layers exporter.Range
	Vocab  exporter.Range // rows of the vocabulary: an LM head shard is judged, not layers
	Plane  coreml.Plane

	// Package is the directory of a package without a record; Dir is then
	// empty, and the checkpoint is needed. Names says how it calls what the
	// graph contract names, by the contract's name, where the two differ.
	Package string
	Names   map[string]string

	// Checkpoint is what the oracle computes from; without it the oracle is
	// not measured.
	Checkpoint *checkpoint.Checkpoint
	// Golden are vectors of an independent implementation for this checkpoint,
	// or nil.
	Golden Golden

	Subject  string   // "nano", "synth", or a checkpoint as given
	Require  []string // checks for which not measured is a failure
	Measure  []string // of Measures
	Command  string   // repeats this run
	Lockstep string   // version of this program

	Instruments Instruments // what is measured with
}

// Errors of a suite that cannot begin. They say nothing about the package.
var (
	// ErrNoShard means that the record has no such shard.
	ErrNoShard = errors.New("the record has no such shard")
	// ErrNoPackage means that the recorded package is not there.
	ErrNoPackage = errors.New("the recorded package is not there")
	// ErrCheckpoint means that the checkpoint is not the one that the record
	// was made from.
	ErrCheckpoint = errors.New("another checkpoint than the record's")
)

// Suite judges one shard. It opens what cases share once. Use it from one
// goroutine, and close it.
type Suite struct {
	opt    Options
	record manifest.Record
	shard  manifest.Shard // of an LM head shard, Start and End are rows of the vocabulary
	head   bool           // an LM head shard is judged
	recipe exporter.Recipe

	foreign    *foreign // what was read off a package without a record
	foreignErr error    // why nothing could be
	cases      []Case
	outcomes   map[string]Outcome // by case ID

	files       *mlpackage.Package // decoded by the first case that reads
	pkg         coreml.Package     // opened by the first case that executes
	functions   map[int]coreml.Function
	drivers     map[int]*driver
	projectors  map[int]*projector
	seeds       map[string]snapshot
	model       *oracle.Model
	logits      *oracle.Head
	own         *identified // weights of a compressed package
	metrics     metrics
	headMetrics headMetrics
	opening     opening // of pkg and its functions
	freeBytes   int64   // before the run
}

// NewSuite reads the record and lists the cases; it does not look at the
// package yet. A package without a record is hashed, and its interface read, at
// once: a package that cannot be read has cases too, which say why.
func NewSuite(opt Options) (*Suite, error) {
	for _, name := range opt.Require {
		if !slices.Contains(checkOrder(), name) {
			return nil, fmt.Errorf("require: want one of %v, found %q", checkOrder(), name)
		}
	}
	if err := checkMeasures(opt.Measure); err != nil {
		return nil, err
	}
	if opt.Package != "" {
		return newForeignSuite(opt)
	}
	record, err := exporter.ReadRecord(opt.Dir)
	if err != nil {
		return nil, err
	}
	s := emptySuite(opt)
	s.record = *record
	s.head = opt.Vocab != exporter.Range{}
	if s.shard, err = recordedShard(record, opt, s.head); err != nil {
		return nil, err
	}
	if info, err := os.Stat(s.packageDir()); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w: want the directory %s, as the record of %s says; export %s again", ErrNoPackage, s.packageDir(), opt.Dir, opt.piece())
	}
	if s.recipe, err = exporter.RecipeOf(record.Recipe); err != nil {
		return nil, err
	}
	if ck := opt.Checkpoint; ck != nil && ck.ConfigDigest() != record.Model.ConfigSHA256 {
		return nil, fmt.Errorf("%w: its config has sha256 %s, the record of %s wants %s", ErrCheckpoint, ck.ConfigDigest(), opt.Dir, record.Model.ConfigSHA256)
	}
	if s.freeBytes, err = durable.Free(durable.OS{}, s.volume()); err != nil {
		return nil, err
	}
	dims := record.Model.Dims
	if s.head {
		s.cases = headCatalogue(s.recipe, dims.Hidden, hasGoldenLogits(opt.Golden, dims.Layers))
	} else {
		s.cases = catalogue(s.recipe, opt.Layers.Len(), dims.Hidden, hasGolden(opt.Golden, opt.Layers))
	}
	return s, nil
}

// recordedShard finds what is to be judged in the record.
func recordedShard(r *manifest.Record, opt Options, head bool) (manifest.Shard, error) {
	want := opt.Layers
	shards := r.Shards
	if head {
		want, shards = opt.Vocab, nil
		for _, h := range r.LMHead {
			shards = append(shards, manifest.Shard{Start: h.Start, End: h.End, Package: h.Package, Functions: h.Functions, Notes: h.Notes})
		}
	}
	i := slices.IndexFunc(shards, func(sh manifest.Shard) bool { return sh.Start == want.Start && sh.End == want.End })
	if i < 0 {
		return manifest.Shard{}, fmt.Errorf("%w: %s: %s; export them first", ErrNoShard, filepath.Join(opt.Dir, manifest.RecordFile), opt.piece())
	}
	return shards[i], nil
}

// piece names what is judged in messages.
func (opt Options) piece() string {
	if opt.Vocab != (exporter.Range{}) {
		return "LM head rows " + opt.Vocab.String()
	}
	return "layers " + opt.Layers.String()
}

func emptySuite(opt Options) *Suite {
	return &Suite{
		opt: opt, outcomes: map[string]Outcome{}, seeds: map[string]snapshot{},
		functions: map[int]coreml.Function{}, drivers: map[int]*driver{}, projectors: map[int]*projector{},
	}
}

// Close releases the package.
func (s *Suite) Close() error {
	var errs []error
	if s.pkg != nil {
		errs = append(errs, s.pkg.Close())
	}
	if s.files != nil {
		errs = append(errs, s.files.Close())
	}
	s.pkg, s.files = nil, nil
	s.functions, s.drivers, s.projectors = map[int]coreml.Function{}, map[int]*driver{}, map[int]*projector{}
	return errors.Join(errs...)
}

// Cases lists the catalogue of this shard.
func (s *Suite) Cases() []Case { return slices.Clone(s.cases) }

// RunCase judges one case. A case whose check depends on one that failed is
// not run.
func (s *Suite) RunCase(ctx context.Context, c Case) Outcome {
	out := s.decide(ctx, c)
	if out.Result == manifest.NotMeasured && slices.Contains(s.opt.Require, c.Check) {
		out.Result, out.Reason = manifest.Fail, "required, but not measured: "+out.Reason
	}
	s.outcomes[c.ID()] = out
	return out
}

func (s *Suite) decide(ctx context.Context, c Case) Outcome {
	for _, dep := range dependencies[c.Check] {
		for _, other := range s.cases {
			o, ran := s.outcomes[other.ID()]
			if other.Check == dep && ran && o.Result != manifest.Pass && o.Result != manifest.NotMeasured {
				return Outcome{Result: manifest.NotRun, Reason: fmt.Sprintf("%s is %q", other.ID(), o.Result)}
			}
		}
	}
	return c.run(ctx, s)
}

// Run opens a suite, judges every case and returns the verdict; see
// Suite.RunAll.
func Run(ctx context.Context, opt Options, observe func(Case, Outcome)) (*manifest.Verdict, error) {
	s, err := NewSuite(opt)
	if err != nil {
		return nil, err
	}
	v, err := s.RunAll(ctx, observe)
	return v, errors.Join(err, s.Close())
}

// RunAll judges every case and returns the verdict. observe, which may be nil,
// is told of each case as it is decided. A run that is stopped has no verdict:
// it would say nothing about the package.
func (s *Suite) RunAll(ctx context.Context, observe func(Case, Outcome)) (*manifest.Verdict, error) {
	for _, c := range s.cases {
		out := s.RunCase(ctx, c)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("stopped at %s; no verdict was written: %w", c.ID(), err)
		}
		if observe != nil {
			observe(c, out)
		}
	}
	return s.Verdict(ctx)
}

// Verdict sums up the outcomes so far. Cases that were not asked for are "not
// run", and the catalogue says how many.
func (s *Suite) Verdict(ctx context.Context) (*manifest.Verdict, error) {
	v := &manifest.Verdict{
		Schema:    manifest.VerdictSchema,
		Package:   manifest.VerdictPackage{Path: s.shard.Package.Path, Digest: s.shard.Package.Digest},
		Shard:     manifest.LayerRange{Start: s.shard.Start, End: s.shard.End},
		Subject:   s.opt.Subject,
		Plane:     s.opt.Plane.Name(),
		Catalogue: manifest.Catalogue{Digest: CatalogueDigest(s.cases), Cases: len(s.cases)},
		Required:  slices.Sorted(slices.Values(s.opt.Require)),
		Machine:   manifest.Machine{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH},
		Versions:  manifest.Versions{Lockstep: s.opt.Lockstep, Go: runtime.Version()},
		Command:   s.opt.Command,
	}
	if s.head {
		v.Shard, v.Vocab = manifest.LayerRange{}, &manifest.VocabRange{Start: s.shard.Start, End: s.shard.End}
	}
	for _, name := range checkOrder() {
		check, ran := s.check(name)
		v.Checks = append(v.Checks, check)
		v.Catalogue.Ran += ran
	}
	v.Result = manifest.Overall(v.Checks)
	ranges, headroom := s.reportRanges(ctx)
	v.Ranges, v.Metrics = ranges, append(s.reportMetrics(ctx), headroom)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("stopped while figures were taken; there is no verdict: %w", err)
	}
	return v, v.Verify()
}

// check gathers a check's cases, and counts those that ran.
func (s *Suite) check(name string) (manifest.Check, int) {
	check := manifest.Check{Name: name, DependsOn: dependencies[name]}
	ran := 0
	var results []manifest.Result
	for _, c := range s.cases {
		if c.Check != name {
			continue
		}
		out, ok := s.outcomes[c.ID()]
		if !ok {
			out = Outcome{Result: manifest.NotRun, Reason: "not asked for"}
		}
		if out.Result != manifest.NotRun {
			ran++
		}
		results = append(results, out.Result)
		check.Cases = append(check.Cases, manifest.Case{Name: c.Name, Result: out.Result, Reason: out.Reason, Evidence: out.Evidence})
	}
	check.Result = manifest.Combine(results...)
	if check.Result != manifest.Pass {
		i := slices.IndexFunc(check.Cases, func(c manifest.Case) bool { return c.Result == check.Result })
		check.Reason = fmt.Sprintf("%s: %s", check.Cases[i].Name, check.Cases[i].Reason)
	}
	return check, ran
}

// packageDir is where the judged package lies.
func (s *Suite) packageDir() string {
	if s.opt.Package != "" {
		return s.opt.Package
	}
	return filepath.Join(s.opt.Dir, filepath.FromSlash(s.shard.Package.Path))
}

// volume is a directory whose free space is reported.
func (s *Suite) volume() string {
	if s.opt.Package != "" {
		return s.opt.Package
	}
	return s.opt.Dir
}

// function is the executable function of t rows, opened once.
func (s *Suite) function(ctx context.Context, t int) (coreml.Function, error) {
	if fn, ok := s.functions[t]; ok {
		return fn, nil
	}
	pkg, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	fn, err := s.load(ctx, pkg, t)
	if err == nil {
		s.functions[t] = fn
	}
	return fn, err
}

// driver runs the function of t rows of a shard of layers.
func (s *Suite) driver(ctx context.Context, t int) (*driver, error) {
	if d, ok := s.drivers[t]; ok {
		return d, nil
	}
	fn, err := s.function(ctx, t)
	if err != nil {
		return nil, err
	}
	d, err := newDriver(fn, s.pkg, s.shape(t), s.rope())
	if err != nil {
		return nil, err
	}
	s.drivers[t] = d
	return d, nil
}

// functionName is what the package calls its function of t rows.
func (s *Suite) functionName(t int) string {
	if s.foreign != nil {
		return s.foreign.functions[t]
	}
	return s.recipe.FunctionName(t)
}

// shape is the contract's shape for a function of t rows.
func (s *Suite) shape(t int) hostinput.Shape {
	return hostinput.Shape{
		Hidden: s.record.Model.Dims.Hidden, Rows: t, Slots: s.recipe.Slots, RopeHalf: s.record.Model.Rope.Dim / 2,
	}
}

// rope is the host's RoPE as the record states it.
func (s *Suite) rope() hostinput.Rope {
	r := s.record.Model.Rope
	return hostinput.Rope{Theta: r.Theta, Dim: r.Dim, Factors: r.Factors, AttentionFactor: r.AttentionFactor}
}

// seed is a seeded content of all states, drawn once per name: at real size
// drawing costs more than a pass.
func (s *Suite) seed(name string, sig coreml.Signature) snapshot {
	if _, ok := s.seeds[name]; !ok {
		s.seeds[name] = seedStates(name, sig)
	}
	return s.seeds[name]
}

// compressed reports a package without a record whose weights are not the
// checkpoint's.
func (s *Suite) compressed() bool { return s.foreign != nil && s.recipe.Precision != exporter.FP16 }

// passPrecision is the precision whose thresholds the passes must keep that are
// held against the oracle.
func (s *Suite) passPrecision() exporter.Precision {
	if s.compressed() {
		return exporter.FP16 // the oracle has the same weights
	}
	return s.recipe.Precision
}

// oracle is the independent model of the shard's layers, loaded once.
func (s *Suite) oracle(ctx context.Context) (*oracle.Model, error) {
	if s.compressed() {
		own, err := s.ownWeights(ctx)
		if err == nil && own.reason != "" {
			err = fmt.Errorf("%w: %s", errUntold, own.reason)
		}
		if err != nil {
			return nil, err
		}
		return own.model, nil
	}
	if s.model == nil {
		m, err := oracle.Load(ctx, s.opt.Checkpoint, s.opt.Layers.Start, s.opt.Layers.End)
		if err != nil {
			return nil, fmt.Errorf("oracle: %w", err)
		}
		s.model = m
	}
	return s.model, nil
}
