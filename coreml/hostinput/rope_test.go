package hostinput_test

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml/hostinput"
	"lockstep/internal/elementary"
	"lockstep/internal/elementary/bigref"
	"lockstep/internal/half"
)

// attentionFactor is LongRoPE's sqrt(1 + ln(maximum/original)/ln(original)).
func attentionFactor(maximum, original float64) float64 {
	return math.Sqrt(1 + elementary.Log(maximum/original)/elementary.Log(original))
}

// phi is Phi-4-mini with its short factors, all 1.
func phi() hostinput.Rope {
	return hostinput.Rope{Theta: 10000, Dim: 96, AttentionFactor: attentionFactor(131072, 4096)}
}

// nano is the bundled checkpoint: heads of 32 with three quarters turned, short
// factors 1, 1.015, ... 1.165.
func nano() hostinput.Rope {
	r := hostinput.Rope{Theta: 10000, Dim: 24, AttentionFactor: attentionFactor(131072, 4096)}
	for i := range 12 {
		// The decimals of the config, each the nearest float64.
		r.Factors = append(r.Factors, float64(1000+15*i)/1000)
	}
	return r
}

func rowsOf(t *testing.T, r hostinput.Rope) *hostinput.Rows {
	t.Helper()
	rows, err := hostinput.NewRope(r)
	require.NoError(t, err)
	return rows
}

