package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/conformance/cut"
	"lockstep/conformance/oracle"
	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
)

// The directories inside a probe's.
const (
	sourceDir   = "source"   // the checkpoint of seeded weights
	weightsDir  = "weights"  // for each form of weights a package that has them
	packagesDir = "packages" // for each variant its package and what is compiled from it
	resultsDir  = "results"  // for each variant a file of each step
)

// modelName is the exporter's name of the packages.
const modelName = "probe"

// lab makes the packages of variants in one directory.
type lab struct {
	fs       durable.FS
	dir      string
	dims     Dimensions
	reserve  int64
	progress exporter.Progress

	// What follows is made when it is needed, and kept: all variants have it in
	// common.
	source *checkpoint.Checkpoint
	stored map[weights]string // packages by the form of their weights
	tensor *perTensorForm
	oracle *oracle.Model
	seed   caches
}

func (l *lab) Close() error {
	if l.source == nil {
		return nil
	}
	return l.source.Close()
}

// checkpoint opens the seeded weights, and writes them first if they are not
// there.
func (l *lab) checkpoint(ctx context.Context) (*checkpoint.Checkpoint, error) {
	if l.source != nil {
		return l.source, nil
	}
	dir := filepath.Join(l.dir, sourceDir)
	standing, err := l.stands(dir)
	if err != nil {
		return nil, err
	}
	if !standing {
		if err := l.writeSource(ctx); err != nil {
			return nil, fmt.Errorf("seeded weights: %w", err)
		}
	}
	l.source, err = checkpoint.OpenDir(dir)
	return l.source, err
}

// writeSource writes the checkpoint, or goes on with one that a stopped run
// left.
func (l *lab) writeSource(ctx context.Context) error {
	files, err := synth.Files(l.dims.spec)
	if err != nil {
		return err
	}
	out := make([]output, len(files))
	for i, f := range files {
		out[i] = output{f.Name, f.Size, func(w io.Writer) error { return f.Write(ctx, w) }}
	}
	return l.writeDir(l.dir, sourceDir, l.dims.spec.Seed, out)
}

// output is a file of a directory that is written as a whole.
type output struct {
	path  string
	size  int64
	write func(io.Writer) error
}

// writeDir writes a directory under its partial name and gives it its own when
// it is complete.
func (l *lab) writeDir(parent, name, key string, files []output) (err error) {
	if err := durable.MkdirAll(l.fs, parent); err != nil {
		return err
	}
	lock, err := durable.AcquireLock(l.fs, parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	var need int64
	for _, f := range files {
		need += f.size
	}
	standing, err := durable.Standing(l.fs, filepath.Join(parent, name), key)
	if err != nil {
		return err
	}
	if err := durable.EnsureFree(l.fs, parent, max(0, need-standing), l.reserve); err != nil {
		return err
	}
	partial, err := lock.OpenDir(name, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, partial.Close()) }()
	l.progress.Begin(name, need)
	defer l.progress.End()
	for _, f := range files {
		w, err := partial.File(f.path, f.size)
		if err != nil {
			return err
		}
		if err := f.write(io.MultiWriter(w, counter{l.progress})); err != nil {
			return err
		}
		if _, err := w.Finish(); err != nil {
			return err
		}
	}
	return partial.Publish()
}

// counter tells of bytes as they pass.
type counter struct{ progress exporter.Progress }

func (c counter) Write(p []byte) (int, error) {
	c.progress.Advance(int64(len(p)))
	return len(p), nil
}

func (l *lab) stands(name string) (bool, error) {
	switch _, err := l.fs.Stat(name); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("%s: %w", name, err)
	}
}

// model is the independent model of the layer.
func (l *lab) model(ctx context.Context) (*oracle.Model, error) {
	if l.oracle != nil {
		return l.oracle, nil
	}
	ck, err := l.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	l.oracle, err = oracle.Load(ctx, ck, l.dims.layers().Start, l.dims.layers().End)
	return l.oracle, err
}

