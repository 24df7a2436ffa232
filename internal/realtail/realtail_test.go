package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// The test binary is also the process whose memory TestMemoryLimit measures.
const (
	holdMemory = "REALTAIL_HOLD_MEMORY"
	heldBytes  = 200 << 20
)

func TestMain(m *testing.M) {
	if os.Getenv(holdMemory) == "" {
		os.Exit(m.Run())
	}
	held := make([]byte, heldBytes)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	runtime.KeepAlive(held)
}

// smallTail has the real tail's layers and slots, and is small otherwise.
func smallTail(t *testing.T) source {
	t.Helper()
	spec := synth.Spec{Seed: "small tail", Start: tail.Start, End: tail.End, Config: checkpoint.Config{
		HiddenSize: 64, IntermediateSize: 96, Layers: 32, Heads: 4, KVHeads: 2, VocabSize: 96, MaxPositions: 2048,
		RMSNormEps: 1e-5, RopeTheta: 10000, PartialRotaryFactor: 0.75, TieWordEmbeddings: true,
		Rope: checkpoint.Rope{Type: checkpoint.RopeDefault},
	}}
	dir := t.TempDir()
	require.NoError(t, synth.Write(t.Context(), dir, spec))
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	require.NoError(t, err)
	src := source{spec: spec}
	for _, name := range files {
		sum, err := fileSum(name)
		require.NoError(t, err)
		src.sums = append(src.sums, sum)
	}
	return src
}

func buildLockstep(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "lockstep")
	text, err := exec.Command("go", "build", "-o", name, "lockstep/cmd/lockstep").CombinedOutput()
	require.NoError(t, err, string(text))
	return name
}

// TestRun makes the whole run on a small checkpoint, with what may stand there
// from earlier runs and with a damaged package.
func TestRun(t *testing.T) {
	src, command, out := smallTail(t), buildLockstep(t), filepath.Join(t.TempDir(), "real")
	again := func(src source) (string, error) {
		var text strings.Builder
		err := run(t.Context(), &text, out, command, src)
		return text.String(), err
	}
	text, err := again(source{spec: src.spec, sums: realTailSums})
	require.ErrorContains(t, err, "makes other bytes")
	assert.NotContains(t, text, "export")
	_, err = again(source{spec: src.spec, sums: realTailSums})
	require.ErrorContains(t, err, "delete it")

	text, err = again(src)
	require.NoError(t, err)
	assert.Regexp(t, `export  fp16 layernorm_concat .* MB in .* s\n +\S+ times cp, fsync, sha256`, text)
	assert.Equal(t, 2, strings.Count(text, "  verdict     partial "))
	assert.Regexp(t, `(?s)gate    int8 prescaled.*  lint +fail .*rsqrt_epsilon`, text)
	assert.Regexp(t, `peak memory of export( +\d\S+ MiB){4}\n`, text)
	assert.Regexp(t, `t4 / t1( +\d\S+){2}( +not measured){2}\n`, text)
	assert.Contains(t, text, "\nresult ")

	text, err = again(src)
	require.NoError(t, err)
	assert.Equal(t, len(subjects()), strings.Count(text, "of an earlier run"))
	assert.NotContains(t, text, "times cp")
	assert.Regexp(t, `peak memory of export( +not measured){4}\n`, text)

	weights, err := filepath.Glob(filepath.Join(out, "*", "fp16_*", "*.mlpackage", "Data", "*", "weights", "weight.bin"))
	require.NoError(t, err)
	require.Len(t, weights, 1)
	flipByte(t, weights[0])
	_, err = again(src)
	require.ErrorContains(t, err, "weight.bin", "export does not take it for its own")

	var gated strings.Builder
	r := &runner{to: &gated, source: src, out: out, dir: weights[0][:strings.Index(weights[0], string(filepath.Separator)+"fp16_")]}
	fault, err := r.gate(t.Context(), subjects()[0], newColumn(subjects()[0]))
	require.NoError(t, err)
	require.ErrorContains(t, fault, "package/digests")
	assert.ErrorContains(t, fault, `verdict "fail"`)
	assert.Contains(t, gated.String(), "  verdict     fail ")
}

func flipByte(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(name, content, 0o644))
}

// TestChoose: the other norm forms are judged by everything that reads the
// package, and at one position by oracle and parity.
func TestChoose(t *testing.T) {
	for _, s := range subjects() {
		all := conformance.Catalogue(s.recipe(), tail.Len(), 3072, false)
		chosen, err := s.choose(all)
		require.NoError(t, err)
		if s.whole {
			assert.Len(t, chosen, len(all))
			continue
		}
		count := map[string]int{}
		for _, c := range chosen {
			count[c.Check]++
		}
		for _, check := range []string{conformance.CheckPackage, conformance.CheckLint} {
			assert.Len(t, casesOf(check, all), count[check], check)
		}
		assert.Equal(t, 1, count[conformance.CheckOracle])
		assert.Equal(t, 1, count[conformance.CheckParity])
		_, err = s.choose(casesOf(conformance.CheckParity, all))
		assert.ErrorContains(t, err, "oracle/", "a catalogue without the position is an error, not a smaller run")
	}
}

func TestWant(t *testing.T) {
	counts := map[manifest.Result]int{}
	for _, s := range subjects() {
		for _, c := range conformance.Catalogue(s.recipe(), tail.Len(), 3072, false) {
			counts[s.want(c)]++
			assert.Equal(t, s.norm == exporter.Prescaled && c.ID() == "lint/const", s.want(c) == manifest.Fail)
			assert.Equal(t, c.Check == conformance.CheckResidency, s.want(c) == manifest.NotMeasured)
		}
	}
	assert.Equal(t, 1, counts[manifest.Fail])
	assert.Equal(t, 2*len(subjects()), counts[manifest.NotMeasured])
}

// TestMemoryLimit: the limit is asserted, and peakMemory sees what a process
// holds.
func TestMemoryLimit(t *testing.T) {
	s := subjects()[0]
	assert.NoError(t, (&column{peak: memoryLimit - 1}).checkMemory(s))
	assert.ErrorContains(t, (&column{peak: memoryLimit}).checkMemory(s), "fp16")

	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdMemory+"=1")
	require.NoError(t, cmd.Run())
	peak, ok := peakMemory(cmd.ProcessState)
	require.True(t, ok)
	assert.Greater(t, peak, int64(heldBytes))
	assert.Less(t, peak, int64(heldBytes+heldBytes/2))
}
