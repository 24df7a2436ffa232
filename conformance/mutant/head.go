package mutant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/internal/contract"
	"lockstep/internal/durable"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// HeadMutant is one seeded fault of an LM head shard.
type HeadMutant struct {
	Name     string
	Models   string // the failure in practice that it stands for
	KilledBy string // as Mutant's
	seed     func(*headSpecimen) error
}

// HeadCatalogue lists the mutants of LM head shards.
func HeadCatalogue() []HeadMutant {
	return []HeadMutant{
		{"range_shifted", "rows counted from 1: each logit is the next token's", "oracle/weights", rowsShifted},
		{"shards_swapped", "the next shard's package under this one's rows", "oracle/tokens", shardsSwapped},
		{"rows_permuted", "two rows of the vocabulary exchanged", "oracle/weights", rowsPermuted},
		{"neighbours_scale", "scales applied one row off", "oracle/weights", headScaleOfNeighbour},
		{"one_scale", "one scale for the whole matrix", "oracle/weights", oneScale},
		{"norm_left_out", "hidden states projected as they are", "oracle/tokens", normLeftOut},
		{"norm_weight_left_out", "the norm without its weight", "oracle/golden", normWeightLeftOut},
		{"epsilon_tenfold", "another model's epsilon", "oracle/small_inputs", headEpsilonTenfold},
		{"epsilon_lost", "an epsilon that float16 rounds to 0", "lint/const", headEpsilonLost},
		{"rows_as_channels", "hidden read as [token, channel], which one token cannot show", "parity/t4_vs_4xt1", rowsAsChannels},
		{"t4_rows_turned", "a block's results handed out one row off", "parity/t4_vs_4xt1", rowsTurned},
		{"t4_norm_over_tokens", "a block normalised as one vector", "parity/later_rows", normOverTokens},
		{"t4_norm_weight_left_out", "the functions built apart, one of them wrongly", "parity/t4_vs_4xt1", blockNormWeightLeftOut},
		{"shard_missing", "an LM head of three shards where four were cut", "package/coverage", shardMissing},
		{"bit_flipped", "a damaged file", "package/digests", headBitFlipped},
		{"bit_flipped_sealed", "a weight that was wrong before it was hashed", "oracle/weights", headBitFlippedSealed},
	}
}

// headSpecimen is a specimen of the LM head shard that the base's Export.Head
// names. Its base directory has the whole head.
type headSpecimen struct {
	*specimen
	at int // in record.LMHead
}

func (s *headSpecimen) entry() *manifest.LMHeadShard { return &s.record.LMHead[s.at] }

func (s *headSpecimen) rows() exporter.Range {
	return exporter.Range{Start: s.entry().Start, End: s.entry().End}
}

func newHeadSpecimen(base Base, dir string) (*headSpecimen, error) {
	record, err := exporter.ReadRecord(base.Export.Dir)
	if err != nil {
		return nil, err
	}
	s := &headSpecimen{&specimen{base: base, dir: dir, plane: base.Plane, record: *record, files: map[string][]byte{}}, base.Export.Head.Shard}
	if s.originalRecord, err = manifest.EncodeRecord(s.record); err != nil {
		return nil, err
	}
	p, err := s.open(s.at)
	if err != nil {
		return nil, err
	}
	s.model = p.Model
	s.files[mlpackage.ManifestPath] = mlpackage.EncodeManifest(true)
	s.files[mlpackage.WeightsPath] = slices.Clone(p.WeightBytes)
	s.originalWeights = slices.Clone(p.WeightBytes)
	s.originalModel, err = mlpackage.EncodeModel(p.Model)
	return s, errors.Join(err, p.Close())
}

// open opens a shard of the base.
func (s *headSpecimen) open(at int) (*mlpackage.Package, error) {
	return mlpackage.Open(filepath.Join(s.base.Export.Dir, s.record.LMHead[at].Package.Path))
}

// SoundHead judges the base's LM head shard, which must fail no check.
func SoundHead(ctx context.Context, base Base) (*Kill, error) {
	s, err := newHeadSpecimen(base, "")
	if err != nil {
		return nil, err
	}
	k := newKill(Mutant{Name: soundName})
	err = k.judge(ctx, s.options(base.Export.Dir))
	if killers := k.Killers(); err == nil && len(killers) > 0 {
		err = fmt.Errorf("%w: %v", ErrUnsound, killers)
	}
	return k, err
}

