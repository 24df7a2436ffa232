package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Need is what one variant takes on the disk at most, in bytes. Sizes of files
// are exact; what compiling adds is an estimate.
type Need struct {
	Variant string `json:"variant"`
	// Sources are what is written before the package and serves other variants
	// as well: the seeded weights, and a package of each form of weights.
	Sources int64 `json:"sources"`
	// Package is its program and its weights; the weights are a second name for
	// the source's file, and take nothing, where the file system has links.
	Package  int64 `json:"package"`
	Compiled int64 `json:"compiled"` // the .mlmodelc beside it
	// Temporary is the copy that compiling makes on the temporary volume; it
	// becomes the .mlmodelc where that is the same volume.
	Temporary int64 `json:"temporary"`
	// Cache is what the system's cache keeps; it is the system's, never ours to
	// delete.
	Cache int64 `json:"cache"`
	// Added is what this variant and those before it add to the probe's
	// directory: nothing of them goes.
	Added int64 `json:"added"`
	// Steps are what is tried.
	Steps []string `json:"steps"`
}

// here is what the variant adds to the probe's directory.
func (n Need) here() int64 { return n.Sources + n.Package + n.Compiled }

// smallFiles is room for a variant's results and directories.
const smallFiles = 1 << 20

// Plan says what each of the variants adds, one after the other, to a probe's
// directory, which may be absent: what stands there already takes nothing. It
// writes nothing.
func Plan(d Dimensions, variants []Variant, plane, dir string) ([]Need, error) {
	p := planner{dims: d, plane: plane, dir: dir, written: map[string]bool{}}
	var needs []Need
	var added int64
	for _, v := range variants {
		n, err := p.need(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		added += n.here()
		n.Added = added
		needs = append(needs, n)
	}
	return needs, nil
}

// planner knows what stands in the directory, or will once the variants before
// have been made.
type planner struct {
	dims       Dimensions
	plane, dir string
	written    map[string]bool // by directory and ending
}

// once is the size of what is not there yet, and nothing the next time: an entry
// of a directory whose name has that ending.
func (p *planner) once(size int64, parent, ending string) (int64, error) {
	found, err := endsWith(filepath.Join(p.dir, parent), ending)
	key := filepath.Join(parent, ending)
	if err != nil || found || p.written[key] {
		return 0, err
	}
	p.written[key] = true
	return size, nil
}

// endsWith reports whether a directory, which may be absent, has an entry whose
// name has that ending.
func endsWith(dir, ending string) (bool, error) {
	names, err := durable.OS{}.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ending) }), err
}

func (p *planner) need(v Variant) (Need, error) {
	n := Need{Variant: v.Name, Steps: Steps()}
	seeded, err := seededBytes(p.dims)
	if err != nil {
		return n, err
	}
	stored, all, err := storedBytes(p.dims, v.stored)
	if err != nil {
		return n, err
	}
	m, err := v.model(p.dims, nil)
	if err != nil {
		return n, err
	}
	program, err := mlpackage.EncodeModel(m)
	if err != nil {
		return n, err
	}
	bytes := int64(len(program)) + int64(len(mlpackage.EncodeManifest(true))) + stored + smallFiles
	compiled := bytes
	if p.plane == manifest.PlaneReference { // which compiles nothing
		compiled = 0
	}
	var weights int64
	for _, s := range []struct {
		size           int64
		parent, ending string
		into           *int64
	}{
		{seeded, ".", sourceDir, &n.Sources},
		{all, filepath.Join(weightsDir, string(v.stored)), packageExt, &weights},
		{bytes, filepath.Join(packagesDir, v.Name), packageExt, &n.Package},
		{compiled, filepath.Join(packagesDir, v.Name), compiledExt, &n.Compiled},
	} {
		if *s.into, err = p.once(s.size, s.parent, s.ending); err != nil {
			return n, err
		}
	}
	n.Sources += weights
	n.Temporary = n.Compiled
	if p.plane == manifest.PlaneCoreML {
		n.Cache = stored * int64(len(v.rows(p.dims)))
	}
	return n, nil
}

// The endings of packages and of what is compiled from them.
const (
	packageExt  = ".mlpackage"
	compiledExt = ".mlmodelc"
)

// seededBytes is the size of the checkpoint of seeded weights.
func seededBytes(d Dimensions) (int64, error) {
	files, err := synth.Files(d.spec)
	var n int64
	for _, f := range files {
		n += f.Size
	}
	return n, err
}

// storedBytes are the sizes of a form's file of weights, and of the package
// that has it.
func storedBytes(d Dimensions, form weights) (file, all int64, err error) {
	rec := Variant{}.recipeOf(d)
	if form == halfs {
		rec.Precision = exporter.FP16
	}
	sized, err := exporter.PlanShard(d.config(), modelName, d.layers(), rec)
	if err != nil || form != perTensor {
		return sized.WeightBytes(), sized.Bytes + smallFiles, err
	}
	base, err := exporter.Describe(d.config(), d.layers(), rec)
	if err != nil {
		return 0, 0, err
	}
	_, layout := tensorBlobs(base)
	return layout.Size(), sized.Bytes - sized.WeightBytes() + layout.Size() + smallFiles, layout.Err()
}

// ensureFree checks both volumes before a variant is begun.
func (n Need) ensureFree(fsys durable.FS, dir string, reserve int64) error {
	for _, v := range []struct {
		dir  string
		need int64
	}{{dir, n.here()}, {os.TempDir(), n.Temporary}} {
		if v.need == 0 {
			continue
		}
		if err := durable.EnsureFree(fsys, v.dir, v.need, reserve); err != nil {
			return fmt.Errorf("variant %s: %w; free some space, pass a smaller --reserve or another --work, or choose variants with --only; nothing is ever deleted to make room", n.Variant, err)
		}
	}
	return nil
}
