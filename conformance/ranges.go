package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// Errors of Ranges.
var (
	// ErrUnsound means that the package failed its own check: what is not the
	// recorded package, or none at all, is not executed.
	ErrUnsound = errors.New("the package is not executed")
	// ErrOutputsOnly means that the plane's functions are no coreml.Tracer.
	ErrOutputsOnly = errors.New("shows outputs only")
)

// headroomMetric is the least headroom as a figure.
const headroomMetric = "value_range_headroom"

// Ranges traces the function with the fewest rows over real activations where
// golden vectors are at hand, else over the seeded ones of the oracle's cases.
// It judges nothing but the package check, without which nothing is executed.
func (s *Suite) Ranges(ctx context.Context) (*manifest.Ranges, error) {
	for _, c := range s.cases {
		if c.Check != CheckPackage {
			continue
		}
		out := s.RunCase(ctx, c)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if out.Result != manifest.Pass {
			return nil, fmt.Errorf("%w: %s is %q: %s", ErrUnsound, c.ID(), out.Result, out.Reason)
		}
	}
	d, err := s.driver(ctx, s.recipe.Rows[0])
	if err != nil {
		return nil, err
	}
	return s.ranges(ctx, d)
}

// reportRanges are the ranges of a judged package and their least headroom, or
// why there are none.
func (s *Suite) reportRanges(ctx context.Context) (*manifest.Ranges, manifest.Metric) {
	const method = "65504 over the largest |value| of any op; the ranges say over which passes"
	if s.head {
		return nil, unmeasured(headroomMetric, "1", method, "this version traces shards of layers alone")
	}
	if len(s.recipe.Rows) == 0 || s.drivers[s.recipe.Rows[0]] == nil {
		return nil, unmeasured(headroomMetric, "1", method, "the function was not executed")
	}
	ranges, err := s.ranges(ctx, s.drivers[s.recipe.Rows[0]])
	if err != nil {
		return nil, unmeasured(headroomMetric, "1", method, err.Error())
	}
	return ranges, manifest.Metric{Name: headroomMetric, Value: manifest.NewFigure(float64(ranges.Headroom())), Unit: "1", Method: method}
}

func (s *Suite) ranges(ctx context.Context, d *driver) (*manifest.Ranges, error) {
	tracer, ok := d.fn.(coreml.Tracer)
	if !ok {
		return nil, fmt.Errorf("plane %s %w", s.opt.Plane.Name(), ErrOutputsOnly)
	}
	runs, inputs, err := s.rangeRuns(d)
	if err != nil {
		return nil, err
	}
	places, err := s.places(ctx)
	if err != nil {
		return nil, err
	}
	t := newRangeTally(runs)
	for _, run := range runs {
		if err := t.run(ctx, d, tracer, run); err != nil {
			return nil, err
		}
	}
	r := t.report(places)
	r.Function, r.Inputs = s.functionName(d.rows), inputs
	return r, nil
}

// rangeRun are tokens that follow each other from pos on, over the keys and
// values of seed; nil is an empty cache.
type rangeRun struct {
	seed snapshot
	pos  int
	rows [][]float16.Float16
}

// rangeRuns are the passes that are traced, and what they stand on.
func (s *Suite) rangeRuns(d *driver) (runs []rangeRun, inputs string, err error) {
	seed := s.seed(seededStates, d.fn.Signature())
	if !hasGolden(s.opt.Golden, s.opt.Layers) {
		sequence := s.oracleSequence()
		runs = append(runs, rangeRun{rows: sequence})
		var spots []int
		for _, pos := range singleSpots(s.recipe.Slots) {
			spots = append(spots, pos)
			runs = append(runs, rangeRun{seed: seed, pos: pos, rows: s.oracleToken(pos)})
		}
		return runs, fmt.Sprintf("seeded hidden states, as in the oracle's cases: %d tokens from an empty cache; at %s over seeded keys and values",
			len(sequence), positionList(spots)), nil
	}
	tokens, longest := 0, 0
	for p := range goldenPrompts {
		rows, err := s.goldenTokens(p)
		if err != nil {
			return nil, "", err
		}
		runs = append(runs, rangeRun{rows: rows})
		tokens, longest = tokens+len(rows), max(longest, len(rows))
	}
	inputs = fmt.Sprintf("golden vectors: %d tokens of %d prompts from an empty cache", tokens, goldenPrompts)
	var spots []int
	for _, pos := range singleSpots(s.recipe.Slots) {
		if pos >= longest {
			spots = append(spots, pos)
			runs = append(runs, rangeRun{seed: seed, pos: pos, rows: runs[0].rows[:1]})
		}
	}
	if len(spots) > 0 {
		inputs += fmt.Sprintf("; at %s a token of theirs over seeded keys and values", positionList(spots))
	}
	return runs, inputs, nil
}

func positionList(positions []int) string {
	list := make([]string, len(positions))
	for i, p := range positions {
		list[i] = strconv.Itoa(p)
	}
	if len(list) == 1 {
		return "position " + list[0]
	}
	return "positions " + strings.Join(list, ", ")
}

// rangeTally gathers the values of all passes.
type rangeTally struct {
	positions []int // ascending
	order     []string
	values    map[string]*valueTally
	passes    int
}

// valueTally is what is known of one value.
type valueTally struct {
	op   string
	tops []float16.Float16 // largest finite |x| at each position
	counts
}

