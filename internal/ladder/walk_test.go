package ladder_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/ladder"
	"lockstep/manifest"
)

// order is nano's way up in three LM head shards.
var order = []string{
	"layers 30:32", "layers 20:24", "layers 24:30", "layers 0:20",
	"LM head rows 0:85", "LM head rows 85:170", "LM head rows 170:256", "embedding",
}

// walk is nano's, and what it did so far.
type walk struct {
	ladder.Walk
	exported, written, judged, stood []string
}

func nanoWalk(t *testing.T, dir string, p exporter.Precision, accept ...string) *walk {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	rec := exporter.DefaultRecipe()
	rec.Slots, rec.Precision = 32, p
	w := &walk{}
	w.Walk = ladder.Walk{
		Export: exporter.Options{
			Checkpoint: ck, Dir: dir, Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
			AcceptPartial: accept, Fresh: conformance.Fresh,
		},
		Gate:       conformance.Options{Plane: reference.Plane{}, Subject: "nano", Lockstep: "(devel)"},
		HeadShards: 3,
		Command:    func(p ladder.Piece) string { return "gate " + p.String() },
		Exported: func(p ladder.Piece, res *exporter.Result) {
			w.exported = append(w.exported, p.String())
			if !res.UpToDate {
				w.written = append(w.written, p.String())
			}
		},
		Judged: func(p ladder.Piece, j ladder.Judgement) {
			if j.Verdict == nil {
				w.stood = append(w.stood, p.String())
				return
			}
			w.judged = append(w.judged, p.String())
			assert.Equal(t, "gate "+p.String(), j.Verdict.Command)
			assert.Equal(t, filepath.Join(dir, exporter.VerdictDir), filepath.Dir(j.Path))
		},
	}
	return w
}

func names(pieces []ladder.Piece) []string {
	var out []string
	for _, p := range pieces {
		out = append(out, p.String())
	}
	return out
}

// TestWalk goes the whole way in three runs: the first stops at the tail, whose
// residency nobody accepted; the second goes on with what stands; the third
// finds nothing left to do.
func TestWalk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	first := nanoWalk(t, dir, exporter.FP16)
	pieces, err := first.Pieces()
	require.NoError(t, err)
	assert.Equal(t, order, names(pieces))
	err = first.Run(context.Background())
	var stopped *ladder.Stopped
	require.ErrorAs(t, err, &stopped)
	require.ErrorIs(t, err, exporter.ErrNotPassed)
	assert.ErrorContains(t, err, "--accept-partial residency")
	assert.Equal(t, manifest.Partial, stopped.Verdict.Result)
	assert.Equal(t, order, names(stopped.Missing))
	assert.Equal(t, order[:1], first.exported)

	second := nanoWalk(t, dir, exporter.FP16, conformance.CheckResidency)
	require.NoError(t, second.Run(context.Background()))
	assert.Equal(t, order, second.exported)
	assert.Equal(t, order[1:], second.written)
	assert.Equal(t, order[:1], second.stood)
	assert.Equal(t, order[1:len(order)-1], second.judged, "nothing judges the embedding")
	record, err := exporter.ReadRecord(dir)
	require.NoError(t, err)
	assert.Len(t, record.Shards, 4)
	assert.Len(t, record.LMHead, 3)
	assert.NotNil(t, record.Embedding)
	assert.Equal(t, []string{conformance.CheckResidency}, record.Shards[0].AcceptedPartial)

	third := nanoWalk(t, dir, exporter.FP16, conformance.CheckResidency)
	require.NoError(t, third.Run(context.Background()))
	assert.Equal(t, order, third.exported)
	assert.Empty(t, third.written)
	assert.Empty(t, third.judged)
	assert.Equal(t, order[:len(order)-1], third.stood)
}

// TestWalkStopsAtAFail: a larger shard is not made when a smaller one fails,
// here by the lint of its norm form, and the next run judges it again.
func TestWalkStopsAtAFail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	for range 2 {
		w := nanoWalk(t, dir, exporter.FP16, conformance.CheckResidency)
		w.Export.Recipe.Norm = exporter.Prescaled
		err := w.Run(context.Background())
		var stopped *ladder.Stopped
		require.ErrorAs(t, err, &stopped)
		assert.Equal(t, manifest.Fail, stopped.Verdict.Result)
		assert.ErrorContains(t, err, "lint")
		assert.Equal(t, order[:1], w.exported)
		assert.Equal(t, order[:1], w.judged)
		assert.Equal(t, order, names(stopped.Missing))
	}
}

// TestWalkJudgesAgain what a stale verdict says nothing about.
func TestWalkJudgesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	climb := func(fresh func(manifest.Verdict, manifest.Record) error) *walk {
		w := nanoWalk(t, dir, exporter.FP16, conformance.CheckResidency)
		w.Export.Fresh = fresh
		pieces, err := w.Pieces()
		require.NoError(t, err)
		require.NoError(t, w.Climb(context.Background(), pieces[0]))
		return w
	}
	assert.Equal(t, order[:1], climb(conformance.Fresh).judged)
	assert.Empty(t, climb(conformance.Fresh).judged)
	old := true
	w := climb(func(manifest.Verdict, manifest.Record) error {
		if old {
			old = false
			return assert.AnError
		}
		return nil
	})
	assert.Equal(t, order[:1], w.judged)
}

// TestWalkRefuses what no walk can be made of, before anything is written.
func TestWalkRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	w := nanoWalk(t, dir, exporter.FP16)
	w.HeadShards = 0
	assert.ErrorIs(t, w.Run(context.Background()), exporter.ErrHead)
	w = nanoWalk(t, dir, exporter.FP16)
	w.Export.Layout = exporter.Layout{20, 4}
	assert.ErrorIs(t, w.Run(context.Background()), exporter.ErrLayout)
	w = nanoWalk(t, dir, exporter.FP16)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, w.Run(ctx), context.Canceled)
	assert.NoFileExists(t, filepath.Join(dir, manifest.RecordFile))
	assert.Empty(t, strings.Join(w.exported, ""))
}
