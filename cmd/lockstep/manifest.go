package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/manifest"
)

type manifestCommand struct {
	Out         string `help:"Output directory of an export of the whole model; its record is read, and nothing else." required:"" placeholder:"DIR"`
	RuntimeMeta string `help:"New file for the manifest; its paths are relative to it." required:"" placeholder:"FILE"`
	Compiled    bool   `help:"Want every compiled model that the manifest names, and the embedding, to be there."`
	ModelFamily string `help:"The manifest's model_family; by default the record's model name." placeholder:"NAME"`
	tokenFlags
}

// Help implements kong.HelpProvider.
func (manifestCommand) Help() string {
	return "Writes the meta JSON that a public Swift runtime reads, from the record. It names compiled models (X.mlmodelc for X.mlpackage, beside it), " +
		"which have to be compiled first and are not looked at without --compiled. docs/runtime.md says what a reader must do."
}

// Run writes the manifest.
func (c *manifestCommand) Run(to streams) error {
	if err := errors.Join(wantRecord(c.Out), wantNewFile("--runtime-meta "+c.RuntimeMeta, c.RuntimeMeta)); err != nil {
		return err
	}
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return err
	}
	choice, err := c.choice(record)
	if err != nil {
		return err
	}
	meta, err := manifest.NewRuntime(*record, choice)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.Out, manifest.RecordFile), err)
	}
	if c.Compiled {
		if err := c.wantCompiled(meta, record.Embedding.Bytes); err != nil {
			return err
		}
	}
	text, err := manifest.EncodeRuntime(meta)
	if err != nil {
		return err
	}
	if err := durable.WriteNew(durable.OS{}, c.RuntimeMeta, text); err != nil {
		return err
	}
	c.print(to.out, meta)
	return nil
}

// choice is what the record does not say.
func (c *manifestCommand) choice(record *manifest.Record) (manifest.RuntimeChoice, error) {
	ids, err := c.tokens(record.Model.ConfigSHA256)
	if err != nil {
		return manifest.RuntimeChoice{}, err
	}
	root, err := wayFrom(filepath.Dir(c.RuntimeMeta), c.Out)
	if err != nil {
		return manifest.RuntimeChoice{}, fmt.Errorf("--runtime-meta %s: %w", c.RuntimeMeta, err)
	}
	family := c.ModelFamily
	if family == "" {
		family = record.Model.Name
	}
	return manifest.RuntimeChoice{Root: root, Family: family, EOS: ids.eos[0], Stops: ids.eos[1:], BOS: *ids.bos}, nil
}

// wayFrom is the relative path from one directory to another, with slashes;
// empty if they are the same. Links are followed first: what lies above a link
// is not what lies above its target.
func wayFrom(from, to string) (string, error) {
	var ends [2]string
	for i, dir := range []string{from, to} {
		abs, err := filepath.Abs(dir)
		if err == nil {
			ends[i], err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return "", err
		}
	}
	way, err := filepath.Rel(ends[0], ends[1])
	if err != nil || way == "." {
		return "", err
	}
	return filepath.ToSlash(way), nil
}

// wantCompiled reports the first file that the manifest names and that is not
// there.
func (c *manifestCommand) wantCompiled(meta manifest.Runtime, embedBytes int64) error {
	dir := filepath.Dir(c.RuntimeMeta)
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	var names []string
	for _, l := range meta.Layers {
		names = append(names, l.Path)
	}
	for _, h := range meta.LMHeadShards {
		names = append(names, h.MLModelC)
	}
	for _, name := range names {
		if err := wantDirectory("--compiled: "+at(name), at(name), "a compiled model"); err != nil {
			return err
		}
	}
	info, err := os.Stat(at(meta.EmbedBin))
	if err != nil {
		return fmt.Errorf("--compiled: %w", err)
	}
	if info.Size() != embedBytes {
		return &flagError{"--compiled: " + at(meta.EmbedBin), fmt.Sprintf("%d bytes, as the record says", embedBytes), fmt.Sprint(info.Size())}
	}
	return nil
}

// print says what was written, what a reader must do, and what it would get
// that does not.
func (c *manifestCommand) print(w io.Writer, meta manifest.Runtime) {
	fmt.Fprintf(w, "manifest %s\n", c.RuntimeMeta)
	fmt.Fprintf(w, "layers   0:%d in %d packages\n", meta.NLayers, len(meta.Layers))
	fmt.Fprintf(w, "head     rows 0:%d in %d packages\n", meta.VocabSize, len(meta.LMHeadShards))
	var names []string
	for _, f := range meta.Lockstep.Functions {
		names = append(names, fmt.Sprintf("%s (T=%d)", f.Name, f.Rows))
	}
	fmt.Fprintf(w, "function %s\n", strings.Join(names, ", "))
	rope := meta.Lockstep.Rope
	if rope.Folded {
		fmt.Fprintln(w, "rope     the weights carry the attention factor; the reader multiplies by none")
	} else {
		fmt.Fprintf(w, "rope     the reader multiplies its cosines and sines by %v\n", rope.AttentionFactor)
	}
	if !c.Compiled {
		fmt.Fprintln(w, "compile  each package must be compiled first: X.mlpackage gives X.mlmodelc; none was looked at")
	}
	if len(names) > 1 {
		fmt.Fprintf(w, "note     a runtime that names no function runs %s alone; for it, export with --functions t1 or t4\n", meta.Lockstep.Functions[0].Name)
	}
	if t := meta.Lockstep.Functions[0].Rows; t > 1 {
		fmt.Fprintf(w, "note     every pass takes %d rows, a single token in the first and copies of it in the others; for a runtime that takes one token alone, export with --functions t1\n", t)
	}
	if rope.AttentionFactor != 1 {
		fmt.Fprintln(w, "note     a runtime that knows no attention factor computes another model; for it, export with --rope-factor folded")
	}
}
