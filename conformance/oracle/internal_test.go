package oracle

import (
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/checkpoint"
)

// phi4Mini has the real model's rotary numbers.
func phi4Mini() checkpoint.Config {
	short, long := make([]float64, 48), make([]float64, 48)
	for i := range short {
		short[i], long[i] = 1, 1+float64(i)
	}
	return checkpoint.Config{
		HiddenSize: 3072, IntermediateSize: 8192, Layers: 32, Heads: 24, KVHeads: 8, VocabSize: 200064,
		MaxPositions: 131072, OriginalMaxPositions: 4096, RMSNormEps: 1e-5, RopeTheta: 10000, PartialRotaryFactor: 0.75,
		Rope: checkpoint.Rope{Type: "longrope", ShortFactor: short, LongFactor: long},
	}
}

func TestTable(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*checkpoint.Config)
		choice Factors
		pairs  int
		scale  float64
		limit  int
		last   float64 // inverse frequency of the last pair
	}{
		{name: "short", pairs: 48, scale: 1.190238071, limit: 4096, last: math.Pow(10000, -94.0/96)},
		{name: "long", choice: LongFactors, pairs: 48, scale: 1.190238071, limit: 131072, last: math.Pow(10000, -94.0/96) / 48},
		{
			name: "own attention factor", pairs: 48, scale: 1.5, limit: 4096, last: math.Pow(10000, -94.0/96),
			change: func(c *checkpoint.Config) { c.Rope.AttentionFactor = 1.5 },
		},
		{
			name: "own factor", pairs: 48, scale: math.Sqrt(1 + 1.0/3), limit: 4096, last: math.Pow(10000, -94.0/96),
			change: func(c *checkpoint.Config) { c.Rope.Factor = 16 },
		},
		{
			name: "not extended", pairs: 48, scale: 1, limit: 4096, last: math.Pow(10000, -94.0/96),
			change: func(c *checkpoint.Config) { c.MaxPositions = 4096 },
		},
		{
			name: "plain RoPE over the whole head", pairs: 64, scale: 1, limit: 131072, last: math.Pow(10000, -126.0/128),
			change: func(c *checkpoint.Config) {
				c.Rope, c.PartialRotaryFactor, c.OriginalMaxPositions = checkpoint.Rope{Type: "default"}, 1, 0
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := phi4Mini()
			if tc.change != nil {
				tc.change(&cfg)
			}
			table, err := newTable(cfg, 128, tc.choice)
			require.NoError(t, err)
			assert.Len(t, table.invFreq, tc.pairs)
			assert.InDelta(t, tc.scale, table.scale, 1e-9)
			assert.Equal(t, tc.limit, table.limit)
			assert.Equal(t, float32(1), table.invFreq[0])
			assert.InEpsilon(t, tc.last, float64(table.invFreq[tc.pairs-1]), 1e-7)
		})
	}
}

func TestTableRefuses(t *testing.T) {
	for name, change := range map[string]func(*checkpoint.Config){
		"theta":           func(c *checkpoint.Config) { c.RopeTheta = 0 },
		"theta NaN":       func(c *checkpoint.Config) { c.RopeTheta = math.NaN() },
		"partial 0":       func(c *checkpoint.Config) { c.PartialRotaryFactor = 0 },
		"partial above 1": func(c *checkpoint.Config) { c.PartialRotaryFactor = 1.25 },
		"odd turned":      func(c *checkpoint.Config) { c.PartialRotaryFactor = 95.0 / 128 },
		"type":            func(c *checkpoint.Config) { c.Rope.Type = "yarn" },
		"list length":     func(c *checkpoint.Config) { c.Rope.ShortFactor = c.Rope.ShortFactor[1:] },
		"factor 0":        func(c *checkpoint.Config) { c.Rope.ShortFactor[3] = 0 },
		"negative scale":  func(c *checkpoint.Config) { c.Rope.AttentionFactor = -1 },
		"factor NaN":      func(c *checkpoint.Config) { c.Rope.Factor = math.NaN() },
		"original absent": func(c *checkpoint.Config) { c.OriginalMaxPositions = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := phi4Mini()
			change(&cfg)
			_, err := newTable(cfg, 128, ShortFactors)
			assert.ErrorIs(t, err, ErrModel)
		})
	}
	plain := phi4Mini()
	plain.Rope = checkpoint.Rope{Type: "default"}
	_, err := newTable(plain, 128, LongFactors)
	assert.ErrorIs(t, err, ErrModel, "plain RoPE has no long factors")
}

