package conformance

import (
	"fmt"
	"slices"

	"lockstep/exporter"
)

// Catalogue lists the cases of a shard of that many layers for a recipe and
// hidden size. golden says whether golden vectors are at hand. Each list is
// deterministic.
func Catalogue(rec exporter.Recipe, layers, hidden int, golden bool) []Case {
	return catalogue(rec, layers, hidden, golden)
}

func catalogue(rec exporter.Recipe, layers, hidden int, golden bool) []Case {
	return slices.Concat(
		packageCases(),
		lintCases(hidden),
		equivalenceCases(rec.Rows, rec.Slots),
		oracleCases(rec, layers, rec.Precision, golden, weightCases(rec)),
		parityCases(rec, layers),
		residencyCases(rec),
	)
}

// spot is a position with how many rows are live there.
type spot struct{ pos, live int }

func (p spot) String() string { return fmt.Sprintf("pos=%d/live=%d", p.pos, p.live) }

// paritySpots are the positions at which a block of t rows is compared: 0, 1,
// the middle and S-t with every live count, then each later one with as many
// rows as the context still has.
func paritySpots(slots, t int) []spot {
	var spots []spot
	seen := map[spot]bool{}
	add := func(pos, live int) {
		p := spot{pos, live}
		if pos >= 0 && pos+live <= slots && live >= 1 && !seen[p] {
			seen[p] = true
			spots = append(spots, p)
		}
	}
	for _, pos := range []int{0, 1, slots / 2, slots - t} {
		for live := 1; live <= t; live++ {
			add(pos, live)
		}
	}
	for pos := max(0, slots-t+1); pos < slots; pos++ {
		add(pos, slots-pos)
	}
	return spots
}

// singleSpots are the positions of single-token cases.
func singleSpots(slots int) []int {
	var out []int
	for _, pos := range []int{0, 1, slots / 2, slots - 1} {
		if pos >= 0 && !slices.Contains(out, pos) {
			out = append(out, pos)
		}
	}
	return out
}

// Checks lists the judged checks in the order in which they are decided.
func Checks() []string { return checkOrder() }
