package exporter

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// specVersion 9 (iOS 18, macOS 15) is the first with states and functions.
const specVersion = 9

// shard is all that a config and a recipe decide about a package, or about the
// embedding's file: everything but the weights' values. The file has no model
// and no layout.
type shard struct {
	part
	model   *mlpackage.Model
	weights []weight
	layout  *mlpackage.Layout

	manifestBytes []byte // Manifest.json
	modelBytes    []byte // model.mlmodel
}

// newShard builds program, description and sizes from the config alone.
func newShard(cfg checkpoint.Config, p part, rec Recipe) (*shard, error) {
	if p.kind == embeddingFile {
		return &shard{part: p, weights: sourceWeights(cfg, p)}, checkPart(cfg, p, rec)
	}
	prog, err := program(cfg, p, rec)
	if err != nil {
		return nil, err
	}
	s := &shard{part: p}
	s.weights, s.layout = partWeights(cfg, p, rec)
	if err := s.layout.Err(); err != nil {
		return nil, err
	}
	s.model = &mlpackage.Model{
		SpecVersion: specVersion,
		Description: describe(prog, p, rec),
		Program:     prog,
	}
	s.manifestBytes = mlpackage.EncodeManifest(true)
	s.modelBytes, err = mlpackage.EncodeModel(s.model)
	return s, err
}

// Describe is the description of a package's model as export writes it, for
// printing without a checkpoint.
func Describe(cfg checkpoint.Config, layers Range, rec Recipe) (*mlpackage.Model, error) {
	s, err := newShard(cfg, layersPart(layers), rec)
	if err != nil {
		return nil, err
	}
	return s.model, nil
}

// describe reads the interface off the program.
func describe(prog *mil.Program, p part, rec Recipe) mlpackage.Description {
	text := "decoder layers as a block and as single tokens over one KV cache"
	if p.kind == headShard {
		text = "final norm and LM head over a range of the vocabulary, as a block and as single tokens"
	}
	d := mlpackage.Description{
		Multi: len(rec.Rows) > 1,
		Metadata: mlpackage.Metadata{
			ShortDescription: text,
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
		out := f.Ops[len(f.Ops)-1].Outputs[0] // what the function ends with
		fd.Outputs = []mlpackage.Feature{{Name: out.Name, DType: out.Type.DType, Shape: out.Type.Shape}}
		d.Functions = append(d.Functions, fd)
	}
	if d.Multi {
		d.Default = rec.FunctionName(rec.Rows[0])
	}
	return d
}

// checkPart reports what keeps config, range and recipe from making a shard.
func checkPart(cfg checkpoint.Config, p part, rec Recipe) error {
	if err := rec.Check(); err != nil {
		return err
	}
	if err := p.check(cfg); err != nil {
		return err
	}
	if err := rec.checkModel(cfg); err != nil || p.kind != layerShard {
		return err
	}
	// Each KV head of each layer is a chain of ops of its own, and so is the
	// rest of a layer, about eight heads' worth.
	if n := len(rec.Rows) * p.Len() * (cfg.KVHeads + 8); n > maxChains {
		return fmt.Errorf("%w: %s with %d functions and %d KV heads are too large for one program: want at most %d chains of ops, found %d",
			ErrRange, p, len(rec.Rows), cfg.KVHeads, maxChains, n)
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
	if s.kind == embeddingFile {
		return nil
	}
	return []textFile{{mlpackage.ManifestPath, s.manifestBytes}, {mlpackage.ModelPath, s.modelBytes}}
}

// files lists the package's files in the order in which they are written, with
// their exact sizes. The embedding's one file lies beside the packages.
func (s *shard) files(model string) []FileSize {
	if s.kind == embeddingFile {
		return []FileSize{{Path: s.fileName(model, FP16), Bytes: s.weightBytes()}}
	}
	var out []FileSize
	for _, f := range s.texts() {
		out = append(out, FileSize{Path: f.path, Bytes: int64(len(f.content))})
	}
	return append(out, FileSize{Path: mlpackage.WeightsPath, Bytes: s.weightBytes()})
}

// weightBytes is the size of the file of weights, the last of the files.
func (s *shard) weightBytes() int64 {
	if s.kind != embeddingFile {
		return s.layout.Size()
	}
	rows, cols := s.weights[0].rowsAndCols()
	return 2 * int64(rows) * int64(cols)
}

// FileSize is a file's path inside its package and its length.
type FileSize struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// PackageName is the directory name of a shard's package:
// <model>_layers30_32_<precision>.mlpackage.
func PackageName(model string, layers Range, precision Precision) string {
	return layersPart(layers).fileName(model, precision)
}

// HeadPackageName is the directory name of an LM head shard's package:
// <model>_head0_50016_<precision>.mlpackage, by its rows of the vocabulary.
func HeadPackageName(model string, rows Range, precision Precision) string {
	return headPart(rows).fileName(model, precision)
}

// EmbeddingName is the name of the embedding's file:
// <model>_embedding_fp16.bin.
func EmbeddingName(model string) string { return part{kind: embeddingFile}.fileName(model, FP16) }

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
