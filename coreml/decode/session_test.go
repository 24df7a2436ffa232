package decode_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/coreml"
	"lockstep/coreml/decode"
)

var background = context.Background()

func drawToy(t *rapid.T) toy {
	slots := rapid.IntRange(1, 40).Draw(t, "slots")
	return toy{
		seed:   rapid.Uint64().Draw(t, "model"),
		window: rapid.IntRange(1, 3).Draw(t, "window"),
		levels: rapid.IntRange(1, 8).Draw(t, "levels"),
		size: decode.Size{
			Rows: min(slots, rapid.IntRange(1, 7).Draw(t, "rows")), Slots: slots, Vocab: rapid.IntRange(1, 12).Draw(t, "vocab"),
		},
	}
}

func drawIDs(t *rapid.T, m toy, least, most int, label string) []int {
	return rapid.SliceOfN(rapid.IntRange(0, m.size.Vocab-1), least, most).Draw(t, label)
}

// drawDraft chooses a source: right, wrong, half right, random, beyond the
// vocabulary, too long, none, or n-grams.
func drawDraft(t *rapid.T, m toy, truth []int) decode.Draft {
	vocab := m.size.Vocab
	right := func(_, id int) int { return id }
	sources := map[string]decode.Draft{
		"none":  nil,
		"right": oracleDraft{truth, right, 0},
		"wrong": oracleDraft{truth, func(_, id int) int { return (id + 1) % vocab }, 0},
		"half":  oracleDraft{truth, func(i, id int) int { return (id + i%2) % vocab }, 0},
		"long":  oracleDraft{truth, right, 5},
		"outside": oracleDraft{truth, func(i, id int) int {
			return []int{id, math.MaxInt, id, -1}[i%4]
		}, 0},
		"random": draftFunc(func(_ []int, n int) []int {
			return rapid.SliceOfN(rapid.IntRange(-1, vocab), 0, n+2).Draw(t, "draft")
		}),
		"ngram": decode.NGram{Max: 3, Min: 1},
	}
	name := rapid.SampledFrom([]string{"none", "right", "wrong", "half", "long", "outside", "random", "ngram"}).Draw(t, "source")
	return sources[name]
}

// TestSpeculationChangesNoToken: over random models, prompts, drafts, limits and
// stop tokens a session gives what greedy decoding means, and ends for the same
// reason.
func TestSpeculationChangesNoToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawToy(t)
		prompt := drawIDs(t, m, 1, m.size.Slots, "prompt")
		limit := rapid.IntRange(1, 50).Draw(t, "limit")
		stop := drawIDs(t, m, 0, 2, "stop")
		truth, reason := m.greedy(prompt, limit, stop)
		beyond, _ := m.greedy(prompt, limit, nil) // so that drafts go on after a stop token
		opt := decode.Options{
			Draft: drawDraft(t, m, slices.Concat(prompt, beyond)), Stop: stop, MaxDraft: rapid.IntRange(0, 3).Draw(t, "max draft"),
		}
		s, err := decode.NewSession(m.begin(), nil, opt)
		require.NoError(t, err)
		var emitted []int
		res, err := s.Generate(background, prompt, limit, func(tok decode.Token) error {
			emitted = append(emitted, tok.ID)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, truth, res.IDs())
		require.Equal(t, truth, emitted)
		require.Equal(t, reason, res.Reason)
		require.Equal(t, slices.Concat(prompt, truth), s.Tokens())
		requireStats(t, m, prompt, res)
	})
}

// requireStats holds the counts against each other and the tokens.
func requireStats(t require.TestingT, m toy, prompt []int, res *decode.Result) {
	st := res.Stats
	require.Equal(t, (len(prompt)+m.size.Rows-1)/m.size.Rows, st.PrefillPasses)
	require.Equal(t, len(res.Tokens), st.Tokens)
	require.Equal(t, st.Tokens-1, st.Decoded, "the prefill gives one")
	accepted := 0
	for _, tok := range res.Tokens {
		if tok.Drafted {
			accepted++
		}
		require.False(t, tok.Single)
		require.GreaterOrEqual(t, tok.Margin, 0.0)
	}
	require.Equal(t, accepted, st.Accepted)
	require.LessOrEqual(t, st.Accepted, st.Drafted)
	require.LessOrEqual(t, st.Drafted, st.BlockPasses*(m.size.Rows-1))
	// Each pass gives its accepted tokens and one more, but where a stop token
	// was accepted.
	require.Contains(t, []int{st.Accepted + st.BlockPasses, st.Accepted + st.BlockPasses - 1}, st.Decoded)
	require.Zero(t, st.SinglePasses+st.Redecided)
}

