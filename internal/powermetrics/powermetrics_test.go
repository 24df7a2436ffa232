package powermetrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// text is a log in the program's form, of two samples.
const text = `Machine model: Mac16,5
OS version: 24F74
Boot arguments:
Boot time: Mon Jun  2 08:00:00 2025


*** Sampled system activity (Mon Jun  2 10:15:22 2025 +0200) (251.31ms elapsed) ***


**** Processor usage ****

E-Cluster Online: 100%
CPU 0 active residency:  12.10% (1020 MHz: 9.1% 1404 MHz:   3%)

CPU Power: 41 mW
GPU Power: 2 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): 43 mW

**** GPU usage ****

GPU Power: 2 mW

*** Sampled system activity (Mon Jun  2 10:15:23 2025 +0200) (250ms elapsed) ***

CPU Power: 400 mW
ANE Power: 1850 mW
ANE Power: 1850 mW
Combined Power (CPU + GPU + ANE): 2252 mW
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(text))
	require.NoError(t, err)
	assert.Equal(t, []Sample{{251310 * time.Microsecond, 0}, {250 * time.Millisecond, 1850}}, got)

	crlf, err := Parse([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	require.NoError(t, err)
	assert.Equal(t, got, crlf)
}

// TestParseRefuses changes one place of a sound log; what cannot be read for
// certain is no figure.
func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, from, to, locus string }{
		{"no samples", text, "Machine model: Mac16,5\n", "found none in 1 lines"},
		{"empty", text, "", "found none in 0 lines"},
		{"another unit", "1850 mW", "1.85 W", "line 27"},
		{"no unit", "1850 mW", "1850", "line 27"},
		{"no figure", "1850 mW", "- mW", "line 27"},
		{"negative", "1850 mW", "-1 mW", "line 27"},
		{"not a number", "1850 mW", "NaN mW", "line 27"},
		{"infinite", "1850 mW", "Inf mW", "line 27"},
		{"two values", "1850 mW\nANE", "1850 mW\nANE Power: 3 mW\nANE", "line 28"},
		{"the first sample without the rail", "ANE Power: 0 mW\n", "", "line 7"},
		{"the last sample without the rail", "ANE Power: 1850 mW\nANE Power: 1850 mW\n", "", "line 24"},
		{"cut off after a header", text[strings.Index(text, "\nCPU Power: 400"):], "\n", "line 24"},
		{"power before a header", "Machine model", "ANE Power: 1 mW\nMachine model", "line 1"},
		{"seconds", "(250ms elapsed)", "(0.25s elapsed)", "line 24"},
		{"no time", "(250ms elapsed)", "(ms elapsed)", "line 24"},
		{"no time passed", "(250ms elapsed)", "(0ms elapsed)", "line 24"},
		{"a day passed", "(250ms elapsed)", "(86400000ms elapsed)", "line 24"},
		{"a time beyond all numbers", "(250ms elapsed)", "(1e300ms elapsed)", "line 24"},
		{"no parentheses", " (250ms elapsed) ***", "", "line 24"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Contains(t, text, tt.from)
			_, err := Parse([]byte(strings.Replace(text, tt.from, tt.to, 1)))
			require.ErrorIs(t, err, ErrLog)
			assert.Contains(t, err.Error(), tt.locus)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte(text[:len(text)/2]))
	f.Add([]byte("*** Sampled system activity ((((1ms elapsed) ***\nANE Power: 1e3 mW"))
	f.Fuzz(func(t *testing.T, log []byte) {
		samples, err := Parse(log)
		if err != nil {
			require.ErrorIs(t, err, ErrLog)
			require.Empty(t, samples)
			return
		}
		require.NotEmpty(t, samples)
		var again strings.Builder
		for _, s := range samples {
			require.Positive(t, s.Elapsed)
			require.GreaterOrEqual(t, s.ANE, 0.0)
			fmt.Fprintf(&again, "%s now) (%vms elapsed) ***\nANE Power: %v mW\n", header, float64(s.Elapsed)/float64(time.Millisecond), s.ANE)
		}
		same, err := Parse([]byte(again.String()))
		require.NoError(t, err)
		require.Equal(t, samples, same)
	})
}

// TestSystemHere: whatever this machine is, the answer is a source or a reason.
func TestSystemHere(t *testing.T) {
	src, err := System()
	if err != nil {
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.Nil(t, src)
		return
	}
	assert.Equal(t, Program{Path: Path}, src)
}

func TestAvailable(t *testing.T) {
	for _, tt := range []struct {
		name, goos string
		euid       int
		stat       error
		reason     string
	}{
		{"root on a Mac", "darwin", 0, nil, ""},
		{"not a Mac", "linux", 0, nil, "none on linux"},
		{"a user on a Mac", "darwin", 501, nil, "needs root"},
		{"a Mac without it", "darwin", 0, fs.ErrNotExist, "not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, err := available(tt.goos, tt.euid, tt.stat)
			if tt.reason == "" {
				require.NoError(t, err)
				assert.Equal(t, Program{Path: Path}, src)
				return
			}
			require.ErrorIs(t, err, ErrUnavailable)
			assert.Contains(t, err.Error(), tt.reason)
			assert.Nil(t, src)
		})
	}
}

// script is a program in the place of powermetrics.
func script(t *testing.T, body string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "powermetrics")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700))
	return Program{Path: path}
}

func TestProgram(t *testing.T) {
	log, err := script(t, `echo "$@"`).Log(context.Background(), 20, 250*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, "--samplers cpu_power,gpu_power,ane_power -i 250 -n 20\n", string(log))
}

func TestProgramFails(t *testing.T) {
	t.Run("with a complaint", func(t *testing.T) {
		log, err := script(t, "echo half; printf '\\nunrecognized sampler: ane_power\\nusage\\n' >&2; exit 64").Log(context.Background(), 1, time.Second)
		require.ErrorIs(t, err, ErrRun)
		assert.Contains(t, err.Error(), "exit status 64: unrecognized sampler: ane_power")
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, "half\n", string(log), "what was printed is not lost")
	})
	t.Run("in silence", func(t *testing.T) {
		_, err := script(t, "exit 1").Log(context.Background(), 1, time.Second)
		require.ErrorIs(t, err, ErrRun)
		assert.Contains(t, err.Error(), "did not say why")
	})
	t.Run("absent", func(t *testing.T) {
		_, err := Program{Path: filepath.Join(t.TempDir(), "none")}.Log(context.Background(), 1, time.Second)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("enough"))
		_, err := script(t, "exec sleep 600").Log(ctx, 1, time.Second)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestBounded(t *testing.T) {
	b := bounded{limit: 5}
	for _, s := range []string{"abc", "de", "fgh"} {
		n, err := b.Write([]byte(s))
		require.NoError(t, err)
		require.Equal(t, len(s), n)
	}
	assert.Equal(t, "abcde", b.String())
	assert.True(t, b.over)
}
