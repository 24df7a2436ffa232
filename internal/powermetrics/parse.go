package powermetrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// ErrLog is wrapped by errors about a log that is not what powermetrics prints.
var ErrLog = errors.New("not a log of powermetrics with the power of the Neural Engine")

// Sample is one interval of a log.
type Sample struct {
	Elapsed time.Duration // positive
	ANE     float64       // mean power of the Neural Engine's rail in mW, not negative
}

// What the text output has: a header for each sample, which ends in its length,
// and one line for the power of each rail. Other lines do not matter.
var (
	header  = []byte("*** Sampled system activity (")
	elapsed = []byte("ms elapsed) ***")
	rail    = []byte("ANE Power:")
	unit    = []byte("mW")
)

// longest bounds what one sample may last.
const longest = time.Hour

// Parse reads the text output of powermetrics: every sample, in order. A sample
// without the Neural Engine's rail, or with two values of it, an unreadable
// figure and a log without samples are ErrLog with the line concerned.
func Parse(log []byte) ([]Sample, error) {
	var p parser
	for line := range bytes.Lines(log) {
		p.number++
		if err := p.line(bytes.TrimSpace(line)); err != nil {
			return nil, err
		}
	}
	if err := p.complete(); err != nil {
		return nil, err
	}
	if len(p.samples) == 0 {
		return nil, fmt.Errorf("%w: want a line that begins with %q, found none in %d lines", ErrLog, header, p.number)
	}
	return p.samples, nil
}

type parser struct {
	number  int // of the line
	samples []Sample
	begun   int  // the line of the last sample's header
	powered bool // the last sample has its power
}

func (p *parser) line(line []byte) error {
	switch {
	case bytes.HasPrefix(line, header):
		return p.begin(line)
	case bytes.HasPrefix(line, rail):
		return p.power(bytes.TrimSpace(line[len(rail):]))
	}
	return nil
}

// begin reads a header such as
// "*** Sampled system activity (Mon Jun  2 10:15:22 2025 +0200) (251.31ms elapsed) ***".
func (p *parser) begin(line []byte) error {
	if err := p.complete(); err != nil {
		return err
	}
	open := bytes.LastIndexByte(line, '(')
	digits, ok := bytes.CutSuffix(line[open+1:], elapsed)
	ms, err := figure(digits)
	took := math.Round(ms * float64(time.Millisecond))
	if !ok || err != nil || !(took >= 1 && took <= float64(longest)) {
		return fmt.Errorf("%w: line %d: want a header that ends in (<milliseconds>%s, found %.120q", ErrLog, p.number, elapsed, line)
	}
	p.samples = append(p.samples, Sample{Elapsed: time.Duration(took)})
	p.begun, p.powered = p.number, false
	return nil
}

// power reads "1234 mW". Several samplers may print the line, with one value.
func (p *parser) power(text []byte) error {
	digits, ok := bytes.CutSuffix(text, unit)
	mw, err := figure(bytes.TrimSpace(digits))
	if !ok || err != nil {
		return fmt.Errorf("%w: line %d: want %s <number> %s, found %.80q", ErrLog, p.number, rail, unit, text)
	}
	if len(p.samples) == 0 {
		return fmt.Errorf("%w: line %d: %s before any sample's header", ErrLog, p.number, rail)
	}
	last := &p.samples[len(p.samples)-1]
	if p.powered && last.ANE != mw {
		return fmt.Errorf("%w: line %d: %s %v mW and %v mW in one sample", ErrLog, p.number, rail, last.ANE, mw)
	}
	last.ANE, p.powered = mw, true
	return nil
}

// complete wants the last sample to have its power.
func (p *parser) complete() error {
	if len(p.samples) > 0 && !p.powered {
		return fmt.Errorf("%w: the sample at line %d has no line %s", ErrLog, p.begun, rail)
	}
	return nil
}

// figure is a finite number that is not negative.
func figure(text []byte) (float64, error) {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 1) {
		return 0, ErrLog
	}
	return v, nil
}
