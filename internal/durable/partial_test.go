package durable_test

import (
	"io/fs"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// lockedMem returns a locked directory in memory.
func lockedMem(t *testing.T) (*faultfs.Mem, *durable.Lock) {
	t.Helper()
	m := faultfs.NewMem()
	require.NoError(t, durable.MkdirAll(m, "/out"))
	l, err := durable.AcquireLock(m, "/out")
	require.NoError(t, err)
	return m, l
}

// write writes one whole file into an unfinished directory.
func write(t *testing.T, p *durable.PartialDir, rel, text string) {
	t.Helper()
	w, err := p.File(rel, int64(len(text)))
	require.NoError(t, err)
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	_, err = w.Finish()
	require.NoError(t, err)
}

func TestPartialDirRefusesExtraFiles(t *testing.T) {
	m, l := lockedMem(t)
	p, err := l.OpenDir("p.mlpackage", "recipe")
	require.NoError(t, err)
	write(t, p, "Data/a", "1")
	extra := p.Path() + "/Data/.DS_Store"
	put(t, m, extra, []byte("x"))
	err = p.Publish()
	require.ErrorIs(t, err, durable.ErrNotOurs)
	require.ErrorContains(t, err, extra)
	_, err = m.Stat("/out/p.mlpackage")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, "x", string(get(t, m, extra)))
}

func TestPartialDirRefusesUnfinishedFiles(t *testing.T) {
	_, l := lockedMem(t)
	p, err := l.OpenDir("p", "recipe")
	require.NoError(t, err)
	require.ErrorIs(t, p.Publish(), durable.ErrUnfinished, "no files")
	write(t, p, "a", "1")
	w, err := p.File("b", 1)
	require.NoError(t, err)
	err = p.Publish()
	require.ErrorIs(t, err, durable.ErrUnfinished)
	require.ErrorContains(t, err, w.Name())
	require.NoError(t, p.Close())
}

func TestPartialDirRefusesBadNames(t *testing.T) {
	m, l := lockedMem(t)
	for _, name := range []string{"", ".", "..", "a/b", "../p", `a\b`} {
		_, err := l.OpenDir(name, "recipe")
		assert.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
		assert.ErrorIs(t, l.ReplaceKept(name, nil), fs.ErrInvalid, "%q", name)
	}
	p, err := l.OpenDir("p", "recipe")
	require.NoError(t, err)
	for _, rel := range []string{"", ".", "..", "/a", "../a", "a/../../b", "a//b", `a\b`} {
		_, err := p.File(rel, 1)
		assert.ErrorIs(t, err, fs.ErrInvalid, "%q", rel)
	}
	write(t, p, "a", "1")
	_, err = p.File("a", 1)
	require.ErrorIs(t, err, fs.ErrInvalid, "started twice")
	names, err := m.ReadDir("/out")
	require.NoError(t, err)
	assert.Len(t, names, 2, "the lock and one partial")
}

func TestPartialDirRefusesWhatStands(t *testing.T) {
	m, l := lockedMem(t)
	require.NoError(t, m.Mkdir("/out/p"))
	_, err := l.OpenDir("p", "recipe")
	require.ErrorIs(t, err, durable.ErrExists)

	// A package that appears while ours is being written is not replaced.
	q, err := l.OpenDir("q", "recipe")
	require.NoError(t, err)
	write(t, q, "a", "1")
	require.NoError(t, m.Mkdir("/out/q"))
	err = q.Publish()
	require.ErrorIs(t, err, durable.ErrExists)
	require.ErrorContains(t, err, q.Path())

	// A file at the partial's name is left.
	put(t, m, durable.PartialName("/out/r", "recipe"), []byte("x"))
	_, err = l.OpenDir("r", "recipe")
	require.ErrorIs(t, err, durable.ErrNotOurs)
}

func TestPartialsOfOtherRecipesAreLeft(t *testing.T) {
	m, l := lockedMem(t)
	other, err := l.OpenDir("p", "other recipe")
	require.NoError(t, err)
	write(t, other, "a", "other")
	p, err := l.OpenDir("p", "recipe")
	require.NoError(t, err)
	write(t, p, "a", "1")
	require.NoError(t, p.Publish())
	assert.Equal(t, "other", string(get(t, m, other.Path()+"/a")))
	left, err := durable.Leftovers(m, "/out/p")
	require.NoError(t, err)
	assert.Equal(t, []string{other.Path()}, left)
	none, err := durable.Leftovers(m, "/absent/p")
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestStanding(t *testing.T) {
	m, l := lockedMem(t)
	n, err := durable.Standing(m, "/out/p", "recipe")
	require.NoError(t, err)
	assert.Zero(t, n)
	p, err := l.OpenDir("p", "recipe")
	require.NoError(t, err)
	write(t, p, "Data/a", "123")
	write(t, p, "b", "4567")
	n, err = durable.Standing(m, "/out/p", "recipe")
	require.NoError(t, err)
	assert.Equal(t, int64(7), n)
	n, err = durable.Standing(m, "/out/p", "other recipe")
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestReplaceKept(t *testing.T) {
	m, l := lockedMem(t)
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("1")), "the first text")
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("2")))
	put(t, m, "/out/lockstep.json.2", []byte("the user's own"))
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("2")), "the same text again")
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("3")))
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("1")), "an earlier text again")

	files := m.Content()
	delete(files, "/out/"+durable.LockName)
	assert.Equal(t, map[string]string{
		"/out/lockstep.json":   "1",
		"/out/lockstep.json.1": "1",
		"/out/lockstep.json.2": "the user's own",
		"/out/lockstep.json.3": "2",
		"/out/lockstep.json.4": "3",
	}, files)

	// A run that died between link and rename has kept the old text already.
	require.NoError(t, m.Link("/out/lockstep.json", "/out/lockstep.json.5"))
	require.NoError(t, l.ReplaceKept("lockstep.json", []byte("4")))
	assert.Equal(t, "1", string(get(t, m, "/out/lockstep.json.5")))
	assert.NotContains(t, m.Content(), "/out/lockstep.json.6", "it is not kept twice")

	require.NoError(t, m.Mkdir("/out/dir"))
	assert.ErrorIs(t, l.ReplaceKept("dir", []byte("1")), durable.ErrNotOurs)
}

