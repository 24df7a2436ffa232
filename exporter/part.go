package exporter

import (
	"errors"
	"fmt"

	"lockstep/internal/checkpoint"
)

// ErrHead means that the LM head cannot be cut in the wanted way.
var ErrHead = errors.New("invalid cut of the LM head")

// MaxHeadShards bounds how many packages the LM head is cut into.
const MaxHeadShards = 64

// DefaultHeadShards is four: 50,016 rows each of Phi-4-mini's 200,064, the size
// on record as resident.
const DefaultHeadShards = 4

// Head is one of the LM head's packages: shard Shard, from 0 on, of Of.
type Head struct{ Shard, Of int }

// HeadRanges cuts a vocabulary into n ranges of rows that cover it exactly, in
// order; their sizes differ by one row at most.
func HeadRanges(vocab, n int) ([]Range, error) {
	if n < 1 || n > min(MaxHeadShards, vocab) {
		return nil, fmt.Errorf("%w: head shards: want 1 to %d for a vocabulary of %d, found %d", ErrHead, min(MaxHeadShards, vocab), vocab, n)
	}
	out := make([]Range, n)
	for i := range out {
		out[i] = Range{i * vocab / n, (i + 1) * vocab / n}
	}
	return out, nil
}

// Rows is the shard's range of the vocabulary.
func (h Head) Rows(vocab int) (Range, error) {
	all, err := HeadRanges(vocab, h.Of)
	if err != nil {
		return Range{}, err
	}
	if h.Shard < 0 || h.Shard >= h.Of {
		return Range{}, fmt.Errorf("%w: want a shard from 0 to %d, found %d", ErrHead, h.Of-1, h.Shard)
	}
	return all[h.Shard], nil
}

// kind is what one export makes.
type kind int

const (
	layerShard    kind = iota // a package of decoder layers
	headShard                 // a package of LM head rows
	embeddingFile             // the host's table of rows, one file
)

// part is a piece of the model that one export makes: decoder layers, or rows
// of the vocabulary.
type part struct {
	kind
	Range
}

func layersPart(r Range) part  { return part{layerShard, r} }
func headPart(rows Range) part { return part{headShard, rows} }

func embeddingPart(cfg checkpoint.Config) part { return part{embeddingFile, Range{0, cfg.VocabSize}} }

// part is the piece that the options name.
func (opt Options) part(cfg checkpoint.Config) (part, error) {
	named := 0
	for _, is := range []bool{opt.Layers != Range{}, opt.Head != Head{}, opt.Embedding} {
		if is {
			named++
		}
	}
	switch {
	case named > 1:
		return part{}, fmt.Errorf("%w: want layers, an LM head shard or the embedding, found more than one of them", ErrRange)
	case opt.Head != Head{}:
		rows, err := opt.Head.Rows(cfg.VocabSize)
		return headPart(rows), err
	case opt.Embedding:
		return embeddingPart(cfg), nil
	}
	return layersPart(opt.Layers), nil
}

// String names the piece in messages.
func (p part) String() string {
	switch p.kind {
	case headShard:
		return "LM head rows " + p.Range.String()
	case embeddingFile:
		return "embedding"
	}
	return "layers " + p.Range.String()
}

// slug names the piece in file names.
func (p part) slug() string {
	switch p.kind {
	case headShard:
		return fmt.Sprintf("head%d_%d", p.Start, p.End)
	case embeddingFile:
		return "embedding"
	}
	return fmt.Sprintf("layers%d_%d", p.Start, p.End)
}

// fileName is the name of the package or file that holds the piece.
func (p part) fileName(model string, precision Precision) string {
	if p.kind == embeddingFile {
		return fmt.Sprintf("%s_%s_%s.bin", model, p.slug(), FP16)
	}
	return fmt.Sprintf("%s_%s_%s.mlpackage", model, p.slug(), precision)
}

// check reports a range outside the model.
func (p part) check(cfg checkpoint.Config) error {
	if p.kind == layerShard {
		return p.Range.Check(cfg.Layers)
	}
	if p.Start < 0 || p.Start >= p.End || p.End > cfg.VocabSize {
		return fmt.Errorf("%w: want 0 <= START < END <= %d (the vocabulary), found %s", ErrRange, cfg.VocabSize, p.Range)
	}
	return nil
}
