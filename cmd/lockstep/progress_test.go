package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/vbauerster/mpb/v8"
)

// Where standard error is no terminal, a large piece of work is told in four
// lines, and a small one in none.
func TestProgressPlain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		total int64
		steps int
		err   error
		want  []string
	}{
		{"large", 4 * quietBelow, 8, nil, []string{" 25 %", " 50 %", " 75 %", "100 %"}},
		{"large with bytes that are not reported", 4*quietBelow + 7, 7, nil, []string{" 25 %", " 50 %", " 75 %", "100 %"}},
		{"broken off", 4 * quietBelow, 5, errors.New("no"), []string{" 25 %", " 50 %"}},
		{"small", quietBelow - 1, 8, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(&out)
			p.Begin("package", tt.total)
			for range tt.steps {
				p.Advance(tt.total / 8)
			}
			p.End()
			p.finish(tt.err)
			lines := strings.Split(out.String(), "\n")
			assert.Len(t, lines, len(tt.want)+1)
			for i, want := range tt.want {
				assert.Contains(t, lines[i], "package  "+want)
			}
		})
	}
}

// On a terminal the bars must come to an end however the work ends: waiting
// for one that never completes would hang the program.
func TestProgressBarEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pieces []int64 // bytes of each
		done   int64
		err    error
	}{
		{"nothing begun", nil, 0, nil},
		{"nothing begun, failed", nil, 0, errors.New("no")},
		{"done", []int64{100}, 100, nil},
		{"done, less reported", []int64{100}, 90, nil},
		{"empty", []int64{0}, 0, nil},
		{"failed", []int64{100}, 40, errors.New("no")},
		{"failed at once", []int64{100}, 0, errors.New("no")},
		{"two pieces", []int64{100, 200}, 90, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &progress{to: io.Discard, bars: mpb.New(mpb.WithOutput(io.Discard), mpb.WithAutoRefresh())}
			for _, total := range tt.pieces {
				p.Begin("package", total)
				p.Advance(tt.done)
				p.End()
			}
			p.finish(tt.err)
			if p.bar != nil {
				assert.Equal(t, tt.err == nil, p.bar.Completed())
				assert.Equal(t, tt.err != nil, p.bar.Aborted())
			}
		})
	}
}
