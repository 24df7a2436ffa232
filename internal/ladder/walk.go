package ladder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/manifest"
)

// Walk is the way up: every shard of the layout, smallest first, then the LM
// head, then the embedding.
type Walk struct {
	// Export is every export but for its piece: Layers, Head and Embedding are
	// the walk's.
	Export exporter.Options
	// Gate is every gate run but for what is judged: Dir, Layers, Vocab,
	// Checkpoint and Command are the walk's.
	Gate       conformance.Options
	HeadShards int
	// Command is the one command that repeats the gate run of a piece.
	Command func(Piece) string
	// Exported and Judged are told of each piece as it is done; they may be nil.
	Exported func(Piece, *exporter.Result)
	Judged   func(Piece, Judgement)
}

// Piece is one export of a walk.
type Piece struct {
	Layers    exporter.Range
	Head      exporter.Head
	Rows      exporter.Range // of the vocabulary, where Head is set
	Embedding bool
}

// String names the piece in messages.
func (p Piece) String() string {
	switch {
	case p.Embedding:
		return "embedding"
	case p.Head != exporter.Head{}:
		return "LM head rows " + p.Rows.String()
	}
	return "layers " + p.Layers.String()
}

// Judgement is what came of judging a piece.
type Judgement struct {
	// Verdict is nil where a fresh verdict stood there already and the piece was
	// not judged again.
	Verdict *manifest.Verdict
	Path    string // of the verdict's file
}

// Stopped is the error of a walk that met a piece that did not pass.
type Stopped struct {
	At      Piece
	Missing []Piece // At and what would have followed, that is: what has not passed
	Verdict *manifest.Verdict
	Reason  error // what the ladder says
}

func (e *Stopped) Error() string { return e.Reason.Error() }
func (e *Stopped) Unwrap() error { return e.Reason }

// Pieces lists the walk in order.
func (w Walk) Pieces() ([]Piece, error) {
	cfg := w.Export.Checkpoint.Config()
	if err := w.Export.Layout.Check(cfg.Layers); err != nil {
		return nil, err
	}
	cut, err := exporter.HeadRanges(cfg.VocabSize, w.HeadShards)
	if err != nil {
		return nil, err
	}
	var all []Piece
	for _, layers := range w.Export.Layout.BuildOrder() {
		all = append(all, Piece{Layers: layers})
	}
	for i, rows := range cut {
		all = append(all, Piece{Head: exporter.Head{Shard: i, Of: len(cut)}, Rows: rows})
	}
	return append(all, Piece{Embedding: true}), nil
}

// Run walks until everything is exported and has passed, or something has not.
// What stands finished and judged from an earlier run is verified and not made
// or judged again. The error of a piece that did not pass is a *Stopped.
func (w Walk) Run(ctx context.Context) error {
	pieces, err := w.Pieces()
	if err != nil {
		return err
	}
	for i := 0; i < len(pieces); {
		// The LM head is judged as a whole: a part of a vocabulary cannot cover it.
		group := pieces[i : i+1]
		if isHead(pieces[i]) {
			n := slices.IndexFunc(pieces[i:], func(p Piece) bool { return !isHead(p) })
			group = pieces[i : i+n]
		}
		for _, p := range group {
			if err := w.export(ctx, p); err != nil {
				return err
			}
		}
		for j, p := range group {
			v, err := w.Judge(ctx, p)
			if errors.Is(err, exporter.ErrNotPassed) {
				return &Stopped{At: p, Missing: pieces[i+j:], Verdict: v, Reason: err}
			}
			if err != nil {
				return err
			}
		}
		i += len(group)
	}
	return nil
}

func isHead(p Piece) bool { return p.Head != exporter.Head{} }

// options are the export of a piece.
func (w Walk) options(p Piece) exporter.Options {
	opt := w.Export
	opt.Layers, opt.Head, opt.Embedding = p.Layers, p.Head, p.Embedding
	return opt
}

func (w Walk) export(ctx context.Context, p Piece) error {
	res, err := exporter.Export(ctx, w.options(p))
	if err != nil {
		return err
	}
	if w.Exported != nil {
		w.Exported(p, res)
	}
	return nil
}

// Climb exports a piece and judges it, unless a fresh verdict stands that lets
// the ladder go on. An error that wraps exporter.ErrNotPassed says that it has not.
func (w Walk) Climb(ctx context.Context, p Piece) error {
	if err := w.export(ctx, p); err != nil {
		return err
	}
	_, err := w.Judge(ctx, p)
	return err
}

// Judge judges an exported piece, unless a fresh verdict stands that lets the
// ladder go on, and writes the verdict. It returns the verdict that it made, if
// any, and an error that wraps exporter.ErrNotPassed where the piece has
// not.
func (w Walk) Judge(ctx context.Context, p Piece) (*manifest.Verdict, error) {
	opt := w.options(p)
	err := exporter.Passed(opt)
	if err == nil {
		w.judged(p, Judgement{})
		return nil, nil
	}
	if !errors.Is(err, exporter.ErrNotPassed) {
		return nil, err
	}
	gate := w.Gate
	gate.Dir, gate.Checkpoint, gate.Layers, gate.Vocab, gate.Command = opt.Dir, opt.Checkpoint, p.Layers, p.Rows, w.Command(p)
	verdict, err := conformance.Run(ctx, gate, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	path, err := conformance.WriteVerdict(opt.Dir, *verdict)
	if err != nil {
		return nil, err
	}
	w.judged(p, Judgement{verdict, path})
	return verdict, exporter.Passed(opt)
}

func (w Walk) judged(p Piece, j Judgement) {
	if w.Judged != nil && !p.Embedding {
		w.Judged(p, j)
	}
}
