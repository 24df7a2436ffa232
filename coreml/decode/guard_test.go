package decode_test

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
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
	requireGuardSaw(t, guarded, 20)
	t.Logf("of 40 sequences %d diverged unguarded, %d guarded", diverged[decode.Unguarded], diverged[decode.Guarded])
	assert.Positive(t, guarded.Redecided)
	assert.Positive(t, guarded.Accepted)
}

// requireGuarded: a token stands by a block only with a margin above the
// threshold.
func requireGuarded(t *testing.T, res *decode.Result) {
	t.Helper()
	stood, least := 0, math.Inf(1)
	for _, tok := range res.Tokens {
		if !tok.Single {
			require.Greater(t, tok.Margin, res.Calibration.Threshold())
			stood, least = stood+1, min(least, tok.Margin)
		}
	}
	// A row behind the first that a draft did not agree with is not decided.
	require.Equal(t, stood, res.Stats.Guard.Stood)
	if stood > 0 {
		require.InDelta(t, least, res.Stats.Guard.LeastMargin, 0)
	}
	require.Equal(t, res.Stats.Redecided, res.Stats.Guard.Compared)
}

// requireGuardSaw: of sequences whose blocks drift by up to a bound, the guard
// saw drift within that bound, and singles that decided otherwise.
func requireGuardSaw(t *testing.T, s decode.Stats, bound float64) {
	t.Helper()
	assert.Equal(t, s.Redecided, s.Guard.Compared)
	assert.Greater(t, s.Guard.Drift, bound/2)
	assert.LessOrEqual(t, s.Guard.Drift, 1.2*bound)
	assert.Positive(t, s.Guard.Changed)
	assert.Less(t, s.Guard.Changed, s.Guard.Compared)
	assert.Positive(t, s.Guard.LeastMargin)
}

// TestGuardSeesBeyondTheCalibration: a calibration that was too small is found
// out where both programs passed a token; in a sound one nothing is beyond it.
// Without a guard nothing is recorded.
func TestGuardSeesBeyondTheCalibration(t *testing.T) {
	m, begin := drifting(3, 20)
	sound := calibrate(t, begin, m)
	sound.Difference *= 1.5 // beyond what these few positions can come to
	small := sound
	small.Difference, small.Factor = 0.01, 1e4 // as many tokens are decided again
	for _, tt := range []struct {
		name string
		opt  decode.Options
		want func(g decode.GuardStats) bool
	}{
		{"sound", decode.Options{Mode: decode.Guarded, Calibration: &sound}, func(g decode.GuardStats) bool { return g.Compared > 0 && g.Beyond == 0 }},
		{"too small", decode.Options{Mode: decode.Guarded, Calibration: &small}, func(g decode.GuardStats) bool { return g.Compared > 0 && g.Beyond == g.Compared }},
		{"unguarded", decode.Options{Mode: decode.Unguarded}, func(g decode.GuardStats) bool { return g == decode.GuardStats{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			block, single, err := begin(background)
			require.NoError(t, err)
			tt.opt.Draft = decode.DefaultNGram()
			s, err := decode.NewSession(block, single, tt.opt)
			require.NoError(t, err)
			res, err := s.Generate(background, []int{1, 2, 3}, 50, nil)
			require.NoError(t, err)
			assert.True(t, tt.want(res.Stats.Guard), "%+v", res.Stats.Guard)
			text, err := json.Marshal(res.Stats)
			require.NoError(t, err)
			assert.Equal(t, tt.opt.Mode == decode.Guarded, strings.Contains(string(text), `"guard":{"stood":`))
		})
	}
}

// TestGuardStatsAdd: sums of counts, the least margin of those that stood, the
// largest drift.
func TestGuardStatsAdd(t *testing.T) {
	sum := decode.Stats{}
	for _, g := range []decode.GuardStats{
		{Compared: 1, Drift: 3, Beyond: 1, Changed: 1},
		{Stood: 2, LeastMargin: 5, Compared: 2, Drift: 2},
		{Stood: 1, LeastMargin: 7, Compared: 1, Drift: 1},
	} {
		sum.Add(decode.Stats{Guard: g})
	}
	assert.Equal(t, decode.GuardStats{Stood: 3, LeastMargin: 5, Compared: 4, Drift: 3, Beyond: 1, Changed: 1}, sum.Guard)
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
