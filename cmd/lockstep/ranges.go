package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"lockstep/conformance"
	"lockstep/manifest"
)

type rangesCommand struct {
	subjectFlags
	Top  int  `help:"Values to print of each layer, those of least headroom first, by default ${default}; 0 prints all, in program order." default:"8" placeholder:"N"`
	JSON bool `name:"json" help:"Print JSON, as in a verdict: every value, and each layer's largest at every position."`
}

// Help implements kong.HelpProvider.
func (rangesCommand) Help() string {
	return "It traces the function with the fewest rows, over the golden vectors if they are given, else over seeded hidden states, " +
		"and prints the largest |x| of every value, at which position it was found, the share of subnormals among what is not zero, " +
		"and the headroom to 65504. It judges nothing and writes nothing; a headroom under 4 is a warning, and exits 0 all the same. " +
		"A package that fails its own check is not executed."
}

func (c *rangesCommand) Run(ctx context.Context, to streams) error {
	if c.Top < 0 {
		return &flagError{"--top", "0 or more", fmt.Sprint(c.Top)}
	}
	opt, closeAll, err := c.options(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	suite, err := c.open(opt)
	if err != nil {
		return err
	}
	defer suite.Close() // opened for reading
	ranges, err := suite.Ranges(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(to.out, ranges)
	}
	fmt.Fprintf(to.out, "ranges   layers %s, subject %s, plane %s, function %s: %d passes\n", opt.Layers, opt.Subject, c.Plane, ranges.Function, ranges.Passes)
	return printRanges(to.out, ranges, c.Top)
}

// printRanges prints a table for each layer, and the warnings last.
func printRanges(w io.Writer, r *manifest.Ranges, top int) error {
	fmt.Fprintf(w, "inputs   %s\nlayers   %s\n", r.Inputs, r.LayersBy)
	fmt.Fprintf(w, "bar      from 2^-14 to 2^16, a factor of %d for each mark; full is a headroom under %d\n", 1<<octavesPerMark, manifest.LeastHeadroom)
	for _, l := range r.Layers {
		if err := printLayer(w, l, r.Positions, top); err != nil {
			return err
		}
	}
	printWarnings(w, r)
	return nil
}

// printWarnings prints what the ranges warn of.
func printWarnings(w io.Writer, r *manifest.Ranges) {
	if r == nil {
		return
	}
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "warning  %s\n", text)
	}
}

func printLayer(w io.Writer, l manifest.LayerRanges, positions []int, top int) error {
	largest := slices.Max(l.MaxByPosition)
	fmt.Fprintf(w, "\n%-9s%s  largest %.5g at position %d, of %d values\n",
		conformance.LayerName(l.Layer), bar(largest), float64(largest), positions[slices.Index(l.MaxByPosition, largest)], len(l.Values))
	rows := rowsOf(l.Values)
	if top > 0 {
		rows = leastHeadroom(rows)
		rows = rows[:min(top, len(rows))]
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  op\tvalue\tlargest |x|\tat\tsubnormal\theadroom\t")
	for _, r := range rows {
		fmt.Fprintf(t, "  %s\t%s\t%.5g\t%d\t%s\t%s\t%s\n", r.Op, r.name(), float64(r.MaxAbs), r.Position, percent(r.SubnormalShare), headroom(r.ValueRange), bar(r.MaxAbs))
	}
	return t.Flush()
}

// rangeRow is a printed row: a value, and how many stand behind it.
type rangeRow struct {
	manifest.ValueRange
	alike int
}

func (r rangeRow) name() string {
	if r.alike == 0 {
		return r.Value
	}
	return fmt.Sprintf("%s, %d alike", r.Value, r.alike)
}

func rowsOf(values []manifest.ValueRange) []rangeRow {
	rows := make([]rangeRow, len(values))
	for i, v := range values {
		rows[i].ValueRange = v
	}
	return rows
}

// leastHeadroom sorts rows by headroom and folds those that differ in a number
// at the end of their names alone, and in headroom by less than a factor of 2:
// else the scores of every head would keep all others from the top.
func leastHeadroom(rows []rangeRow) []rangeRow {
	slices.SortStableFunc(rows, func(a, b rangeRow) int { return cmp.Compare(a.Headroom, b.Headroom) })
	var folded []rangeRow
	for _, r := range rows {
		i := slices.IndexFunc(folded, func(f rangeRow) bool {
			return f.Op == r.Op && stem(f.Value) == stem(r.Value) && r.Headroom < 2*f.Headroom
		})
		if i >= 0 {
			folded[i].alike++
		} else {
			folded = append(folded, r)
		}
	}
	return folded
}

// stem is a name without the number that it ends in.
func stem(name string) string { return strings.TrimRight(name, "0123456789") }

func percent(share manifest.Figure) string {
	if share == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2g %%", 100*float64(share))
}

func headroom(v manifest.ValueRange) string {
	switch {
	case v.NonFinite > 0:
		return fmt.Sprintf("0, %d not finite", v.NonFinite)
	case v.MaxAbs == 0:
		return "all zero"
	}
	return fmt.Sprintf("%.3g", float64(v.Headroom))
}

// A bar has the octaves of float16's normal numbers, from 2^-14 up to 2^16.
const (
	octavesPerMark = 2
	lowestOctave   = -14
	marks          = (16 - lowestOctave) / octavesPerMark
)

// bar draws a magnitude on a logarithmic scale: empty for what is subnormal.
func bar(magnitude manifest.Figure) string {
	n := int(min(max(math.Floor((math.Log2(float64(magnitude))-lowestOctave)/octavesPerMark)+1, 0), marks))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", marks-n) + "]"
}
