package mlpackage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lockstep/internal/mil"
)

// Package is an opened package directory.
type Package struct {
	Dir      string
	Manifest *Manifest
	Model    *Model
	// Weights is the weight file's index, and WeightBytes its bytes: mapped
	// read-only on Linux and macOS, read elsewhere. Both are nil if the package
	// has none. The bytes are invalid after Close, and must not be written to;
	// the file must not shrink meanwhile.
	Weights     *Weights
	WeightBytes []byte

	release func() error
}

// Open reads the package directory dir: manifest, model and the index of the
// weight file, each strictly. It does not read the weights, and does not
// compare the parts; see Check. Errors are those of the decoders, or ErrPackage
// for a missing file.
func Open(dir string) (*Package, error) {
	p := &Package{Dir: dir}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("package %s: %w", filepath.Base(dir), errors.Join(err, p.Close()))
	}
	return p, nil
}

// OpenModel reads manifest and model of the package directory dir. The weight
// file is not looked at and may be absent.
func OpenModel(dir string) (*Model, error) {
	p := &Package{Dir: dir}
	if err := p.openModel(); err != nil {
		return nil, fmt.Errorf("package %s: %w", filepath.Base(dir), err)
	}
	return p.Model, nil
}

func (p *Package) open() error {
	if err := p.openModel(); err != nil {
		return err
	}
	if !p.Manifest.Has(WeightsItem) {
		return nil
	}
	return p.openWeights()
}

func (p *Package) openModel() error {
	text, err := p.read(ManifestPath, MaxManifestBytes)
	if err != nil {
		return err
	}
	if p.Manifest, err = DecodeManifest(text); err != nil {
		return err
	}
	if root := p.Manifest.Items[p.Manifest.Root]; root.Path != ModelItem {
		return manifestError("rootModelIdentifier", "the item "+ModelItem, root.Path)
	}
	data, err := p.read(ModelPath, MaxModelBytes)
	if err != nil {
		return err
	}
	p.Model, err = DecodeModel(data)
	return err
}

// openWeights maps the weight file. The manifest lists its directory, which
// may be empty.
func (p *Package) openWeights() error {
	file, err := os.Open(p.path(WeightsPath))
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(filepath.Dir(p.path(WeightsPath))); err != nil || !info.IsDir() {
			return packageError("Data/"+WeightsItem, "the directory that the manifest lists", "none")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", WeightsPath, ErrPackage, err)
	}
	defer file.Close()
	size, err := fileSize(file, WeightsPath)
	if err != nil {
		return err
	}
	if int64(int(size)) != size {
		return packageError(WeightsPath, "a file that fits the address space", fmt.Sprintf("%d bytes", size))
	}
	if size < blobHeader { // an empty file cannot be mapped
		_, err := OpenWeights(file, size)
		return err
	}
	if p.WeightBytes, p.release, err = mapFile(file, int(size)); err != nil {
		return fmt.Errorf("%s: %w: %w", WeightsPath, ErrPackage, err)
	}
	p.Weights, err = OpenWeights(bytes.NewReader(p.WeightBytes), size)
	return err
}

// Close releases the weights. Slices of WeightBytes and of Bytes must not be
// used afterwards.
func (p *Package) Close() error {
	release := p.release
	p.release, p.WeightBytes, p.Weights = nil, nil, nil
	if release == nil {
		return nil
	}
	if err := release(); err != nil {
		return fmt.Errorf("%s: release: %w", WeightsPath, err)
	}
	return nil
}

// Blob finds the blob that lit refers to and verifies file name, element type
// and length. A wrong one, or a literal that is no reference, is ErrReference.
func (p *Package) Blob(lit *mil.Literal) (Blob, error) {
	blob, err := p.blob(place{}, lit)
	return blob, err
}

func (p *Package) blob(at place, lit *mil.Literal) (Blob, error) {
	if lit.Blob == nil {
		return Blob{}, at.err(ErrReference, "a literal in the weight file", "one in place")
	}
	if lit.Blob.File != WeightsReference {
		return Blob{}, at.err(ErrReference, "file "+WeightsReference, "%q", lit.Blob.File)
	}
	if p.Weights == nil {
		return Blob{}, at.err(ErrReference, "a blob of the weight file", "a package without weight file")
	}
	if lit.Blob.Offset%blobAlignment != 0 {
		return Blob{}, at.err(ErrReference, "an offset that is a multiple of 64", "%d", lit.Blob.Offset)
	}
	blob, err := p.Weights.Blob(lit.Blob.Offset)
	if err != nil {
		return Blob{}, at.err(ErrReference, "a metadata record", "offset %d: %v", lit.Blob.Offset, err)
	}
	if t, ok := BlobTypeOf(lit.Type.DType); !ok || t != blob.Type {
		return Blob{}, at.err(ErrReference, lit.Type.String(), "a blob of %v at %d", blob.Type, blob.Offset)
	}
	if int64(mil.NumElements(lit.Type.Shape)) != blob.Elements() {
		return Blob{}, at.err(ErrReference, lit.Type.String(), "a blob of %d elements at %d", blob.Elements(), blob.Offset)
	}
	return blob, nil
}

// Bytes returns a literal's elements, row-major and little-endian, as a weight
// file holds them (bools one byte each), whether they lie in the weight file or
// in place. It verifies type and length as Blob does. The bytes of a blob are
// part of WeightBytes. Strings are ErrUnsupported.
func (p *Package) Bytes(lit *mil.Literal) ([]byte, error) {
	if lit.Blob != nil {
		blob, err := p.Blob(lit)
		if err != nil {
			return nil, err
		}
		data := p.WeightBytes[blob.DataOffset:blob.end():blob.end()]
		if wanted, found := paddingFault(lit.Type, data); wanted != "" {
			return nil, weightsError(fmt.Sprintf("blob at %d", blob.Offset), wanted, found)
		}
		return data, nil
	}
	if lit.Type.DType == mil.String {
		return nil, place{}.err(ErrUnsupported, "a literal of numbers", "strings")
	}
	if err := checkLiteral(place{}, lit); err != nil {
		return nil, err
	}
	return littleEndian(lit), nil
}

func (p *Package) path(name string) string { return filepath.Join(p.Dir, filepath.FromSlash(name)) }

// read reads a whole file of at most limit bytes.
func (p *Package) read(name string, limit int64) ([]byte, error) {
	file, err := os.Open(p.path(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrPackage, err)
	}
	defer file.Close()
	size, err := fileSize(file, name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, packageError(name, fmt.Sprintf("at most %d bytes", limit), fmt.Sprint(size))
	}
	data, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrPackage, err)
	}
	return data, nil
}

func fileSize(file *os.File, name string) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", name, ErrPackage, err)
	}
	if !info.Mode().IsRegular() {
		return 0, packageError(name, "a regular file", info.Mode().String())
	}
	return info.Size(), nil
}

// packageError is an Error about a file of the directory.
func packageError(name, wanted, found string) error {
	return &Error{File: name, Field: "file", Wanted: wanted, Found: found, Kind: ErrPackage}
}
