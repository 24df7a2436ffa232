package decode

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"

	"lockstep/coreml"
	"lockstep/internal/elementary"
)

// Argmax is the id of the largest logit and its margin over the second largest.
// Of equal logits the lowest id counts, and the margin is then 0; the margin of
// a lone logit is infinite. A NaN or an infinity is coreml.ErrNonFinite with
// its id. row must not be empty.
func Argmax(row []float32) (id int, margin float64, err error) {
	second := math.Inf(-1)
	for i, v := range row {
		switch {
		case v != v || v > math.MaxFloat32 || v < -math.MaxFloat32:
			return 0, 0, fmt.Errorf("%w: logit %v of id %d", coreml.ErrNonFinite, v, i)
		case i == 0:
		case v > row[id]:
			second, id = float64(row[id]), i
		default:
			second = max(second, float64(v))
		}
	}
	return id, float64(row[id]) - second, nil
}

// Sampling draws tokens in place of taking the most likely.
//
// Under a draft the law is that of Leviathan et al. 2023, section 2.3, for
// drafts that are certain of themselves (their q is 1 for one token d): accept
// d with probability p(d), else draw from p without d, normalized again. It is
// realized by drawing from p first and accepting d if it is what was drawn,
// which is the same law; and since the draw for the n-th token is the n-th of
// the stream, the tokens are the same for every draft, and without one.
type Sampling struct {
	// Temperature divides the logits; positive and finite.
	Temperature float64
	// Seed names the stream of random numbers.
	Seed string
}

func (s Sampling) check() error {
	if !(s.Temperature > 0) || math.IsInf(s.Temperature, 1) {
		return fmt.Errorf("%w: temperature %v, want a positive number; leave sampling out for greedy decoding", ErrOptions, s.Temperature)
	}
	return nil
}

// chooser decides tokens from rows of logits.
type chooser struct {
	temperature float64
	rng         *rand.Rand // nil: greedy
	weights     []float64  // reused
}

func newChooser(s *Sampling) (*chooser, error) {
	if s == nil {
		return &chooser{}, nil
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	stream := rand.NewChaCha8(sha256.Sum256([]byte("lockstep sampling " + s.Seed)))
	return &chooser{temperature: s.Temperature, rng: rand.New(stream)}, nil
}

// choose decides a token; the margin is that of the logits also where the
// token was drawn.
func (c *chooser) choose(row []float32) (id int, margin float64, err error) {
	id, margin, err = Argmax(row)
	if err != nil || c.rng == nil {
		return id, margin, err
	}
	return c.draw(row, row[id]), margin, nil
}

// draw inverts the distribution function of softmax(row/temperature) at a
// uniform number: float64 throughout, ids ascending, so that every machine
// draws the same token.
func (c *chooser) draw(row []float32, largest float32) int {
	if len(c.weights) != len(row) {
		c.weights = make([]float64, len(row))
	}
	sum := 0.0
	for i, v := range row {
		c.weights[i] = elementary.Exp((float64(v) - float64(largest)) / c.temperature)
		sum += c.weights[i]
	}
	target := float64(c.rng.Float64() * sum)
	reached, last := 0.0, 0
	for i, w := range c.weights {
		if w > 0 {
			last = i
		}
		if reached += w; reached > target {
			break
		}
	}
	return last
}
