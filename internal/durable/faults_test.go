package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// scenario is one operation of the product on an output directory that holds
// earlier files.
type scenario struct {
	name string
	// run does the operation in dir; a second run ends with the same bytes.
	run func(fsys durable.FS, dir string) error
	// finished is what run leaves, by path below dir.
	finished map[string]string
	// whole names a directory that must hold all of its finished files as soon
	// as it stands at all.
	whole string
}

// earlier is what stands in the directory beforehand.
var earlier = map[string]string{
	"lockstep.json":   "old record\n",
	"lockstep.json.5": "older record\n",
	"verdicts/layers30_32.reference.0001.json":    "old verdict\n",
	"weights.bin.0123456789abcdef.partial":        "somebody else's",
	"other_layers20_24_int8.mlpackage/weight.bin": "another package",
}

const weightText = "the weights of two layers, in chunks"

// linkPackage makes a package that shares another one's weights.
func linkPackage(fsys durable.FS, dir string) error {
	return locked(fsys, dir, func(l *durable.Lock) (err error) {
		p, err := l.OpenDir("cut.mlpackage", "cut")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		if err := p.Link("Data/weight.bin", filepath.Join(dir, "other_layers20_24_int8.mlpackage", "weight.bin")); err != nil {
			return err
		}
		w, err := p.File("model.mlmodel", 5)
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte("model")); err != nil {
			return err
		}
		if _, err := w.Finish(); err != nil {
			return err
		}
		return p.Publish()
	})
}

func scenarios() []scenario {
	return []scenario{
		{
			name: "write_new",
			run: func(fsys durable.FS, dir string) error {
				return durable.WriteNew(fsys, filepath.Join(dir, "weights.bin"), []byte(weightText))
			},
			finished: map[string]string{"weights.bin": weightText},
		},
		{
			name: "replace_kept",
			run: func(fsys durable.FS, dir string) error {
				return locked(fsys, dir, func(l *durable.Lock) error {
					return l.ReplaceKept("lockstep.json", []byte("new record\n"))
				})
			},
			finished: map[string]string{"lockstep.json": "new record\n", "lockstep.json.1": "old record\n"},
		},
		{
			name: "append_numbered",
			run: func(fsys durable.FS, dir string) error {
				_, err := durable.AppendNumbered(fsys, filepath.Join(dir, "verdicts"), "layers30_32.reference.", ".json", []byte("new verdict\n"))
				return err
			},
			finished: map[string]string{"verdicts/layers30_32.reference.0002.json": "new verdict\n"},
		},
		{
			name:  "package",
			run:   writePackage,
			whole: "p.mlpackage",
			finished: map[string]string{
				"p.mlpackage/Manifest.json":           "{}",
				"p.mlpackage/Data/weights/weight.bin": weightText,
				"p.mlpackage/Data/model.mlmodel":      "model",
			},
		},
		{
			name:  "linked_package",
			run:   linkPackage,
			whole: "cut.mlpackage",
			finished: map[string]string{
				"cut.mlpackage/Data/weight.bin": "another package",
				"cut.mlpackage/model.mlmodel":   "model",
			},
		},
	}
}

// locked calls do under the directory's lock.
func locked(fsys durable.FS, dir string, do func(*durable.Lock) error) error {
	l, err := durable.AcquireLock(fsys, dir)
	if err != nil {
		return err
	}
	return errors.Join(do(l), l.Unlock())
}

