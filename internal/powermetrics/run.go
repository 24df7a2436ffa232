package powermetrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Path is where macOS has the program.
const Path = "/usr/bin/powermetrics"

// ErrUnavailable is wrapped by the reason why this process cannot use
// powermetrics.
var ErrUnavailable = errors.New("powermetrics cannot be used")

// ErrRun is wrapped by errors of a run of the program.
var ErrRun = errors.New("powermetrics failed")

// Source gives logs: the program, or what stands for it.
type Source interface {
	// Log samples n intervals and returns the text that was printed, also with
	// an error as far as there is any.
	Log(ctx context.Context, n int, interval time.Duration) ([]byte, error)
}

// System is this system's program. The error is ErrUnavailable with the reason.
func System() (Source, error) {
	_, err := os.Stat(Path)
	return available(runtime.GOOS, os.Geteuid(), err)
}

// available decides by the operating system, the user and whether the program
// is there.
func available(goos string, euid int, stat error) (Source, error) {
	switch {
	case goos != "darwin":
		return nil, fmt.Errorf("%w: there is none on %s", ErrUnavailable, goos)
	case stat != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, stat)
	case euid != 0:
		return nil, fmt.Errorf("%w: it needs root", ErrUnavailable)
	}
	return Program{Path: Path}, nil
}

// Program is the program at a path.
type Program struct{ Path string }

// samplers print the power of each rail; which of them prints the Neural
// Engine's depends on the version of macOS.
const samplers = "cpu_power,gpu_power,ane_power"

// Bounds of what a run may print, and of how long its end may take once it is
// told to stop.
const (
	maxLog    = 64 << 20
	maxErrors = 4 << 10
	maxEnding = 5 * time.Second
)

// Log implements Source. The program ends by itself after n intervals, or with
// ctx.
func (p Program) Log(ctx context.Context, n int, interval time.Duration) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.Path, "--samplers", samplers,
		"-i", strconv.FormatInt(interval.Milliseconds(), 10), "-n", strconv.Itoa(n))
	printed, complaint := bounded{limit: maxLog}, bounded{limit: maxErrors}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &printed, &complaint, maxEnding
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return printed.Bytes(), ctx.Err()
	case err != nil:
		return printed.Bytes(), fmt.Errorf("%w: %w: %s", ErrRun, err, firstLine(complaint.Bytes()))
	case printed.over:
		return printed.Bytes(), fmt.Errorf("%w: it printed more than %d bytes", ErrRun, maxLog)
	}
	return printed.Bytes(), nil
}

// firstLine is the first line of a text that says anything.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return "it did not say why"
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	bytes.Buffer
	limit int
	over  bool
}

// Write implements io.Writer; what is too much is dropped, so that the program
// is not kept from ending.
func (b *bounded) Write(p []byte) (int, error) {
	fits := min(len(p), b.limit-b.Len())
	b.over = b.over || fits < len(p)
	b.Buffer.Write(p[:fits])
	return len(p), nil
}