// TestRightDraftsFillBlocks: with drafts that are always right every pass but
// the last gives as many tokens as it has rows.
func TestRightDraftsFillBlocks(t *testing.T) {
	m := toy{seed: 7, window: 2, levels: 100, size: decode.Size{Rows: 4, Slots: 100, Vocab: 50}}
	prompt := []int{3, 1, 4}
	truth, _ := m.greedy(prompt, 41, nil)
	s, err := decode.NewSession(m.begin(), nil, decode.Options{Draft: oracleDraft{slices.Concat(prompt, truth), func(_, id int) int { return id }, 0}})
	require.NoError(t, err)
	res, err := s.Generate(background, prompt, 41, nil)
	require.NoError(t, err)
	assert.Equal(t, decode.Stats{PrefillPasses: 1, BlockPasses: 10, Drafted: 30, Accepted: 30, Tokens: 41, Decoded: 40}, res.Stats)
	ratio, ok := res.Stats.TokensPerPass()
	assert.True(t, ok)
	assert.InDelta(t, 4, ratio, 0)
}

// TestSessionGoesOn: several prompts on one session are one sequence.
func TestSessionGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawToy(t)
		stop := drawIDs(t, m, 0, 1, "stop")
		s, err := decode.NewSession(m.begin(), nil, decode.Options{Draft: decode.NGram{Max: 2, Min: 1}, Stop: stop})
		require.NoError(t, err)
		var sequence []int
		for turn := range 3 {
			prompt := drawIDs(t, m, 0, 5, "prompt")
			limit := rapid.IntRange(1, 8).Draw(t, "limit")
			res, err := s.Generate(background, prompt, limit, nil)
			switch all := len(sequence) + len(prompt); {
			case all == 0:
				require.ErrorIs(t, err, decode.ErrPrompt)
				continue
			case all > m.size.Slots:
				require.ErrorIs(t, err, decode.ErrContext)
				continue
			}
			require.NoError(t, err)
			sequence = append(sequence, prompt...)
			truth, reason := m.greedy(sequence, limit, stop)
			require.Equal(t, truth, res.IDs(), "turn %d", turn)
			require.Equal(t, reason, res.Reason)
			sequence = append(sequence, truth...)
			require.Equal(t, sequence, s.Tokens())
		}
	})
}

func TestPromptsOfEveryLength(t *testing.T) {
	m := toy{seed: 1, window: 3, levels: 5, size: decode.Size{Rows: 4, Slots: 12, Vocab: 9}}
	for n := 1; n <= 12; n++ {
		prompt := []int{1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3}[:n]
		for _, limit := range []int{1, 2, 3, 13} {
			truth, reason := m.greedy(prompt, limit, nil)
			s, err := decode.NewSession(m.begin(), nil, decode.Options{Draft: decode.DefaultNGram()})
			require.NoError(t, err)
			res, err := s.Generate(background, prompt, limit, nil)
			require.NoError(t, err)
			assert.Equal(t, truth, res.IDs(), "prompt of %d, limit %d", n, limit)
			assert.Equal(t, reason, res.Reason, "prompt of %d, limit %d", n, limit)
		}
	}
}

