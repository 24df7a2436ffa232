package oracle_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/conformance/oracle"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
)

// Bounds on the distance from the golden vectors, which are float32 results of
// another implementation. Each is a few times what was observed when the
// vectors were made.
const (
	hiddenBound     = 2e-4
	longHiddenBound = 2e-3
	logitsBound     = 5e-5
	longLogitsBound = 5e-4
	cacheBound      = 2e-4
)

var prompts = []string{"p0", "p1", "p2"}

func TestGoldenVectors(t *testing.T) {
	ckpt, golden := openNano(t), openGolden(t)
	head, err := oracle.LoadHead(t.Context(), ckpt)
	require.NoError(t, err)
	// Hidden states are golden at the borders of these ranges.
	borders := []int{0, 20, 24, 30, 32}
	var models []*oracle.Model
	for i, start := range borders[:len(borders)-1] {
		models = append(models, load(t, ckpt, start, borders[i+1]))
	}
	worst := map[string]float64{}
	for _, p := range prompts {
		ids := golden.ids(p + ".ids")
		states := make([][]float64, len(ids))
		embed := golden.rows(p+".embed", len(ids))
		for i, id := range ids {
			states[i], err = head.Embed(int(id))
			require.NoError(t, err)
			require.Zero(t, maxDiff(states[i], embed[i]), "%s: embedding of token %d", p, i)
		}
		for i, m := range models {
			cache := m.NewCache(len(ids))
			states = run(t, m, cache, states, 0)
			end := borders[i+1]
			note(worst, "hidden", states, golden.rows(fmt.Sprintf("%s.hidden%d", p, end), len(ids)))
			for _, l := range []int{0, 19, 20, 23, 24, 29, 30, 31} {
				if l >= borders[i] && l < end {
					note(worst, "k", [][]float64{values(t, cache, oracle.K, l)}, golden.rows(fmt.Sprintf("%s.k%d", p, l), 1))
					note(worst, "v", [][]float64{values(t, cache, oracle.V, l)}, golden.rows(fmt.Sprintf("%s.v%d", p, l), 1))
				}
			}
		}
		want := golden.rows(p+".logits", len(ids))
		for i, x := range states {
			got, err := head.Logits(t.Context(), x)
			require.NoError(t, err)
			note(worst, "logits", [][]float64{got}, want[i:i+1])
			assert.Equal(t, argmax(want[i]), argmax(got), "%s: argmax after token %d", p, i)
		}
	}
	t.Logf("largest absolute differences from the golden vectors: %v", worst)
	assert.Less(t, worst["hidden"], hiddenBound)
	assert.Less(t, worst["k"], cacheBound)
	assert.Less(t, worst["v"], cacheBound)
	assert.Less(t, worst["logits"], logitsBound)
}

func TestGoldenLongFactors(t *testing.T) {
	ckpt, golden := openNano(t), openGolden(t)
	head, err := oracle.LoadHead(t.Context(), ckpt)
	require.NoError(t, err)
	m := load(t, ckpt, 0, 32)
	ids := golden.ids("long.ids")
	cache, err := m.NewCacheAt(len(ids), 5000, oracle.LongFactors)
	require.NoError(t, err)
	states := run(t, m, cache, embedAll(t, head, ids), 5000)

	worst := map[string]float64{}
	note(worst, "hidden", states, golden.rows("long.hidden32", len(ids)))
	want := golden.rows("long.logits", len(ids))
	for i, x := range states {
		got, err := head.Logits(t.Context(), x)
		require.NoError(t, err)
		note(worst, "logits", [][]float64{got}, want[i:i+1])
		assert.Equal(t, argmax(want[i]), argmax(got), "argmax after token %d", i)
	}
	t.Logf("largest absolute differences from the golden vectors: %v", worst)
	assert.Less(t, worst["hidden"], longHiddenBound)
	assert.Less(t, worst["logits"], longLogitsBound)
}

