package decode

import (
	"context"
	"errors"
	"fmt"
)

// Errors of decoding. What a pass ran into is wrapped besides: a NaN or an
// infinity is coreml.ErrNonFinite.
var (
	// ErrPrompt means that there is nothing to decode from: an empty prompt.
	ErrPrompt = errors.New("empty prompt")
	// ErrToken means an id outside the vocabulary.
	ErrToken = errors.New("token outside the vocabulary")
	// ErrContext means positions beyond the slots of the KV cache.
	ErrContext = errors.New("outside the context")
	// ErrOptions means options that contradict each other or the model.
	ErrOptions = errors.New("unusable decoding options")
	// ErrPasser means a pass that broke its contract: rows or logits missing.
	ErrPasser = errors.New("a pass gave another number of rows or logits than asked for")
	// ErrEnded means a session that an earlier error has ended.
	ErrEnded = errors.New("the session has ended")
)

// Size is what a Passer takes and gives.
type Size struct {
	Rows  int // T: tokens of a pass at most
	Slots int // S: positions 0 to S-1
	Vocab int // logits of a row; ids 0 to Vocab-1
}

// check reports tokens that do not fit.
func (s Size) check(pos int, ids []int) error {
	switch {
	case len(ids) < 1 || len(ids) > s.Rows:
		return fmt.Errorf("%w: a pass of %d tokens, want 1 to %d", ErrContext, len(ids), s.Rows)
	case pos < 0 || pos > s.Slots-len(ids):
		return fmt.Errorf("%w: %d tokens at position %d, want positions 0 to %d of %d slots", ErrContext, len(ids), pos, s.Slots-len(ids), s.Slots)
	}
	return s.checkIDs(ids)
}

func (s Size) checkIDs(ids []int) error {
	for i, id := range ids {
		if id < 0 || id >= s.Vocab {
			return fmt.Errorf("%w: id %d at index %d, want 0 to %d", ErrToken, id, i, s.Vocab-1)
		}
	}
	return nil
}

// Passer runs passes of a model over the KV cache of one sequence. It is not
// safe for concurrent use. After an error other than one about its arguments
// the cache is not to be counted on.
type Passer interface {
	Size() Size
	// Pass runs the tokens ids at positions pos to pos+len(ids)-1, which must
	// be within the Size, and writes their slots. The result has one row of
	// finite logits for each token: what the model expects after it, given the
	// slots before it. The rows are the Passer's and hold until its next call.
	Pass(ctx context.Context, pos int, ids []int) ([][]float32, error)
	// Feed is Pass for its effect on the cache alone.
	Feed(ctx context.Context, pos int, ids []int) error
}

// pass is p.Pass with the sizes of its result checked, by which rows and logits
// are then indexed.
func pass(ctx context.Context, p Passer, pos int, ids []int) ([][]float32, error) {
	rows, err := p.Pass(ctx, pos, ids)
	if err != nil {
		return nil, err
	}
	if len(rows) != len(ids) {
		return nil, fmt.Errorf("%w: %d rows for %d tokens", ErrPasser, len(rows), len(ids))
	}
	for i, row := range rows {
		if want := p.Size().Vocab; len(row) != want {
			return nil, fmt.Errorf("%w: row %d has %d logits, want %d", ErrPasser, i, len(row), want)
		}
	}
	return rows, nil
}