// counts are of elements.
type counts struct{ nonZero, subnormal, nonFinite int }

func newRangeTally(runs []rangeRun) *rangeTally {
	seen := map[int]bool{}
	for _, run := range runs {
		for i := range run.rows {
			seen[run.pos+i] = true
		}
	}
	return &rangeTally{positions: slices.Sorted(maps.Keys(seen)), values: map[string]*valueTally{}}
}

// run traces the passes of a run. One that leaves float16 is what ranges are
// there to show: it ends the run, whose state is spoilt, and is no error.
func (t *rangeTally) run(ctx context.Context, d *driver, tracer coreml.Tracer, run rangeRun) error {
	st, err := d.newState(run.seed)
	if err != nil {
		return err
	}
	for i, row := range run.rows {
		at, _ := slices.BinarySearch(t.positions, run.pos+i)
		err := d.trace(ctx, tracer, st, run.pos+i, row, func(o coreml.Observed) error {
			t.add(o, at)
			return nil
		})
		t.passes++
		if errors.Is(err, coreml.ErrNonFinite) && len(t.order) > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pos=%d: %w", run.pos+i, err)
		}
	}
	return nil
}

func (t *rangeTally) add(o coreml.Observed, at int) {
	v, ok := t.values[o.Name]
	if !ok {
		v = &valueTally{op: o.Op, tops: make([]float16.Float16, len(t.positions))}
		t.values[o.Name], t.order = v, append(t.order, o.Name)
	}
	top := v.count(o.Tensor.Data)
	v.tops[at] = max(v.tops[at], top)
}

// count adds elements and returns the largest finite |x|. The bits of float16
// magnitudes are in the order of the magnitudes.
func (c *counts) count(data []float16.Float16) (top float16.Float16) {
	const subnormal, infinity = 0x0400, 0x7C00
	for _, h := range data {
		abs := h & 0x7FFF
		switch {
		case abs == 0:
			continue
		case abs >= infinity:
			c.nonFinite++
			continue
		case abs < subnormal:
			c.subnormal++
		}
		c.nonZero++
		top = max(top, abs)
	}
	return top
}

// row is the value's row in a verdict.
func (v *valueTally) row(value string, positions []int) manifest.ValueRange {
	top := slices.Max(v.tops)
	r := manifest.ValueRange{
		Op: v.op, Value: value, MaxAbs: magnitude(top), Position: positions[slices.Index(v.tops, top)], NonFinite: v.nonFinite,
	}
	if v.nonZero > 0 {
		r.SubnormalShare = manifest.Figure(float64(v.subnormal) / float64(v.nonZero))
	}
	r.Headroom = manifest.HeadroomOf(r.MaxAbs, r.NonFinite)
	return r
}

func magnitude(h float16.Float16) manifest.Figure { return manifest.Figure(half.ToFloat64(h)) }

// report sums up by layer.
func (t *rangeTally) report(p places) *manifest.Ranges {
	r := &manifest.Ranges{LayersBy: p.by, Passes: t.passes, Positions: t.positions, Warnings: []string{}}
	layers := map[int]*manifest.LayerRanges{}
	for _, name := range t.order {
		at := p.of(name)
		l, ok := layers[at.layer]
		if !ok {
			l = &manifest.LayerRanges{MaxByPosition: make([]manifest.Figure, len(t.positions))}
			if at.layer != noLayer {
				l.Layer = &at.layer
			}
			layers[at.layer] = l
		}
		v := t.values[name]
		l.Values = append(l.Values, v.row(at.value, t.positions))
		for i, top := range v.tops {
			l.MaxByPosition[i] = max(l.MaxByPosition[i], magnitude(top))
		}
	}
	for _, i := range slices.Sorted(maps.Keys(layers)) {
		r.Layers = append(r.Layers, *layers[i])
		if w := warning(*layers[i]); w != "" {
			r.Warnings = append(r.Warnings, w)
		}
	}
	return r
}

// warning names the value of least headroom, if that is too little.
func warning(l manifest.LayerRanges) string {
	low := slices.DeleteFunc(slices.Clone(l.Values), func(v manifest.ValueRange) bool { return v.Headroom >= manifest.LeastHeadroom })
	if len(low) == 0 {
		return ""
	}
	worst := slices.MinFunc(low, func(a, b manifest.ValueRange) int { return cmp.Compare(a.Headroom, b.Headroom) })
	text := fmt.Sprintf("%s: %s (%s) reaches %.5g at position %d, headroom %.4g to 65504, under %d",
		LayerName(l.Layer), worst.Value, worst.Op, float64(worst.MaxAbs), worst.Position, float64(worst.Headroom), manifest.LeastHeadroom)
	if worst.NonFinite > 0 {
		text = fmt.Sprintf("%s: %s (%s) left float16: %d elements are NaN or infinite", LayerName(l.Layer), worst.Value, worst.Op, worst.NonFinite)
	}
	if others := len(low) - 1; others > 0 {
		text += fmt.Sprintf("; %d more of its %d values are under %d", others, len(l.Values), manifest.LeastHeadroom)
	}
	return text
}

// LayerName is "layer 30", or "no layer".
func LayerName(layer *int) string {
	if layer == nil {
		return "no layer"
	}
	return fmt.Sprintf("layer %d", *layer)
}
