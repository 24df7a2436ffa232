package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// describe runs lockstep manifest and returns what it wrote.
func describe(t *testing.T, out string, args ...string) []byte {
	t.Helper()
	file := filepath.Join(out, "meta.json")
	var stdout, stderr bytes.Buffer
	all := append([]string{"manifest", "--out", out, "--runtime-meta", file}, args...)
	require.Equal(t, exitPass, run(all, streams{&stdout, &stderr}), stderr.String())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	meta, err := manifest.DecodeRuntime(text)
	require.NoError(t, err)
	again, err := manifest.EncodeRuntime(*meta)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(text, again))
	return text
}

func goldenText(t *testing.T, name string, text []byte) {
	t.Helper()
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".json")).Assert(t, name, text)
}

// TestRuntimeMetaOfNano exports the whole of nano for a runtime that names no
// function and knows no attention factor.
func TestRuntimeMetaOfNano(t *testing.T) {
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Rows, rec.FoldRope = 256, []int{4}, true
	opt := exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "out"), Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano", OffLadder: true,
	}
	pieces := []exporter.Options{{Embedding: true}, {Head: exporter.Head{Shard: 0, Of: 2}}, {Head: exporter.Head{Shard: 1, Of: 2}}}
	for _, layers := range opt.Layout.Shards() {
		pieces = append(pieces, exporter.Options{Layers: layers})
	}
	for _, piece := range pieces {
		opt.Layers, opt.Head, opt.Embedding = piece.Layers, piece.Head, piece.Embedding
		_, err := exporter.Export(context.Background(), opt)
		require.NoError(t, err)
	}
	goldenText(t, "runtime_nano_folded_t4", describe(t, opt.Dir, "--checkpoint", filepath.Join("..", "..", "fixtures", "nano")))
}

// TestRuntimeMetaOfPhi4Mini describes a record of the real dimensions: its
// packages are the plan's, the digests of their files stand for weights that
// nobody has here.
func TestRuntimeMetaOfPhi4Mini(t *testing.T) {
	text := fixtures.Phi4MiniConfig()
	cfg, err := checkpoint.ParseConfig(checkpoint.ConfigFile, text)
	require.NoError(t, err)
	rec := exporter.DefaultRecipe()
	plan, err := exporter.NewPlan(cfg, "phi4mini", exporter.DefaultLayout(), rec, exporter.DefaultHeadShards)
	require.NoError(t, err)
	record, err := exporter.Identity(cfg, fmt.Sprintf("%x", sha256.Sum256(text)), "phi4mini", exporter.DefaultLayout(), rec)
	require.NoError(t, err)
	var functions []manifest.Function
	for _, rows := range rec.Rows {
		functions = append(functions, manifest.Function{
			Name: rec.FunctionName(rows), T: rows, OpCounts: map[string]int{"conv": 1},
			Outputs: []manifest.Feature{{Name: "hidden", Shape: []int{1, 3072, rows, 1}}},
		})
	}
	for _, step := range plan.Steps() {
		files := []manifest.File{}
		for _, f := range step.Files {
			files = append(files, manifest.File{Path: f.Path, Bytes: f.Bytes, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(step.FileName(f))))})
		}
		if step.Package == plan.Embedding.Package {
			record.Embedding = &manifest.Embedding{Path: step.Package, Bytes: step.Bytes, SHA256: files[0].SHA256, Rows: step.End}
			continue
		}
		digest, err := manifest.PackageDigest(files)
		require.NoError(t, err)
		added := record
		added.Shards, added.LMHead, added.Embedding = nil, nil, nil
		pkg := manifest.Package{Path: step.Package, Bytes: step.Bytes, Digest: digest, Files: sorted(files)}
		if step.End <= cfg.Layers {
			added.Shards = []manifest.Shard{{Start: step.Start, End: step.End, Package: pkg, Functions: functions}}
		} else {
			added.LMHead = []manifest.LMHeadShard{{Start: step.Start, End: step.End, Package: pkg, Functions: functions}}
		}
		record, err = manifest.Merge(record, added)
		require.NoError(t, err)
	}
	encoded, err := manifest.EncodeRecord(record)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, manifest.RecordFile), encoded, 0o644))
	goldenText(t, "runtime_phi4mini", describe(t, dir, "--eos-token-id", "200020,199999", "--bos-token-id", "199999", "--model-family", "phi4-mini"))
}

// sorted puts a package's files in the record's order.
func sorted(files []manifest.File) []manifest.File {
	return []manifest.File{files[1], files[2], files[0]} // Data/ before Manifest.json
}

// TestTokens: flags come first, then generation_config.json, then config.json.
func TestTokens(t *testing.T) {
	seven := 7
	for _, tt := range []struct {
		name               string
		flags              tokenFlags
		generation, config string
		eos                []int
		bos                int
		refused            string
	}{
		{name: "flags", flags: tokenFlags{EOSTokenID: []int{5, 6}, BOSTokenID: &seven}, config: `{"eos_token_id": 1, "bos_token_id": 2}`, eos: []int{5, 6}, bos: 7},
		{name: "generation", generation: `{"eos_token_id": [200020, 199999]}`, config: `{"eos_token_id": 199999, "bos_token_id": 199999}`, eos: []int{200020, 199999}, bos: 199999},
		{name: "null is none", generation: `{"eos_token_id": null, "bos_token_id": 3}`, config: `{"eos_token_id": 4, "bos_token_id": 9}`, eos: []int{4}, bos: 3},
		{name: "one flag", flags: tokenFlags{BOSTokenID: &seven}, config: `{"eos_token_id": 0}`, eos: []int{0}, bos: 7},
		{name: "no eos", config: `{"bos_token_id": 2}`, refused: "--eos-token-id: want a token, or --checkpoint"},
		{name: "no bos", config: `{"eos_token_id": [1]}`, refused: "--bos-token-id: want a token"},
		{name: "empty list", config: `{"eos_token_id": [], "bos_token_id": 1}`, refused: "--eos-token-id: want a token"},
		{name: "text", config: `{"eos_token_id": "</s>", "bos_token_id": 1}`, refused: "config.json: eos_token_id: want a token or a list"},
		{name: "broken", generation: `{"eos_token_id": 1`, config: `{}`, refused: "generation_config.json: unexpected end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, checkpoint.ConfigFile), []byte(tt.config), 0o644))
			if tt.generation != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, generationConfig), []byte(tt.generation), 0o644))
			}
			tt.flags.Checkpoint = dir
			ids, err := tt.flags.tokens(fmt.Sprintf("%x", sha256.Sum256([]byte(tt.config))))
			if tt.refused != "" {
				assert.ErrorContains(t, err, tt.refused)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.eos, ids.eos)
			assert.Equal(t, tt.bos, *ids.bos)
		})
	}
	_, err := tokenFlags{}.tokens("")
	assert.ErrorContains(t, err, "--eos-token-id: want a token")
}