// TestGoldenGreedy follows golden continuations and asks at each step for the
// token that greedy decoding chose, and for the margin by which it did.
func TestGoldenGreedy(t *testing.T) {
	ckpt, golden := openNano(t), openGolden(t)
	head, err := oracle.LoadHead(t.Context(), ckpt)
	require.NoError(t, err)
	m := load(t, ckpt, 0, 32)
	for _, n := range []int{0, 5} {
		prompt := golden.ids(fmt.Sprintf("greedy%d.prompt", n))
		tokens := golden.ids(fmt.Sprintf("greedy%d.tokens", n))
		margins := golden.rows(fmt.Sprintf("greedy%d.margins", n), 1)[0]
		all := append(append([]int32(nil), prompt...), tokens[:len(tokens)-1]...)
		states := run(t, m, m.NewCache(len(all)), embedAll(t, head, all), 0)
		for i, want := range tokens {
			logits, err := head.Logits(t.Context(), states[len(prompt)-1+i])
			require.NoError(t, err)
			top := argmax(logits)
			require.Equal(t, int(want), top, "greedy%d, token %d", n, i)
			best := logits[top]
			logits[top] = math.Inf(-1)
			require.InDelta(t, margins[i], best-logits[argmax(logits)], 2*logitsBound, "greedy%d, margin of token %d", n, i)
		}
	}
}

// TestSeededCache gives the oracle golden keys and values rounded to float16,
// as a state holds them, and goes on from the middle.
func TestSeededCache(t *testing.T) {
	golden := openGolden(t)
	m := load(t, openNano(t), 30, 32)
	const slots, from = 48, 16
	cache := m.NewCache(slots)
	seeds := map[string][]float16.Float16{}
	for _, kind := range []oracle.Kind{oracle.K, oracle.V} {
		for _, l := range []int{30, 31} {
			name := fmt.Sprintf("%v%d", kind, l)
			seeds[name] = widen(golden.rows("p0."+name, 1)[0], 2, 32, slots, 32)
			require.NoError(t, cache.SetHalf(kind, l, seeds[name]))
			got := values(t, cache, kind, l)
			for i, h := range seeds[name] {
				require.Equal(t, float64(h.Float32()), got[i])
			}
		}
	}
	in, want := golden.rows("p0.hidden30", 32), golden.rows("p0.hidden32", 32)
	got := run(t, m, cache, in[from:], from)
	worst := map[string]float64{}
	note(worst, "hidden", got, want[from:])
	t.Logf("largest absolute difference with a float16 cache: %v", worst)
	assert.Less(t, worst["hidden"], 1e-2)

	// Every slot below the position counts, none above it does.
	first := forward(t, m, cache, in[from], from)
	for _, tc := range []struct {
		slot  int
		moves bool
	}{{from - 1, true}, {from + 1, false}, {slots - 1, false}} {
		seed := append([]float16.Float16(nil), seeds["v31"]...)
		seed[tc.slot*32] = float16.Fromfloat32(1000)
		require.NoError(t, cache.SetHalf(oracle.V, 31, seed))
		moved := maxDiff(first, forward(t, m, cache, in[from], from)) != 0
		assert.Equal(t, tc.moves, moved, "slot %d, seen from position %d", tc.slot, from)
	}
}

