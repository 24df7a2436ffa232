package terms

// sources number what a row can depend on: first the block's tokens, then the
// slots. Where there are more slots than a term can tell apart, those far from
// the block share a number.
type sources struct {
	spot   Spot
	groups []SlotRange
	of     []int // group of each slot
}

// SlotRange is the slots [Start, End).
type SlotRange struct{ Start, End int }

const (
	// shortCache is up to how many slots each has a number of its own.
	shortCache = 64
	// near is how many slots before and after the block have one in a longer
	// cache.
	near = 4
)

func newSources(spot Spot, slots int) sources {
	s := sources{spot: spot}
	for slot := range slots {
		switch {
		case slot <= 1, slots <= shortCache, slot == slots-1, slot >= spot.Pos-near && slot <= spot.Pos+spot.Live+near:
			s.groups = append(s.groups, SlotRange{slot, slot + 1})
		default:
			s.groups[len(s.groups)-1].End = slot + 1
		}
		s.of = append(s.of, len(s.groups)-1)
	}
	return s
}

// count is how many sources there are.
func (s sources) count() int { return s.spot.Live + len(s.groups) }

func (s sources) token(pos int) int { return pos - s.spot.Pos }

func (s sources) slot(slot int) int { return s.spot.Live + s.of[slot] }
