package conformance

import (
	"context"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
)

// Export is an exported directory on a plane.
type Export struct {
	Plane coreml.Plane
	Dir   string
}

// SameBits executes every function of two exports of one recipe on the same
// inputs (first, middle and last positions, every live count, seeded states)
// and reports whether the hidden states of all live rows and all caches are
// equal, bit for bit.
func SameBits(ctx context.Context, layers exporter.Range, a, b Export) (bool, error) {
	var suites [2]*Suite
	for i, e := range []Export{a, b} {
		s, err := NewSuite(Options{Dir: e.Dir, Layers: layers, Plane: e.Plane})
		if err != nil {
			return false, err
		}
		defer s.Close() // opened for reading
		suites[i] = s
	}
	for _, rows := range suites[0].recipe.Rows {
		for _, p := range paritySpots(suites[0].recipe.Slots, rows) {
			same, err := sameAt(ctx, suites, rows, p)
			if err != nil || !same {
				return false, err
			}
		}
	}
	return true, nil
}

// sameAt compares one pass of both suites.
func sameAt(ctx context.Context, suites [2]*Suite, rows int, p spot) (bool, error) {
	var hidden [2][][]float16.Float16
	var states [2]snapshot
	for i, s := range suites {
		d, err := s.driver(ctx, rows)
		if err != nil {
			return false, err
		}
		seed := s.seed(seededStates, d.fn.Signature())
		st, err := d.newState(seed)
		if err != nil {
			return false, err
		}
		x := HiddenRows(fmt.Sprintf("same bits %s", p), rows, s.record.Model.Dims.Hidden)
		if hidden[i], err = d.run(ctx, st, p.pos, x[:p.live]); err != nil {
			return false, err
		}
		if states[i], err = seed.read(st); err != nil {
			return false, err
		}
	}
	for r := range hidden[0] {
		if compare(hidden[0][r], hidden[1][r]) != nil {
			return false, nil
		}
	}
	for _, name := range states[0].names() {
		if compare(states[0][name], states[1][name]) != nil {
			return false, nil
		}
	}
	return true, nil
}
