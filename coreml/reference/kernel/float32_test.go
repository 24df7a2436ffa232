package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/elementary/bigref"
)

// singles draws float32 values with all of their bits: about 1, or of any
// exponent, at times not finite.
func singles(r *rand.Rand, n int, k kind) []float32 {
	out := make([]float32, n)
	for i := range out {
		switch {
		case k == ordinary:
			out[i] = float32(r.NormFloat64())
		case k == withSpecials && r.IntN(12) == 0:
			out[i] = []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0, float32(math.Copysign(0, -1)), 0x1p-149, math.MaxFloat32}[r.IntN(7)]
		default:
			for out[i] = math.Float32frombits(r.Uint32()); out[i]-out[i] != 0; {
				out[i] = math.Float32frombits(r.Uint32())
			}
		}
	}
	return out
}

// TestFloat32Sums holds products and norms of float32 values against the
// design's order.
func TestFloat32Sums(t *testing.T) {
	forEachKind(t, func(t *testing.T, k kind) {
		r := source("kernel/float32")
		for _, n := range lengths() {
			a, b := singles(r, n, k), singles(r, n, k)
			requireBits(t, []float32{definedDot(a, b)}, []float32{DotFloat32(a, b)}, "DotFloat32", n)
			if n == 0 {
				continue
			}
			want, got := make([]float32, n), make([]float32, n)
			largest := MaxOf(a)
			for i := range a {
				want[i] = Exp32(a[i] - largest)
			}
			sum := definedSum(n, func(k int) float32 { return want[k] })
			for i := range want {
				want[i] /= sum
			}
			SoftmaxFloat32(got, a)
			requireBits(t, want, got, "SoftmaxFloat32", n)

			mean := definedSum(n, func(k int) float32 { return a[k] }) / float32(n)
			variance := definedSum(n, func(k int) float32 { return float32((a[k] - mean) * (a[k] - mean)) }) / float32(n)
			root := float32(math.Sqrt(float64(variance + 1e-6)))
			for i := range want {
				want[i] = float32((a[i]-mean)/root*b[i]) + b[i]
			}
			LayerNormFloat32(got, a, b, b, 1e-6)
			requireBits(t, want, got, "LayerNormFloat32", n)
		}
	})
}

// TestMatMulTransposedOfWords multiplies matrices of float32 and of int32.
func TestMatMulTransposedOfWords(t *testing.T) {
	r := source("kernel/words")
	const m, n, k = 3, 5, 37
	a, b, got := singles(r, m*k, finite), singles(r, n*k, finite), make([]float32, m*n)
	MatMulTransposedFloat32(got, a, b, m, n, k)
	for i := range m * n {
		requireBits(t, []float32{definedDot(a[i/n*k:][:k], b[i%n*k:][:k])}, got[i:i+1], "float32", i)
	}
	MatMulTransposedInt32(got, a, b, m, n, k) // of the same bits
	x, y := Ints(a), Ints(b)
	for i := range m * n {
		want := new(big.Int)
		for l := range k {
			want.Add(want, new(big.Int).Mul(big.NewInt(int64(x[i/n*k+l])), big.NewInt(int64(y[i%n*k+l]))))
		}
		want.And(want, big.NewInt(math.MaxUint32))
		require.Equal(t, int32(uint32(want.Uint64())), Ints(got)[i])
	}
}

// TestAttentionOfNothing: a row that sees no slot is NaN, one that sees one slot
// is that slot's value.
func TestAttentionOfNothing(t *testing.T) {
	inf := float32(math.Inf(-1))
	q, k, v := []float32{1, 2}, []float32{3, 4, 5, 6, 7, 8}, []float32{10, 20, 30}
	got, scores := make([]float32, 1), make([]float32, 3)
	Attention(got, scores, q, k, v, []float32{inf, inf, inf}, 1)
	requireBits(t, []float32{float32(math.NaN())}, got, "no slot")
	Attention(got, scores, q, k, v, []float32{inf, 0, inf}, 1)
	assert.Equal(t, []float32{20}, got)
	Attention(got, scores, q, k, v, []float32{-11, -17, -23}, 1) // equal scores
	assert.InDelta(t, 20, got[0], 1e-4)
}

