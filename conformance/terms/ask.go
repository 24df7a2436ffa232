package terms

import (
	"context"
	"fmt"
	"slices"

	"lockstep/internal/mil"
)

// Claim is what is asked of a program.
type Claim string

// The claims.
const (
	// KeepsStep: a block's outputs and states are those of as many singles.
	KeepsStep Claim = "keeps_step"
	// RowPlace: a row of a block equals the first row of the same function with
	// that one row live. It is what decoding by one program rests on.
	RowPlace Claim = "row_place"
	// Causal: a row depends on no later token, and on no slot from the block's
	// first one on.
	Causal Claim = "causal"
)

// Question is a claim at a spot, for any weights, inputs and earlier states.
type Question struct {
	Claim Claim
	Spot  Spot
}

// String is the question as cases name it.
func (q Question) String() string { return fmt.Sprintf("%s/%s", q.Claim, q.Spot) }

// Questions are what is asked of a package whose functions have these rows over
// S slots: the ends of the context, and its middle with each number of live
// rows. The programs are the same everywhere else but for the masks' extent;
// EveryQuestion leaves nothing out.
//
// A program without a cache, the LM head, has no slots and one position.
func Questions(rows []int, slots int) []Question {
	most := slices.Max(rows)
	slots = max(slots, most)
	middle := min(slots/2, slots-most)
	var out []Question
	if most > 1 {
		claim := claimOf(rows)
		add := func(spot Spot) {
			q := Question{claim, spot}
			if spot.Pos >= 0 && spot.Pos+spot.Live <= slots && !slices.Contains(out, q) {
				out = append(out, q)
			}
		}
		add(Spot{0, most})
		for live := 1; live <= most; live++ {
			add(Spot{middle, live})
		}
		add(Spot{slots - most, most})
		add(Spot{slots - 1, 1})
		if claim == KeepsStep {
			out = append(out, Question{RowPlace, Spot{middle, most}})
		}
	}
	return append(out, Question{Causal, Spot{middle, most}})
}

// claimOf is what a block can be held against: singles, or where there are none
// itself with one live row.
func claimOf(rows []int) Claim {
	if slices.Min(rows) > 1 {
		return RowPlace
	}
	return KeepsStep
}

// EveryQuestion asks at every position with every number of live rows.
func EveryQuestion(rows []int, slots int) []Question {
	var out []Question
	for pos := range max(slots, 1) {
		left := max(slots, slices.Max(rows)) - pos
		for live := 1; live <= min(slices.Max(rows), left); live++ {
			out = append(out, Question{claimOf(rows), Spot{pos, live}}, Question{Causal, Spot{pos, live}})
		}
	}
	return out
}

// Answer is what came of a question.
type Answer struct {
	// Refuted says why the claim does not hold; empty if it does.
	Refuted    string
	Proof      *Proof      // of KeepsStep and RowPlace
	Dependence *Dependence // of Causal
}

// Ask decides a question. An error that wraps ErrUncovered leaves it open.
func (s Subject) Ask(ctx context.Context, q Question) (*Answer, error) {
	if q.Claim == Causal {
		d, err := Depend(ctx, s, q.Spot)
		if err != nil {
			return nil, err
		}
		return &Answer{Refuted: d.Causal(), Dependence: d}, nil
	}
	if q.Claim == RowPlace {
		s.Single = s.Block
	}
	p, err := Prove(ctx, s, q.Spot)
	if err != nil {
		return nil, err
	}
	a := &Answer{Proof: p}
	if p.Difference != nil {
		a.Refuted = p.Difference.String()
	}
	return a, nil
}

// NewSubject finds the block and the single among a program's functions, by
// their rows; own is Subject.Own. It returns the rows of all functions,
// ascending, and the slots.
func NewSubject(program *mil.Program, own map[string]string) (s Subject, rows []int, slots int, err error) {
	s = Subject{Program: program, Own: own}
	names := map[int]string{}
	for _, f := range program.Functions {
		side, err := newSide(s, f.Name)
		if err != nil {
			return s, nil, 0, err
		}
		t := side.shape.Rows
		if other, twice := names[t]; twice {
			return s, nil, 0, fmt.Errorf("%w: functions %s and %s both have %d rows", ErrSubject, other, f.Name, t)
		}
		names[t] = f.Name
		rows, slots = append(rows, t), max(slots, side.shape.Slots)
	}
	if len(rows) == 0 {
		return s, nil, 0, fmt.Errorf("%w: no function", ErrSubject)
	}
	slices.Sort(rows)
	s.Block, s.Single = names[rows[len(rows)-1]], names[rows[0]]
	return s, rows, slots, nil
}
