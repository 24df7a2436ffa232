package exporter_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
	"lockstep/internal/mlpackage"
)

// TestDeathAtEveryCall lets the process die at every single call of the file
// system. What it leaves is never a damaged package at the finished name, and
// the next run makes the directory what it would have been. So it does when the
// machine loses power at that moment, whatever reached the disk unsynced.
func TestDeathAtEveryCall(t *testing.T) {
	for name, opt := range everyKind(t) {
		t.Run(name, func(t *testing.T) { dieAtEveryCall(t, opt) })
	}
}

// everyKind are exports of each kind of piece: layers, a shard of the LM head,
// the embedding.
func everyKind(t *testing.T) map[string]exporter.Options {
	head, embedding := oneLayer(t), oneLayer(t)
	head.Layers, head.Head = exporter.Range{}, exporter.Head{Shard: 1, Of: 2}
	embedding.Layers, embedding.Embedding = exporter.Range{}, true
	return map[string]exporter.Options{"layers": oneLayer(t), "head": head, "embedding": embedding}
}

func dieAtEveryCall(t *testing.T, opt exporter.Options) {
	mem := faultfs.NewMem()
	recorder := faultfs.Wrap(mem, nil)
	opt.FS = recorder
	packageDir := export(t, opt).Dir
	want, calls := mem.Content(), recorder.Calls()
	require.Greater(t, len(calls), 30)
	firstWrite, lastWrite := writesOfWeights(calls)
	require.True(t, 0 <= firstWrite && firstWrite <= lastWrite)
	for i := range calls {
		left := faultfs.NewMem()
		opt.FS = faultfs.Wrap(left, faultfs.DieAt(i))
		_, err := exporter.Export(context.Background(), opt)
		if i == len(calls)-1 {
			require.NoError(t, err, "the last call gives the lock back")
		} else {
			require.ErrorIs(t, err, faultfs.ErrDead, "call %d, %v", i, calls[i])
		}
		found := left.Content()
		if _, err := left.Stat(packageDir); err == nil {
			for name, content := range want {
				require.True(t, !strings.HasPrefix(name+"/", packageDir+"/") || found[name] == content, "death at call %d leaves a damaged %s", i, name)
			}
		}
		crashed := map[string]*faultfs.Mem{
			"process":               left,
			"power, nothing synced": left.Crash(faultfs.Nothing()),
			"power, names survive":  left.Crash(faultfs.NamesOnly()),
			"power, last name":      left.Crash(faultfs.LastName()),
		}
		for what, after := range crashed {
			opt.FS = after
			res, err := exporter.Export(context.Background(), opt)
			require.NoError(t, err, "%s dies at call %d, %v", what, i, calls[i])
			if what == "process" && i > firstWrite {
				require.True(t, res.UpToDate || res.Resumed > 0, "dies at call %d, %v, and nothing is resumed", i, calls[i])
			}
			if what == "process" && i > lastWrite {
				require.True(t, res.UpToDate || res.Resumed == res.Plan.Bytes, "all was written at call %d, %d bytes are resumed", i, res.Resumed)
			}
			sameContent(t, want, after.Content())
		}
	}
}