func TestDeriveRefuses(t *testing.T) {
	for name, change := range map[string]func(*Model){
		"heads 0":      func(m *Model) { m.heads = 0 },
		"kv heads":     func(m *Model) { m.kvHeads = 5 },
		"hidden":       func(m *Model) { m.hidden = 3071 },
		"epsilon":      func(m *Model) { m.eps = 0 },
		"epsilon NaN":  func(m *Model) { m.eps = math.NaN() },
		"range":        func(m *Model) { m.end = 33 },
		"rotary":       func(m *Model) { m.cfg.RopeTheta = -1 },
		"intermediate": func(m *Model) { m.intermediate = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := phi4Mini()
			m := &Model{
				cfg: cfg, hidden: cfg.HiddenSize, intermediate: cfg.IntermediateSize,
				heads: cfg.Heads, kvHeads: cfg.KVHeads, eps: cfg.RMSNormEps, start: 30, end: 32,
			}
			require.NoError(t, m.derive())
			assert.Equal(t, 128, m.headDim)
			change(m)
			assert.ErrorIs(t, m.derive(), ErrModel)
		})
	}
}

// TestTurn pins the pairing: dimension i turns with i + pairs, the rest pass.
func TestTurn(t *testing.T) {
	head := []float64{1, 2, 3, 4, 5, 6}
	turn(head, []float64{0, 1}, []float64{1, 0})
	assert.Equal(t, []float64{-3, 2, 1, 4, 5, 6}, head)
}

// TestTimesSplits: a matrix large enough to be split gives the same bits on
// one processor and on many, and every row is right.
func TestTimesSplits(t *testing.T) {
	const rows, cols = 4099, 67
	m := matrix{rows: rows, cols: cols, data: make([]float32, rows*cols)}
	for i := range m.data {
		m.data[i] = float32(i%23) - 11
	}
	x := make([]float64, cols)
	for i := range x {
		x[i] = float64(i%7) - 3
	}
	before := runtime.GOMAXPROCS(1)
	one := m.times(x)
	runtime.GOMAXPROCS(5)
	five := m.times(x)
	runtime.GOMAXPROCS(before)
	for r := range rows {
		var want float64
		for k := range cols {
			want += float64(m.data[r*cols+k]) * x[k]
		}
		require.Equal(t, want, one[r], "row %d", r) // small integers: exact in any order
		require.Equal(t, one[r], five[r], "row %d", r)
	}
}

func TestParallelCoversOnce(t *testing.T) {
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	for _, n := range []int{0, 1, 2, 7, 1000} {
		for _, least := range []int{0, 1, 3, 2000} {
			seen := make([]int, n)
			parallel(n, least, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					seen[i]++
				}
			})
			for i, times := range seen {
				require.Equal(t, 1, times, "item %d of %d, at least %d", i, n, least)
			}
		}
	}
}

// TestFoldFactors: the turned dimensions of query and key heads have the factor,
// and no others.
func TestFoldFactors(t *testing.T) {
	factors, err := FoldFactors(phi4Mini())
	require.NoError(t, err)
	require.Len(t, factors, 5120)
	m := float32(1.190238071)
	for row, want := range map[int]float32{
		0: m, 95: m, 96: 1, 127: 1, 128: m, // heads of 128, 96 of them turned
		3071: 1, 3072: m, 3072 + 95: m, 3072 + 96: 1, 4095: 1, // keys
		4096: 1, 4096 + 95: 1, 5119: 1, // values
	} {
		assert.Equal(t, want, factors[row], "row %d", row)
	}
	carried := 0
	for _, f := range factors {
		if f != 1 {
			carried++
		}
	}
	assert.Equal(t, (24+8)*96, carried)

	bad := phi4Mini()
	bad.Heads = 23
	_, err = FoldFactors(bad)
	assert.ErrorIs(t, err, ErrModel)
}
