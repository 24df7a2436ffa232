package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// stateNames are the contract's states of a shard: k, then v, of each layer.
func stateNames(layers int) []string {
	var out []string
	for i := range layers {
		out = append(out, contract.KState(i), contract.VState(i))
	}
	return out
}

// checkNames reports the first pair that names nothing of the contract, or the
// same feature of the package twice.
func checkNames(given map[string]string, layers int) error {
	known := slices.Concat([]string{contract.X, contract.RopeCos, contract.RopeSin, contract.AttnMask, contract.WriteMask, contract.Hidden}, stateNames(layers))
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		own := given[name]
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w: want one of %s, found %q", ErrNames, strings.Join(known, ", "), name)
		}
		if other, twice := taken[own]; twice {
			return fmt.Errorf("%w: %q stands for both %s and %s", ErrNames, own, other, name)
		}
		taken[own] = name
	}
	return nil
}

// interfaceReader matches a function's features with the contract's.
type interfaceReader struct {
	model  checkpoint.Config
	layers int
	given  names
}

// foundFunction is a function that keeps the contract.
type foundFunction struct {
	rows, slots int
	names       names
	states      string // how the states were told apart
}

// wild is a dimension that is not fixed yet.
const wild = -1

// function reads T off x and S off the mask, and holds everything else against
// them.
func (r interfaceReader) function(d mlpackage.FunctionDescription) (*foundFunction, error) {
	found := &foundFunction{names: names{}}
	inputs := featureSet{role: "input", own: d.Inputs, given: r.given, names: found.names}
	hidden, half := r.model.HiddenSize, r.model.RotaryDim()/2
	x, err := inputs.want(contract.X, 1, hidden, wild, 1)
	if err != nil {
		return nil, fmt.Errorf("%w (channel-major: channels, then T tokens)", err)
	}
	found.rows = x[2]
	mask, err := inputs.want(contract.AttnMask, 1, 1, found.rows, wild)
	if err != nil {
		return nil, err
	}
	found.slots = mask[3]
	if err := r.fits(found.rows, found.slots); err != nil {
		return nil, err
	}
	outputs := featureSet{role: "output", own: d.Outputs, given: r.given, names: found.names}
	for _, w := range []struct {
		set   *featureSet
		name  string
		shape []int
	}{
		{&inputs, contract.RopeCos, []int{found.rows, half}},
		{&inputs, contract.RopeSin, []int{found.rows, half}},
		{&inputs, contract.WriteMask, []int{1, 1, found.slots, found.rows}},
		{&outputs, contract.Hidden, []int{1, hidden, found.rows, 1}},
	} {
		if _, err := w.set.want(w.name, w.shape...); err != nil {
			return nil, err
		}
	}
	states := featureSet{role: "state", own: d.States, given: r.given, names: found.names}
	if found.states, err = r.states(&states, found.slots); err != nil {
		return nil, err
	}
	for _, set := range []featureSet{inputs, outputs, states} {
		if err := set.noMore(); err != nil {
			return nil, err
		}
	}
	return found, checkNames(found.names, r.layers)
}

// fits holds rows and slots against what the host can compute for this model.
func (r interfaceReader) fits(rows, slots int) error {
	most := r.model.MaxPositions
	if r.model.Rope.Type == checkpoint.RopeLongRope {
		most = min(most, r.model.OriginalMaxPositions) // where the short factors hold
	}
	if r.model.SlidingWindow > 0 {
		most = min(most, r.model.SlidingWindow)
	}
	if slots < 1 || slots > most {
		return fmt.Errorf("input %s: want 1 to %d slots, as RoPE factors and sliding window of the model allow, found %d", contract.AttnMask, most, slots)
	}
	if limit := min(exporter.MaxRows, slots); rows < 1 || rows > limit {
		return fmt.Errorf("input %s: want 1 to %d rows for %d slots, found %d", contract.X, limit, slots, rows)
	}
	return nil
}

// states matches by name; where no state has a name that is known, by order.
func (r interfaceReader) states(set *featureSet, slots int) (string, error) {
	wanted := stateNames(r.layers)
	shape := []int{1, r.model.KVHeads, slots, r.model.HeadDim()}
	how := "by name"
	if !slices.ContainsFunc(wanted, set.named) {
		order, err := inOrder(wanted, set.own)
		if err != nil {
			return "", err
		}
		set.given = order
		how = "by order: keys, then values, of each layer"
	}
	for _, name := range wanted {
		if _, err := set.want(name, shape...); err != nil {
			return "", err
		}
	}
	return how, nil
}

