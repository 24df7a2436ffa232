package exporter

import (
	"fmt"
	"slices"
	"strings"

	"lockstep/internal/checkpoint"
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
		hidden := f.Inputs[slices.IndexFunc(f.Inputs, func(v mil.Value) bool { return v.Name == InputX })]
		fd.Outputs = []mlpackage.Feature{{Name: OutputHidden, DType: hidden.Type.DType, Shape: hidden.Type.Shape}}
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
	return rec.checkModel(cfg)
}

func sortFunctions(p *mil.Program) {
	slices.SortFunc(p.Functions, func(a, b *mil.Function) int { return strings.Compare(a.Name, b.Name) })
}

// files lists the package's files in the order in which they are written, with
// their exact sizes.
func (s *shard) files() []FileSize {
	return []FileSize{
		{Path: mlpackage.ManifestPath, Bytes: int64(len(s.manifestBytes))},
		{Path: mlpackage.ModelPath, Bytes: int64(len(s.modelBytes))},
		{Path: mlpackage.WeightsPath, Bytes: s.layout.Size()},
	}
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
