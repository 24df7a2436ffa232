package decode

import (
	"context"
	"fmt"
	"slices"
)

// Mode says which functions decide tokens, and so what may be said of them.
type Mode string

// The modes.
const (
	// OneProgram decides every token by the block function: exact where a row's
	// result does not depend on its place and neighbours.
	OneProgram Mode = "one-program"
	// Guarded decodes by singles and verifies drafts by blocks, and lets a
	// block's token stand only where its margin is above a calibrated threshold.
	// It is not exact: what was measured on a calibration set bounds nothing
	// beyond it.
	Guarded Mode = "guarded"
	// Unguarded is Guarded without threshold, for measuring what that costs.
	Unguarded Mode = "unguarded"
)

// Options are how a session decodes. The zero value is plain greedy decoding
// in one-program mode.
type Options struct {
	Mode  Mode  // OneProgram if empty
	Draft Draft // nil: no speculation
	// MaxDraft bounds a draft's tokens; 0 stands for all that fit the block.
	MaxDraft int
	// Stop are the ids that end a generation, itself the last token of it.
	Stop []int
	// Sampling is nil for greedy decoding. It needs OneProgram.
	Sampling *Sampling
	// Calibration is what Guarded needs, and no other mode takes.
	Calibration *Calibration
}

func (o Options) check(size Size, single Passer) error {
	switch o.Mode {
	case OneProgram:
		if single != nil {
			return fmt.Errorf("%w: mode %s, want no program of singles", ErrOptions, o.Mode)
		}
	case Guarded, Unguarded:
		if err := o.checkTwoPrograms(size, single); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: want mode %s, %s or %s, found %q", ErrOptions, OneProgram, Guarded, Unguarded, o.Mode)
	}
	if (o.Mode == Guarded) != (o.Calibration != nil) {
		return fmt.Errorf("%w: mode %s: a calibration is for mode %s, which needs one", ErrOptions, o.Mode, Guarded)
	}
	if o.Calibration != nil {
		if err := o.Calibration.Check(); err != nil {
			return err
		}
	}
	if o.MaxDraft < 0 {
		return fmt.Errorf("%w: drafts of %d tokens, want 0 or more", ErrOptions, o.MaxDraft)
	}
	if err := size.checkIDs(o.Stop); err != nil {
		return fmt.Errorf("stop tokens: %w", err)
	}
	return nil
}

func (o Options) checkTwoPrograms(size Size, single Passer) error {
	if single == nil {
		return fmt.Errorf("%w: mode %s, want a program of singles", ErrOptions, o.Mode)
	}
	if s := single.Size(); s.Slots != size.Slots || s.Vocab != size.Vocab {
		return fmt.Errorf("%w: singles of %d slots and %d logits, blocks of %d and %d: not one model", ErrOptions, s.Slots, s.Vocab, size.Slots, size.Vocab)
	}
	if o.Sampling != nil {
		return fmt.Errorf("%w: mode %s: sampling needs mode %s", ErrOptions, o.Mode, OneProgram)
	}
	return nil
}

// Token is one generated token.
type Token struct {
	ID int `json:"id"`
	// Margin is the top-1 less the top-2 logit of the row that decided it.
	Margin float64 `json:"margin"`
	// Single says that a pass of the singles' function decided it.
	Single bool `json:"single"`
	// Drafted says that it had been proposed.
	Drafted bool `json:"drafted"`
}

// Reason is why a generation ended.
type Reason string

// The reasons.
const (
	StopToken   Reason = "stop token"   // the last token is one of Options.Stop
	Length      Reason = "length"       // as many tokens as asked for
	FullContext Reason = "full context" // no slot is left for the last token
)

// Result is one generation.
type Result struct {
	// Mode labels the tokens; see Mode.
	Mode        Mode         `json:"mode"`
	Calibration *Calibration `json:"calibration,omitempty"`
	Tokens      []Token      `json:"tokens"`
	Reason      Reason       `json:"reason"`
	Stats       Stats        `json:"stats"`
}

// IDs are the tokens' ids.
func (r *Result) IDs() []int {
	ids := make([]int, len(r.Tokens))
	for i, t := range r.Tokens {
		ids[i] = t.ID
	}
	return ids
}

// Session decodes one sequence. Slots are written in order and never taken
// back: what a rejected draft left beyond the sequence stays hidden by the mask
// until a later token takes its slot. A Session is not safe for concurrent use.
type Session struct {
	block, single Passer // single is nil in one-program mode
	size          Size   // the block's
	opt           Options
	choose        *chooser

	tokens []int // the sequence: prompts and generated tokens
	fed    int   // how many of them are in the cache
	ids    []int // of the pass at hand
	ended  error
}

// NewSession begins a sequence over an empty cache. block and single, which is
// nil in one-program mode, must share that cache, which must serve nobody else.
// Errors wrap ErrOptions or ErrToken.
func NewSession(block, single Passer, opt Options) (*Session, error) {
	if opt.Mode == "" {
		opt.Mode = OneProgram
	}
	size := block.Size()
	if err := opt.check(size, single); err != nil {
		return nil, err
	}
	choose, err := newChooser(opt.Sampling)
	if err != nil {
		return nil, err
	}
	return &Session{block: block, single: single, size: size, opt: opt, choose: choose}, nil
}

// Tokens are the sequence so far, prompts included.
func (s *Session) Tokens() []int { return slices.Clone(s.tokens) }

// Generate takes in the prompt, after what the session holds already, and
// generates up to limit tokens, handing each to emit (which may be nil) as soon
// as it stands. A stop token is the last one handed over, also where a draft
// went on after it.
//
// A prompt may be empty only where the session has a last token to go on from;
// else the error is ErrPrompt. ErrToken, ErrContext (the prompt leaves no slot)
// and ErrOptions (limit below 1) leave the session as it was. Any error of a
// pass ends it: later calls return ErrEnded with that error. With an error of
// emit or a pass, the result holds the tokens that stand, which may be more
// than were handed over.
func (s *Session) Generate(ctx context.Context, prompt []int, limit int, emit func(Token) error) (*Result, error) {
	if err := s.admit(prompt, limit); err != nil {
		return nil, err
	}
	g := &generation{Session: s, limit: limit, emit: emit, result: Result{Mode: s.opt.Mode, Calibration: s.opt.Calibration}}
	s.tokens = append(s.tokens, prompt...)
	for done := false; !done; {
		var err error
		if done, err = g.step(ctx); err != nil {
			return &g.result, err
		}
	}
	return &g.result, nil
}

func (s *Session) admit(prompt []int, limit int) error {
	switch {
	case s.ended != nil:
		return fmt.Errorf("%w: %w", ErrEnded, s.ended)
	case len(s.tokens)+len(prompt) == 0:
		return fmt.Errorf("%w: want at least one token", ErrPrompt)
	case limit < 1:
		return fmt.Errorf("%w: up to %d new tokens, want at least 1", ErrOptions, limit)
	case len(s.tokens)+len(prompt) > s.size.Slots:
		return fmt.Errorf("%w: %d tokens and a prompt of %d, want at most %d slots", ErrContext, len(s.tokens), len(prompt), s.size.Slots)
	}
	if err := s.size.checkIDs(prompt); err != nil {
		return fmt.Errorf("prompt: %w", err)
	}
	return nil
}
