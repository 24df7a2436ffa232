package conformance

import (
	"context"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/exporter"
)

// SameBits executes every function of two exports of one recipe on the same
// inputs (first, middle and last positions, every live count, seeded states)
// and reports whether all hidden states and caches are equal, bit for bit.
func SameBits(ctx context.Context, plane coreml.Plane, dirA, dirB string, layers exporter.Range) (bool, error) {
	var suites [2]*Suite
	for i, dir := range []string{dirA, dirB} {
		s, err := NewSuite(Options{Dir: dir, Layers: layers, Plane: plane})
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
		x := hiddenRows(fmt.Sprintf("same bits %s", p), rows, s.record.Model.Dims.Hidden)
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
