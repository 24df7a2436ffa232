package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// errFlag means that a flag's value cannot be used. It is wrapped with the
// flag, what was wanted and what was found.
var errFlag = errors.New("unusable flag")

// flagError is an errFlag that reads as its text.
type flagError struct{ flag, want, found string }

func (e *flagError) Error() string {
	return fmt.Sprintf("%s: want %s, found %s", e.flag, e.want, e.found)
}

func (e *flagError) Unwrap() error { return errFlag }

// recipeFlags choose the recipe.
type recipeFlags struct {
	Precision  string `help:"Conv weights: int8 (symmetric, per output channel) or fp16." enum:"int8,fp16" default:"int8"`
	Slots      int    `help:"Slots of the KV cache (S)." default:"2048"`
	Functions  string `help:"Functions by rows of a pass: t1,t4 or t1 or t4." default:"t1,t4"`
	Norm       string `help:"Form of RMSNorm: layernorm_concat, clamped or prescaled." enum:"layernorm_concat,clamped,prescaled" default:"layernorm_concat"`
	RopeFactor string `help:"Where RoPE's attention factor is: in the RoPE rows that the host computes, or folded into the turned rows of the q and k weights, for a host that knows no factor." enum:"host,folded" default:"host"`
	Layout     string `help:"Layers of each shard, in model order." default:"20+4+6+2"`

	HeadShards int `help:"Shards of the LM head: the vocabulary is cut into that many ranges, by default ${default}." default:"${head_shards}" placeholder:"N"`
}

func (f recipeFlags) recipe() (exporter.Recipe, exporter.Layout, error) {
	if !slices.Contains([]string{"t1", "t4", "t1,t4", "t4,t1"}, f.Functions) {
		return exporter.Recipe{}, nil, &flagError{"--functions", "t1,t4 or t1 or t4", fmt.Sprintf("%q", f.Functions)}
	}
	rows, err := exporter.ParseFunctions(f.Functions)
	if err != nil {
		return exporter.Recipe{}, nil, fmt.Errorf("--functions: %w", err)
	}
	layout, err := exporter.ParseLayout(f.Layout)
	if err != nil {
		return exporter.Recipe{}, nil, fmt.Errorf("--layout: %w", err)
	}
	rec := exporter.Recipe{
		Slots: f.Slots, Rows: rows, Precision: exporter.Precision(f.Precision), Norm: exporter.Norm(f.Norm),
		FoldRope: f.RopeFactor == manifest.RopeFactorFolded, Writer: exporter.WriterVersion,
	}
	return rec, layout, rec.Check()
}

// openCheckpoint opens a checkpoint: a directory or a GGUF file.
func openCheckpoint(path string) (*checkpoint.Checkpoint, error) {
	if err := wantCheckpoint(path); err != nil {
		return nil, err
	}
	return checkpoint.OpenPath(path)
}

// ggufSuffix is how the name of a GGUF file ends.
const ggufSuffix = ".gguf"

// wantCheckpoint meets the commonest mistakes with a hint.
func wantCheckpoint(path string) error {
	fail := func(found string) error {
		return &flagError{"--checkpoint " + path, "a directory with config.json and safetensors files, or a " + ggufSuffix + " file", found}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("neither")
	case err != nil:
		return fmt.Errorf("--checkpoint: %w", err)
	case !info.IsDir() && filepath.Ext(path) != ggufSuffix:
		return fail("another file")
	case !info.IsDir():
		return nil
	}
	if _, err := os.Stat(filepath.Join(path, checkpoint.ConfigFile)); errors.Is(err, fs.ErrNotExist) {
		return fail("a directory without config.json")
	}
	return nil
}

// wantDirectory reports a path that is no directory.
func wantDirectory(flag, path, want string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &flagError{flag, want, "no such directory"}
	case err != nil:
		return fmt.Errorf("%s: %w", flag, err)
	case !info.IsDir():
		return &flagError{flag, want, "a file"}
	}
	return nil
}