// caches are the content that every state begins with: a finite value that is
// not zero in every slot, so that one that is wrongly shown or overwritten is
// noticed. At the real dimensions drawing it takes longer than a pass.
func (l *lab) caches() caches {
	if l.seed == nil {
		cfg := l.dims.config()
		n := cfg.KVHeads * l.dims.Slots * cfg.HeadDim()
		l.seed = caches{}
		for _, name := range []string{contract.KState(0), contract.VState(0)} {
			l.seed[name] = conformance.Normals("probe "+name, n, 1)
		}
	}
	return l.seed
}

// weights returns a package with the weights in the given form, which it makes
// if need be, and looks through once in a run if it is there.
func (l *lab) weights(ctx context.Context, form weights) (string, error) {
	if dir, ok := l.stored[form]; ok {
		return dir, nil
	}
	dir, err := l.makeWeights(ctx, form)
	if err == nil {
		l.stored[form] = dir
	}
	return dir, err
}

func (l *lab) makeWeights(ctx context.Context, form weights) (string, error) {
	ck, err := l.checkpoint(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(l.dir, weightsDir, string(form))
	if form == perTensor {
		return l.tensorWeights(ctx, ck, dir)
	}
	rec := Variant{}.recipeOf(l.dims)
	rec.Precision = exporter.Precision(form)
	res, err := exporter.Export(ctx, exporter.Options{
		Checkpoint: ck, Dir: dir, Layers: l.dims.layers(), Layout: l.dims.layout(), Recipe: rec, Name: modelName,
		Reserve: l.reserve, FS: l.fs, Progress: l.progress,
	})
	if err != nil {
		return "", err
	}
	return res.Dir, nil
}

// perTensorForm is what the form int8_per_tensor is made of.
type perTensorForm struct {
	blobs  []tensorBlob
	layout *mlpackage.Layout
	scales map[string]float16.Float16
}

// perTensor reads the scales off the seeded weights.
func (l *lab) perTensor(ctx context.Context) (*perTensorForm, error) {
	if l.tensor != nil {
		return l.tensor, nil
	}
	ck, err := l.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	base, err := exporter.Describe(l.dims.config(), l.dims.layers(), Variant{}.recipeOf(l.dims))
	if err != nil {
		return nil, err
	}
	form := &perTensorForm{}
	form.blobs, form.layout = tensorBlobs(base)
	if form.scales, err = tensorScales(ctx, ck, l.dims.layers().Start, form.blobs); err != nil {
		return nil, err
	}
	l.tensor = form
	return form, nil
}

// tensorWeights writes the package of int8_per_tensor, which the exporter does
// not know.
func (l *lab) tensorWeights(ctx context.Context, ck *checkpoint.Checkpoint, dir string) (string, error) {
	name := exporter.PackageName(modelName, l.dims.layers(), exporter.Precision(perTensor))
	final := filepath.Join(dir, name)
	if standing, err := l.stands(final); err != nil || standing {
		return final, err
	}
	form, err := l.perTensor(ctx)
	if err != nil {
		return "", err
	}
	m, err := Variant{stored: perTensor}.model(l.dims, form.scales)
	if err != nil {
		return "", err
	}
	program, err := mlpackage.EncodeModel(m)
	if err != nil {
		return "", err
	}
	return final, l.writeDir(dir, name, l.dims.spec.Seed, []output{
		textOutput(mlpackage.ManifestPath, mlpackage.EncodeManifest(true)),
		textOutput(mlpackage.ModelPath, program),
		{mlpackage.WeightsPath, form.layout.Size(), func(w io.Writer) error {
			return form.write(ctx, w, ck, l.dims.layers().Start)
		}},
	})
}

func textOutput(path string, text []byte) output {
	return output{path, int64(len(text)), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}}
}

// pack makes the variant's package and returns its directory.
func (l *lab) pack(ctx context.Context, v Variant) (string, error) {
	from, err := l.weights(ctx, v.stored)
	if err != nil {
		return "", err
	}
	var scales map[string]float16.Float16
	if v.stored == perTensor {
		form, err := l.perTensor(ctx)
		if err != nil {
			return "", err
		}
		scales = form.scales
	}
	m, err := v.model(l.dims, scales)
	if err != nil {
		return "", err
	}
	return cut.Write(ctx, l.fs, from, m, filepath.Join(l.dir, packagesDir, v.Name), l.reserve)
}
