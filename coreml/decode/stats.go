package decode

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

// Add sums counts of several generations.
func (s *Stats) Add(o Stats) {
	s.PrefillPasses += o.PrefillPasses
	s.BlockPasses += o.BlockPasses
	s.SinglePasses += o.SinglePasses
	s.Redecided += o.Redecided
	s.Drafted += o.Drafted
	s.Accepted += o.Accepted
	s.Tokens += o.Tokens
	s.Decoded += o.Decoded
}
