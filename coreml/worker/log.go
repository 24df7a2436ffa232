package worker

import (
	"slices"
	"strings"
	"sync"
)

// The bounds of what is kept and of what is quoted of a worker's log.
const (
	keptLog     = 64 << 10
	quotedLines = 6
	quotedWidth = 300
)

// tail is an io.Writer that keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - keptLog; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// lastWords are the last lines; after a crash they are those from where it says
// what happened, as a list of goroutines comes after that.
func (t *tail) lastWords() string {
	t.mu.Lock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?"))
	t.mu.Unlock()
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	from := max(0, len(lines)-quotedLines)
	if i := slices.IndexFunc(lines, tellsCrash); i >= 0 {
		from = i
	}
	var quoted []string
	for _, line := range lines[from:min(len(lines), from+quotedLines)] {
		if line = strings.TrimSpace(line); line != "" {
			quoted = append(quoted, strings.ToValidUTF8(line[:min(len(line), quotedWidth)], ""))
		}
	}
	return strings.Join(quoted, " | ")
}

// tellsCrash reports the first line of what the Go runtime or an Objective-C
// exception prints.
func tellsCrash(line string) bool {
	for _, start := range []string{"panic: ", "fatal error: ", "SIG"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return strings.Contains(line, "*** Terminating app")
}