// digest hashes the rows 0 to 4095, cosines then sines of each, little-endian.
func digest(t *testing.T, rows *hostinput.Rows) string {
	t.Helper()
	hash := sha256.New()
	cos, sin := make([]float16.Float16, rows.Half()), make([]float16.Float16, rows.Half())
	bytes := make([]byte, 2*rows.Half())
	for pos := range 4096 {
		require.NoError(t, rows.Row(pos, cos, sin))
		for _, row := range [][]float16.Float16{cos, sin} {
			half.ToBytes(bytes, row)
			hash.Write(bytes)
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

func TestRopeRowsGolden(t *testing.T) {
	var text strings.Builder
	for _, c := range []struct {
		name string
		rope hostinput.Rope
	}{{"nano", nano()}, {"phi4-mini", phi()}} {
		fmt.Fprintf(&text, "%s %s\n", c.name, digest(t, rowsOf(t, c.rope)))
	}
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).Assert(t, "rope_rows", []byte(text.String()))
}

func TestAttentionFactorOfPhi(t *testing.T) {
	assert.InDelta(t, 1.190238071, phi().AttentionFactor, 5e-10)
}

// TestRowsAgainstReference computes rows by the definition, the frequencies and
// the functions in arbitrary precision.
func TestRowsAgainstReference(t *testing.T) {
	for name, r := range map[string]hostinput.Rope{"phi": phi(), "nano": nano()} {
		rows := rowsOf(t, r)
		cos, sin := make([]float16.Float16, rows.Half()), make([]float16.Float16, rows.Half())
		for _, pos := range []int{0, 1, 2, 3, 63, 1000, 2047, 4095, 131071} {
			require.NoError(t, rows.Row(pos, cos, sin))
			for i := range cos {
				c, s := reference(r, pos, i)
				require.Equal(t, c, cos[i], "%s: cosine %d of position %d", name, i, pos)
				require.Equal(t, s, sin[i], "%s: sine %d of position %d", name, i, pos)
			}
		}
	}
}

func reference(r hostinput.Rope, pos, i int) (cos, sin float16.Float16) {
	exponent := new(big.Float).Quo(bigref.Number(float64(2*i)), bigref.Number(float64(r.Dim)))
	divisor := bigref.Pow(bigref.Number(r.Theta), exponent)
	if r.Factors != nil {
		divisor.Mul(divisor, bigref.Number(r.Factors[i]))
	}
	inverse, _ := new(big.Float).Quo(bigref.Number(1), divisor).Float32()
	angle, _ := new(big.Float).Mul(bigref.Number(float64(pos)), bigref.Number(float64(inverse))).Float32()
	s, c := bigref.SinCos(bigref.Number(float64(angle)))
	value := func(f *big.Float) float16.Float16 {
		product, _ := f.Mul(f, bigref.Number(r.AttentionFactor)).Float64()
		return half.FromFloat64(product)
	}
	return value(c), value(s)
}

func TestRowOfPositionZero(t *testing.T) {
	rows := rowsOf(t, nano())
	cos, sin := make([]float16.Float16, 12), make([]float16.Float16, 12)
	require.NoError(t, rows.Row(0, cos, sin))
	for i := range cos {
		assert.Equal(t, half.FromFloat64(nano().AttentionFactor), cos[i])
		assert.Equal(t, float16.Float16(0), sin[i])
	}
}

func TestNewRopeRefuses(t *testing.T) {
	good := hostinput.Rope{Theta: 10000, Dim: 4, Factors: []float64{1, 2}, AttentionFactor: 1}
	rowsOf(t, good)
	for name, change := range map[string]func(*hostinput.Rope){
		"theta 0":         func(r *hostinput.Rope) { r.Theta = 0 },
		"theta NaN":       func(r *hostinput.Rope) { r.Theta = math.NaN() },
		"theta infinite":  func(r *hostinput.Rope) { r.Theta = math.Inf(1) },
		"odd":             func(r *hostinput.Rope) { r.Dim = 3 },
		"no dimensions":   func(r *hostinput.Rope) { r.Dim = 0; r.Factors = nil },
		"factors missing": func(r *hostinput.Rope) { r.Factors = r.Factors[:1] },
		"factor 0":        func(r *hostinput.Rope) { r.Factors = []float64{1, 0} },
		"factor negative": func(r *hostinput.Rope) { r.Factors = []float64{-1, 1} },
		"factor NaN":      func(r *hostinput.Rope) { r.Factors = []float64{1, math.NaN()} },
		"factor huge":     func(r *hostinput.Rope) { r.Factors = []float64{1, 1e300} },
		"attention 0":     func(r *hostinput.Rope) { r.AttentionFactor = 0 },
		"attention NaN":   func(r *hostinput.Rope) { r.AttentionFactor = math.NaN() },
		"attention huge":  func(r *hostinput.Rope) { r.AttentionFactor = 1e5 },
	} {
		bad := good
		change(&bad)
		_, err := hostinput.NewRope(bad)
		assert.ErrorIs(t, err, hostinput.ErrRope, name)
	}
}

func TestRowRefuses(t *testing.T) {
	rows := rowsOf(t, hostinput.Rope{Theta: 10000, Dim: 4, Factors: []float64{0.01, 1}, AttentionFactor: 1})
	two := make([]float16.Float16, 2)
	assert.ErrorIs(t, rows.Row(-1, two, make([]float16.Float16, 2)), hostinput.ErrContext)
	assert.ErrorIs(t, rows.Row(1<<24+1, two, make([]float16.Float16, 2)), hostinput.ErrContext)
	assert.ErrorIs(t, rows.Row(700000, two, make([]float16.Float16, 2)), hostinput.ErrContext, "an angle of 7e7")
	assert.NoError(t, rows.Row(600000, two, make([]float16.Float16, 2)))
	assert.ErrorIs(t, rows.Row(1, two[:1], two), hostinput.ErrShape)
	assert.ErrorIs(t, rows.Row(1, two, two[:1]), hostinput.ErrShape)
}

func ExampleRows_Row() {
	rows, err := hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 4, AttentionFactor: 1})
	if err != nil {
		panic(err)
	}
	cos, sin := make([]float16.Float16, 2), make([]float16.Float16, 2)
	if err := rows.Row(1, cos, sin); err != nil {
		panic(err)
	}
	fmt.Println(cos, sin)
	// Output: [0.54052734 1] [0.8413086 0.010002136]
}