func TestAppendNumbered(t *testing.T) {
	m := faultfs.NewMem()
	add := func(text string) string {
		t.Helper()
		name, err := durable.AppendNumbered(m, "/out/verdicts", "layers30_32.reference.", ".json", []byte(text))
		require.NoError(t, err)
		return name
	}
	none, err := durable.Numbered(m, "/out/verdicts", "layers30_32.reference.", ".json")
	require.NoError(t, err)
	assert.Empty(t, none)

	assert.Equal(t, "/out/verdicts/layers30_32.reference.0001.json", add("same"))
	assert.Equal(t, "/out/verdicts/layers30_32.reference.0002.json", add("same"))
	for _, name := range []string{
		"layers30_32.reference.0009.json", "layers30_32.coreml.0020.json", "layers30_32.reference.30.json",
		"layers30_32.reference.00031.json", "layers30_32.reference.0032.json.bak", "layers30_32.reference.-033.json",
	} {
		put(t, m, "/out/verdicts/"+name, []byte("x"))
	}
	assert.Equal(t, "/out/verdicts/layers30_32.reference.0010.json", add("after a gap: the highest is the newest"))
	put(t, m, "/out/verdicts/layers30_32.reference.9999.json", []byte("x"))
	assert.Equal(t, "/out/verdicts/layers30_32.reference.10000.json", add("five digits"))

	all, err := durable.Numbered(m, "/out/verdicts", "layers30_32.reference.", ".json")
	require.NoError(t, err)
	assert.Len(t, all, 6, "only whole names count: %v", all)
	assert.True(t, strings.HasSuffix(all[len(all)-1], ".10000.json"), "the newest is last")
}

// TestAppendNumberedYields: a number that another run takes first is left to
// it.
func TestAppendNumberedYields(t *testing.T) {
	m := faultfs.NewMem()
	require.NoError(t, durable.MkdirAll(m, "/v"))
	raced := faultfs.Wrap(m, func(c faultfs.Call) *faultfs.Fault {
		if c.Op == faultfs.OpRenameNoReplace && strings.HasSuffix(c.Path, "0001.json") {
			put(t, m, "/v/0001.json", []byte("theirs"))
		}
		return nil
	})
	name, err := durable.AppendNumbered(raced, "/v", "", ".json", []byte("ours"))
	require.NoError(t, err)
	assert.Equal(t, "/v/0002.json", name)
	assert.Equal(t, "theirs", string(get(t, m, "/v/0001.json")))
	assert.Equal(t, "ours", string(get(t, m, "/v/0002.json")))
}

func TestEnsureFree(t *testing.T) {
	m := faultfs.NewMem()
	m.FreeBytes = 1000
	require.NoError(t, durable.EnsureFree(m, "/out", 600, 400))
	err := durable.EnsureFree(m, "/out", 601, 400)
	require.ErrorIs(t, err, durable.ErrNoSpace)
	require.ErrorContains(t, err, "1 bytes missing")
	require.ErrorContains(t, err, "/out")
	require.ErrorIs(t, durable.EnsureFree(m, "/out", math.MaxInt64, 1), durable.ErrSize)
	require.ErrorIs(t, durable.EnsureFree(m, "/out", -1, 1), durable.ErrSize)
	assert.Empty(t, m.Content(), "nothing was made")
}

// TestLinkRefuses: only a regular file is shared, under a path of the directory,
// once, and never in place of something else.
func TestLinkRefuses(t *testing.T) {
	m, l := lockedMem(t)
	put(t, m, "/weights", []byte("w"))
	put(t, m, "/other", []byte("o"))
	p, err := l.OpenDir("p", "recipe")
	require.NoError(t, err)
	require.NoError(t, p.Link("Data/w", "/weights"))
	for _, tt := range []struct {
		rel, source string
		want        error
	}{
		{"Data/w", "/weights", fs.ErrInvalid},
		{"../w", "/weights", fs.ErrInvalid},
		{"v", "/missing", fs.ErrNotExist},
		{"v", "/out", durable.ErrUnsupported},
	} {
		assert.ErrorIs(t, p.Link(tt.rel, tt.source), tt.want, "%s from %s", tt.rel, tt.source)
	}
	require.NoError(t, p.Publish())
	assert.Equal(t, "w", string(get(t, m, "/out/p/Data/w")))

	again, err := l.OpenDir("q", "recipe")
	require.NoError(t, err)
	require.NoError(t, m.Mkdir(again.Path()+"/Data"))
	require.NoError(t, m.Link("/weights", again.Path()+"/Data/w"))
	require.NoError(t, m.Link("/other", again.Path()+"/Data/v"))
	require.NoError(t, again.Link("Data/w", "/weights"), "what a killed run linked")
	require.ErrorIs(t, again.Link("Data/v", "/weights"), durable.ErrExists)
	assert.Equal(t, "o", string(get(t, m, again.Path()+"/Data/v")))
}
