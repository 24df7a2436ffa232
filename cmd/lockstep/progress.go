package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// quietBelow is the size of a piece of work that is over before a line about
// it could be read.
const quietBelow = 64 << 20

// progress shows a bar on a terminal, and plain lines elsewhere.
type progress struct {
	to       io.Writer
	bars     *mpb.Progress // nil where to is no terminal
	bar      *mpb.Bar
	label    string
	done     int64
	total    int64
	quarters int64 // plain lines printed so far
}

func newProgress(w io.Writer) *progress {
	p := &progress{to: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(w))
	}
	return p
}

// Begin implements exporter.Progress.
func (p *progress) Begin(label string, bytes int64) {
	p.complete()
	p.label, p.total, p.done, p.quarters = label, bytes, 0, 0
	if p.bars != nil {
		p.bar = p.bars.AddBar(
			bytes,
			mpb.PrependDecorators(decor.Name(label+"  "), decor.Counters(decor.SizeB1000(0), "% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageSpeed(decor.SizeB1000(0), "% .1f")),
		)
	}
}

// Advance implements exporter.Progress.
func (p *progress) Advance(n int64) {
	p.done += n
	if p.bar != nil {
		p.bar.IncrInt64(n)
		return
	}
	for p.total >= quietBelow && p.quarters < 4 && p.done >= (p.quarters+1)*(p.total/4) {
		p.quarters++
		p.line()
	}
}

// line prints one plain line.
func (p *progress) line() {
	fmt.Fprintf(p.to, "%s  %3d %%  of %s\n", p.label, 25*p.quarters, byteCount(p.total))
}

// End implements exporter.Progress. Whether the piece was finished is only
// known from the export's error; see finish.
func (p *progress) End() {}

// finish closes the last piece of work, as broken off where it stood if err
// says so.
func (p *progress) finish(err error) {
	if err == nil {
		p.complete()
	} else if p.bar != nil {
		p.bar.Abort(false)
	}
	if p.bars != nil {
		p.bars.Wait() // for the last frame
	}
}

// complete shows a piece of work as done: headers and padding are not reported
// as they pass.
func (p *progress) complete() {
	switch {
	case p.bar != nil:
		p.bar.SetCurrent(p.total)
		p.bar.SetTotal(p.total, true)
	case p.bars == nil && p.total >= quietBelow && p.quarters < 4:
		p.quarters = 4
		p.line()
	}
}
