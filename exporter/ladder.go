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

// VerdictDir is where a directory's verdicts lie.
const VerdictDir = "verdicts"

// VerdictPrefix starts the file names of a shard's verdicts on a plane; the
// number and VerdictExt follow.
func VerdictPrefix(layers Range, plane string) string {
	return fmt.Sprintf("layers%d_%d.%s.", layers.Start, layers.End, plane)
}

// VerdictExt ends a verdict's file name.
const VerdictExt = ".json"

// climb checks that every smaller shard of the layout has passed.
func (e *export) climb(old *manifest.Record) error {
	if e.OffLadder {
		return nil
	}
	shards := e.Layout.Shards()
	if !slices.Contains(shards, e.Layers) {
		return fmt.Errorf("%w: layers %s are not a shard of the layout %s (%s); pass --off-ladder to export them all the same",
			ErrLadder, e.Layers, e.Layout, rangeList(shards))
	}
	for _, smaller := range e.Layout.BuildOrder() {
		if smaller == e.Layers {
			return nil
		}
		if smaller.Len() == e.Layers.Len() {
			continue // equals do not wait for each other
		}
		if err := e.passed(old, smaller); err != nil {
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

// passed reports why a smaller shard does not count as passed.
func (e *export) passed(old *manifest.Record, layers Range) error {
	if old == nil || findShard(old, layers) == nil {
		return fmt.Errorf("not exported yet; export and gate %s first", layers)
	}
	digest := findShard(old, layers).Package.Digest
	v, err := newestVerdict(e.FS, e.Dir, layers, manifest.PlaneCoreML, digest)
	if err != nil {
		return err
	}
	if v != nil {
		return e.judge(v, *old)
	}
	if len(e.AcceptPartial) == 0 {
		return errors.New("no coreml verdict of its package; gate it on a Mac, or go on with --accept-partial residency")
	}
	v, err = newestVerdict(e.FS, e.Dir, layers, manifest.PlaneReference, digest)
	if err != nil {
		return err
	}
	if v == nil {
		return fmt.Errorf("no verdict of its package; run lockstep gate --layers %s first", layers)
	}
	return e.judge(v, *old)
}

// judge wants pass, or partial by nothing but the accepted checks.
func (e *export) judge(v *manifest.Verdict, r manifest.Record) error {
	if e.Fresh != nil {
		if err := e.Fresh(*v, r); err != nil {
			return fmt.Errorf("its newest %s verdict is stale: %w; gate it again", v.Plane, err)
		}
	}
	if v.Result == manifest.Pass {
		return nil
	}
	if v.Result == manifest.Partial && v.Plane != manifest.PlaneCoreML {
		return AcceptPartial(v.Checks, e.AcceptPartial)
	}
	return fmt.Errorf("its newest %s verdict is %q", v.Plane, v.Result)
}

// AcceptPartial reports the first check that is neither passed nor an accepted
// "not measured".
func AcceptPartial(checks []manifest.Check, accepted []string) error {
	for _, c := range checks {
		if c.Result == manifest.Pass || c.Result == manifest.NotMeasured && slices.Contains(accepted, c.Name) {
			continue
		}
		return fmt.Errorf("check %s is %q, which is not accepted", c.Name, c.Result)
	}
	return nil
}

// newestVerdict is the newest verdict on a plane of the package with this
// digest, or nil. The newest file decides; one of another package is an error,
// since it says that the record and the verdicts have come apart.
func newestVerdict(fsys durable.FS, dir string, layers Range, plane, digest string) (*manifest.Verdict, error) {
	names, err := durable.Numbered(fsys, filepath.Join(dir, VerdictDir), VerdictPrefix(layers, plane), VerdictExt)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	name := names[len(names)-1]
	text, err := readSmall(fsys, name)
	if err != nil {
		return nil, err
	}
	v, err := manifest.DecodeVerdict(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if v.Package.Digest != digest || v.Plane != plane {
		return nil, fmt.Errorf("%s judges another package (digest %s on plane %s, the record has %s); gate the package again",
			name, v.Package.Digest, v.Plane, digest)
	}
	return v, nil
}