func TestStopTokenInsideAcceptedPrefix(t *testing.T) {
	m := toy{seed: 5, window: 2, levels: 1000, size: decode.Size{Rows: 4, Slots: 64, Vocab: 64}}
	prompt := []int{1, 2}
	truth, _ := m.greedy(prompt, 20, nil)
	stop := truth[2] // the first decode pass has the rows 1 to 3 right
	s, err := decode.NewSession(m.begin(), nil, decode.Options{
		Stop: []int{63, stop}, Draft: oracleDraft{slices.Concat(prompt, truth), func(_, id int) int { return id }, 0},
	})
	require.NoError(t, err)
	res, err := s.Generate(background, prompt, 20, nil)
	require.NoError(t, err)
	require.Equal(t, truth[:slices.Index(truth, stop)+1], res.IDs())
	assert.Equal(t, decode.StopToken, res.Reason)
	assert.True(t, res.Tokens[len(res.Tokens)-1].Drafted, "the stop token was accepted, not the model's own after a prefix")
	assert.Equal(t, 1, res.Stats.BlockPasses)
}

func TestRefusals(t *testing.T) {
	m := toy{seed: 1, window: 1, levels: 3, size: decode.Size{Rows: 4, Slots: 8, Vocab: 5}}
	for _, tt := range []struct {
		name   string
		prompt []int
		limit  int
		want   error
	}{
		{"empty prompt", nil, 3, decode.ErrPrompt},
		{"id of the vocabulary's size", []int{1, 5}, 3, decode.ErrToken},
		{"negative id", []int{-1}, 3, decode.ErrToken},
		{"prompt of slots and one", make([]int, 9), 3, decode.ErrContext},
		{"no token asked for", []int{1}, 0, decode.ErrOptions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := m.begin()
			s, err := decode.NewSession(p, nil, decode.Options{})
			require.NoError(t, err)
			_, err = s.Generate(background, tt.prompt, tt.limit, nil)
			require.ErrorIs(t, err, tt.want)
			assert.Zero(t, p.calls, "nothing was passed")
			_, err = s.Generate(background, []int{2}, 1, nil)
			assert.NoError(t, err, "the session is as it was")
		})
	}
}

func TestUnusableOptions(t *testing.T) {
	m := toy{seed: 1, window: 1, levels: 3, size: decode.Size{Rows: 4, Slots: 8, Vocab: 5}}
	good := &decode.Calibration{Set: "x", Sequences: 1, Positions: 1, Difference: 1, Factor: 2}
	edit := func(f func(*decode.Calibration)) *decode.Calibration {
		c := *good
		f(&c)
		return &c
	}
	p := m.begin()
	other := m
	other.size.Vocab = 6
	for name, tt := range map[string]struct {
		opt    decode.Options
		single decode.Passer
		want   error
	}{
		"mode":                     {decode.Options{Mode: "fast"}, nil, decode.ErrOptions},
		"one program with singles": {decode.Options{}, p.singles(), decode.ErrOptions},
		"guarded without singles":  {decode.Options{Mode: decode.Guarded, Calibration: good}, nil, decode.ErrOptions},
		"guarded without calibration": {
			decode.Options{Mode: decode.Guarded}, p.singles(), decode.ErrOptions,
		},
		"calibration unguarded":   {decode.Options{Mode: decode.Unguarded, Calibration: good}, p.singles(), decode.ErrOptions},
		"another model's singles": {decode.Options{Mode: decode.Unguarded}, other.begin(), decode.ErrOptions},
		"guarded sampling": {
			decode.Options{Mode: decode.Guarded, Calibration: good, Sampling: &decode.Sampling{Temperature: 1}}, p.singles(), decode.ErrOptions,
		},
		"difference NaN": {
			decode.Options{Mode: decode.Guarded, Calibration: edit(func(c *decode.Calibration) { c.Difference = math.NaN() })}, p.singles(), decode.ErrOptions,
		},
		"factor 0": {
			decode.Options{Mode: decode.Guarded, Calibration: edit(func(c *decode.Calibration) { c.Factor = 0 })}, p.singles(), decode.ErrOptions,
		},
		"no position": {
			decode.Options{Mode: decode.Guarded, Calibration: edit(func(c *decode.Calibration) { c.Positions = 0 })}, p.singles(), decode.ErrOptions,
		},
		"temperature 0":   {decode.Options{Sampling: &decode.Sampling{}}, nil, decode.ErrOptions},
		"temperature NaN": {decode.Options{Sampling: &decode.Sampling{Temperature: math.NaN()}}, nil, decode.ErrOptions},
		"temperature inf": {decode.Options{Sampling: &decode.Sampling{Temperature: math.Inf(1)}}, nil, decode.ErrOptions},
		"max draft":       {decode.Options{MaxDraft: -1}, nil, decode.ErrOptions},
		"stop token":      {decode.Options{Stop: []int{5}}, nil, decode.ErrToken},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode.NewSession(p, tt.single, tt.opt)
			assert.ErrorIs(t, err, tt.want)
		})
	}
}

