package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml/native"
	"lockstep/manifest"
)

// TestInstruments: there is a plane kept to the CPU beside coreml alone, never
// another one in its place; raw logs of a foreign package lie beside its
// verdict, under new names.
func TestInstruments(t *testing.T) {
	c := gateCommand{}
	c.Plane = manifest.PlaneReference
	assert.Nil(t, c.instruments().CPUOnly)
	assert.Nil(t, c.instruments().KeepLog, "an export's verdicts have a place of their own")

	c.Plane = manifest.PlaneCoreML
	require.NotNil(t, c.instruments().CPUOnly)
	c.Isolate = isolateNone
	plane, err := c.instruments().CPUOnly(context.Background())
	if err != nil {
		assert.ErrorIs(t, err, native.ErrNotHere)
	} else {
		assert.Equal(t, planeCPUOnly, plane.Name())
	}
	assert.Error(t, wantPlane("--plane", planeCPUOnly), "it is not to be judged")

	dir := t.TempDir()
	c.Verdict = filepath.Join(dir, "v.json")
	for _, want := range []string{"v.json.idle.0001.txt", "v.json.idle.0002.txt"} {
		got, err := c.instruments().KeepLog("idle", []byte(want))
		require.NoError(t, err)
		assert.Equal(t, want, got)
		text, err := os.ReadFile(filepath.Join(dir, want))
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
}

// TestMeasuresOfTheFlag: the command that repeats a run asks for the same
// figures, where the plane has any.
func TestMeasuresOfTheFlag(t *testing.T) {
	c := gateCommand{Measure: conformance.Measures()}
	c.Out, c.Layers, c.Plane = "out", "30:32", manifest.PlaneCoreML
	assert.Equal(t, "lockstep gate --out out --layers 30:32 --measure latency,cpu_only,energy --plane coreml", c.command())
	c.Plane = manifest.PlaneReference
	assert.Equal(t, "lockstep gate --out out --layers 30:32 --plane reference", c.command())
}
