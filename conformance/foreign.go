package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Errors of a suite for a package without a record.
var (
	// ErrNoCheckpoint means that there is nothing to tell the model from.
	ErrNoCheckpoint = errors.New("a package without a record needs the checkpoint")
	// ErrNames means that Options.Names cannot be used.
	ErrNames = errors.New("unusable name")
	// ErrContract means that a package's interface is not the graph contract.
	ErrContract = errors.New("not the graph contract")
)

// foreign is what was read off a package that lockstep did not write.
type foreign struct {
	functions map[int]string // the package's function by rows of a pass
	names     names          // all features
	states    string         // how the states were told apart
	storage   string         // of the weights
}

// newForeignSuite takes the model from the checkpoint, and the recipe from the
// package.
func newForeignSuite(opt Options) (*Suite, error) {
	if opt.Checkpoint == nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(opt.Package), ErrNoCheckpoint)
	}
	cfg := opt.Checkpoint.Config()
	if err := opt.Layers.Check(cfg.Layers); err != nil {
		return nil, err
	}
	if err := checkNames(opt.Names, opt.Layers.Len()); err != nil {
		return nil, err
	}
	s := emptySuite(opt)
	s.record.Model = exporter.ModelIdentity(cfg, exporter.ModelName(opt.Subject), opt.Checkpoint.ConfigDigest())
	var err error
	if s.shard, err = foreignShard(opt); err != nil {
		return nil, err
	}
	if s.freeBytes, err = durable.Free(durable.OS{}, s.volume()); err != nil {
		return nil, err
	}
	if s.files, s.foreignErr = mlpackage.Open(opt.Package); s.foreignErr == nil {
		s.foreign, s.recipe, s.foreignErr = readForeign(s.files.Model, cfg, opt.Layers.Len(), opt.Names)
	}
	s.cases = foreignCatalogue(s.recipe, opt.Layers.Len(), s.record.Model.Dims.Hidden, hasGolden(opt.Golden, opt.Layers))
	return s, nil
}

// foreignShard hashes the package: the verdict is about these bytes.
func foreignShard(opt Options) (manifest.Shard, error) {
	shard := manifest.Shard{Start: opt.Layers.Start, End: opt.Layers.End}
	base, err := filepath.Abs(opt.Package)
	if err != nil {
		return shard, err
	}
	shard.Package.Path = filepath.Base(base)
	files, err := listFiles(opt.Package)
	if err != nil {
		return shard, err
	}
	for _, name := range files {
		path := filepath.Join(opt.Package, filepath.FromSlash(name))
		info, err := os.Stat(path)
		if err != nil {
			return shard, err
		}
		if !info.Mode().IsRegular() { // a pipe would never end
			return shard, fmt.Errorf("%s: want a regular file, found %s", path, info.Mode())
		}
		digest, n, err := hashFile(context.Background(), path)
		if err != nil {
			return shard, err
		}
		shard.Package.Files = append(shard.Package.Files, manifest.File{Path: name, Bytes: n, SHA256: digest})
		shard.Package.Bytes += n
	}
	shard.Package.Digest, err = manifest.PackageDigest(shard.Package.Files)
	return shard, err
}

// readForeign matches every function of a package with the contract.
func readForeign(m *mlpackage.Model, cfg checkpoint.Config, layers int, given map[string]string) (*foreign, exporter.Recipe, error) {
	f := &foreign{functions: map[int]string{}}
	r := interfaceReader{model: cfg, layers: layers, given: given}
	rec := exporter.Recipe{}
	for _, d := range m.Description.Functions {
		found, err := r.function(d)
		if err != nil {
			return nil, exporter.Recipe{}, fmt.Errorf("function %s: %w: %w", d.Name, ErrContract, err)
		}
		if other, taken := f.functions[found.rows]; taken {
			return nil, exporter.Recipe{}, fmt.Errorf("%w: want one function of %d rows, found %s and %s", ErrContract, found.rows, other, d.Name)
		}
		f.functions[found.rows] = d.Name
		if len(f.functions) == 1 {
			rec.Slots, f.names, f.states = found.slots, found.names, found.states
			continue
		}
		if found.slots != rec.Slots {
			return nil, exporter.Recipe{}, fmt.Errorf("function %s: %w: want the %d slots of the functions before it, found %d", d.Name, ErrContract, rec.Slots, found.slots)
		}
		if !maps.Equal(found.names, f.names) {
			return nil, exporter.Recipe{}, fmt.Errorf("function %s: %w: want features named as in the functions before it, %v; found %v", d.Name, ErrContract, f.names, found.names)
		}
	}
	rec.Rows = slices.Sorted(maps.Keys(f.functions))
	rec.Precision, f.storage = storageOf(m.Program)
	return f, rec, nil
}

// ForeignCatalogue lists the cases of a package without a record, whose slots,
// rows and precision rec has. Without rows, as of a package that could not be
// read, one case stands for each check that needs to know them.
func ForeignCatalogue(rec exporter.Recipe, layers, hidden int, golden bool) []Case {
	return foreignCatalogue(rec, layers, hidden, golden)
}

func foreignCatalogue(rec exporter.Recipe, layers, hidden int, golden bool) []Case {
	known := slices.Concat(foreignPackageCases(), lintCases(hidden))
	if len(rec.Rows) == 0 {
		for _, check := range []string{CheckEquivalence, CheckOracle, CheckParity, CheckResidency} {
			known = append(known, Case{
				Check: check, Name: "functions", Description: "the package's functions and slots are known, so that they can be judged",
				run: func(_ context.Context, s *Suite) Outcome { return broken(s.foreignErr) },
			})
		}
		return known
	}
	oracle := oracleCases(rec, layers, rec.Precision, golden, nil)
	if rec.Precision != exporter.FP16 {
		oracle = oracleCases(rec, layers, exporter.FP16, golden, compressedWeightCases(rec.Precision))
	}
	return slices.Concat(known, equivalenceCases(rec.Rows, rec.Slots), oracle, parityCases(rec, layers), residencyCases(rec))
}

// foreignPackageCases are the package's cases that need no record.
func foreignPackageCases() []Case {
	var cases []Case
	for _, c := range packageCases() {
		switch c.Name {
		case "decode", "types", "description":
			cases = append(cases, c)
		}
	}
	return append(cases, Case{
		Check: CheckPackage, Name: "contract",
		Description: "every function has the inputs, the output and the states of the graph contract for the checkpoint's model, by name or by the given map; rows from x, slots from the mask, the same in all functions",
		run: func(_ context.Context, s *Suite) Outcome {
			if s.foreignErr != nil {
				return broken(s.foreignErr)
			}
			return pass(s.foreign.evidence(s.recipe)...)
		},
	})
}

// evidence says what was taken for what.
func (f *foreign) evidence(rec exporter.Recipe) []manifest.Evidence {
	list := []manifest.Evidence{figure("slots", float64(rec.Slots), "1")}
	for _, t := range rec.Rows {
		list = append(list, note(fmt.Sprintf("function_of_%d_rows", t), f.functions[t]))
	}
	list = append(list, note("states", f.states))
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		if own := f.names[name]; own != name {
			list = append(list, note("name_of_"+name, own))
		}
	}
	return append(list, note("weight_storage", f.storage))
}
