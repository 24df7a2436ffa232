package exporter

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// specVersion 9 (iOS 18, macOS 15) is the first with states and functions.
const specVersion = 9

// shard is all that a config and a recipe decide about a package: everything
// but the weights' values.
type shard struct {
	layers  Range
	model   *mlpackage.Model
	weights []weight
	layout  *mlpackage.Layout

	manifestBytes []byte // Manifest.json
	modelBytes    []byte // model.mlmodel
}

// newShard builds program, description and sizes from the config alone.
func newShard(cfg checkpoint.Config, layers Range, rec Recipe) (*shard, error) {
	prog, err := Program(cfg, layers, rec)
	if err != nil {
		return nil, err
	}
	s := &shard{layers: layers}
	s.weights, s.layout = shardWeights(cfg, layers, rec.Precision)
	if err := s.layout.Err(); err != nil {
		return nil, err
	}
	s.model = &mlpackage.Model{
		SpecVersion: specVersion,
		Description: describe(prog, rec),
		Program:     prog,
	}
	s.manifestBytes = mlpackage.EncodeManifest(true)
	s.modelBytes, err = mlpackage.EncodeModel(s.model)
	return s, err
}

// Describe is the description of a package's model as export writes it, for
// printing without a checkpoint.
func Describe(cfg checkpoint.Config, layers Range, rec Recipe) (*mlpackage.Model, error) {
	s, err := newShard(cfg, layers, rec)
	if err != nil {
		return nil, err
	}
	return s.model, nil
}

// describe reads the interface off the program.
func describe(prog *mil.Program, rec Recipe) mlpackage.Description {
	d := mlpackage.Description{
		Multi: len(rec.Rows) > 1,
		Metadata: mlpackage.Metadata{
			ShortDescription: "decoder layers as a block and as single tokens over one KV cache",
			Author:           "lockstep",
			Version:          rec.Writer,
		},
	}
	for _, f := range prog.Functions {
		fd := mlpackage.FunctionDescription{Name: f.Name}
		for _, in := range f.Inputs {
			feature := mlpackage.Feature{Name: in.Name, DType: in.Type.DType, Shape: in.Type.Shape}
			if in.Type.State {
				fd.States = append(fd.States, feature)
			} else {
				fd.Inputs = append(fd.Inputs, feature)
			}
		}
		hidden := f.Inputs[slices.IndexFunc(f.Inputs, func(v mil.Value) bool { return v.Name == contract.X })]
		fd.Outputs = []mlpackage.Feature{{Name: contract.Hidden, DType: hidden.Type.DType, Shape: hidden.Type.Shape}}
		d.Functions = append(d.Functions, fd)
	}
	if d.Multi {
		d.Default = rec.FunctionName(rec.Rows[0])
	}
	return d
}

// checkShard reports what keeps config, range and recipe from making a shard.
func checkShard(cfg checkpoint.Config, layers Range, rec Recipe) error {
	if err := rec.Check(); err != nil {
		return err
	}
	if err := layers.Check(cfg.Layers); err != nil {
		return err
	}
	if err := rec.checkModel(cfg); err != nil {
		return err
	}
	// Each KV head of each layer is a chain of ops of its own, and so is the
	// rest of a layer, about eight heads' worth.
	if n := len(rec.Rows) * layers.Len() * (cfg.KVHeads + 8); n > maxChains {
		return fmt.Errorf("%w: layers %s with %d functions and %d KV heads are too large for one program: want at most %d chains of ops, found %d",
			ErrRange, layers, len(rec.Rows), cfg.KVHeads, maxChains, n)
	}
	return nil
}

// maxChains bounds a program, 16 times the whole Phi-4-mini in one shard, so
// that a config with absurd counts is refused before anything is sized by it.
const maxChains = 1 << 14

func sortFunctions(p *mil.Program) {
	slices.SortFunc(p.Functions, func(a, b *mil.Function) int { return strings.Compare(a.Name, b.Name) })
}

// textFile is a file of a package whose content is at hand.
type textFile struct {
	path    string
	content []byte
}

func (f textFile) writeTo(w io.Writer) error {
	_, err := w.Write(f.content)
	return err
}

// texts are the package's files besides its weights.
func (s *shard) texts() []textFile {
	return []textFile{{mlpackage.ManifestPath, s.manifestBytes}, {mlpackage.ModelPath, s.modelBytes}}
}

// files lists the package's files in the order in which they are written, with
// their exact sizes.
func (s *shard) files() []FileSize {
	var out []FileSize
	for _, f := range s.texts() {
		out = append(out, FileSize{Path: f.path, Bytes: int64(len(f.content))})
	}
	return append(out, FileSize{Path: mlpackage.WeightsPath, Bytes: s.layout.Size()})
}

// FileSize is a file's path inside its package and its length.
type FileSize struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// PackageName is the directory name of a shard's package:
// <model>_layers30_32_<precision>.mlpackage.
func PackageName(model string, layers Range, precision Precision) string {
	return fmt.Sprintf("%s_layers%d_%d_%s.mlpackage", model, layers.Start, layers.End, precision)
}

// ModelName makes a checkpoint folder's name fit for a package name: every
// character outside [A-Za-z0-9_] becomes an underscore.
func ModelName(folder string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, folder)
}