// RunHead makes the mutant in dir, which must not exist, and judges it.
func RunHead(ctx context.Context, base Base, m HeadMutant, dir string) (*Kill, error) {
	k, err := runHead(ctx, base, m, dir)
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	return k, nil
}

func runHead(ctx context.Context, base Base, m HeadMutant, dir string) (*Kill, error) {
	s, err := newHeadSpecimen(base, dir)
	if err != nil {
		return nil, err
	}
	if err := m.seed(s); err != nil {
		return nil, err
	}
	if err := s.writeHead(); err != nil {
		return nil, err
	}
	k := newKill(Mutant{Name: m.Name, Models: m.Models, KilledBy: m.KilledBy})
	if err := k.judge(ctx, s.options(dir)); err != nil {
		return nil, err
	}
	if !s.changed() {
		return nil, ErrNoFault
	}
	return k, nil
}

func (s *headSpecimen) options(dir string) conformance.Options {
	opt := options(s.base, dir)
	opt.Layers, opt.Vocab, opt.Plane = exporter.Range{}, s.rows(), s.plane
	return opt
}

// writeHead puts the package and the record, which agrees with it unless the
// fault is one of bytes on disk, into the specimen's directory.
func (s *headSpecimen) writeHead() error {
	if err := s.encode(); err != nil {
		return err
	}
	if !s.unsealed {
		if err := s.sealHead(); err != nil {
			return err
		}
	}
	for name, content := range s.files {
		path := filepath.Join(s.dir, s.entry().Package.Path, filepath.FromSlash(name))
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

func (s *headSpecimen) sealHead() (err error) {
	pkg := manifest.Package{Path: s.entry().Package.Path}
	for name, content := range s.files {
		sum := sha256.Sum256(content)
		pkg.Files = append(pkg.Files, manifest.File{Path: name, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		pkg.Bytes += int64(len(content))
	}
	slices.SortFunc(pkg.Files, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	for i := range s.entry().Functions {
		f := &s.entry().Functions[i]
		f.OpCounts = s.model.Program.Function(f.Name).OpCounts()
	}
	pkg.Digest, err = manifest.PackageDigest(pkg.Files)
	s.entry().Package = pkg
	return err
}

// nextWeights are the bytes of weight.bin of the shard after this one, which has
// as many rows.
func (s *headSpecimen) nextWeights() ([]byte, error) {
	p, err := s.open(s.at + 1)
	if err != nil {
		return nil, err
	}
	next := slices.Clone(p.WeightBytes)
	if len(next) != len(s.weights()) {
		err = fmt.Errorf("the next shard has %d bytes of weights, this one %d", len(next), len(s.weights()))
	}
	return next, errors.Join(err, p.Close())
}

// rowsShifted moves every row up by one; the last is the next shard's first.
func rowsShifted(s *headSpecimen) error {
	next, err := s.nextWeights()
	if err != nil {
		return err
	}
	blobs, err := s.stored(contract.LogitsWeight)
	if err != nil {
		return err
	}
	own := s.files[mlpackage.WeightsPath]
	s.files[mlpackage.WeightsPath] = next
	firsts, err := s.stored(contract.LogitsWeight)
	s.files[mlpackage.WeightsPath] = own
	if err != nil {
		return err
	}
	for i, b := range blobs {
		b.reorder(func(r int) int { return min(r+1, b.rows-1) })
		copy(b.row(b.rows-1), firsts[i].row(0))
	}
	return nil
}

func shardsSwapped(s *headSpecimen) error {
	next, err := s.nextWeights()
	s.files[mlpackage.WeightsPath] = next
	return err
}

func rowsPermuted(s *headSpecimen) error {
	return s.reorderRows(contract.LogitsWeight, func(r int) int {
		if r == 10 || r == 11 {
			return 21 - r
		}
		return r
	})
}

func headScaleOfNeighbour(s *headSpecimen) error {
	return s.reorderScales(contract.LogitsWeight, func(r, rows int) int { return (r + 1) % rows })
}

func oneScale(s *headSpecimen) error {
	return s.reorderScales(contract.LogitsWeight, func(int, int) int { return 0 })
}

// project makes a function's projection read another value than the norm's.
func project(f *mil.Function, from string) error {
	o, err := op(f, contract.Logits)
	if err != nil {
		return err
	}
	x, err := argument(o, "x")
	if err == nil {
		x.Name = from
	}
	return err
}

func normLeftOut(s *headSpecimen) error {
	return s.eachFunction(func(f *mil.Function) error { return project(f, contract.Hidden) })
}

func normWeightLeftOut(s *headSpecimen) error {
	return s.eachFunction(func(f *mil.Function) error { return project(f, contract.FinalNorm+"_half") })
}

func blockNormWeightLeftOut(s *headSpecimen) error {
	return project(s.function(4), contract.FinalNorm+"_half")
}

func headEpsilonTenfold(s *headSpecimen) error {
	return s.scalar(contract.FinalNorm+"_ln_epsilon", func(v float32) float64 { return 10 * float64(v) })
}

func headEpsilonLost(s *headSpecimen) error {
	return s.scalar(contract.FinalNorm+"_ln_epsilon", func(float32) float64 { return 0 })
}

// rowsAsChannels lets the block read the normed [1, channels, tokens, 1] as if
// its tokens came first; with one token that would be the same.
func rowsAsChannels(s *headSpecimen) error {
	return insert(s.function(4), contract.Logits, func(x mil.Value) ([]*mil.Op, string) {
		d, t := x.Type.Shape[1], x.Type.Shape[2]
		return []*mil.Op{
			constOp("s", mil.Int32s(1, t, d, 1)),
			unaryOp("reshape", "r", x.Name, "shape", "s", mil.Tensor(mil.Float16, 1, t, d, 1)),
			constOp("p", mil.Int32s(0, 2, 1, 3)),
			unaryOp("transpose", "c", "r", "perm", "p", x.Type),
		}, "c"
	})
}

// normOverTokens lets the block's layer_norm run over its tokens, too.
func normOverTokens(s *headSpecimen) error {
	o, err := op(s.function(4), contract.FinalNorm+"_ln_axes")
	if err != nil {
		return err
	}
	lit := mil.Int32s(1, 2)
	o.Val, o.Outputs[0].Type = &lit, lit.Type
	return nil
}

// shardMissing leaves the next shard out of the record.
func shardMissing(s *headSpecimen) error {
	s.record.LMHead = slices.Delete(slices.Clone(s.record.LMHead), s.at+1, s.at+2)
	return nil
}

func headBitFlipped(s *headSpecimen) error {
	s.unsealed = true
	return headBitFlippedSealed(s)
}

func headBitFlippedSealed(s *headSpecimen) error {
	blobs, err := s.stored(contract.LogitsWeight)
	if err == nil {
		blobs[0].row(7)[5] ^= 0x40
	}
	return err
}

// rowsTurned wraps the plane: the rows of a block's results are one row off.
func rowsTurned(s *headSpecimen) error {
	turned := false
	s.plane, s.touched = turnedPlane{s.plane, &turned}, func() bool { return turned }
	return nil
}

type turnedPlane struct {
	coreml.Plane
	turned *bool
}

func (p turnedPlane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return turnedPackage{pkg, p.turned}, err
}

type turnedPackage struct {
	coreml.Package
	turned *bool
}

func (p turnedPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	return turnedFunction{f, p.turned}, err
}

type turnedFunction struct {
	coreml.Function
	turned *bool
}

func (f turnedFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	if err := f.Function.Predict(ctx, inputs, st, outputs); err != nil {
		return err
	}
	logits := outputs[contract.Logits]
	rows := logits.Shape[2]
	before := slices.Clone(logits.Data)
	for i := range before {
		logits.Data[i] = before[i-i%rows+(i+1)%rows]
	}
	*f.turned = *f.turned || !slices.Equal(before, logits.Data)
	return nil
}

// changed reports whether anything differs from the base.
func (s *headSpecimen) changed() bool {
	record, err := manifest.EncodeRecord(s.record)
	return err != nil || s.touched != nil && s.touched() || !bytes.Equal(record, s.originalRecord) ||
		!bytes.Equal(s.files[mlpackage.ModelPath], s.originalModel) || !bytes.Equal(s.weights(), s.originalWeights)
}