// writePackage writes a package directory in chunks.
func writePackage(fsys durable.FS, dir string) error {
	return locked(fsys, dir, func(l *durable.Lock) (err error) {
		p, err := l.OpenDir("p.mlpackage", "recipe")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		for _, f := range []struct{ path, text string }{
			{"Data/weights/weight.bin", weightText}, {"Data/model.mlmodel", "model"}, {"Manifest.json", "{}"},
		} {
			w, err := p.File(f.path, int64(len(f.text)))
			if err != nil {
				return err
			}
			for rest := []byte(f.text); len(rest) > 0; {
				n := min(7, len(rest))
				if _, err := w.Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			if _, err := w.Finish(); err != nil {
				return err
			}
		}
		return p.Publish()
	})
}

// prepared returns a file system in memory with the earlier files, all synced.
func prepared(t require.TestingT) *faultfs.Mem {
	m := faultfs.NewMem()
	for name, text := range earlier {
		name = "/out/" + name
		require.NoError(t, durable.MkdirAll(m, filepath.Dir(name)))
		put(t, m, name, []byte(text))
		require.NoError(t, m.SyncDir(filepath.Dir(name)))
	}
	return m
}

// mustHold checks what is promised at every moment: the earlier texts stand (a
// record under its own or its numbered name), and a finished name holds all of
// its bytes.
func (s scenario) mustHold(t require.TestingT, m *faultfs.Mem, when string) {
	files := m.Content()
	for name, text := range earlier {
		found := files["/out/"+name]
		if name == "lockstep.json" && s.name == "replace_kept" && found != text {
			require.Equal(t, s.finished[name], found, "%s: %s", when, name)
			require.Equal(t, text, files["/out/lockstep.json.1"], "%s: the old record is kept", when)
			continue
		}
		require.Equal(t, text, found, "%s: %s was changed", when, name)
	}
	for name, text := range s.finished {
		found, ok := files["/out/"+name]
		if ok && earlier[name] == "" {
			require.Equal(t, text, found, "%s: %s holds unfinished bytes", when, name)
		}
		if _, err := m.Stat("/out/" + s.whole); s.whole != "" && err == nil {
			require.True(t, ok, "%s: %s stands without %s", when, s.whole, name)
		}
	}
}

// mustBeDone checks that everything that the operation promised is there.
func (s scenario) mustBeDone(t require.TestingT, m *faultfs.Mem, when string) {
	files := m.Content()
	for name, text := range s.finished {
		require.Equal(t, text, files["/out/"+name], "%s: %s", when, name)
	}
}

// mustRecover runs the operation again without faults.
func (s scenario) mustRecover(t require.TestingT, m *faultfs.Mem, when string) {
	err := s.run(m, "/out")
	if !errors.Is(err, durable.ErrExists) { // the faulty run had come to the end
		require.NoError(t, err, "%s: the next run", when)
	}
	s.mustHold(t, m, when+", next run")
	s.mustBeDone(t, m, when+", next run")
}

// callsOf counts the calls of a run without faults.
func (s scenario) callsOf(t *testing.T) []faultfs.Call {
	t.Helper()
	m := prepared(t)
	recorder := faultfs.Wrap(m, nil)
	require.NoError(t, s.run(recorder, "/out"))
	s.mustHold(t, m, "without faults")
	s.mustBeDone(t, m, "without faults")
	require.Greater(t, len(recorder.Calls()), 7)
	return recorder.Calls()
}

func TestEveryCallFails(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range s.callsOf(t) {
				when := fmt.Sprintf("call %d (%s %s) fails", c.Index, c.Op, c.Path)
				m := prepared(t)
				err := s.run(faultfs.Wrap(m, faultfs.FailAt(c.Index, syscall.EIO)), "/out")
				if err == nil {
					// Closing what was only read is the one failure without a meaning.
					require.Equal(t, faultfs.OpClose, c.Op, when)
					s.mustBeDone(t, m, when)
				} else {
					require.ErrorIs(t, err, syscall.EIO, when)
					require.ErrorContains(t, err, "/out", "%s: the error names the path", when)
				}
				s.mustHold(t, m, when)
				s.mustRecover(t, m, when)
			}
		})
	}
}

func TestDeathAtEveryCall(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range s.callsOf(t) {
				when := fmt.Sprintf("death at call %d (%s %s)", c.Index, c.Op, c.Path)
				m := prepared(t)
				_ = s.run(faultfs.Wrap(m, faultfs.DieAt(c.Index)), "/out")
				s.mustHold(t, m, when)
				s.mustRecover(t, m, when)
			}
		})
	}
}

// TestPowerLossAtEveryCall also loses what was not synced, at the two ends and,
// in a property, anywhere between.
func TestPowerLossAtEveryCall(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			calls := s.callsOf(t)
			for _, c := range calls {
				for name, survival := range map[string]faultfs.Survival{
					"nothing": faultfs.Nothing(), "names": faultfs.NamesOnly(), "the last name": faultfs.LastName(),
				} {
					when := fmt.Sprintf("power loss at call %d (%s %s), %s survive", c.Index, c.Op, c.Path, name)
					m := prepared(t)
					_ = s.run(faultfs.Wrap(m, faultfs.DieAt(c.Index)), "/out")
					m = m.Crash(survival)
					s.mustHold(t, m, when)
					s.mustRecover(t, m, when)
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				m := prepared(t)
				_ = s.run(faultfs.Wrap(m, faultfs.DieAt(rapid.IntRange(0, len(calls)).Draw(t, "call"))), "/out")
				m = m.Crash(faultfs.Survival{
					Names: func(int, int) bool { return rapid.Bool().Draw(t, "name") },
					Data:  func() bool { return rapid.Bool().Draw(t, "data") },
				})
				s.mustHold(t, m, "power loss")
				s.mustRecover(t, m, "power loss")
			})
		})
	}
}

