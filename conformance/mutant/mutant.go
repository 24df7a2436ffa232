package mutant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Errors of the harness: what it then said of a mutant would mean nothing.
var (
	// ErrNoFault means that a mutant changed nothing.
	ErrNoFault = errors.New("the mutant changed nothing")
	// ErrNotEqual means that a mutant that is said to change no result does.
	ErrNotEqual = errors.New("the mutant is said to change no result, and changes some")
	// ErrUnsound means that what a mutant starts from does not pass itself.
	ErrUnsound = errors.New("what the mutant starts from does not pass")
)

// The guards outside the gate: they refuse before there is a package to judge.
const (
	GuardReader    = "reader"    // of packages; planes and exporter read through it
	GuardHost      = "host"      // coreml/hostinput: what a pass is given
	GuardLadder    = "ladder"    // of the exporter: smaller shards first
	GuardDirectory = "directory" // of the exporter: one checkpoint, one recipe, enough room
)

// Columns are what may kill a mutant: the gate's checks, then the guards.
func Columns() []string {
	return append(conformance.Checks(), GuardReader, GuardHost, GuardLadder, GuardDirectory)
}

// Base is the sound export that mutants start from.
type Base struct {
	Source fs.FS            // the checkpoint's files
	Export exporter.Options // how it was exported; Dir holds the package
	Golden conformance.Golden
	Plane  coreml.Plane

	// Verdict is the gate's of the sound package, see Sound. The ladder's
	// mutants falsify it.
	Verdict *manifest.Verdict
	// Large is an export of 14 MB or more, from which residency is judged.
	Large exporter.Options
	// Wide is a config of Phi-4-mini's dimensions. Its programs are built, its
	// weights never are.
	Wide []byte
}

// Mutant is one seeded fault.
type Mutant struct {
	Name   string
	Models string // the failure in practice that it stands for
	// KilledBy is what must be among its killers: a column, or "column/kind"
	// for a kind of case. It is empty for a fault that changes no result.
	KilledBy string

	seed    func(context.Context, *specimen) error // for the whole gate
	attempt attempt                                // for one check or guard alone
}

// seedless reports what is no mutant: the sound package.
func (m Mutant) seedless() bool { return strings.HasPrefix(m.Name, soundName) }

// soundName begins the matrix's rows without a fault.
const soundName = "(none)"

// attempt does something sound or, with the fault, faulty, in a directory that
// does not exist yet. It returns the kinds of cases or the refusals that
// stopped it; an error is the harness's.
type attempt func(ctx context.Context, base Base, dir string, faulty bool) ([]string, error)

// Kill is what the gate and the guards made of a mutant.
type Kill struct {
	Mutant  Mutant
	Results map[string]manifest.Result // by column; what did not apply is absent
	Failed  map[string][]string        // kinds of cases that failed, by column
	Equal   bool                       // it gives the sound package's bits, as execution shows
	Verdict *manifest.Verdict          // nil where the gate was not reached
}

// Killers are the columns that caught the mutant.
func (k Kill) Killers() []string {
	var names []string
	for _, c := range Columns() {
		if k.Results[c] == manifest.Fail {
			names = append(names, c)
		}
	}
	return names
}

// KilledBy reports whether the column, or the "column/kind", is among the
// mutant's killers.
func (k Kill) KilledBy(killer string) bool {
	column, kind, named := strings.Cut(killer, "/")
	return k.Results[column] == manifest.Fail && (!named || slices.Contains(k.Failed[column], kind))
}

// Run makes the mutant in dir, which must not exist, and judges it.
func Run(ctx context.Context, base Base, m Mutant, dir string) (*Kill, error) {
	run := runSpecimen
	if m.attempt != nil {
		run = runAttempt
	}
	k, err := run(ctx, base, m, dir)
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	return k, nil
}

// Sound judges the base itself, which must fail no check.
func Sound(ctx context.Context, base Base) (*Kill, error) {
	k := newKill(Mutant{Name: soundName})
	err := k.judge(ctx, options(base, base.Export.Dir))
	if killers := k.Killers(); err == nil && len(killers) > 0 {
		err = fmt.Errorf("%w: %v", ErrUnsound, killers)
	}
	return k, err
}