// inOrder pairs the contract's states with a package's by their place, unless
// the package's names speak against it: all have one shape, so that nothing but
// names can tell keys from values.
func inOrder(wanted []string, own []mlpackage.Feature) (names, error) {
	if len(own) != len(wanted) {
		return nil, fmt.Errorf("states: want %d, keys and values of each layer, found %d: %s", len(wanted), len(own), featureNames(own))
	}
	order := names{}
	last := -1
	for i, name := range wanted {
		kind, number := hints(own[i].Name)
		// A layer's values have their keys' number; the next keys a larger one.
		misplaced := number >= 0 && last >= 0 && (i%2 == 0 && number <= last || i%2 == 1 && number != last)
		if kind != "" && kind != []string{"k", "v"}[i%2] || misplaced {
			return nil, fmt.Errorf("state %s: want keys, then values, of each layer, or names that tell; found %s in that place of %s: map the states",
				name, own[i].Name, featureNames(own))
		}
		order[name], last = own[i].Name, number
	}
	return order, nil
}

var (
	words   = regexp.MustCompile(`[a-z]+`)
	numbers = regexp.MustCompile(`[0-9]+`)
)

// hints are what a state's name says: "k" or "v", and its last number; "" and
// -1 where it does not say.
func hints(name string) (kind string, number int) {
	for _, word := range words.FindAllString(strings.ToLower(name), -1) {
		switch word {
		case "k", "key", "keys", "kcache":
			kind += "k"
		case "v", "value", "values", "vcache":
			kind += "v"
		}
	}
	if len(kind) > 1 {
		kind = ""
	}
	digits := numbers.FindAllString(name, -1)
	if len(digits) == 0 {
		return kind, -1
	}
	number, err := strconv.Atoi(digits[len(digits)-1])
	if err != nil { // too long to be a layer
		return kind, -1
	}
	return kind, number
}

// featureSet is a function's inputs, outputs or states, and which of them have
// been matched.
type featureSet struct {
	role  string
	own   []mlpackage.Feature
	given names // by the caller, or from the order
	names names // found so far, of all roles

	matched []string // names of own
}

// find is the feature for a contract name, or nil.
func (s *featureSet) find(name string) *mlpackage.Feature {
	i := slices.IndexFunc(s.own, func(f mlpackage.Feature) bool { return f.Name == s.given.of(name) })
	if i < 0 {
		return nil
	}
	return &s.own[i]
}

// named reports whether the package or the map has the contract's name.
func (s *featureSet) named(name string) bool {
	_, mapped := s.given[name]
	return mapped || s.find(name) != nil
}

// want matches a feature and returns its shape; a dimension of the wanted shape
// may be wild.
func (s *featureSet) want(name string, shape ...int) ([]int, error) {
	f := s.find(name)
	if f == nil {
		own := s.given.of(name)
		if own != name {
			own = "mapped to " + own
		}
		return nil, fmt.Errorf("%s %s: want %s, found no %s %s; there are %s, to which it may be mapped", s.role, name, dimensions(shape), s.role, own, featureNames(s.own))
	}
	fits := func(a, b int) bool { return a == b || a == wild }
	if f.DType != mil.Float16 || !slices.EqualFunc(shape, f.Shape, fits) {
		as := ""
		if f.Name != name {
			as = " (" + f.Name + ")"
		}
		return nil, fmt.Errorf("%s %s%s: want fp16%s, found %s%s", s.role, name, as, dimensions(shape), f.DType, dimensions(f.Shape))
	}
	s.names[name] = f.Name
	s.matched = append(s.matched, f.Name)
	return f.Shape, nil
}

// noMore reports a feature that was not matched: the host would not know what
// to hand over.
func (s *featureSet) noMore() error {
	for _, f := range s.own {
		if !slices.Contains(s.matched, f.Name) {
			return fmt.Errorf("%s %s: the contract has no such %s", s.role, f.Name, s.role)
		}
	}
	return nil
}

func featureNames(features []mlpackage.Feature) string {
	if len(features) == 0 {
		return "none"
	}
	list := make([]string, len(features))
	for i, f := range features {
		list[i] = f.Name
	}
	return strings.Join(list, ", ")
}

// dimensions prints a shape, with ? for what is not fixed.
func dimensions(shape []int) string {
	list := make([]string, len(shape))
	for i, d := range shape {
		list[i] = strconv.Itoa(d)
		if d == wild {
			list[i] = "?"
		}
	}
	return "[" + strings.Join(list, ",") + "]"
}
