package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows a bar on a terminal, and plain lines elsewhere.
type progress struct {
	to       io.Writer
	bars     *mpb.Progress // nil where w is no terminal
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
	p.label, p.total, p.done, p.quarters = label, bytes, 0, 0
	if p.bars != nil {
		p.bar = p.bars.AddBar(bytes,
			mpb.PrependDecorators(decor.Name(label+"  "), decor.CountersKiloByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageSpeed(decor.SizeB1000(0), "% .1f")))
	}
}

// Advance implements exporter.Progress.
func (p *progress) Advance(n int64) {
	p.done += n
	if p.bar != nil {
		p.bar.IncrInt64(n)
		return
	}
	for p.total > 0 && p.quarters < 4 && p.done*4 >= (p.quarters+1)*p.total {
		p.quarters++
		fmt.Fprintf(p.to, "%s  %3d %%  %d of %d bytes\n", p.label, 25*p.quarters, min(p.done, p.total), p.total)
	}
}

// End implements exporter.Progress.
func (p *progress) End() {
	if p.bar == nil {
		return
	}
	if p.done < p.total && !p.bar.Completed() {
		// Headers and padding are not reported as they pass; an export that
		// failed is told apart by its error.
		p.bar.SetTotal(p.done, true)
	}
	p.bar = nil
}

// wait lets the last frame be drawn.
func (p *progress) wait() {
	if p.bars != nil {
		p.bars.Wait()
	}
}
