package terms

import "context"

// BlockValues are the terms of every value of a block, by name.
func BlockValues(ctx context.Context, s Subject, spot Spot) (map[string][]Term, error) {
	r, err := newRace(s, hashing{}, spot)
	if err != nil {
		return nil, err
	}
	r.block.keep = true
	if err := r.block.runTo(ctx, len(r.block.fn.Ops)); err != nil {
		return nil, err
	}
	out := map[string][]Term{}
	for name, t := range r.block.values {
		if t.data != nil {
			out[name] = t.data
		}
	}
	return out, nil
}

// Number is the number of a concrete term.
func (t Term) Number() (float64, bool) { return t.value() }
