package main

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// A gate that is stopped says so and leaves no verdict: one that says "error"
// would stand in the ladder's way.
func TestStoppedGateLeavesNoVerdict(t *testing.T) {
	nano, out := filepath.Join("..", "..", "fixtures", "nano"), filepath.Join(t.TempDir(), "out")
	invoke(t, "export", "--checkpoint", nano, "--layers", "30:32", "--out", out, "--slots", "256", "--json")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	to := streams{&stdout, &stderr}
	gate := gateCommand{subjectFlags: subjectFlags{Out: out, Layers: "30:32", planeFlags: planeFlags{Plane: manifest.PlaneReference}}}
	err := gate.Run(ctx, to)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "no verdict was written")
	assert.Equal(t, exitError, report(err, to))
	assert.Empty(t, stdout.String())
	assert.NoDirExists(t, filepath.Join(out, "verdicts"))
}

// An export that is stopped keeps what it has for the same command.
func TestStoppedExportSaysHowToGoOn(t *testing.T) {
	nano, out := filepath.Join("..", "..", "fixtures", "nano"), filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	to := streams{&stdout, &stderr}
	command := exportCommand{
		Checkpoint: nano, Layers: "30:32", Out: out,
		recipeFlags: recipeFlags{Precision: "int8", Slots: 256, Functions: "t1,t4", Norm: "layernorm_concat", Layout: "20+4+6+2"},
	}
	err := command.Run(ctx, to)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, ".partial")
	assert.NoDirExists(t, filepath.Join(out, "nano_layers30_32_int8.mlpackage"))
	assert.NoFileExists(t, filepath.Join(out, "lockstep.json"))
}
