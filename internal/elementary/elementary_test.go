package elementary_test

import (
	"crypto/sha256"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/elementary"
	"lockstep/internal/elementary/bigref"
)

func source(name string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256([]byte(name))))
}

// samples is how many random arguments a test tries.
func samples() int {
	if testing.Short() {
		return 200
	}
	return 4000
}

// requireRelative checks |got - want| <= bound |want|.
func requireRelative(t *testing.T, got float64, want *big.Float, bound float64, what string, args ...any) {
	t.Helper()
	difference := new(big.Float).Sub(bigref.Number(got), want)
	limit := new(big.Float).Mul(want, bigref.Number(bound))
	require.LessOrEqual(t, difference.Abs(difference).Cmp(limit.Abs(limit)), 0,
		"%s %v: got %x, want %s", what, args, got, want.Text('p', 0))
}

func TestExp(t *testing.T) {
	xs := []float64{0, math.Copysign(0, -1), 1, -1, 0x1p-60, -0x1p-60, 0x1p-27, -0x1p-1074, 709.78, -708.39, math.Ln2, math.Ln2 / 2, -math.Ln2 / 2, 0.34657359027997264}
	r := source("elementary/exp")
	for range samples() {
		xs = append(xs, r.Float64()*1416-707, r.Float64()*2-1, math.Ldexp(r.Float64()-0.5, -r.IntN(60)))
	}
	for n := -1000; n < 1000; n++ { // the edges of the argument reduction
		xs = append(xs, (float64(n)+0.5)*math.Ln2)
	}
	for _, x := range xs {
		requireRelative(t, elementary.Exp(x), bigref.Exp(bigref.Number(x)), 0x1p-50, "exp", x)
	}
}

func TestExpEdges(t *testing.T) {
	assert.Equal(t, 1.0, elementary.Exp(0))
	assert.Equal(t, math.Inf(1), elementary.Exp(math.Inf(1)))
	assert.Equal(t, math.Inf(1), elementary.Exp(709.79))
	assert.Equal(t, math.Inf(1), elementary.Exp(1e300))
	assert.Equal(t, uint64(0), math.Float64bits(elementary.Exp(math.Inf(-1))))
	assert.Equal(t, uint64(0), math.Float64bits(elementary.Exp(-745.14)))
	assert.Equal(t, 0x1p-1074, elementary.Exp(-745.1))
	assert.True(t, math.IsNaN(elementary.Exp(math.NaN())))
	for x := -745.0; x < -708; x += 0.37 {
		want, _ := bigref.Exp(bigref.Number(x)).Float64()
		assert.InDelta(t, want, elementary.Exp(x), 0x1p-1074, "%v", x)
	}
}

func TestLog(t *testing.T) {
	xs := []float64{2, 0.5, 10, math.E, math.Sqrt2, math.Sqrt2 / 2, math.MaxFloat64, 0x1p-1022, 0x1p-1074, 0x1.23456p-1060, 1 + 0x1p-52, 1 - 0x1p-53, 10000, 32, 4096}
	r := source("elementary/log")
	for range samples() {
		xs = append(xs, math.Float64frombits(r.Uint64N(0x7FF<<52)), r.Float64()*4+0x1p-60, 1+math.Ldexp(r.Float64()-0.5, -r.IntN(50)))
	}
	for _, x := range xs {
		if x == 1 {
			continue
		}
		requireRelative(t, elementary.Log(x), bigref.Log(bigref.Number(x)), 0x1p-50, "log", x)
	}
	assert.Equal(t, uint64(0), math.Float64bits(elementary.Log(1)))
	assert.Equal(t, math.Inf(-1), elementary.Log(0))
	assert.Equal(t, math.Inf(-1), elementary.Log(math.Copysign(0, -1)))
	assert.Equal(t, math.Inf(1), elementary.Log(math.Inf(1)))
	assert.True(t, math.IsNaN(elementary.Log(-1)))
	assert.True(t, math.IsNaN(elementary.Log(math.NaN())))
}

