package conformance_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/ladder"
)

// The shards above the tail, by size. Each climbs the ladder to its own rung:
// smaller shards are exported and judged first, unless this run's tests, or
// LOCKSTEP_OUT, have their verdicts; then it is judged by the whole catalogue,
// as TestTail does with the tail, and with the same settings.

func TestLayers20to24(t *testing.T) { climbTo(t, exporter.Range{Start: 20, End: 24}) }

func TestLayers24to30(t *testing.T) { climbTo(t, exporter.Range{Start: 24, End: 30}) }

func TestLayers0to20(t *testing.T) { climbTo(t, exporter.Range{Start: 0, End: 20}) }

func climbTo(t *testing.T, layers exporter.Range) {
	t.Helper()
	s := newSubject(t)
	s.wantWhole(t)
	walk := ladder.Walk{
		Export: s.exportOptions(), Gate: s.options(layers), HeadShards: exporter.DefaultHeadShards,
		Command: func(ladder.Piece) string { return "go test ./conformance -run Layers -count=1" },
	}
	for _, smaller := range s.layout.BuildOrder() {
		if smaller.Len() < layers.Len() {
			require.NoError(t, walk.Climb(context.Background(), ladder.Piece{Layers: smaller}))
		}
	}
	opt := s.options(layers)
	opt.Command = walk.Command(ladder.Piece{Layers: layers})
	s.export(t, layers)
	judgeShard(t, opt, s.dir)
}

// wantWhole skips a subject that has the tail's tensors alone.
func (s subject) wantWhole(t *testing.T) {
	t.Helper()
	if _, err := s.checkpoint.Tensor(checkpoint.QKV, 0); err != nil && s.name == "synth" {
		t.Skipf("not measured: the subject %s has the tail alone: %v", s.name, err)
	}
}
