package decode_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/decode"
)

// drifting is a toy whose blocks leave slots that move later logits.
func drifting(seed uint64, drift float32) (toy, decode.Begin) {
	m := toy{seed: seed, window: 2, levels: 1000, size: decode.Size{Rows: 4, Slots: 64, Vocab: 10}}
	return m, func(context.Context) (block, single decode.Passer, err error) {
		p := m.begin()
		p.drift = drift
		return p, p.singles(), nil
	}
}

func calibrate(t *testing.T, begin decode.Begin, m toy) decode.Calibration {
	t.Helper()
	var set [][]int
	for first := range 10 {
		ids, _ := m.greedy([]int{first}, 30, nil)
		set = append(set, ids)
	}
	c, err := decode.Calibrate(background, begin, "ten greedy continuations", set, decode.DefaultFactor)
	require.NoError(t, err)
	return c
}

func TestCalibrationMeasuresTheDrift(t *testing.T) {
	m, begin := drifting(1, 20)
	c := calibrate(t, begin, m)
	assert.Equal(t, 10, c.Sequences)
	assert.Equal(t, 300, c.Positions)
	assert.InDelta(t, 20, c.Difference, 0.5, "blocks move each logit by up to 20, singles over singles do not")
	assert.InDelta(t, 40, c.Threshold(), 1)

	m, begin = drifting(1, 0)
	assert.Zero(t, calibrate(t, begin, m).Difference)
}

// TestGuardedAndUnguarded decodes with a block function that drifts: without a
// guard some sequences change, the guard asks singles where a margin is small,
// each result says which mode it is of, and the audit finds the first token
// that is not the singles'.
func TestGuardedAndUnguarded(t *testing.T) {
	diverged := map[decode.Mode]int{}
	var guarded decode.Stats
	for seed := range uint64(40) {
		m, begin := drifting(seed, 20)
		c := calibrate(t, begin, m)
		prompt := []int{int(seed) % 10, 3, 5}
		truth, _ := m.greedy(prompt, 50, nil)
		for _, opt := range []decode.Options{
			{Mode: decode.Unguarded, Draft: decode.DefaultNGram()},
			{Mode: decode.Guarded, Draft: decode.DefaultNGram(), Calibration: &c},
		} {
			block, single, err := begin(background)
			require.NoError(t, err)
			s, err := decode.NewSession(block, single, opt)
			require.NoError(t, err)
			res, err := s.Generate(background, prompt, 50, nil)
			require.NoError(t, err)
			require.Equal(t, opt.Mode, res.Mode)
			require.Equal(t, opt.Calibration, res.Calibration)
			if opt.Mode == decode.Guarded {
				guarded.Add(res.Stats)
				requireGuarded(t, res)
			}
			if auditAgainst(t, begin, prompt, truth, res) {
				diverged[opt.Mode]++
			}
		}
	}
	assert.Positive(t, diverged[decode.Unguarded])
	assert.Less(t, diverged[decode.Guarded], diverged[decode.Unguarded])
	t.Logf("of 40 sequences %d diverged unguarded, %d guarded", diverged[decode.Unguarded], diverged[decode.Guarded])
	assert.Positive(t, guarded.Redecided)
	assert.Positive(t, guarded.Accepted)
}

// requireGuarded: a token stands by a block only with a margin above the
// threshold.
func requireGuarded(t *testing.T, res *decode.Result) {
	t.Helper()
	for _, tok := range res.Tokens {
		if !tok.Single {
			require.Greater(t, tok.Margin, res.Calibration.Threshold())
		}
	}
}

// auditAgainst holds the audit against the truth and reports a divergence.
func auditAgainst(t *testing.T, begin decode.Begin, prompt, truth []int, res *decode.Result) bool {
	t.Helper()
	_, single, err := begin(background)
	require.NoError(t, err)
	d, err := decode.Audit(background, single, prompt, res.Tokens, nil)
	require.NoError(t, err)
	got := res.IDs()
	if slices.Equal(got, truth) {
		require.Nil(t, d)
		return false
	}
	first := 0
	for got[first] == truth[first] {
		first++
	}
	require.NotNil(t, d)
	require.Equal(t, first, d.Index)
	require.Equal(t, len(prompt)+first, d.Position)
	require.Equal(t, res.Tokens[first], d.Got)
	require.Equal(t, truth[first], d.Want.ID)
	require.True(t, d.Want.Single)
	require.Contains(t, d.String(), "position")
	return true
}

// TestAuditOfOneProgram: in one-program mode the audit of greedy and of sampled
// tokens finds nothing, and finds a token that was changed.
func TestAuditOfOneProgram(t *testing.T) {
	m := toy{seed: 2, window: 2, levels: 6, size: decode.Size{Rows: 4, Slots: 64, Vocab: 10}}
	for _, sampling := range []*decode.Sampling{nil, {Temperature: 2, Seed: "audit"}} {
		s, err := decode.NewSession(m.begin(), nil, decode.Options{Draft: decode.DefaultNGram(), Sampling: sampling})
		require.NoError(t, err)
		res, err := s.Generate(background, []int{1, 2, 3}, 40, nil)
		require.NoError(t, err)
		d, err := decode.Audit(background, m.begin(), []int{1, 2, 3}, res.Tokens, sampling)
		require.NoError(t, err)
		assert.Nil(t, d)

		wrong := slices.Clone(res.Tokens)
		wrong[7].ID = (wrong[7].ID + 1) % m.size.Vocab
		d, err = decode.Audit(background, m.begin(), []int{1, 2, 3}, wrong, sampling)
		require.NoError(t, err)
		require.NotNil(t, d)
		assert.Equal(t, 7, d.Index)
		assert.Equal(t, res.Tokens[7].ID, d.Want.ID)
	}
	_, err := decode.Audit(background, m.begin(), nil, nil, nil)
	assert.ErrorIs(t, err, decode.ErrPrompt)
}

func TestCalibrateRefusesAnEmptySet(t *testing.T) {
	_, begin := drifting(1, 0)
	_, err := decode.Calibrate(background, begin, "nothing", nil, decode.DefaultFactor)
	assert.ErrorIs(t, err, decode.ErrOptions)
	_, err = decode.Calibrate(background, begin, "factor", [][]int{{1}}, 0)
	assert.ErrorIs(t, err, decode.ErrOptions)
}
