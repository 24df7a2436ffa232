package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"lockstep/exporter"
	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// packageCases hold the package's bytes against the record, the formats and
// the plan.
func packageCases() []Case {
	of := func(name, description string, run func(*Suite, context.Context) Outcome) Case {
		return Case{
			Check: CheckPackage, Name: name, Description: description,
			run: func(ctx context.Context, s *Suite) Outcome { return run(s, ctx) },
		}
	}
	return []Case{
		of("digests", "every file has the bytes and the sha256 of the record, and there is no other file", (*Suite).fileDigests),
		of("decode", "manifest, model and weight index decode, with no unknown field", (*Suite).decodes),
		of("types", "every function type-checks, each value defined before its use", (*Suite).typeChecks),
		of("description", "the description and the program agree, and every blob reference is in range", (*Suite).describes),
		of("record", "functions, features and op counts are those of the record", (*Suite).matchesRecord),
		of("contract", "inputs, output and states have the names and shapes of the graph contract for the record's model and recipe", (*Suite).keepsContract),
		of("plan", "every size is the plan's", (*Suite).matchesPlan),
	}
}

// fileDigests hashes every file of the package.
func (s *Suite) fileDigests(ctx context.Context) Outcome {
	found, err := listFiles(s.packageDir())
	if err != nil {
		return broken(err)
	}
	want := map[string]manifest.File{}
	for _, f := range s.shard.Package.Files {
		want[f.Path] = f
	}
	for _, name := range found {
		if _, ok := want[name]; !ok {
			return failf("file %s: the record has no such file", name)
		}
	}
	var bytes int64
	for _, f := range s.shard.Package.Files {
		digest, n, err := hashFile(ctx, filepath.Join(s.packageDir(), filepath.FromSlash(f.Path)))
		if err != nil {
			return broken(err)
		}
		if n != f.Bytes || digest != f.SHA256 {
			return failf("file %s: the record wants %d bytes with sha256 %s, found %d bytes with %s", f.Path, f.Bytes, f.SHA256, n, digest)
		}
		bytes += n
	}
	digest, err := manifest.PackageDigest(s.shard.Package.Files)
	if err != nil {
		return broken(err)
	}
	if digest != s.shard.Package.Digest {
		return failf("package digest: the record says %s, its files give %s", s.shard.Package.Digest, digest)
	}
	return pass(figure("bytes", float64(bytes), "B"), figure("files", float64(len(want)), "1"))
}

// listFiles names the regular files below dir, with slashes, sorted.
func listFiles(dir string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func hashFile(ctx context.Context, name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // opened for reading
	sum := sha256.New()
	n, err := io.Copy(sum, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(p)
	}))
	return hex.EncodeToString(sum.Sum(nil)), n, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// withPackage judges the decoded package, which is read once per suite.
func (s *Suite) withPackage(judge func(*mlpackage.Package) Outcome) Outcome {
	if s.files == nil {
		p, err := mlpackage.Open(s.packageDir())
		if err != nil {
			return broken(err)
		}
		s.files = p
	}
	return judge(s.files)
}

func (s *Suite) decodes(context.Context) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		blobs := 0
		if p.Weights != nil {
			blobs = len(p.Weights.Blobs())
		}
		return pass(figure("blobs", float64(blobs), "1"), figure("functions", float64(len(p.Model.Program.Functions)), "1"))
	})
}

func (s *Suite) typeChecks(context.Context) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		if err := p.Model.Program.Check(); err != nil {
			return broken(err)
		}
		ops := 0
		for _, f := range p.Model.Program.Functions {
			ops += len(f.Ops)
		}
		return pass(figure("ops", float64(ops), "1"))
	})
}

func (s *Suite) describes(context.Context) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		if err := mlpackage.Check(p); err != nil {
			return broken(err)
		}
		return pass()
	})
}

