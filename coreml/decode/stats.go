package decode

import "math"

// Stats count what a generation took.
type Stats struct {
	// PrefillPasses took in the prompt, in blocks; the last of them gives the
	// first token.
	PrefillPasses int `json:"prefill_passes"`
	// BlockPasses and SinglePasses are the passes after that, by function.
	// One-program mode has no single passes: one live row of a block is a block
	// pass.
	BlockPasses  int `json:"block_passes"`
	SinglePasses int `json:"single_passes"`
	// Redecided counts the tokens, of SinglePasses, whose margin in a block was
	// too small to stand.
	Redecided int `json:"redecided"`
	// Drafted tokens were verified; Accepted were what the model decided, and
	// are among the tokens of the result.
	Drafted  int `json:"drafted"`
	Accepted int `json:"accepted"`
	// Tokens were generated, Decoded of them after the prefill.
	Tokens  int `json:"tokens"`
	Decoded int `json:"decoded"`
	// Guard is what guarded decoding saw; zero in other modes.
	Guard GuardStats `json:"guard,omitzero"`
}

// GuardStats is what guarded decoding saw of the two programs, beyond the set
// that it was calibrated on. Wherever a single decided in a block's place, both
// had passed one token over one history: that is less than calibrating compares,
// whose histories differ, too, so a difference found here can show that the
// calibration did not hold, and none can show that it did.
type GuardStats struct {
	// Stood counts the tokens that a block decided, LeastMargin is the least of
	// their margins; 0 if there are none.
	Stood       int     `json:"stood"`
	LeastMargin float64 `json:"least_margin"`
	// Compared counts the positions that a block and a single passed, Drift is
	// the largest |block logit - single logit| of any of them and any id.
	Compared int     `json:"compared"`
	Drift    float64 `json:"drift"`
	// Beyond counts those of them whose difference exceeded the calibration's.
	Beyond int `json:"beyond"`
	// Changed counts those at which the single decided another token.
	Changed int `json:"changed"`
}

// stood takes in the margin of a token that a block decided.
func (g *GuardStats) stood(margin float64) {
	if g.Stood == 0 || margin < g.LeastMargin {
		g.LeastMargin = margin
	}
	g.Stood++
}

// compared takes in a position that both passed.
func (g *GuardStats) compared(block, single []float32, calibrated float64, changed bool) {
	drift := largestDifference(block, single)
	g.Compared++
	g.Drift = math.Max(g.Drift, drift)
	if drift > calibrated {
		g.Beyond++
	}
	if changed {
		g.Changed++
	}
}

// add sums up two generations'.
func (g *GuardStats) add(o GuardStats) {
	if o.Stood > 0 && (g.Stood == 0 || o.LeastMargin < g.LeastMargin) {
		g.LeastMargin = o.LeastMargin
	}
	g.Stood += o.Stood
	g.Compared += o.Compared
	g.Drift = math.Max(g.Drift, o.Drift)
	g.Beyond += o.Beyond
	g.Changed += o.Changed
}

// largestDifference is the largest |a - b| of any id.
func largestDifference(a, b []float32) float64 {
	most := 0.0
	for id, v := range a {
		most = math.Max(most, math.Abs(float64(v)-float64(b[id])))
	}
	return most
}

// TokensPerPass is how many tokens a pass after the prefill gave: 1 without
// drafts. It is not known (ok is false) if there was no such pass.
func (s Stats) TokensPerPass() (ratio float64, ok bool) {
	return ratioOf(s.Decoded, s.BlockPasses+s.SinglePasses)
}

// Acceptance is the part of the drafted tokens that was accepted; it is not
// known if none was drafted.
func (s Stats) Acceptance() (ratio float64, ok bool) { return ratioOf(s.Accepted, s.Drafted) }

func ratioOf(a, b int) (float64, bool) {
	if b == 0 {
		return 0, false
	}
	return float64(a) / float64(b), true
}

// Add sums counts of several generations, and keeps the extremes of what their
// guards saw.
func (s *Stats) Add(o Stats) {
	s.PrefillPasses += o.PrefillPasses
	s.BlockPasses += o.BlockPasses
	s.SinglePasses += o.SinglePasses
	s.Redecided += o.Redecided
	s.Drafted += o.Drafted
	s.Accepted += o.Accepted
	s.Tokens += o.Tokens
	s.Decoded += o.Decoded
	s.Guard.add(o.Guard)
}
