package main

import (
	"fmt"
	"io"
	"math"

	"lockstep/exporter"
	"lockstep/manifest"
)

// The rows of the closing table.
const (
	rowBytes  = "package"
	rowExport = "export"
	rowPeak   = "peak memory of export"
	rowT1     = "t1 pass"
	rowT4     = "t4 pass"
	rowT4T1   = "t4 / t1"
	rowHidden = "least cosine, hidden"
	rowDelta  = "least cosine, hidden - x"
	rowGate   = "gate"
)

func rows() []string {
	return []string{rowBytes, rowExport, rowPeak, rowT1, rowT4, rowT4T1, rowHidden, rowDelta, rowGate}
}

// column is what was measured of one subject.
type column struct {
	title string
	cells map[string]string  // by row; absent: not measured
	least map[string]float64 // by row, of the cosines
	peak  int64              // bytes; 0: not measured
}

func newColumn(s subject) *column {
	c := &column{title: string(s.precision), cells: map[string]string{}, least: map[string]float64{}}
	if s.norm != exporter.LayerNormConcat {
		c.title += " " + string(s.norm)
	}
	return c
}

func (c *column) set(row, text string) { c.cells[row] = text }

// passTimes takes over the pass times that a verdict reports.
func (c *column) passTimes(list []manifest.Metric) {
	ms := map[string]float64{}
	for _, m := range list {
		if m.Value != nil {
			ms[m.Name] = float64(*m.Value)
		}
	}
	t1, ok1 := ms["pass_ms_t1_"+manifest.PlaneReference]
	t4, ok4 := ms["pass_ms_t4_"+manifest.PlaneReference]
	if ok1 && ok4 {
		c.set(rowT1, fmt.Sprintf("%.1f ms", t1))
		c.set(rowT4, fmt.Sprintf("%.1f ms", t4))
		c.set(rowT4T1, fmt.Sprintf("%.2f", t4/t1))
	}
}

// cosines keeps the least cosines that the oracle's cases observed.
func (c *column) cosines(evidence []manifest.Evidence) {
	for _, e := range evidence {
		for row, name := range map[string]string{rowHidden: "cosine_hidden_min", rowDelta: "cosine_hidden_minus_x_min"} {
			if e.Name != name || e.Value == nil {
				continue
			}
			least, seen := c.least[row]
			if v := float64(*e.Value); !seen || v < least || math.IsNaN(v) {
				c.least[row] = v
				c.set(row, fmt.Sprintf("%.7f", v))
			}
		}
	}
}

// printColumns prints the table.
func printColumns(w io.Writer, columns []*column) {
	fmt.Fprintf(w, "%-28s", "figures")
	for _, c := range columns {
		fmt.Fprintf(w, "%16s", c.title)
	}
	fmt.Fprintln(w)
	for _, row := range rows() {
		fmt.Fprintf(w, "  %-26s", row)
		for _, c := range columns {
			text, ok := c.cells[row]
			if !ok {
				text = "not measured"
			}
			fmt.Fprintf(w, "%16s", text)
		}
		fmt.Fprintln(w)
	}
}