// matchesRecord compares the package's interface and op counts with the
// record's.
func (s *Suite) matchesRecord(context.Context) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		if got, want := len(p.Model.Description.Functions), len(s.shard.Functions); got != want {
			return failf("the record has %d functions, the package %d", want, got)
		}
		for _, want := range s.shard.Functions {
			d, f := p.Model.Description.Function(want.Name), p.Model.Program.Function(want.Name)
			if d == nil || f == nil {
				return failf("function %s: the record has it, the package has not", want.Name)
			}
			for _, list := range []struct {
				kind string
				want []manifest.Feature
				got  []mlpackage.Feature
			}{{"input", want.Inputs, d.Inputs}, {"output", want.Outputs, d.Outputs}, {"state", want.States, d.States}} {
				if !slices.EqualFunc(list.want, list.got, func(w manifest.Feature, g mlpackage.Feature) bool {
					return w.Name == g.Name && slices.Equal(w.Shape, g.Shape) && g.DType == mil.Float16
				}) {
					return failf("function %s: %ss: the record wants %v, found %v", want.Name, list.kind, list.want, list.got)
				}
			}
			if got := f.OpCounts(); !maps.Equal(got, want.OpCounts) {
				return failf("function %s: op counts: the record wants %v, found %v", want.Name, want.OpCounts, got)
			}
		}
		return pass()
	})
}

// keepsContract compares the package's interface with the contract.
func (s *Suite) keepsContract(context.Context) Outcome {
	return s.withPackage(func(p *mlpackage.Package) Outcome {
		for _, t := range s.recipe.Rows {
			name, want := s.recipe.FunctionName(t), s.contractOf(t)
			got := p.Model.Description.Function(name)
			if got == nil {
				return failf("function %s: the contract wants it, the package has not", name)
			}
			if !reflect.DeepEqual(*got, want) {
				return failf("function %s: the contract wants %v, found %v", name, want, *got)
			}
		}
		return pass()
	})
}

// contractOf is the interface that the contract gives the function of t rows.
func (s *Suite) contractOf(t int) mlpackage.FunctionDescription {
	d, slots := s.record.Model.Dims, s.recipe.Slots
	f := func(name string, shape ...int) mlpackage.Feature {
		return mlpackage.Feature{Name: name, DType: mil.Float16, Shape: shape}
	}
	want := mlpackage.FunctionDescription{Name: s.recipe.FunctionName(t)}
	if s.head {
		want.Inputs = []mlpackage.Feature{f(contract.Hidden, 1, d.Hidden, t, 1)}
		want.Outputs = []mlpackage.Feature{f(contract.Logits, 1, s.opt.Vocab.Len(), t, 1)}
		return want
	}
	want.Inputs = []mlpackage.Feature{
		f(contract.X, 1, d.Hidden, t, 1),
		f(contract.RopeCos, t, d.RotaryDim/2),
		f(contract.RopeSin, t, d.RotaryDim/2),
		f(contract.AttnMask, 1, 1, t, slots),
		f(contract.WriteMask, 1, 1, slots, t),
	}
	want.Outputs = []mlpackage.Feature{f(contract.Hidden, 1, d.Hidden, t, 1)}
	for layer := range s.opt.Layers.Len() {
		for _, state := range []string{contract.KState(layer), contract.VState(layer)} {
			want.States = append(want.States, f(state, 1, d.KVHeads, slots, d.HeadDim))
		}
	}
	return want
}

// matchesPlan computes the plan from the record's model and recipe.
func (s *Suite) matchesPlan(context.Context) Outcome {
	plan, err := s.plan()
	if err != nil {
		return broken(fmt.Errorf("plan: %w", err))
	}
	for _, f := range plan.Files {
		info, err := os.Stat(filepath.Join(s.packageDir(), filepath.FromSlash(f.Path)))
		if err != nil {
			return broken(err)
		}
		if info.Size() != f.Bytes {
			return failf("file %s: the plan wants %d bytes, found %d", f.Path, f.Bytes, info.Size())
		}
	}
	return pass(figure("planned_bytes", float64(plan.Bytes), "B"))
}

// plan sizes the judged package.
func (s *Suite) plan() (exporter.ShardPlan, error) {
	cfg, name := exporter.ConfigOf(s.record.Model), s.record.Model.Name
	if s.head {
		return exporter.PlanHead(cfg, name, s.opt.Vocab, s.recipe)
	}
	return exporter.PlanShard(cfg, name, s.opt.Layers, s.recipe)
}
