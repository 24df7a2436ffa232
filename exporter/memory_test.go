package exporter_test

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
)

// heapWatch is a Progress that looks at the heap at every chunk.
type heapWatch struct{ peak uint64 }

func (h *heapWatch) Begin(string, int64) {}
func (h *heapWatch) End()                {}
func (h *heapWatch) Advance(int64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.peak = max(h.peak, m.HeapAlloc)
}

// TestMemoryIsFlat exports one layer and then two of 26 MB each: the heap stays
// a few chunks high, and the second layer allocates next to nothing.
func TestMemoryIsFlat(t *testing.T) {
	spec := preset(t, "plain_rope_one_layer")
	c := &spec.Config
	c.HiddenSize, c.IntermediateSize, c.Heads, c.KVHeads, c.Layers = 1024, 3072, 8, 4, 2
	spec.End, spec.ModelWide = 2, false
	dir := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, synth.Write(context.Background(), dir, spec))
	ck, err := checkpoint.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })

	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		t.Run(string(p), func(t *testing.T) {
			measure := func(layers int) (allocated, peak, written uint64) {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				watch := &heapWatch{}
				res := export(t, exporter.Options{
					Checkpoint: ck, Dir: t.TempDir(), Layers: exporter.Range{End: layers}, Layout: exporter.Layout{2}, OffLadder: true,
					Recipe: nanoRecipe(p, exporter.LayerNormConcat), Name: "flat", Progress: watch,
				})
				runtime.ReadMemStats(&after)
				return after.TotalAlloc - before.TotalAlloc, watch.peak - min(watch.peak, before.HeapAlloc), uint64(res.Plan.Bytes)
			}
			one, _, oneWritten := measure(1)
			two, peak, twoWritten := measure(2)
			require.Greater(t, twoWritten-oneWritten, uint64(12_000_000))
			t.Logf("allocated %d bytes for one layer of %d, %d for two, at most %d at a time", one, oneWritten, two, peak)
			assert.Less(t, peak, uint64(48<<20))
			assert.Less(t, two, one+4<<20, "a second layer of %d bytes", twoWritten-oneWritten)
		})
	}
}