// TestSuccessIsDurable: what a run said was done is there after a power loss.
func TestSuccessIsDurable(t *testing.T) {
	for _, s := range scenarios() {
		m := prepared(t)
		require.NoError(t, s.run(m, "/out"))
		m = m.Crash(faultfs.Nothing())
		s.mustHold(t, m, s.name)
		s.mustBeDone(t, m, s.name)
	}
}

func TestFullDiskAtEveryByte(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			total := 0
			for _, c := range s.callsOf(t) {
				if c.Op == faultfs.OpWrite {
					total += c.Len
				}
			}
			require.Positive(t, total)
			for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
				for n := range total {
					when := fmt.Sprintf("%v after %d bytes", full, n)
					m := prepared(t)
					err := s.run(faultfs.Wrap(m, faultfs.FullAfter(n, full)), "/out")
					require.ErrorIs(t, err, durable.ErrNoSpace, when)
					require.ErrorIs(t, err, full, when)
					s.mustHold(t, m, when)
					s.mustRecover(t, m, when)
				}
			}
		})
	}
}

func TestShortWriteAnywhere(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			nth := 0
			for _, c := range s.callsOf(t) {
				if c.Op != faultfs.OpWrite {
					continue
				}
				for _, keep := range []int{0, c.Len - 1} {
					when := fmt.Sprintf("write %d is cut to %d of %d", nth, keep, c.Len)
					m := prepared(t)
					err := s.run(faultfs.Wrap(m, faultfs.ShortAt(nth, keep)), "/out")
					require.ErrorContains(t, err, "short write", when)
					require.ErrorContains(t, err, c.Path, when)
					s.mustHold(t, m, when)
					s.mustRecover(t, m, when)
				}
				nth++
			}
		})
	}
}

// TestResumeWritesLittle: a run that follows a death verifies what is there in
// place of writing it again.
func TestResumeWritesLittle(t *testing.T) {
	m := prepared(t)
	require.ErrorIs(t, writePackage(faultfs.Wrap(m, func(c faultfs.Call) *faultfs.Fault {
		if c.Op == faultfs.OpOpenKeep && strings.HasSuffix(c.Path, "Manifest.json") {
			return &faultfs.Fault{Err: faultfs.ErrDead}
		}
		return nil
	}), "/out"), faultfs.ErrDead)
	next := faultfs.Wrap(m, nil)
	require.NoError(t, writePackage(next, "/out"))
	for _, c := range next.Calls() {
		if c.Op == faultfs.OpWrite && !strings.HasSuffix(c.Path, durable.LockName) {
			assert.True(t, strings.HasSuffix(c.Path, "Manifest.json"), "wrote %s again", c.Path)
		}
	}
}

// TestMemCrashForgetsWhatWasNotSynced guards the tests above against a memory
// file system that forgets nothing.
func TestMemCrashForgetsWhatWasNotSynced(t *testing.T) {
	m := faultfs.NewMem()
	f, err := m.OpenKeep("/a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("data"), 0)
	require.NoError(t, err)

	assert.Empty(t, m.Crash(faultfs.Nothing()).Content(), "neither name nor data")
	assert.Equal(t, map[string]string{"/a": "\x00\x00\x00\x00"}, m.Crash(faultfs.NamesOnly()).Content())
	require.NoError(t, f.Sync())
	assert.Empty(t, m.Crash(faultfs.Nothing()).Content(), "data without a name")
	require.NoError(t, m.SyncDir("/"))
	assert.Equal(t, map[string]string{"/a": "data"}, m.Crash(faultfs.Nothing()).Content())
	require.NoError(t, m.Rename("/a", "/b"))
	assert.Equal(t, map[string]string{"/a": "data"}, m.Crash(faultfs.Nothing()).Content())
	assert.True(t, bytes.Equal([]byte("data"), get(t, m, "/b")))
}