// wantOut reports an output directory that is something else. One that is
// absent is made later.
func wantOut(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wantDirectory("--out "+path, path, "an output directory")
}

// wantRecord reports a directory into which nothing was exported.
func wantRecord(out string) error {
	if err := wantDirectory("--out "+out, out, "the output directory of an export"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, manifest.RecordFile)); errors.Is(err, fs.ErrNotExist) {
		return &flagError{"--out " + out, "the output directory of an export", "no " + manifest.RecordFile + " in it"}
	}
	return nil
}

// wantNewFile reports a file that is there already, or has no directory.
func wantNewFile(flag, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return &flagError{flag, "the name of a new file", "one that exists"}
	}
	return wantDirectory(flag, filepath.Dir(path), "a file in an existing directory")
}

// wantPackage reports a path that is no package directory.
func wantPackage(flag, path string) error {
	const want = "a package directory (X.mlpackage)"
	if err := wantDirectory(flag+" "+path, path, want); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(path, mlpackage.ManifestPath)); !errors.Is(err, fs.ErrNotExist) {
		return nil // what else is wrong with it, its reader says
	}
	found := "no " + mlpackage.ManifestPath + " in it"
	if _, err := os.Stat(filepath.Join(path, manifest.RecordFile)); err == nil {
		found += ": this is the output directory of an export, which has packages in it"
	}
	return &flagError{flag + " " + path, want, found}
}

// modelName is --name, or the checkpoint's own name made fit for a package.
func modelName(name, checkpointPath, out string) (string, error) {
	if name != "" {
		return name, nil
	}
	// A directory that has a record has a name: the folder may have been moved.
	if record, err := exporter.ReadRecord(out); err == nil {
		return record.Model.Name, nil
	}
	base, err := checkpointName(checkpointPath)
	return exporter.ModelName(base), err
}

// checkpointName is the last element of a checkpoint's path, also of one like
// ".", without a GGUF file's suffix.
func checkpointName(path string) (string, error) {
	abs, err := filepath.Abs(path)
	return strings.TrimSuffix(filepath.Base(abs), ggufSuffix), err
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// anchors reads TAG=COMMIT pairs.
func anchors(pairs []string) ([]manifest.Anchor, error) {
	var out []manifest.Anchor
	for _, pair := range pairs {
		tag, commit, ok := strings.Cut(pair, "=")
		if !ok || tag == "" || !commitForm.MatchString(commit) {
			return nil, &flagError{"--anchor", "TAG=COMMIT, the commit 7 to 40 hexadecimal digits", fmt.Sprintf("%q", pair)}
		}
		if slices.ContainsFunc(out, func(a manifest.Anchor) bool { return a.Tag == tag }) {
			return nil, &flagError{"--anchor", "each tag once", fmt.Sprintf("%q twice", tag)}
		}
		out = append(out, manifest.Anchor{Tag: tag, Commit: commit})
	}
	return out, nil
}

// planes are the planes that a flag can name.
func planes() []string { return []string{manifest.PlaneReference, manifest.PlaneCoreML} }

// wantPlane reports a name that is no plane.
func wantPlane(flag, name string) error {
	if slices.Contains(planes(), name) {
		return nil
	}
	return &flagError{flag, strings.Join(planes(), " or "), fmt.Sprintf("%q", name)}
}

// planeCPUOnly is Core ML kept to the CPU. No flag can name it: it is measured,
// and never judged.
const planeCPUOnly = manifest.PlaneCoreML + native.CPUOnlySuffix

// newPlane makes the plane of a name; there is never another one in its place.
func newPlane(name string) (coreml.Plane, error) {
	switch name {
	case manifest.PlaneReference:
		return reference.Plane{}, nil
	case planeCPUOnly:
		return native.New(native.Options{CPUOnly: true})
	}
	return native.New(native.Options{})
}

// writeJSON prints v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// plainArgument needs no quotes in a shell.
var plainArgument = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// commandLine joins arguments so that a shell splits them again.
func commandLine(args ...string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if !plainArgument.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted[i] = arg
	}
	return strings.Join(quoted, " ")
}
