package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockstep/exporter"
)

// ErrVariant means that there is no variant of that name.
var ErrVariant = errors.New("no such variant")

// Baseline is the variant that all others are held against: what export writes
// by default.
const Baseline = "baseline"

// weights names a form in which the layer's weights are stored. Variants of one
// form share one file of weights.
type weights string

// The forms of weights.
const (
	perChannel weights = "int8"
	perTensor  weights = "int8_per_tensor"
	halfs      weights = "fp16"
)

// Variant is the baseline, or the baseline with one choice made otherwise.
type Variant struct {
	Name  string // "baseline", or choice=value
	About string // for people

	stored weights
	recipe func(*exporter.Recipe) // what the exporter can choose; may be nil
	change func() change          // what its programs are rewritten by; may be nil
}

// Variants lists all variants, the baseline first.
func Variants() []Variant {
	norm := func(n exporter.Norm, about string) Variant {
		return Variant{Name: "norm=" + string(n), About: about, stored: perChannel, recipe: func(r *exporter.Recipe) { r.Norm = n }}
	}
	alone := func(rows int, about string) Variant {
		return Variant{Name: fmt.Sprintf("functions=t%d", rows), About: about, stored: perChannel, recipe: func(r *exporter.Recipe) { r.Rows = []int{rows} }}
	}
	return []Variant{
		{
			Name: Baseline, stored: perChannel,
			About: "int8 per channel, layernorm_concat, t1 and t4 in one package, state read again after the write, q scaled before the product, cache blended, T on the height",
		},
		norm(exporter.Clamped, "RMSNorm divides by max(1, max|x|) before it squares"),
		norm(exporter.Prescaled, "RMSNorm divides by sqrt(d) before it squares"),
		alone(1, "a package with t1 alone"),
		alone(blockRows, "a package with t4 alone, singles are blocks with one live row"),
		{Name: "state=not_read_again", About: "attention uses what was written to a state, not what is read from it again", stored: perChannel, change: notReadAgain},
		{Name: "scale=after", About: "the scores are scaled after the product of q and k", stored: perChannel, change: scaleAfter},
		{Name: "cache=slice_update", About: "slice_update writes the cache at a position computed in the graph, in place of a blend", stored: perChannel, change: sliceUpdate},
		{Name: "weights=int8_per_tensor", About: "int8 with one scale for a whole weight", stored: perTensor},
		{Name: "weights=fp16", About: "float16 weights", stored: halfs, recipe: func(r *exporter.Recipe) { r.Precision = exporter.FP16 }},
		{Name: "tokens=width", About: "T on the width, [1, C, 1, T], in place of the height", stored: perChannel, change: tokensOnWidth},
	}
}

// Select returns the variants of the given names in their own order, all if
// there are no names.
func Select(all []Variant, names []string) ([]Variant, error) {
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(v Variant) bool { return v.Name == name }) {
			var known []string
			for _, v := range all {
				known = append(known, v.Name)
			}
			return nil, fmt.Errorf("%w: want one of %s, found %q", ErrVariant, strings.Join(known, ", "), name)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(v Variant) bool { return !slices.Contains(names, v.Name) }), nil
}

// rows are T of the variant's functions, ascending.
func (v Variant) rows(d Dimensions) []int { return v.recipeOf(d).Rows }

// recipeOf is the exporter's recipe of the variant.
func (v Variant) recipeOf(d Dimensions) exporter.Recipe {
	r := exporter.DefaultRecipe()
	r.Slots, r.Rows = d.Slots, []int{1, blockRows}
	if v.recipe != nil {
		v.recipe(&r)
	}
	return r
}
