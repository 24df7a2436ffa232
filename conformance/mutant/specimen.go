package mutant

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// specimen is a package and its record in memory, to be changed and written
// elsewhere.
type specimen struct {
	base   Base
	dir    string
	layers exporter.Range // that are judged
	record manifest.Record
	model  *mlpackage.Model
	files  map[string][]byte // by path in the package; model.mlmodel is encoded from model
	plane  coreml.Plane

	// unsealed keeps the record's digests as they were, so that the fault is
	// one of bytes on disk; otherwise the record is made to agree with it.
	unsealed bool
	// resized lets the model have another size than the plan says.
	resized bool
	// miscounted keeps the record's op counts as the fault has them.
	miscounted bool
	// raw keeps model.mlmodel's bytes as they are in files.
	raw       bool
	shortened bool

	exported manifest.Record // of exportAgain

	originalModel   []byte
	originalWeights []byte
	originalRecord  []byte
	touched         func() bool // reports whether a wrapped plane changed anything
}

func newSpecimen(base Base, dir string) (*specimen, error) {
	s := &specimen{base: base, dir: dir, layers: base.Export.Layers, plane: base.Plane, files: map[string][]byte{}}
	return s, s.load(base.Export.Dir)
}

// load reads an exported directory.
func (s *specimen) load(dir string) error {
	record, err := exporter.ReadRecord(dir)
	if err != nil {
		return err
	}
	s.record = *record
	if s.originalRecord, err = manifest.EncodeRecord(s.record); err != nil {
		return err
	}
	p, err := mlpackage.Open(filepath.Join(dir, s.shard().Package.Path))
	if err != nil {
		return err
	}
	s.model = p.Model
	s.files[mlpackage.ManifestPath] = mlpackage.EncodeManifest(true)
	s.files[mlpackage.WeightsPath] = slices.Clone(p.WeightBytes)
	s.originalWeights = slices.Clone(p.WeightBytes)
	if s.originalModel, err = mlpackage.EncodeModel(p.Model); err != nil {
		return errors.Join(err, p.Close())
	}
	return p.Close()
}

func (s *specimen) shard() *manifest.Shard {
	for i := range s.record.Shards {
		if s.record.Shards[i].Start == s.layers.Start && s.record.Shards[i].End == s.layers.End {
			return &s.record.Shards[i]
		}
	}
	panic("mutant: the base directory has no such shard") // the base is ours
}

func (s *specimen) weights() []byte { return s.files[mlpackage.WeightsPath] }

// write puts package and record into the specimen's directory.
func (s *specimen) write() error {
	if !s.raw {
		if err := s.encode(); err != nil {
			return err
		}
	}
	if !s.unsealed {
		if err := s.seal(); err != nil {
			return err
		}
	}
	root := filepath.Join(s.dir, s.shard().Package.Path)
	for name, content := range s.files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := durable.MkdirAll(durable.OS{}, filepath.Dir(path)); err != nil {
			return err
		}
		if err := durable.WriteNew(durable.OS{}, path, content); err != nil {
			return err
		}
	}
	text, err := manifest.EncodeRecord(s.record)
	if err != nil {
		return err
	}
	return durable.WriteNew(durable.OS{}, filepath.Join(s.dir, manifest.RecordFile), text)
}

// encode encodes the model at the size it had: the description in its metadata
// gives or takes the bytes, so that a fault is not betrayed by the plan's sizes.
func (s *specimen) encode() error {
	text := s.model.Description.Metadata.ShortDescription
	for {
		encoded, err := mlpackage.EncodeModel(s.model)
		if err != nil {
			return err
		}
		grown := len(encoded) - len(s.originalModel)
		if grown == 0 || s.resized {
			s.files[mlpackage.ModelPath] = encoded
			return nil
		}
		switch {
		case grown >= len(text):
			if !s.shortenConstNames() {
				return fmt.Errorf("the model has grown by %d bytes, more than its names can give", grown)
			}
		case grown > 0:
			text = text[:len(text)-grown]
		default:
			text += strings.Repeat(".", -grown)
		}
		s.model.Description.Metadata.ShortDescription = text
	}
}

// shortenConstNames frees bytes: the names of const ops are nobody's contract,
// unlike their outputs. It reports whether there was anything to shorten.
func (s *specimen) shortenConstNames() bool {
	if s.shortened {
		return false
	}
	s.shortened = true
	for _, f := range s.model.Program.Functions {
		for i, o := range f.Ops {
			if o.Type == "const" {
				o.Name = fmt.Sprintf("c%d", i)
			}
		}
	}
	return true
}

// seal makes the record's files, digest and op counts those of the faulty
// package.
func (s *specimen) seal() error {
	pkg := &s.shard().Package
	pkg.Files, pkg.Bytes = nil, 0
	for name, content := range s.files {
		sum := sha256.Sum256(content)
		pkg.Files = append(pkg.Files, manifest.File{Path: name, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		pkg.Bytes += int64(len(content))
	}
	for i := range s.shard().Functions {
		if s.miscounted {
			break
		}
		f := &s.shard().Functions[i]
		f.OpCounts = s.model.Program.Function(f.Name).OpCounts()
	}
	slices.SortFunc(pkg.Files, func(a, b manifest.File) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	digest, err := manifest.PackageDigest(pkg.Files)
	pkg.Digest = digest
	return err
}

// changed reports whether anything differs from the base.
func (s *specimen) changed() bool {
	if s.touched != nil && s.touched() {
		return true
	}
	record, err := manifest.EncodeRecord(s.record)
	return err != nil || !bytes.Equal(record, s.originalRecord) ||
		!bytes.Equal(s.files[mlpackage.ModelPath], s.originalModel) || !bytes.Equal(s.weights(), s.originalWeights)
}

// function is a function of the program by its rows.
func (s *specimen) function(rows int) *mil.Function {
	return s.model.Program.Function(fmt.Sprintf("t%d", rows))
}

// op finds an op by name; a missing one is a broken harness.
func op(f *mil.Function, name string) (*mil.Op, error) {
	for _, o := range f.Ops {
		if o.Name == name {
			return o, nil
		}
	}
	return nil, fmt.Errorf("function %s has no op %q", f.Name, name)
}
