package mutant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// hostCall fills the inputs of one block of the base's shape: the last one that
// fits, or what the fault makes of it.
func hostCall(refusal error, fault func(s hostinput.Shape, pos, live *int, x [][]float16.Float16)) attempt {
	return func(_ context.Context, base Base, _ string, faulty bool) ([]string, error) {
		cfg, rec := base.Export.Checkpoint.Config(), base.Export.Recipe
		rope, err := hostinput.NewRope(hostinput.Rope{
			Theta: cfg.RopeTheta, Dim: cfg.RotaryDim(), Factors: cfg.Rope.ShortFactor, AttentionFactor: cfg.AttentionFactor(),
		})
		if err != nil {
			return nil, err
		}
		s := hostinput.Shape{Hidden: cfg.HiddenSize, Rows: slices.Max(rec.Rows), Slots: rec.Slots, RopeHalf: rope.Half()}
		pos, live := s.Slots-s.Rows, s.Rows
		x := make([][]float16.Float16, live)
		for t := range x {
			x[t] = make([]float16.Float16, s.Hidden)
		}
		if faulty {
			fault(s, &pos, &live, x)
		}
		return refused(hostinput.NewPass(s).Fill(rope, pos, live, x), refusal)
	}
}

// refused turns the refusal that is wanted into what stopped an attempt; any
// other error is the harness's.
func refused(err, wanted error) ([]string, error) {
	if errors.Is(err, wanted) {
		return []string{"refused"}, nil
	}
	return nil, err
}

// blockPastTheEnd has a row more than the context has slots left.
func blockPastTheEnd(_ hostinput.Shape, pos, _ *int, _ [][]float16.Float16) { *pos++ }

// nonFiniteHidden hands on a NaN of the pass before.
func nonFiniteHidden(s hostinput.Shape, _, live *int, x [][]float16.Float16) {
	x[*live-1][s.Hidden-1] = half.NaN
}

// next exports the shard after the tail into a copy of the base's directory,
// which holds the gate's verdict of the tail. The fault changes options,
// directory or verdict beforehand; a refusal must leave the directory as it is.
func next(refusal error, fault func(Base, *exporter.Options, *manifest.Verdict) error) attempt {
	return func(ctx context.Context, base Base, dir string, faulty bool) ([]string, error) {
		if base.Verdict == nil {
			return nil, fmt.Errorf("%w: the base has no verdict", ErrUnsound)
		}
		if err := os.CopyFS(dir, os.DirFS(base.Export.Dir)); err != nil {
			return nil, err
		}
		opt, v := base.Export, *base.Verdict
		opt.Dir, opt.Layers = dir, base.Export.Layout.BuildOrder()[1]
		opt.Fresh, opt.AcceptPartial = conformance.Fresh, []string{conformance.CheckResidency}
		if faulty {
			if err := fault(base, &opt, &v); err != nil {
				return nil, err
			}
			if ck := opt.Checkpoint; ck != base.Export.Checkpoint {
				defer ck.Close() // opened for reading
			}
		}
		if v.Plane != "" {
			if _, err := conformance.WriteVerdict(dir, v); err != nil {
				return nil, err
			}
		}
		before, err := digests(dir)
		if err != nil {
			return nil, err
		}
		_, err = exporter.Export(ctx, opt)
		stopped, err := refused(err, refusal)
		if err != nil || len(stopped) == 0 {
			return stopped, err
		}
		after, err := digests(dir)
		if err == nil && !maps.Equal(before, after) {
			return nil, nil // it said no, and wrote all the same
		}
		return stopped, err
	}
}

// digests are those of all files below dir, by path.
func digests(dir string) (map[string][sha256.Size]byte, error) {
	found := map[string][sha256.Size]byte{}
	return found, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		found[path] = sha256.Sum256(content)
		return err
	})
}

func verdictOfAnotherPackage(_ Base, _ *exporter.Options, v *manifest.Verdict) error {
	v.Package.Digest = strings.Repeat("0", len(v.Package.Digest))
	return nil
}

func noVerdict(_ Base, _ *exporter.Options, v *manifest.Verdict) error {
	v.Plane = ""
	return nil
}

// verdictFailed is what the gate would have said had the first case of parity
// failed.
func verdictFailed(_ Base, _ *exporter.Options, v *manifest.Verdict) error {
	v.Checks = slices.Clone(v.Checks)
	first := &v.Checks[slices.IndexFunc(v.Checks, func(c manifest.Check) bool { return c.Name == conformance.CheckParity })]
	first.Cases = slices.Clone(first.Cases)
	first.Cases[0] = manifest.Case{Name: first.Cases[0].Name, Result: manifest.Fail, Reason: "seeded"}
	first.Result, first.Reason = manifest.Fail, first.Cases[0].Name+": seeded"
	v.Result = manifest.Fail
	return nil
}

func verdictOfASmallerCatalogue(_ Base, _ *exporter.Options, v *manifest.Verdict) error {
	v.Catalogue.Digest = strings.Repeat("0", len(v.Catalogue.Digest))
	return nil
}

func residencyNotAccepted(_ Base, opt *exporter.Options, _ *manifest.Verdict) error {
	opt.AcceptPartial = nil
	return nil
}

func outOfOrder(_ Base, opt *exporter.Options, _ *manifest.Verdict) error {
	order := opt.Layout.BuildOrder()
	opt.Layers = order[len(order)-1]
	return nil
}

func outsideTheLayout(_ Base, opt *exporter.Options, _ *manifest.Verdict) error {
	opt.Layers = exporter.Range{Start: opt.Layers.Start, End: opt.Layers.End - 1}
	return nil
}

func anotherRecipe(_ Base, opt *exporter.Options, _ *manifest.Verdict) error {
	opt.Recipe.Slots *= 2
	return nil
}

// anotherCheckpoint has another epsilon in its config.
func anotherCheckpoint(base Base, opt *exporter.Options, _ *manifest.Verdict) error {
	text, err := fs.ReadFile(base.Source, checkpoint.ConfigFile)
	if err != nil {
		return err
	}
	other := bytes.Replace(text, []byte("1e-05"), []byte("1e-06"), 1)
	if bytes.Equal(other, text) {
		return fmt.Errorf("%w: %s has no epsilon of 1e-05", ErrNoFault, checkpoint.ConfigFile)
	}
	opt.Checkpoint, err = checkpoint.Open(overlay{base.Source, checkpoint.ConfigFile, other})
	return err
}

// volumeTooSmall lacks one byte of the package.
func volumeTooSmall(_ Base, opt *exporter.Options, _ *manifest.Verdict) error {
	plan, err := exporter.PlanShard(opt.Checkpoint.Config(), opt.Name, opt.Layers, opt.Recipe)
	opt.FS = smallVolume{durable.OS{}, plan.Bytes - 1}
	return err
}

// smallVolume has so many bytes free.
type smallVolume struct {
	durable.FS
	free int64
}

func (v smallVolume) Free(string) (int64, error) { return v.free, nil }