func newKill(m Mutant) *Kill {
	return &Kill{Mutant: m, Results: map[string]manifest.Result{}, Failed: map[string][]string{}}
}

func options(base Base, dir string) conformance.Options {
	return conformance.Options{
		Dir: dir, Layers: base.Export.Layers, Plane: base.Plane, Checkpoint: base.Export.Checkpoint, Golden: base.Golden,
		Subject: "nano", Lockstep: "(devel)", Command: "go test ./conformance/mutant -count=1",
	}
}

// ErrNoPackage means that a mutant is no package, but something done wrongly.
var ErrNoPackage = errors.New("the mutant is no package")

// Make writes the mutant into dir, which must not exist, as an export with its
// record, and returns the plane that it is to be executed on: the base's, or one
// that spoils what the host hands over.
func Make(ctx context.Context, base Base, m Mutant, dir string) (coreml.Plane, error) {
	if m.seed == nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, ErrNoPackage)
	}
	s, err := makeSpecimen(ctx, base, m, dir)
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	return s.plane, nil
}

func makeSpecimen(ctx context.Context, base Base, m Mutant, dir string) (*specimen, error) {
	s, err := newSpecimen(base, dir)
	if err != nil {
		return nil, err
	}
	if err := m.seed(ctx, s); err != nil {
		return nil, err
	}
	if err := s.write(); err != nil {
		return nil, err
	}
	return s, nil
}

func runSpecimen(ctx context.Context, base Base, m Mutant, dir string) (*Kill, error) {
	s, err := makeSpecimen(ctx, base, m, dir)
	if err != nil {
		return nil, err
	}
	opt := options(base, dir)
	opt.Plane, opt.Layers = s.plane, s.layers
	k := newKill(m)
	if err := k.judge(ctx, opt); err != nil {
		return nil, err
	}
	if !s.changed() {
		return nil, ErrNoFault
	}
	if m.KilledBy == "" {
		k.Equal, err = conformance.SameBits(ctx, base.Export.Layers,
			conformance.Export{Plane: base.Plane, Dir: base.Export.Dir}, conformance.Export{Plane: s.plane, Dir: dir})
		if err == nil && !k.Equal {
			err = ErrNotEqual
		}
	}
	return k, err
}

// runAttempt wants the sound attempt to come through: a guard that refuses
// everything catches nothing.
func runAttempt(ctx context.Context, base Base, m Mutant, dir string) (*Kill, error) {
	stopped, err := m.attempt(ctx, base, dir+"-sound", false)
	if err == nil && len(stopped) > 0 {
		err = fmt.Errorf("%w: %v", ErrUnsound, stopped)
	}
	if err != nil {
		return nil, err
	}
	if stopped, err = m.attempt(ctx, base, dir, true); err != nil {
		return nil, err
	}
	k := newKill(m)
	column, _, _ := strings.Cut(m.KilledBy, "/")
	k.Results[column], k.Failed[column] = manifest.Pass, stopped
	if len(stopped) > 0 {
		k.Results[column] = manifest.Fail
	}
	return k, nil
}

// judge runs the gate and fills in the results, the reader's too.
func (k *Kill) judge(ctx context.Context, opt conformance.Options) (err error) {
	if k.Verdict, err = conformance.Run(ctx, opt, nil); err != nil {
		return err
	}
	for _, c := range k.Verdict.Checks {
		k.Results[c.Name] = c.Result
		k.Failed[c.Name] = failedKinds(c.Cases)
	}
	dir := opt.Package
	if dir == "" {
		dir = filepath.Join(opt.Dir, filepath.FromSlash(k.Verdict.Package.Path))
	}
	k.Results[GuardReader] = manifest.Pass
	if p, err := mlpackage.Open(dir); err != nil {
		k.Results[GuardReader] = manifest.Fail
	} else if err := p.Close(); err != nil {
		return err
	}
	return nil
}

// failedKinds are the first parts of the names of the cases that failed.
func failedKinds(cases []manifest.Case) []string {
	var kinds []string
	for _, c := range cases {
		kind, _, _ := strings.Cut(c.Name, "/")
		if c.Result == manifest.Fail && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