// TestUnaryFloat32 compares each operation with arbitrary precision, all over
// the arguments where the reference converges, and at a table's arguments with
// the table.
func TestUnaryFloat32(t *testing.T) {
	r := source("kernel/unary float32")
	for name, reference := range references {
		apply, err := UnaryFloat32(name, 0)
		require.NoError(t, err)
		for range 300 {
			x := float32(math.Exp2(r.Float64()*24-20) * (r.Float64()*2 - 1))
			if name == GeluExact && x < -12 { // where the reference gives up
				continue
			}
			want := reference(num(float64(x)))
			if want == nil || x == 0 {
				continue
			}
			requireUlp(t, want, x, apply, name)
		}
	}
	for _, eps := range []float32{0, 1e-6, 0x1p-149, 3} {
		apply, err := UnaryFloat32("rsqrt", eps)
		require.NoError(t, err)
		for range 150 {
			x := float32(math.Exp2(r.Float64()*200 - 100))
			sum := new(big.Float).Add(num(float64(x)), num(float64(eps)))
			requireUlp(t, num(0).Quo(num(1), num(0).Sqrt(sum)), x, apply, "rsqrt")
		}
	}
	for _, name := range UnaryNames() {
		apply, err := UnaryFloat32(name, 0)
		require.NoError(t, err)
		special := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, float32(math.Copysign(0, -1))}
		table, err := Unary(name, 0)
		require.NoError(t, err)
		want, got := make([]float32, len(special)), make([]float32, len(special))
		table.Apply(want, special)
		apply(got, special)
		requireBits(t, want, got, name)
		apply(got[:2], []float32{math.MaxFloat32, -math.MaxFloat32}) // reaches no end of a loop
	}
}

// requireUlp checks that the result is within 0.5 + 2^-16 units of the last
// place.
func requireUlp(t *testing.T, want *big.Float, x float32, apply func(dst, src []float32), name string) {
	t.Helper()
	var got [1]float32
	apply(got[:], []float32{x})
	unit := math.Float32frombits(math.Float32bits(float32(math.Abs(float64(got[0]))))&0x7F800000) * 0x1p-23
	unit = max(unit, 0x1p-149)
	difference := new(big.Float).Sub(want, num(float64(got[0])))
	limit := num(float64(unit) * (0.5 + 0x1p-16))
	require.LessOrEqualf(t, difference.Abs(difference).Cmp(limit), 0, "%s(%v) = %v, want %v", name, x, got[0], want)
}

func TestUnaryFloat32Refuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		eps  float32
	}{{"erf", 0}, {"silu", 1}, {"rsqrt", -1}, {"rsqrt", float32(math.NaN())}, {"rsqrt", float32(math.Inf(1))}} {
		_, err := UnaryFloat32(tc.name, tc.eps)
		require.ErrorIs(t, err, ErrUnary, tc.name)
		require.ErrorContains(t, err, tc.name)
	}
}

// TestPow has exact squares, powers of negative numbers, and C's special cases.
func TestPow(t *testing.T) {
	p, ok := PairsFloat32("pow")
	require.True(t, ok)
	inf, nan, negative := float32(math.Inf(1)), float32(math.NaN()), float32(math.Copysign(0, -1))
	for _, c := range [][3]float32{
		{3, 2, 9},
		{-3, 2, 9},
		{-3, 3, -27},
		{-2, -1, -0.5},
		{-2, 0.5, nan},
		{-8, float32(1) / 3, nan},
		{negative, 3, negative},
		{negative, -3, -inf},
		{negative, -2, inf},
		{negative, 0.5, 0},
		{0, 0, 1},
		{nan, 0, 1},
		{1, nan, 1},
		{nan, 1, nan},
		{-inf, 3, -inf},
		{-inf, 2, inf},
		{-inf, -3, negative},
		{-inf, 0.5, inf},
		{-1, inf, 1},
		{-2, inf, inf},
		{-0.5, inf, 0},
		{-1, 0x1p30, 1},
		{-1, 0x1p24 - 1, -1},
	} {
		var vv, vs, sv [1]float32
		p.VV(vv[:], c[:1], c[1:2])
		p.VS(vs[:], c[:1], c[1])
		p.SV(sv[:], c[0], c[1:2])
		requireBits(t, c[2:], vv[:], "pow", c)
		requireBits(t, c[2:], vs[:], "pow", c)
		requireBits(t, c[2:], sv[:], "pow", c)
		if c[2] == c[2] {
			require.Equal(t, float64(c[2]), math.Pow(float64(c[0]), float64(c[1])))
		}
	}
	r := source("kernel/pow")
	for range 400 {
		x, y := float32(math.Exp(r.NormFloat64()*3)), float32(r.NormFloat64()*4)
		requireUlp(t, bigref.Pow(num(float64(x)), num(float64(y))), x, func(dst, src []float32) { p.VS(dst, src, y) }, "pow")
	}
}