func TestPow(t *testing.T) {
	type pair struct{ x, y float64 }
	pairs := []pair{{10000, 1}, {2, 0.5}, {2, 1000}, {0.5, 1000}, {1 + 0x1p-52, 0x1p52}, {1 - 0x1p-53, -0x1p60}, {math.MaxFloat64, 0x1p-70}, {0x1p-1074, 0.9}}
	r := source("elementary/pow")
	for range samples() {
		pairs = append(pairs, pair{10000, r.Float64()}, pair{math.Exp(r.NormFloat64() * 3), r.NormFloat64() * 20})
		x := math.Float64frombits(1<<52 + r.Uint64N(0x7FE<<52))
		pairs = append(pairs, pair{x, (r.Float64()*2 - 1) * 707 / math.Abs(math.Log(x))})
	}
	for _, p := range pairs {
		want := bigref.Pow(bigref.Number(p.x), bigref.Number(p.y))
		requireRelative(t, elementary.Pow(p.x, p.y), want, 0x1p-50, "pow", p.x, p.y)
	}
}

func TestPowEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct{ x, y, want float64 }{
		{nan, 0, 1},
		{1, nan, 1},
		{0, 0, 1},
		{0, 2, 0},
		{0, -2, inf},
		{inf, 2, inf},
		{inf, -2, 0},
		{2, inf, inf},
		{2, -inf, 0},
		{0.5, inf, 0},
		{0.5, -inf, inf},
		{10, 400, inf},
		{10, -400, 0},
		{10, 1e308, inf},
		{7, 1e-300, 1},
		{1, 12, 1},
	} {
		assert.Equal(t, c.want, elementary.Pow(c.x, c.y), "%v^%v", c.x, c.y)
	}
	for _, c := range [][2]float64{{-1, 2}, {nan, 1}, {2, nan}, {-inf, 2}} {
		assert.True(t, math.IsNaN(elementary.Pow(c[0], c[1])), "%v^%v", c[0], c[1])
	}
}

func TestSinCos(t *testing.T) {
	angles := []float64{0, 0x1p-40, math.Pi, math.Pi / 2, math.Pi / 4, 3 * math.Pi / 4, elementary.MaxAngle, -elementary.MaxAngle}
	r := source("elementary/sin")
	for range samples() {
		angles = append(angles,
			float64(float32(r.Float64()*131072)), // RoPE's angles
			r.Float64()*8-4,
			(r.Float64()*2-1)*elementary.MaxAngle,
			float64(r.IntN(1<<20))*math.Pi/4) // near the zeros and the edges of the reduction
	}
	bound := bigref.Number(0x1p-50)
	near := func(got float64, want *big.Float, x float64) {
		difference := new(big.Float).Sub(bigref.Number(got), want)
		require.Negative(t, difference.Abs(difference).Cmp(bound), "%x: got %x, want %s", x, got, want.Text('p', 0))
	}
	for _, x := range angles {
		sin, cos := bigref.SinCos(bigref.Number(x))
		near(elementary.Sin(x), sin, x)
		near(elementary.Cos(x), cos, x)
	}
}

func TestSinCosEdges(t *testing.T) {
	assert.Equal(t, math.Float64bits(math.Copysign(0, -1)), math.Float64bits(elementary.Sin(math.Copysign(0, -1))))
	assert.Equal(t, 1.0, elementary.Cos(0))
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Nextafter(elementary.MaxAngle, 1e9)} {
		assert.True(t, math.IsNaN(elementary.Sin(x)), "%v", x)
		assert.True(t, math.IsNaN(elementary.Cos(x)), "%v", x)
	}
}

func BenchmarkExp(b *testing.B) { benchmark(b, elementary.Exp, 1.7) }

func BenchmarkLog(b *testing.B) { benchmark(b, elementary.Log, 1.7) }

func BenchmarkSin(b *testing.B) { benchmark(b, elementary.Sin, 1234.5) }

func benchmark(b *testing.B, f func(float64) float64, x float64) {
	var sum float64
	for b.Loop() {
		sum += f(x)
	}
	if math.IsNaN(sum) {
		b.Fatal("NaN")
	}
}