func TestForwardRefuses(t *testing.T) {
	ckpt := openNano(t)
	m := load(t, ckpt, 30, 32)
	x := make([]float64, 128)
	poisoned := append([]float64(nil), x...)
	poisoned[7] = math.NaN()
	huge := append([]float64(nil), x...)
	huge[7] = math.MaxFloat64
	infinite := append([]float64(nil), x...)
	infinite[7] = math.Inf(1)
	short, err := m.NewCacheAt(8, 4092, oracle.ShortFactors)
	require.NoError(t, err)
	run(t, m, short, [][]float64{x, x, x, x}, 4092)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name  string
		ctx   context.Context
		x     []float64
		pos   int
		cache *oracle.Cache
		want  error
		text  string
	}{
		{name: "NaN", x: poisoned, cache: m.NewCache(4), want: oracle.ErrNonFinite, text: "channel 7"},
		{name: "infinity", x: infinite, cache: m.NewCache(4), want: oracle.ErrNonFinite, text: "channel 7"},
		{name: "overflow", x: huge, cache: m.NewCache(4), want: oracle.ErrNonFinite, text: "layer 30"},
		{name: "length", x: x[:127], cache: m.NewCache(4), want: oracle.ErrInput, text: "127"},
		{name: "beyond the slots", x: x, pos: 4, cache: m.NewCache(4), want: oracle.ErrCache, text: "position 4"},
		{name: "before the first", x: x, pos: 4091, cache: short, want: oracle.ErrCache, text: "position 4091"},
		{name: "no slot", x: x, cache: m.NewCache(-1), want: oracle.ErrCache},
		{name: "unfilled slot", x: x, pos: 1, cache: m.NewCache(4), want: oracle.ErrCache, text: "slot 0"},
		{name: "crossing", x: x, pos: 4096, cache: short, want: oracle.ErrCache, text: "4096"},
		{name: "another model's cache", x: x, cache: load(t, ckpt, 30, 32).NewCache(4), want: oracle.ErrCache},
		{name: "no cache", x: x, want: oracle.ErrCache},
		{name: "cancelled", ctx: cancelled, x: x, cache: m.NewCache(4), want: context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := tc.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			_, err := m.Forward(ctx, tc.x, tc.pos, tc.cache)
			require.ErrorIs(t, err, tc.want)
			assert.ErrorContains(t, err, tc.text)
		})
	}
}

func TestRefusesRangesSeedsAndTokens(t *testing.T) {
	ckpt := openNano(t)
	for _, r := range [][2]int{{31, 30}, {30, 30}, {30, 33}, {-1, 2}} {
		_, err := oracle.Load(t.Context(), ckpt, r[0], r[1])
		assert.ErrorIs(t, err, oracle.ErrModel, "layers %v", r)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := oracle.Load(cancelled, ckpt, 30, 32)
	assert.ErrorIs(t, err, context.Canceled)

	m := load(t, ckpt, 30, 32)
	cache := m.NewCache(4)
	seed := make([]float16.Float16, 2*4*32)
	assert.ErrorIs(t, cache.SetHalf(oracle.K, 0, seed), oracle.ErrCache)
	assert.ErrorIs(t, cache.SetHalf(oracle.K, 32, seed), oracle.ErrCache)
	assert.ErrorIs(t, cache.SetHalf(oracle.Kind(2), 30, seed), oracle.ErrCache)
	assert.ErrorIs(t, cache.SetHalf(oracle.V, 30, seed[1:]), oracle.ErrCache)
	seed[0], seed[9] = 0x3C00, 0x7C00
	assert.ErrorIs(t, cache.SetHalf(oracle.V, 30, seed), oracle.ErrNonFinite)
	assert.Zero(t, values(t, cache, oracle.V, 30)[0], "a refused seed changes nothing")
	_, err = cache.Values(oracle.V, 29)
	assert.ErrorIs(t, err, oracle.ErrCache)
	_, err = m.NewCacheAt(0, 0, oracle.ShortFactors)
	assert.ErrorIs(t, err, oracle.ErrCache)
	_, err = m.NewCacheAt(4, -1, oracle.ShortFactors)
	assert.ErrorIs(t, err, oracle.ErrCache)
	_, err = m.NewCacheAt(4, 0, oracle.Factors(2))
	assert.ErrorIs(t, err, oracle.ErrModel)

	head, err := oracle.LoadHead(t.Context(), ckpt)
	require.NoError(t, err)
	for _, token := range []int{-1, 256} {
		_, err := head.Embed(token)
		assert.ErrorIs(t, err, oracle.ErrInput, "token %d", token)
	}
	_, err = head.Logits(t.Context(), make([]float64, 3))
	assert.ErrorIs(t, err, oracle.ErrInput)
	_, err = head.FinalNorm(append(make([]float64, 127), math.MaxFloat64))
	assert.ErrorIs(t, err, oracle.ErrNonFinite)
	_, err = head.FinalNorm(append(make([]float64, 127), math.Inf(-1)))
	assert.ErrorIs(t, err, oracle.ErrNonFinite)
}

func openNano(t *testing.T) *checkpoint.Checkpoint {
	t.Helper()
	ckpt, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ckpt.Close()) })
	return ckpt
}

