package exporter_test

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// room is what is asked for beside a package: record, verdict, entries.
const room = 1 << 20

// TestShortDisk wants a shortage to be told in bytes before anything is made,
// and enough room to be enough, to the byte.
func TestShortDisk(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	need := plannedBytes(t, opt) + room
	for _, tt := range []struct {
		reserve, free, missing int64
	}{
		{0, 0, need},
		{0, need - 1, 1},
		{exporter.DefaultReserve, need, exporter.DefaultReserve},
		{exporter.DefaultReserve, need + exporter.DefaultReserve - 7, 7},
	} {
		opt.Reserve, mem.FreeBytes = tt.reserve, tt.free
		refused(t, opt, mem, durable.ErrNoSpace, fmt.Sprintf("%d bytes missing", tt.missing), "--reserve", "30:32")
		_, err := mem.Stat(out)
		require.ErrorIs(t, err, fs.ErrNotExist, "not even the directory is made")
	}
	opt.Reserve = math.MaxInt64
	refused(t, opt, mem, durable.ErrSize, fmt.Sprint(opt.Reserve))
	opt.Reserve, mem.FreeBytes = exporter.DefaultReserve, need+exporter.DefaultReserve
	export(t, opt)
	mem.FreeBytes = 0
	assert.True(t, export(t, opt).UpToDate, "what stands needs no room")
}

func plannedBytes(t *testing.T, opt exporter.Options) int64 {
	t.Helper()
	plan, err := exporter.PlanShard(opt.Checkpoint.Config(), opt.Name, opt.Layers, opt.Recipe)
	require.NoError(t, err)
	return plan.Bytes
}

// TestShortDiskCountsThePartial asks for the rest of an unfinished export only.
func TestShortDiskCountsThePartial(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	name := partialOf(t, opt, mem, 200_000)
	var standing int64
	for file, content := range mem.Content() {
		if file != out+"/"+durable.LockName {
			standing += int64(len(content))
		}
	}
	require.Greater(t, standing, int64(len(mem.Content()[name])))
	mem.FreeBytes = plannedBytes(t, opt) + room - standing - 1
	refused(t, opt, mem, durable.ErrNoSpace, ": 1 bytes missing")
	mem.FreeBytes++
	export(t, opt)
}

// TestDiskFillsUp lets a write fail for want of space after so many bytes: the
// error says so, no package has its name, and with room again the export goes
// on to the same bytes.
func TestDiskFillsUp(t *testing.T) {
	clean, whole := inMemory(oneLayer(t))
	want := export(t, clean)
	total := 0
	for _, content := range whole.Content() {
		total += len(content)
	}
	for _, bytes := range []int{0, 40, 700, 30_000, total / 2, total - 20_000, total - 1} {
		opt := clean
		mem := faultfs.NewMem()
		opt.FS = faultfs.Wrap(mem, faultfs.FullAfter(bytes, syscall.ENOSPC))
		_, err := exporter.Export(context.Background(), opt)
		require.ErrorIs(t, err, durable.ErrNoSpace, "after %d bytes", bytes)
		require.ErrorIs(t, err, syscall.ENOSPC)
		assert.ErrorContains(t, err, out)
		opt.FS = mem
		res := export(t, opt)
		assert.Equal(t, want.Shard, res.Shard)
		sameContent(t, whole.Content(), mem.Content())
	}
}
