package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/internal/durable"
	"lockstep/manifest"
)

// ErrOtherProbe means that a directory holds the results of another setup.
var ErrOtherProbe = errors.New("the directory holds another probe")

// The files of a probe's directory.
const (
	setupFile    = "setup.json" // a probe without variants
	reportPrefix = "probe."     // probe.<plane>.0001.json: all that is known at the end of a run
	fileExt      = ".json"
)

// results are the steps that ended, in files of one step each.
type results struct {
	fs    durable.FS
	dir   string
	setup manifest.ProbeSetup
	done  map[string]*manifest.ProbeVariant // by name
}

// readResults reads what stands in a directory, which may be absent. Results of
// another setup are ErrOtherProbe.
func readResults(fsys durable.FS, dir string, setup manifest.ProbeSetup, variants []Variant) (*results, error) {
	r := &results{fs: fsys, dir: dir, setup: setup, done: map[string]*manifest.ProbeVariant{}}
	if _, err := r.read(filepath.Join(dir, setupFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, v := range variants {
		for _, s := range Steps() {
			files, err := durable.Numbered(fsys, r.variantDir(v.Name), s+".", fileExt)
			if err != nil {
				return nil, err
			}
			if len(files) == 0 {
				continue
			}
			newest := files[len(files)-1]
			p, err := r.read(newest)
			if err != nil {
				return nil, err
			}
			if len(p.Variants) != 1 || p.Variants[0].Name != v.Name || len(p.Variants[0].Steps) != 1 || p.Variants[0].Steps[0].Name != s {
				return nil, fmt.Errorf("%s: %w: want step %s of %s alone", newest, ErrOtherProbe, s, v.Name)
			}
			r.keep(p.Variants[0])
		}
	}
	return r, nil
}

func (r *results) variantDir(name string) string { return filepath.Join(r.dir, resultsDir, name) }

// read decodes one file and holds its setup against this one.
func (r *results) read(name string) (*manifest.Probe, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p, err := manifest.DecodeProbe(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if p.Setup != r.setup {
		return nil, fmt.Errorf("%s: %w: %s; use another --work", name, ErrOtherProbe, otherSetup(r.setup, p.Setup))
	}
	return p, nil
}

// otherSetup names the first thing in which two setups differ.
func otherSetup(want, found manifest.ProbeSetup) string {
	for _, f := range []struct {
		name        string
		want, found any
	}{
		{"plane", want.Plane, found.Plane},
		{"dimensions", want.Dimensions, found.Dimensions},
		{"machine", want.Machine, found.Machine},
		{"versions", want.Versions, found.Versions},
		{"model", want.Model, found.Model},
		{"seed", want.Seed, found.Seed},
		{"catalogue", want.Catalogue, found.Catalogue},
	} {
		if f.want != f.found {
			return fmt.Sprintf("%s: want %+v, found %+v", f.name, f.want, f.found)
		}
	}
	return "none"
}

// begin writes the setup into a new directory.
func (r *results) begin() error {
	name := filepath.Join(r.dir, setupFile)
	if _, err := r.fs.Stat(name); err == nil {
		return nil // read, and found to be this one
	}
	text, err := manifest.EncodeProbe(manifest.Probe{Schema: manifest.ProbeSchema, Setup: r.setup})
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(r.fs, r.dir); err != nil {
		return err
	}
	return durable.WriteNew(r.fs, name, text)
}

// step is the newest result of a step, nil if there is none.
func (r *results) step(variant, step string) *manifest.ProbeStep {
	if v := r.done[variant]; v != nil {
		return v.Step(step)
	}
	return nil
}

// keep takes in a variant with one step.
func (r *results) keep(one manifest.ProbeVariant) {
	v := r.done[one.Name]
	if v == nil {
		r.done[one.Name] = &one
		return
	}
	if one.Package != nil {
		v.Package = one.Package
	}
	if old := v.Step(one.Steps[0].Name); old != nil {
		*old = one.Steps[0]
		return
	}
	v.Steps = append(v.Steps, one.Steps[0])
}

// add writes a step that ended to a new file.
func (r *results) add(one manifest.ProbeVariant) error {
	text, err := manifest.EncodeProbe(manifest.Probe{Schema: manifest.ProbeSchema, Setup: r.setup, Variants: []manifest.ProbeVariant{one}})
	if err != nil {
		return err
	}
	if _, err := durable.AppendNumbered(r.fs, r.variantDir(one.Name), one.Steps[0].Name+".", fileExt, text); err != nil {
		return err
	}
	r.keep(one)
	return nil
}

// probe is all that is known of the variants, steps that have no result
// included.
func (r *results) probe(variants []Variant) manifest.Probe {
	p := manifest.Probe{Schema: manifest.ProbeSchema, Setup: r.setup}
	for _, v := range variants {
		out := manifest.ProbeVariant{Name: v.Name, About: v.About}
		if done := r.done[v.Name]; done != nil {
			out.Package = done.Package
		}
		for _, s := range steps() {
			if found := r.step(v.Name, s.name); found != nil {
				out.Steps = append(out.Steps, *found)
				continue
			}
			out.Steps = append(out.Steps, manifest.ProbeStep{Name: s.name, Result: manifest.ProbeNotRun, Reason: r.whyNot(v.Name, s)})
		}
		p.Variants = append(p.Variants, out)
	}
	return p
}

// whyNot says why a step has no result: what it needs did not end well, or it
// is still to come.
func (r *results) whyNot(variant string, s step) string {
	for at := s.needs; at != ""; at = needs(at) {
		if found := r.step(variant, at); found != nil && found.Result != manifest.ProbeDone {
			return fmt.Sprintf("%s: %s: %s", at, found.Result, found.Reason)
		}
	}
	return "still to come"
}

// needs is the step that must be done before.
func needs(name string) string {
	all := steps()
	return all[slices.IndexFunc(all, func(s step) bool { return s.name == name })].needs
}

// write writes the whole probe to a new file, unless the newest one says the
// same.
func (r *results) write(p manifest.Probe) (string, error) {
	text, err := manifest.EncodeProbe(p)
	if err != nil {
		return "", err
	}
	prefix := reportPrefix + r.setup.Plane + "."
	files, err := durable.Numbered(r.fs, r.dir, prefix, fileExt)
	if err != nil {
		return "", err
	}
	if len(files) > 0 {
		newest := files[len(files)-1]
		if old, err := os.ReadFile(newest); err != nil || bytes.Equal(old, text) {
			return newest, err
		}
	}
	return durable.AppendNumbered(r.fs, r.dir, prefix, fileExt, text)
}

// shorten makes a text one line, and not longer than a log's end.
func shorten(text string) string {
	const most = 2000
	text = strings.ToValidUTF8(oneLine(text), "?")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if text == "" {
		return "nothing was said"
	}
	return text
}
