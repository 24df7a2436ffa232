package hostinput

import (
	"errors"
	"fmt"
	"math"

	"github.com/x448/float16"

	"lockstep/internal/elementary"
	"lockstep/internal/half"
)

// ErrRope is wrapped by errors about RoPE parameters that give no rows.
var ErrRope = errors.New("bad RoPE parameters")

// ErrContext is wrapped by errors about positions and live rows that do not fit
// the context.
var ErrContext = errors.New("outside the context")

// Rope is a model's rotary position embedding (Su et al. 2021), with LongRoPE's
// factors (Ding et al. 2024) where the model has them.
type Rope struct {
	// Theta is the base, config key rope_theta.
	Theta float64
	// Dim is how many dimensions of a head are turned: head_dim times
	// partial_rotary_factor, even.
	Dim int
	// Factors divide the frequencies, one per pair: the short or the long list
	// of rope_scaling. None stands for all 1.
	Factors []float64
	// AttentionFactor multiplies every cosine and sine; 1 for plain RoPE.
	AttentionFactor float64
}

// Rows computes the rows of one Rope. It is immutable and safe for concurrent
// use.
type Rows struct {
	inverse []float32 // radians per position of each pair
	factor  float64
}

// NewRope checks r and computes its frequencies: 1/(factor[i] * theta^(2i/dim))
// in float64, rounded to float32. Errors wrap ErrRope.
func NewRope(r Rope) (*Rows, error) {
	switch {
	case !(r.Theta > 0) || math.IsInf(r.Theta, 1):
		return nil, fmt.Errorf("%w: theta is %v, want a positive number", ErrRope, r.Theta)
	case r.Dim <= 0 || r.Dim%2 != 0:
		return nil, fmt.Errorf("%w: %d turned dimensions, want a positive even number", ErrRope, r.Dim)
	case len(r.Factors) != 0 && len(r.Factors) != r.Dim/2:
		return nil, fmt.Errorf("%w: %d factors, want %d, half the turned dimensions", ErrRope, len(r.Factors), r.Dim/2)
	case !(r.AttentionFactor > 0) || r.AttentionFactor > half.MaxFinite:
		return nil, fmt.Errorf("%w: attention factor is %v, want above 0 and at most %d", ErrRope, r.AttentionFactor, half.MaxFinite)
	}
	rows := &Rows{inverse: make([]float32, r.Dim/2), factor: r.AttentionFactor}
	for i := range rows.inverse {
		divisor := elementary.Pow(r.Theta, float64(2*i)/float64(r.Dim))
		if len(r.Factors) != 0 {
			divisor = float64(divisor * r.Factors[i])
		}
		rows.inverse[i] = float32(1 / divisor)
		if !(rows.inverse[i] > 0) || rows.inverse[i] > elementary.MaxAngle {
			return nil, fmt.Errorf("%w: frequency %d is %v (theta %v, factors %v)", ErrRope, i, 1/divisor, r.Theta, r.Factors)
		}
	}
	return rows, nil
}

// Half is the length of a row, half the turned dimensions.
func (r *Rows) Half() int { return len(r.inverse) }

// Row writes the cosines and sines of position pos, each times the attention
// factor: the angle is float32(pos) times the frequency in float32, its cosine
// and sine times the factor are float64, and the product is rounded once to
// float16. cos and sin have Half elements. An error wraps ErrContext: a negative
// position, or one whose angle is too large to compute.
func (r *Rows) Row(pos int, cos, sin []float16.Float16) error {
	if len(cos) != len(r.inverse) || len(sin) != len(r.inverse) {
		return fmt.Errorf("%w: rows of %d and %d elements, want %d", ErrShape, len(cos), len(sin), len(r.inverse))
	}
	if pos < 0 || pos > 1<<24 { // beyond 2^24, float32(pos) is another position's
		return fmt.Errorf("%w: position %d, want 0 to %d", ErrContext, pos, 1<<24)
	}
	for i, inverse := range r.inverse {
		angle := float64(float32(float32(pos) * inverse))
		if angle > elementary.MaxAngle {
			return fmt.Errorf("%w: position %d turns pair %d by %v radians, want at most %d", ErrContext, pos, i, angle, elementary.MaxAngle)
		}
		cos[i] = half.FromFloat64(float64(r.factor * elementary.Cos(angle)))
		sin[i] = half.FromFloat64(float64(r.factor * elementary.Sin(angle)))
	}
	return nil
}