// writesOfWeights are the indices of the first and the last write to weight.bin,
// or to the embedding.
func writesOfWeights(calls []faultfs.Call) (first, last int) {
	first = -1
	for i, c := range calls {
		if c.Op == faultfs.OpWrite && (strings.HasSuffix(c.Path, mlpackage.WeightsPath) || strings.Contains(c.Path, "_embedding_")) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last
}

// TestFailureAtEveryCall makes every single call fail once: the export reports
// it, or has no need of the call, and the next run makes the directory whole.
func TestFailureAtEveryCall(t *testing.T) {
	for name, opt := range everyKind(t) {
		t.Run(name, func(t *testing.T) { failAtEveryCall(t, opt) })
	}
}

func failAtEveryCall(t *testing.T, opt exporter.Options) {
	mem := faultfs.NewMem()
	recorder := faultfs.Wrap(mem, nil)
	opt.FS = recorder
	export(t, opt)
	want := mem.Content()
	broken := fmt.Errorf("input/output error")
	reported := 0
	for i, c := range recorder.Calls() {
		left := faultfs.NewMem()
		opt.FS = faultfs.Wrap(left, faultfs.FailAt(i, broken))
		if _, err := exporter.Export(context.Background(), opt); err != nil {
			require.ErrorIs(t, err, broken, "call %d, %v", i, c)
			reported++
		}
		opt.FS = left
		export(t, opt)
		sameContent(t, want, left.Content())
	}
	assert.GreaterOrEqual(t, reported, len(recorder.Calls())-3, "only the lock's own closing can go unreported")
}

// cancelling cancels an export after a number of bytes.
type cancelling struct {
	cancel func()
	left   int64
}

func (c *cancelling) Begin(string, int64) {}
func (c *cancelling) End()                {}
func (c *cancelling) Advance(n int64) {
	if c.left -= n; c.left <= 0 {
		c.cancel()
	}
}

// TestCancelled stops exports on a disk at several places and goes on.
func TestCancelled(t *testing.T) {
	whole := export(t, nanoOptions(t, t.TempDir()))
	for _, after := range []int64{1, 60_000, 125_000, 200_000} {
		opt := nanoOptions(t, t.TempDir())
		ctx, cancel := context.WithCancel(context.Background())
		opt.Progress = &cancelling{cancel: cancel, left: after}
		_, err := exporter.Export(ctx, opt)
		require.ErrorIs(t, err, context.Canceled)
		assert.NotContains(t, entries(t, opt.Dir), whole.Plan.Package)
		opt.Progress = nil
		res := export(t, opt)
		assert.Positive(t, res.Resumed)
		assert.Equal(t, whole.Shard, res.Shard)
		assert.Len(t, entries(t, opt.Dir), 3, "package, record, lock")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	opt := nanoOptions(t, t.TempDir())
	_, err := exporter.Export(ctx, opt)
	assert.ErrorIs(t, err, context.Canceled)
	export(t, opt)
	_, err = exporter.Export(ctx, opt)
	assert.ErrorIs(t, err, context.Canceled, "comparing the checkpoint can be stopped")
	ctx, cancel = context.WithCancel(context.Background())
	opt.Progress = &stopping{cancel: cancel}
	_, err = exporter.Export(ctx, opt)
	assert.ErrorIs(t, err, context.Canceled, "verifying the package can be stopped")
}

// stopping cancels an export as its verification begins.
type stopping struct{ cancel func() }

func (s *stopping) Begin(string, int64) { s.cancel() }
func (s *stopping) Advance(int64)       {}
func (s *stopping) End()                {}

// partialOf leaves an unfinished export in memory and returns the path of its
// weights.
func partialOf(t *testing.T, opt exporter.Options, mem *faultfs.Mem, bytes int) string {
	t.Helper()
	opt.FS = faultfs.Wrap(mem, faultfs.FullAfter(bytes, fmt.Errorf("stop")))
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorContains(t, err, "stop")
	for name := range mem.Content() {
		if strings.Contains(name, ".partial/") && strings.HasSuffix(name, mlpackage.WeightsPath) {
			return name
		}
	}
	require.Fail(t, "no partial weights")
	return ""
}

// TestDamagedPartial changes what a killed run left.
func TestDamagedPartial(t *testing.T) {
	clean, whole := inMemory(nanoOptions(t, ""))
	want := export(t, clean)
	for _, at := range []int64{0, 64, 5000, 49_999} {
		opt, mem := inMemory(nanoOptions(t, ""))
		name := partialOf(t, opt, mem, 160_000)
		require.Greater(t, len(mem.Content()[name]), 50_000)
		flip(t, mem, name, at)
		res := export(t, opt)
		assert.Equal(t, want.Shard, res.Shard)
		assert.Equal(t, at, res.Resumed-res.Plan.Files[0].Bytes-res.Plan.Files[1].Bytes, "the bytes before the damage are kept")
		sameContent(t, whole.Content(), mem.Content())
	}
}

// TestPartialTooLong leaves more bytes than are planned, which no run of this
// recipe can have written: they are not cut off.
func TestPartialTooLong(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	name := partialOf(t, opt, mem, 160_000)
	overwrite(t, mem, name, plannedWeights(t, opt), []byte{1})
	refused(t, opt, mem, durable.ErrPartialTooLong, name)
}

// plannedWeights is the planned size of weight.bin.
func plannedWeights(t *testing.T, opt exporter.Options) int64 {
	t.Helper()
	plan, err := exporter.PlanShard(opt.Checkpoint.Config(), opt.Name, opt.Layers, opt.Recipe)
	require.NoError(t, err)
	return plan.Files[2].Bytes
}

// TestStrangeFileInPartial puts a file of the user's into the unfinished
// package: it is neither taken into the package nor removed.
func TestStrangeFileInPartial(t *testing.T) {
	opt, mem := inMemory(nanoOptions(t, ""))
	name := partialOf(t, opt, mem, 160_000)
	mine := strings.TrimSuffix(name, mlpackage.WeightsPath) + "mine.txt"
	overwrite(t, mem, mine, 0, []byte("mine"))
	_, err := exporter.Export(context.Background(), opt)
	require.ErrorIs(t, err, durable.ErrNotOurs)
	assert.ErrorContains(t, err, mine)
	assert.Equal(t, "mine", mem.Content()[mine])
}

// TestOthersPartialsAreLeftAlone leaves an unfinished export and finishes one
// of another recipe, and one of the same config with other weights.
func TestOthersPartialsAreLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *exporter.Options)
	}{
		{"other recipe", func(_ *testing.T, o *exporter.Options) { o.Recipe.Norm = exporter.Clamped }},
		{"other range", func(_ *testing.T, o *exporter.Options) {
			o.Layers, o.OffLadder = exporter.Range{Start: 28, End: 30}, true
		}},
		{"other weights", func(t *testing.T, o *exporter.Options) {
			files := nanoFiles(t)
			setBF16(t, files, checkpoint.TensorName(checkpoint.QKV, 31), 3, 0.25)
			o.Checkpoint = open(t, files)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt, mem := inMemory(nanoOptions(t, ""))
			partialOf(t, opt, mem, 160_000)
			before := mem.Content()
			tt.change(t, &opt)
			res := export(t, opt)
			assert.Zero(t, res.Resumed)
			after := mem.Content()
			for name, content := range before {
				assert.True(t, after[name] == content, name)
			}
		})
	}
}