func load(t *testing.T, ckpt *checkpoint.Checkpoint, start, end int) *oracle.Model {
	t.Helper()
	m, err := oracle.Load(t.Context(), ckpt, start, end)
	require.NoError(t, err)
	return m
}

func embedAll(t *testing.T, head *oracle.Head, ids []int32) [][]float64 {
	t.Helper()
	var states [][]float64
	for _, id := range ids {
		x, err := head.Embed(int(id))
		require.NoError(t, err)
		states = append(states, x)
	}
	return states
}

func run(t *testing.T, m *oracle.Model, cache *oracle.Cache, states [][]float64, from int) [][]float64 {
	t.Helper()
	out := make([][]float64, len(states))
	for i, x := range states {
		out[i] = forward(t, m, cache, x, from+i)
	}
	return out
}

func forward(t *testing.T, m *oracle.Model, cache *oracle.Cache, x []float64, pos int) []float64 {
	t.Helper()
	y, err := m.Forward(t.Context(), x, pos, cache)
	require.NoError(t, err)
	return y
}

func values(t *testing.T, cache *oracle.Cache, kind oracle.Kind, layer int) []float64 {
	t.Helper()
	v, err := cache.Values(kind, layer)
	require.NoError(t, err)
	return v
}

// goldenVectors reads golden tensors as float64 rows.
type goldenVectors struct {
	t       *testing.T
	vectors *fixtures.GoldenVectors
}

func openGolden(t *testing.T) goldenVectors {
	t.Helper()
	vectors, err := fixtures.Golden()
	require.NoError(t, err)
	return goldenVectors{t, vectors}
}

func (g goldenVectors) ids(name string) []int32 {
	g.t.Helper()
	ids, err := g.vectors.Int32(name)
	require.NoError(g.t, err)
	require.NotEmpty(g.t, ids)
	return ids
}

// rows splits a tensor into n equal rows.
func (g goldenVectors) rows(name string, n int) [][]float64 {
	g.t.Helper()
	flat, _, err := g.vectors.Float32(name)
	require.NoError(g.t, err)
	require.NotEmpty(g.t, flat)
	require.Zero(g.t, len(flat)%n)
	rows := make([][]float64, n)
	for i, v := range flat {
		r := i / (len(flat) / n)
		rows[r] = append(rows[r], float64(v))
	}
	return rows
}

// widen lays [heads, tokens, dim] out as the float16 state [heads, slots, dim],
// whose further slots hold a quarter.
func widen(src []float64, heads, tokens, slots, dim int) []float16.Float16 {
	dst := make([]float16.Float16, heads*slots*dim)
	for i := range dst {
		h, s, d := i/(slots*dim), i/dim%slots, i%dim
		dst[i] = float16.Fromfloat32(0.25)
		if s < tokens {
			dst[i] = float16.Fromfloat32(float32(src[(h*tokens+s)*dim+d]))
		}
	}
	return dst
}

// note raises worst[name] to the largest absolute difference of the rows.
func note(worst map[string]float64, name string, got, want [][]float64) {
	for i := range want {
		worst[name] = max(worst[name], maxDiff(got[i], want[i]))
	}
}

// maxDiff is the largest absolute difference; lengths that differ or a NaN
// count as infinite.
func maxDiff(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var worst float64
	for i := range a {
		d := math.Abs(a[i] - b[i])
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
