package decode

import (
	"context"
	"fmt"
	"math"
)

// DefaultFactor is a Calibration's usual factor. A token is safe from a
// difference d in each logit if its margin is above 2d: the first may fall and
// the second rise.
const DefaultFactor = 2

// Calibration is what guarded mode goes by: how far logits were seen apart
// between the two ways to make a history, on a named set of sequences. It is an
// observation and bounds nothing beyond that set.
type Calibration struct {
	// Set names the sequences; Sequences and Positions count them.
	Set       string `json:"set"`
	Sequences int    `json:"sequences"`
	Positions int    `json:"positions"`
	// Difference is the largest |block logit - single logit| of any position
	// and id.
	Difference float64 `json:"difference"`
	// Factor times Difference is the threshold.
	Factor float64 `json:"factor"`
}

// Threshold is the margin above which a block's token stands.
func (c Calibration) Threshold() float64 { return float64(c.Factor * c.Difference) }

// Check reports a calibration that guards nothing; the error is ErrOptions.
func (c Calibration) Check() error {
	switch {
	case c.Positions < 1 || c.Sequences < 1:
		return fmt.Errorf("%w: calibration %q over %d sequences and %d positions, want at least one", ErrOptions, c.Set, c.Sequences, c.Positions)
	case !(c.Difference >= 0) || math.IsInf(c.Difference, 1):
		return fmt.Errorf("%w: calibration %q: difference %v, want a finite number", ErrOptions, c.Set, c.Difference)
	case !(c.Factor > 0) || math.IsInf(c.Factor, 1):
		return fmt.Errorf("%w: calibration %q: factor %v, want a positive number", ErrOptions, c.Set, c.Factor)
	}
	return nil
}

// Begin returns the programs of a new sequence over one empty cache: a block,
// and singles.
type Begin func(ctx context.Context) (block, single Passer, err error)

// Calibrate measures the difference over sequences of tokens: each is passed
// twice over caches of its own, in whole blocks and in singles, and every logit
// of every position is compared.
func Calibrate(ctx context.Context, begin Begin, set string, sequences [][]int, factor float64) (Calibration, error) {
	c := Calibration{Set: set, Factor: factor}
	for i, ids := range sequences {
		if err := c.sequence(ctx, begin, ids); err != nil {
			return c, fmt.Errorf("calibration %q: sequence %d: %w", set, i, err)
		}
		c.Sequences++
	}
	return c, c.Check()
}

func (c *Calibration) sequence(ctx context.Context, begin Begin, ids []int) error {
	block, _, err := begin(ctx)
	if err != nil {
		return err
	}
	_, single, err := begin(ctx)
	if err != nil {
		return err
	}
	for pos := 0; pos < len(ids); {
		n := min(block.Size().Rows, len(ids)-pos)
		rows, err := pass(ctx, block, pos, ids[pos:pos+n])
		if err != nil {
			return err
		}
		for i, row := range rows {
			other, err := pass(ctx, single, pos+i, ids[pos+i:pos+i+1])
			if err != nil {
				return err
			}
			c.Difference = math.Max(c.Difference, largestDifference(row, other[0]))
			c.Positions++
		}
		pos += n
	}
	return nil
}