// TestErrorsEndTheSession: after a failed pass the cache cannot be counted on.
func TestErrorsEndTheSession(t *testing.T) {
	m := toy{seed: 9, window: 2, levels: 50, size: decode.Size{Rows: 4, Slots: 32, Vocab: 20}}
	spoil := func(bad float32) func(int, [][]float32) {
		return func(call int, rows [][]float32) {
			if call == 3 {
				rows[0][17] = bad
			}
		}
	}
	for name, tt := range map[string]struct {
		edit func(call int, rows [][]float32)
		want error
	}{
		"NaN":               {spoil(float32(math.NaN())), coreml.ErrNonFinite},
		"infinity":          {spoil(float32(math.Inf(1))), coreml.ErrNonFinite},
		"negative infinity": {spoil(float32(math.Inf(-1))), coreml.ErrNonFinite},
		"a short row": {func(_ int, rows [][]float32) {
			rows[0] = rows[0][:19]
		}, decode.ErrPasser},
	} {
		t.Run(name, func(t *testing.T) {
			p := m.begin()
			p.edit = tt.edit
			s, err := decode.NewSession(p, nil, decode.Options{})
			require.NoError(t, err)
			res, err := s.Generate(background, []int{1}, 10, nil)
			require.ErrorIs(t, err, tt.want)
			truth, _ := m.greedy([]int{1}, 10, nil)
			assert.Equal(t, truth[:len(res.Tokens)], res.IDs(), "what stood before")
			calls := p.calls
			_, err = s.Generate(background, []int{1}, 10, nil)
			require.ErrorIs(t, err, decode.ErrEnded)
			assert.ErrorIs(t, err, tt.want)
			assert.Equal(t, calls, p.calls, "no pass after that")
		})
	}
}

func TestEmitCanStop(t *testing.T) {
	m := toy{seed: 9, window: 2, levels: 50, size: decode.Size{Rows: 4, Slots: 32, Vocab: 20}}
	s, err := decode.NewSession(m.begin(), nil, decode.Options{})
	require.NoError(t, err)
	full := errors.New("full")
	res, err := s.Generate(background, []int{1}, 10, func(decode.Token) error { return full })
	require.ErrorIs(t, err, full)
	truth, _ := m.greedy([]int{1}, 10, nil)
	assert.Equal(t, truth[:1], res.IDs())
	res, err = s.Generate(background, nil, 9, nil)
	require.NoError(t, err, "the session goes on")
	assert.Equal(t, truth[1:], res.IDs())
}

func TestArgmax(t *testing.T) {
	for _, tt := range []struct {
		row    []float32
		id     int
		margin float64
	}{
		{[]float32{1, 3, 2}, 1, 1},
		{[]float32{3, 1, 2}, 0, 1},
		{[]float32{1, 3, 3}, 1, 0},
		{[]float32{-5, -5, -5}, 0, 0},
		{[]float32{float32(math.Copysign(0, -1)), 0}, 0, 0},
		{[]float32{2}, 0, math.Inf(1)},
	} {
		id, margin, err := decode.Argmax(tt.row)
		require.NoError(t, err)
		assert.Equal(t, tt.id, id, "%v", tt.row)
		assert.True(t, margin == tt.margin, "%v: margin %v", tt.row, margin)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for at := range 3 {
			row := []float32{1, 2, 3}
			row[at] = float32(bad)
			_, _, err := decode.Argmax(row)
			assert.ErrorIs(t, err, coreml.ErrNonFinite)
		}
	}
}
