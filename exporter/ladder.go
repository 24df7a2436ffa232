package exporter

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/internal/durable"
	"lockstep/manifest"
)

// ErrLadder means that a smaller shard has no passing verdict yet, or that the
// range is not of the layout.
var ErrLadder = errors.New("the ladder does not allow this export")

// ErrNotPassed means that a piece has no verdict yet that lets the ladder go on.
var ErrNotPassed = errors.New("not passed")

// VerdictDir is where a directory's verdicts lie.
const VerdictDir = manifest.VerdictDir

// VerdictPrefix starts the file names of a shard's verdicts on a plane; the
// number and VerdictExt follow.
func VerdictPrefix(layers Range, plane string) string {
	return manifest.VerdictPrefix(manifest.Piece{Kind: manifest.PieceLayers, Start: layers.Start, End: layers.End}, plane)
}

// HeadVerdictPrefix is VerdictPrefix of an LM head shard, by its rows of the
// vocabulary.
func HeadVerdictPrefix(rows Range, plane string) string {
	return manifest.VerdictPrefix(manifest.Piece{Kind: manifest.PieceHead, Start: rows.Start, End: rows.End}, plane)
}

func (p part) verdictPrefix(plane string) string {
	if p.kind == headShard {
		return HeadVerdictPrefix(p.Range, plane)
	}
	return VerdictPrefix(p.Range, plane)
}

// VerdictExt ends a verdict's file name.
const VerdictExt = manifest.VerdictExt

// residency is the one check that a smaller shard's verdict may leave open: it
// cannot be measured without Core ML.
const residency = "residency"

// checkAccepted refuses names that the ladder cannot accept as not measured.
func checkAccepted(names []string) error {
	for _, name := range names {
		if name != residency {
			return fmt.Errorf("%w: accepted partial: want %s, found %q", ErrLadder, residency, name)
		}
	}
	return nil
}

// climb checks that every smaller shard of the layout has passed. Equals do not
// wait for each other. LM head and embedding are no rungs: they are small, and
// no shard's result depends on them.
func (e *export) climb(old *manifest.Record) error {
	e.accepted = []string{} // as the record spells none
	if e.OffLadder || e.shard.kind != layerShard {
		return nil
	}
	shards := e.Layout.Shards()
	if !slices.Contains(shards, e.Layers) {
		return fmt.Errorf("%w: layers %s are not a shard of the layout %s (%s); pass --off-ladder to export them all the same",
			ErrLadder, e.Layers, e.Layout, rangeList(shards))
	}
	for _, smaller := range e.Layout.BuildOrder() {
		if smaller.Len() == e.Layers.Len() {
			break
		}
		if err := e.passed(old, layersPart(smaller)); err != nil {
			return fmt.Errorf("%w: layers %s wait for layers %s: %w", ErrLadder, e.Layers, smaller, err)
		}
	}
	return nil
}

