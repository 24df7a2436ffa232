package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// recipeFlags choose the recipe.
type recipeFlags struct {
	Precision string `help:"Conv weights: int8 (symmetric, per output channel) or fp16." enum:"int8,fp16" default:"int8"`
	Slots     int    `help:"Slots of the KV cache (S)." default:"2048" placeholder:"N"`
	Functions string `help:"Functions by rows: t1,t4, or one of them." default:"t1,t4"`
	Norm      string `help:"Form of RMSNorm: layernorm_concat, clamped or prescaled." enum:"layernorm_concat,clamped,prescaled" default:"layernorm_concat"`
	Layout    string `help:"Layers of each shard, in model order." default:"20+4+6+2"`
}

func (f recipeFlags) recipe() (exporter.Recipe, exporter.Layout, error) {
	rows, err := exporter.ParseFunctions(f.Functions)
	if err != nil {
		return exporter.Recipe{}, nil, err
	}
	if f.Functions != "t1" && f.Functions != "t4" && f.Functions != "t1,t4" && f.Functions != "t4,t1" {
		return exporter.Recipe{}, nil, fmt.Errorf("%w: --functions: want t1,t4 or t1 or t4, found %q", exporter.ErrRecipe, f.Functions)
	}
	layout, err := exporter.ParseLayout(f.Layout)
	if err != nil {
		return exporter.Recipe{}, nil, err
	}
	rec := exporter.Recipe{
		Slots: f.Slots, Rows: rows, Precision: exporter.Precision(f.Precision), Norm: exporter.Norm(f.Norm),
		Writer: exporter.WriterVersion,
	}
	return rec, layout, rec.Check()
}

// openCheckpoint opens a checkpoint directory, with a hint for the commonest
// mistake.
func openCheckpoint(path string) (*checkpoint.Checkpoint, error) {
	if err := wantDirectory(path); err != nil {
		return nil, err
	}
	return checkpoint.OpenDir(path)
}

func wantDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("--checkpoint: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--checkpoint: %s is a file; want the directory that holds config.json and the safetensors files", path)
	}
	return nil
}

// modelName is --name, or the checkpoint folder's name made fit for a package.
func modelName(name, checkpointPath string) (string, error) {
	if name != "" {
		return name, nil
	}
	abs, err := filepath.Abs(checkpointPath)
	if err != nil {
		return "", err
	}
	return exporter.ModelName(filepath.Base(abs)), nil
}

// anchors reads TAG=COMMIT pairs.
func anchors(pairs []string) ([]manifest.Anchor, error) {
	var out []manifest.Anchor
	for _, pair := range pairs {
		tag, commit, ok := strings.Cut(pair, "=")
		if !ok || tag == "" || commit == "" {
			return nil, fmt.Errorf("--anchor: want TAG=COMMIT, found %q", pair)
		}
		out = append(out, manifest.Anchor{Tag: tag, Commit: commit})
	}
	return out, nil
}

// errPlane means that this program cannot offer the plane that was named.
var errPlane = errors.New("no such plane here")

// openPlane chooses a plane by name; there is never another one in its place.
func openPlane(name string) (coreml.Plane, error) {
	if name == manifest.PlaneReference {
		return reference.Plane{}, nil
	}
	return nil, fmt.Errorf("%w: --plane %s: this build has %s", errPlane, name, manifest.PlaneReference)
}

// writeJSON prints v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// byteCount prints a size for people: decimal units, as disks are sold.
func byteCount(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
