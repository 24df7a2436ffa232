package decode

import (
	"context"
	"fmt"
)

// Divergence is the first token at which a generation is not what plain
// decoding gives.
type Divergence struct {
	// Index counts the generated tokens, Position all of the sequence's.
	Index    int `json:"index"`
	Position int `json:"position"`
	// Got was generated, Want is what a single decides there.
	Got  Token `json:"got"`
	Want Token `json:"want"`
}

func (d Divergence) String() string {
	return fmt.Sprintf("position %d (token %d): generated %d with margin %v, a single decides %d with margin %v",
		d.Position, d.Index, d.Got.ID, d.Got.Margin, d.Want.ID, d.Want.Margin)
}

// Audit replays a generation one token at a time over an empty cache, and
// returns the first divergence, or nil. plain is the function that defines the
// output: in one-program mode the block with one live row, else the singles'.
// sampling is the generation's; it must have been the session's first.
func Audit(ctx context.Context, plain Passer, prompt []int, tokens []Token, sampling *Sampling) (*Divergence, error) {
	choose, err := newChooser(sampling)
	if err != nil {
		return nil, err
	}
	if len(prompt) == 0 {
		return nil, fmt.Errorf("audit: %w", ErrPrompt)
	}
	for pos := range prompt[:len(prompt)-1] {
		if err := plain.Feed(ctx, pos, prompt[pos:pos+1]); err != nil {
			return nil, fmt.Errorf("audit: position %d: %w", pos, err)
		}
	}
	last := prompt[len(prompt)-1]
	for i, got := range tokens {
		pos := len(prompt) - 1 + i
		rows, err := pass(ctx, plain, pos, []int{last})
		if err != nil {
			return nil, fmt.Errorf("audit: position %d: %w", pos, err)
		}
		want := Token{Single: plain.Size().Rows == 1}
		if want.ID, want.Margin, err = choose.choose(rows[0]); err != nil {
			return nil, fmt.Errorf("audit: position %d: %w", pos, err)
		}
		if want.ID != got.ID {
			return &Divergence{Index: i, Position: pos + 1, Got: got, Want: want}, nil
		}
		last = got.ID
	}
	return nil, nil
}