func rangeList(rs []Range) string {
	texts := make([]string, len(rs))
	for i, r := range rs {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}

// Passed reports why the piece that opt names does not count as passed in its
// directory, by the rule that the ladder has for smaller shards; nil if it does.
// ErrNotPassed, wrapped, says that it has not passed yet. Nothing judges the
// embedding: it has passed when it is recorded.
func Passed(opt Options) error {
	opt = opt.withDefaults()
	p, err := opt.part(opt.Checkpoint.Config())
	if err != nil {
		return err
	}
	old, err := readRecord(opt.FS, opt.Dir)
	if err != nil {
		return err
	}
	e := &export{Options: opt}
	if err := e.passed(old, p); err != nil {
		return fmt.Errorf("%s: %w: %w", p, ErrNotPassed, err)
	}
	return nil
}

// passed reports why a recorded piece does not count as passed.
func (e *export) passed(old *manifest.Record, p part) error {
	recorded := findPart(old, p)
	if recorded == nil {
		return errors.New("they are not exported yet; export and gate them first")
	}
	if p.kind == embeddingFile {
		return nil
	}
	v, err := newestVerdict(e.FS, e.Dir, p, manifest.PlaneCoreML, recorded.Package.Digest)
	if err != nil {
		return err
	}
	if v != nil {
		return e.judge(v, *old)
	}
	if len(e.AcceptPartial) == 0 {
		return errors.New("no coreml verdict of their package; gate it on a Mac, or go on with --accept-partial residency")
	}
	v, err = newestVerdict(e.FS, e.Dir, p, manifest.PlaneReference, recorded.Package.Digest)
	if err != nil {
		return err
	}
	if v == nil {
		piece := "--layers " + p.Range.String()
		if p.kind == headShard {
			piece = "--head"
		}
		return fmt.Errorf("no verdict of their package; run lockstep gate --out %s %s --checkpoint PATH first", e.Dir, piece)
	}
	return e.judge(v, *old)
}

// judge wants pass, or on the reference plane partial by nothing but the
// accepted checks.
func (e *export) judge(v *manifest.Verdict, r manifest.Record) error {
	if e.Fresh != nil {
		if err := e.Fresh(*v, r); err != nil {
			return fmt.Errorf("the newest %s verdict is stale: %w; gate them again", v.Plane, err)
		}
	}
	switch {
	case v.Result == manifest.Pass:
		return nil
	case v.Result == manifest.Partial && v.Plane == manifest.PlaneReference:
		if err := AcceptPartial(v.Checks, e.AcceptPartial); err != nil {
			return fmt.Errorf("the newest %s verdict is %q: %w", v.Plane, v.Result, err)
		}
		e.accepted = slices.Compact(slices.Sorted(slices.Values(e.AcceptPartial)))
		return nil
	default:
		return fmt.Errorf("the newest %s verdict is %q%s; mend that and gate them again", v.Plane, v.Result, firstBroken(v.Checks))
	}
}

// firstBroken names the first check that did not pass, with its reason.
func firstBroken(checks []manifest.Check) string {
	for _, c := range checks {
		if c.Result != manifest.Pass && c.Result != manifest.NotMeasured {
			return fmt.Sprintf(" (%s: %s)", c.Name, c.Reason)
		}
	}
	return ""
}

// AcceptPartial reports the first check that is neither passed nor an accepted
// "not measured".
func AcceptPartial(checks []manifest.Check, accepted []string) error {
	for _, c := range checks {
		if c.Result == manifest.Pass || c.Result == manifest.NotMeasured && slices.Contains(accepted, c.Name) {
			continue
		}
		return fmt.Errorf("check %s is %q (%s), which is not accepted", c.Name, c.Result, c.Reason)
	}
	return nil
}

// newestVerdict is the newest verdict on a plane of the package with this
// digest, or nil. Verdicts of other packages do not count, whatever they say;
// one that cannot be read or that contradicts its own name is an error.
func newestVerdict(fsys durable.FS, dir string, p part, plane, digest string) (*manifest.Verdict, error) {
	names, err := durable.Numbered(fsys, filepath.Join(dir, VerdictDir), p.verdictPrefix(plane), VerdictExt)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		text, err := readSmall(fsys, name)
		if err != nil {
			return nil, err
		}
		v, err := manifest.DecodeVerdict(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if about := judgedPart(*v); v.Plane != plane || about != p {
			return nil, fmt.Errorf("%s: %w: want a verdict about %s on plane %s, found %s on %s",
				name, manifest.ErrInvalid, p, plane, about, v.Plane)
		}
		if v.Package.Digest == digest {
			return v, nil
		}
	}
	return nil, nil
}

// judgedPart is what a verdict is about.
func judgedPart(v manifest.Verdict) part {
	if v.Vocab != nil {
		return headPart(Range{v.Vocab.Start, v.Vocab.End})
	}
	return layersPart(Range{v.Shard.Start, v.Shard.End})
}
