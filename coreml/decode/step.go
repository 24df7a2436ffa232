package decode

import (
	"context"
	"fmt"
	"slices"
)

// generation is one call of Generate.
type generation struct {
	*Session
	limit  int
	emit   func(Token) error
	result Result
	begun  bool // the prefill has given its token
}

// step makes one round of passes, commits what they decided, and hands it over.
// It reports whether the generation is done.
func (g *generation) step(ctx context.Context) (done bool, err error) {
	before := len(g.result.Tokens)
	if g.begun {
		err = g.decode(ctx)
	} else {
		err = g.prefill(ctx)
	}
	if err != nil {
		g.ended = err
		return true, err
	}
	for _, t := range g.result.Tokens[before:] {
		if g.emit == nil {
			break
		}
		if err := g.emit(t); err != nil {
			return true, err
		}
	}
	return g.finished(), nil
}

// finished looks at what the last step left.
func (g *generation) finished() bool {
	last := g.result.Tokens[len(g.result.Tokens)-1]
	switch {
	case slices.Contains(g.opt.Stop, last.ID):
		g.result.Reason = StopToken
	case len(g.result.Tokens) == g.limit:
		g.result.Reason = Length
	case len(g.tokens) > g.size.Slots:
		g.result.Reason = FullContext
	default:
		return false
	}
	return true
}

// prefill feeds the tokens that are not in the cache yet, in blocks, and
// decides the first new one by the last of them.
func (g *generation) prefill(ctx context.Context) error {
	g.begun = true
	var last []float32
	for g.fed < len(g.tokens) {
		ids := g.tokens[g.fed:min(g.fed+g.size.Rows, len(g.tokens))]
		rows, err := g.take(ctx, ids)
		if err != nil {
			return fmt.Errorf("prefill at position %d: %w", g.fed, err)
		}
		g.result.Stats.PrefillPasses++
		g.fed += len(ids)
		if rows != nil {
			last = rows[len(ids)-1]
		}
	}
	token, err := g.decide(ctx, last, g.fed-1)
	if err != nil {
		return fmt.Errorf("token after position %d: %w", g.fed-1, err)
	}
	g.append(token)
	return nil
}

// take passes a block of the prompt; only the last one's logits are asked for.
func (g *generation) take(ctx context.Context, ids []int) ([][]float32, error) {
	if g.fed+len(ids) < len(g.tokens) {
		return nil, g.block.Feed(ctx, g.fed, ids)
	}
	return pass(ctx, g.block, g.fed, ids)
}

// append adds a token that stands.
func (g *generation) append(t Token) {
	g.tokens = append(g.tokens, t.ID)
	g.result.Tokens = append(g.result.Tokens, t)
	g.result.Stats.Tokens++
	if t.Drafted {
		g.result.Stats.Accepted++
	}
}

// decode feeds the last token with a draft after it, accepts the draft's
// longest prefix that the model agrees with, and adds the model's own next
// token.
func (g *generation) decode(ctx context.Context) error {
	pos := g.fed
	draft := g.propose(g.room(pos))
	g.ids = append(append(g.ids[:0], g.tokens[pos]), draft...)
	rows, single, err := g.verify(ctx, pos)
	if err != nil {
		return fmt.Errorf("pass at position %d: %w", pos, err)
	}
	g.result.Stats.Drafted += len(draft)
	for i, row := range rows {
		token := Token{Single: true}
		if single {
			token.ID, token.Margin, err = g.choose.choose(row)
		} else {
			token, err = g.decide(ctx, row, pos+i)
		}
		if err != nil {
			return fmt.Errorf("token after position %d: %w", pos+i, err)
		}
		agreed := i < len(draft) && draft[i] == token.ID
		token.Drafted = agreed
		g.append(token)
		g.result.Stats.Decoded++
		if !agreed || slices.Contains(g.opt.Stop, token.ID) {
			break
		}
	}
	// The sequence's last token has no slot, or, where a stop token ended an
	// accepted prefix, takes its own once more.
	g.fed = len(g.tokens) - 1
	return nil
}

// room is how many tokens may be drafted at a position: they need rows, slots,
// and to be asked for.
func (g *generation) room(pos int) int {
	return min(g.size.Rows, g.size.Slots-pos, g.limit-len(g.result.Tokens)) - 1
}

// propose asks for a draft and cuts it to what can be verified.
func (g *generation) propose(room int) []int {
	if g.opt.MaxDraft > 0 {
		room = min(room, g.opt.MaxDraft)
	}
	if g.opt.Draft == nil || room < 1 {
		return nil
	}
	draft := g.opt.Draft.Draft(slices.Clip(g.tokens), room)
	draft = draft[:min(len(draft), room)]
	outside := func(id int) bool { return id < 0 || id >= g.size.Vocab }
	if i := slices.IndexFunc(draft, outside); i >= 0 {
		draft = draft[:i]
	}
	return draft
}

// verify passes the tokens of g.ids: by a single where there is nothing to
// verify and the mode has singles, else by a block.
func (g *generation) verify(ctx context.Context, pos int) (rows [][]float32, single bool, err error) {
	if len(g.ids) == 1 && g.single != nil {
		g.result.Stats.SinglePasses++
		rows, err = pass(ctx, g.single, pos, g.ids)
		return rows, true, err
	}
	g.result.Stats.BlockPasses++
	rows, err = pass(ctx, g.block, pos, g.ids)
	return rows, false, err
}

// decide takes the token of a block's row at pos, unless a guard sends it to a
// single pass.
func (g *generation) decide(ctx context.Context, row []float32, pos int) (Token, error) {
	id, margin, err := g.choose.choose(row)
	if err != nil || g.opt.Mode != Guarded {
		return Token{ID: id, Margin: margin}, err
	}
	if margin > g.opt.Calibration.Threshold() {
		g.result.Stats.Guard.stood(margin)
		return Token{ID: id, Margin: margin}, nil
	}
	return g.redecide(ctx, row, id, pos)
}

// redecide has a single pass decide what a block's row gave as id.
func (g *generation) redecide(ctx context.Context, row []float32, id, pos int) (Token, error) {
	// A passer may hand out the same memory again.
	block := slices.Clone(row)
	g.result.Stats.SinglePasses++
	g.result.Stats.Redecided++
	rows, err := pass(ctx, g.single, pos, g.tokens[pos:pos+1])
	if err != nil {
		return Token{}, err
	}
	token := Token{Single: true}
	if token.ID, token.Margin, err = g.choose.choose(rows[0]); err != nil {
		return token, err
	}
	g.result.Stats.Guard.compared(block, rows[0], g.opt.Calibration.Difference, token.ID != id)
	return token, nil
}
