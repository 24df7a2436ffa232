package manifest

import (
	"fmt"
	"math"
	"slices"
)

// Ranges are the magnitudes of every run-time value of a shard's function over
// some passes. They are reported and never judged.
type Ranges struct {
	Function string `json:"function"` // that was traced
	// Inputs says which activations the passes had.
	Inputs string `json:"inputs"`
	// LayersBy says how the layer of a value was told.
	LayersBy string `json:"layers_by"`
	Passes   int    `json:"passes"`
	// Positions are those of the passes, ascending; several passes may have one.
	Positions []int `json:"positions"`
	// Layers stand in the model's order; what belongs to none comes first.
	Layers []LayerRanges `json:"layers"`
	// Warnings name each layer with a value whose headroom is below
	// LeastHeadroom, one line a layer.
	Warnings []string `json:"warnings"`
}

// LayerRanges are the values of one decoder layer.
type LayerRanges struct {
	// Layer is counted as in the model; absent for values of no layer.
	Layer *int `json:"layer,omitempty"`
	// MaxByPosition is the largest finite |x| of any value at each of
	// Ranges.Positions.
	MaxByPosition []Figure `json:"max_by_position"`
	// Values stand in program order.
	Values []ValueRange `json:"values"`
}

// ValueRange is one value over all passes.
type ValueRange struct {
	Op    string `json:"op"`    // operator type
	Value string `json:"value"` // name, without its layer where that is a part of it
	// MaxAbs is the largest finite |x|, Position the first where it was found.
	MaxAbs   Figure `json:"max_abs"`
	Position int    `json:"position"`
	// Headroom is HeadroomOf(MaxAbs, NonFinite).
	Headroom Figure `json:"headroom"`
	// SubnormalShare is how many of the finite elements that are not zero lie
	// below 2^-14, of 1; 0 where all are zero.
	SubnormalShare Figure `json:"subnormal_share"`
	NonFinite      int    `json:"non_finite"` // elements that are NaN or infinite
}

const (
	// LargestHalf is the largest finite float16 value.
	LargestHalf = 65504
	// LeastHeadroom is the headroom below which a value is warned of.
	LeastHeadroom = 4
)

// HeadroomOf is by how much a value may grow before it leaves float16: +Inf
// where all of it is zero, 0 where some of it has left.
func HeadroomOf(maxAbs Figure, nonFinite int) Figure {
	if nonFinite > 0 {
		return 0
	}
	return Figure(LargestHalf / math.Abs(float64(maxAbs)))
}

// Headroom is the least of all values.
func (r Ranges) Headroom() Figure {
	least := Figure(math.Inf(1))
	for _, l := range r.Layers {
		least = min(least, l.headroom())
	}
	return least
}

func (l LayerRanges) headroom() Figure {
	least := Figure(math.Inf(1))
	for _, v := range l.Values {
		least = min(least, v.Headroom)
	}
	return least
}

// ranges checks that the rows agree with each other and with the warnings.
func (v *verifier) ranges(r Ranges, shard LayerRange) {
	v.line("$.ranges.function", r.Function)
	v.line("$.ranges.inputs", r.Inputs)
	v.line("$.ranges.layers_by", r.LayersBy)
	v.positive("$.ranges.passes", r.Passes)
	v.check(len(r.Positions) > 0, "$.ranges.positions", "has no position")
	for i, p := range r.Positions {
		v.check(p >= 0 && (i == 0 || r.Positions[i-1] < p), fmt.Sprintf("$.ranges.positions[%d]", i), "%d is negative, stands twice or is not sorted", p)
	}
	v.check(len(r.Layers) > 0, "$.ranges.layers", "has no layer")
	low, before := 0, shard.Start-1 // what belongs to no layer comes first
	for i, l := range r.Layers {
		at := fmt.Sprintf("$.ranges.layers[%d]", i)
		switch {
		case l.Layer != nil:
			v.check(before < *l.Layer && *l.Layer < shard.End, at+".layer", "wanted an ascending layer of [%d,%d), found %d", shard.Start, shard.End, *l.Layer)
			before = *l.Layer
		default:
			v.check(i == 0, at+".layer", "wanted a layer: what belongs to none comes first")
		}
		v.layerRanges(at, l, r.Positions)
		if l.headroom() < LeastHeadroom {
			low++
		}
	}
	v.check(len(r.Warnings) == low, "$.ranges.warnings", "wanted %d, one for each layer with a headroom below %d, found %d", low, LeastHeadroom, len(r.Warnings))
	for i, w := range r.Warnings {
		v.line(fmt.Sprintf("$.ranges.warnings[%d]", i), w)
	}
}

func (v *verifier) layerRanges(at string, l LayerRanges, positions []int) {
	v.check(len(l.MaxByPosition) == len(positions), at+".max_by_position", "wanted one for each of %d positions, found %d", len(positions), len(l.MaxByPosition))
	v.check(len(l.Values) > 0, at+".values", "has no value")
	if v.err != nil {
		return
	}
	tops := make([]Figure, len(positions)) // that the values tell of
	for i, value := range l.Values {
		path := fmt.Sprintf("%s.values[%d]", at, i)
		v.line(path+".op", value.Op)
		v.line(path+".value", value.Value)
		v.check(0 <= value.MaxAbs && value.MaxAbs <= LargestHalf, path+".max_abs", "wanted 0 to %d, found %v", LargestHalf, value.MaxAbs)
		v.check(0 <= value.SubnormalShare && value.SubnormalShare <= 1, path+".subnormal_share", "wanted 0 to 1, found %v", value.SubnormalShare)
		v.check(value.NonFinite >= 0, path+".non_finite", "found %d", value.NonFinite)
		want := HeadroomOf(value.MaxAbs, value.NonFinite)
		v.check(value.Headroom == want, path+".headroom", "wanted %v, which follows from max_abs, found %v", want, value.Headroom)
		p, known := slices.BinarySearch(positions, value.Position)
		v.check(known, path+".position", "%d is none of the positions", value.Position)
		if known {
			tops[p] = max(tops[p], value.MaxAbs)
		}
	}
	v.unique(at+".values", keysOf(l.Values, func(r ValueRange) string { return r.Value }))
	for i, top := range l.MaxByPosition {
		path := fmt.Sprintf("%s.max_by_position[%d]", at, i)
		v.check(tops[i] <= top && top <= slices.Max(tops), path, "wanted %v to %v, which follows from the values, found %v", tops[i], slices.Max(tops), top)
	}
}