// TestOrder sorts with equals, zeros of both signs and NaN.
func TestOrder(t *testing.T) {
	nan := float32(math.NaN())
	v := []float32{1, nan, 0, float32(math.Copysign(0, -1)), 3, float32(math.Inf(1)), 1, nan, float32(math.Inf(-1))}
	at := make([]int32, len(v))
	Order(at, v, false)
	assert.Equal(t, []int32{1, 7, 5, 4, 0, 6, 2, 3, 8}, at)
	Order(at, v, true)
	assert.Equal(t, []int32{8, 2, 3, 0, 6, 4, 5, 1, 7}, at)
	assert.Equal(t, 1, ArgMax(v))
	assert.Equal(t, 4, ArgMax([]float32{0, -1, 2, 3, 5, 5}))
	assert.Equal(t, 0, ArgMax([]float32{float32(math.Copysign(0, -1)), 0}))

	whole := []int32{1<<24 + 1, 1 << 24, math.MinInt32, 1<<24 + 1, math.MaxInt32}
	at = make([]int32, len(whole))
	OrderInt32(at, whole, false)
	assert.Equal(t, []int32{4, 0, 3, 1, 2}, at)
	OrderInt32(at, whole, true)
	assert.Equal(t, []int32{2, 1, 0, 3, 4}, at)
	assert.Equal(t, 4, ArgMaxInt32(whole))
	assert.Equal(t, int32(math.MaxInt32), MaxOfInt32(whole))
	assert.Equal(t, int32(math.MinInt32), MaxOfInt32(nil))
}

// TestConversions has the bounds of each type.
func TestConversions(t *testing.T) {
	dst := make([]int32, 8)
	src := []float32{1.9, -1.9, 127.5, 128, -129, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	FloatsToInts(dst, src, -128, 127)
	assert.Equal(t, []int32{1, -1, 127, 127, -128, 0, 127, -128}, dst)
	FloatsToInts(dst, src, 0, 255)
	assert.Equal(t, []int32{1, 0, 127, 128, 0, 0, 255, 0}, dst)
	FloatsToInts(dst[:4], []float32{0x1p31, -0x1p31, 0x1p31 - 128, -0x1p32}, math.MinInt32, math.MaxInt32)
	assert.Equal(t, []int32{math.MaxInt32, math.MinInt32, math.MaxInt32 - 127, math.MinInt32}, dst[:4])

	whole := []int32{0, 255, 256, -1, 128, 65535, 1<<24 + 1, math.MinInt32}
	for _, tc := range []struct {
		bits   int
		signed bool
		want   []int32
	}{
		{8, true, []int32{0, -1, 0, -1, -128, -1, 1, 0}},
		{8, false, []int32{0, 255, 0, 255, 128, 255, 1, 0}},
		{16, true, []int32{0, 255, 256, -1, 128, -1, 1, 0}},
		{16, false, []int32{0, 255, 256, 65535, 128, 65535, 1, 0}},
		{32, true, whole},
	} {
		WrapInts(dst, whole, tc.bits, tc.signed)
		assert.Equal(t, tc.want, dst, tc.bits)
	}
	floats := make([]float32, 3)
	IntsToFloats(floats, []int32{1<<24 + 1, 1<<24 + 3, -1}, false)
	assert.Equal(t, []float32{1 << 24, 1<<24 + 4, -1}, floats)
	IntsToFloats(floats[:1], []int32{-1}, true)
	assert.Equal(t, float32(1<<32), floats[0])
	IntsToHalves(floats, []int32{2049, 2051, 65520}, false) // midpoints, and what overflows
	assert.Equal(t, []float32{2048, 2052, float32(math.Inf(1))}, floats)
	FloatsToBools(dst[:4], []float32{0, float32(math.Copysign(0, -1)), float32(math.NaN()), 0x1p-149})
	assert.Equal(t, []int32{0, 0, 1, 1}, dst[:4])
	IntsToBools(dst[:3], []int32{0, math.MinInt32, 7})
	assert.Equal(t, []int32{0, 1, 1}, dst[:3])
	abs := []float32{0, 0}
	Ints(abs)[0], Ints(abs)[1] = math.MinInt32, -5
	AbsInt32(abs, abs)
	assert.Equal(t, []int32{math.MinInt32, 5}, Ints(abs))
}

// TestComparePairs: NaN is nothing to anything.
func TestComparePairs(t *testing.T) {
	nan := float32(math.NaN())
	a, b := []float32{1, 2, nan, nan, 0}, []float32{2, 2, 1, nan, float32(math.Copysign(0, -1))}
	for op, want := range map[string][]int32{
		"less": {1, 0, 0, 0, 0}, "greater_equal": {0, 1, 0, 0, 1}, "equal": {0, 1, 0, 0, 1},
	} {
		p, ok := ComparePairs(op, false)
		require.True(t, ok)
		dst := make([]float32, len(a))
		p.VV(dst, a, b)
		assert.Equal(t, want, Ints(dst), op)
	}
	for _, ok := range []bool{second(ComparePairs("add", false)), second(PairsInt32("real_div")), second(PairsFloat32("less"))} {
		assert.False(t, ok)
	}
}

func second(_ Pairs, ok bool) bool { return ok }
