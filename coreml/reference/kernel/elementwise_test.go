package kernel

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
)

// binaries are the operations on two slices, the same with a number on either
// side, and what they mean: in float64, where sums and products of float16
// values are exact and a quotient has more than 2*11+2 bits.
var binaries = []struct {
	name     string
	slices   func(dst, a, b []float32)
	right    func(dst, a []float32, b float32)
	left     func(dst []float32, a float32, b []float32)
	portable func(dst, a, b []float32)
	exact    func(a, b float64) float64
}{
	{"Add", Add, AddScalar, nil, addPortable, func(a, b float64) float64 { return a + b }},
	{"Sub", Sub, SubScalar, ScalarSub, subPortable, func(a, b float64) float64 { return a - b }},
	{"Mul", Mul, MulScalar, nil, mulPortable, func(a, b float64) float64 { return a * b }},
	{"Div", Div, DivScalar, ScalarDiv, nil, func(a, b float64) float64 { return a / b }},
	{"Max", Max, MaxScalar, nil, nil, math.Max},
	{"Min", Min, MinScalar, nil, nil, math.Min},
}

func TestBinary(t *testing.T) {
	for _, op := range binaries {
		t.Run(op.name, func(t *testing.T) {
			forEachKind(t, func(t *testing.T, kind kind) {
				r := source("kernel/binary/" + op.name)
				for n := range 68 {
					for range 6 {
						a, b, got := floats(r, n, kind), floats(r, n, kind), make([]float32, n)
						if n > 2 {
							b[1] = -a[1] // cancels
							a[2], b[2] = 0, float32(math.Copysign(0, -1))
						}
						want := make([]float32, n)
						for i := range want {
							want[i] = half.ToFloat32(half.FromFloat64(exactOf(op.exact, a[i], b[i])))
						}
						op.slices(got, a, b)
						requireBits(t, want, got, op.name, n)
						if op.portable != nil {
							op.portable(got, a, b)
							requireBits(t, want, got, op.name+" portable", n)
						}
						testScalars(t, op.name, op.right, op.left, op.exact, a, b)
						op.slices(a, a, b)
						requireBits(t, want, a, op.name+" in place", n)
					}
				}
			})
		})
	}
}

func exactOf(f func(a, b float64) float64, a, b float32) float64 {
	if a != a || b != b { // math.Max prefers an infinity to a NaN
		return math.NaN()
	}
	return f(float64(a), float64(b))
}

func testScalars(t *testing.T, name string, right func(dst, a []float32, b float32), left func(dst []float32, a float32, b []float32), exact func(a, b float64) float64, a, b []float32) {
	if len(a) == 0 {
		return
	}
	got, want := make([]float32, len(a)), make([]float32, len(a))
	s := b[len(b)/2]
	for i := range want {
		want[i] = half.ToFloat32(half.FromFloat64(exactOf(exact, a[i], s)))
	}
	right(got, a, s)
	requireBits(t, want, got, name+" with a number", len(a), s)
	if left == nil {
		return
	}
	for i := range want {
		want[i] = half.ToFloat32(half.FromFloat64(exactOf(exact, s, a[i])))
	}
	left(got, s, a)
	requireBits(t, want, got, name+" of a number", len(a), s)
}

func TestPortableScalars(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/scalars")
		for n := 1; n < 68; n++ {
			a, s := floats(r, n, kind), floats(r, 1, kind)[0]
			got, want := make([]float32, n), make([]float32, n)
			AddScalar(got, a, s)
			addScalarPortable(want, a, s)
			requireBits(t, want, got, "add", n)
			MulScalar(got, a, s)
			mulScalarPortable(want, a, s)
			requireBits(t, want, got, "mul", n)
		}
	})
}

// TestDoubleRounding tries the pairs in which float32 could stand in the way:
// every mantissa of one operand against a few of the other, with results in the
// subnormal range too.
func TestDoubleRounding(t *testing.T) {
	r := source("kernel/double rounding")
	a, got := make([]float32, 1024), make([]float32, 1024)
	for range 300 {
		exponent, other := float16.Float16(r.IntN(31)<<10), float16.Float16(r.IntN(0x7C00))
		for i := range a {
			a[i] = half.ToFloat32(exponent | float16.Float16(i))
		}
		b := half.ToFloat32(other)
		for _, op := range binaries {
			op.right(got, a, b)
			for i := range a {
				want := half.FromFloat64(exactOf(op.exact, a[i], b))
				require.Equal(t, want, half.FromFloat32(got[i]), "%s %v %v", op.name, a[i], b)
			}
		}
	}
}

func TestExtremes(t *testing.T) {
	nan, inf, negative := float32(math.NaN()), float32(math.Inf(1)), float32(math.Copysign(0, -1))
	for _, c := range []struct {
		x        []float32
		max, min float32
	}{
		{nil, -inf, inf},
		{[]float32{1, 3, -2}, 3, -2},
		{[]float32{negative, 0}, 0, negative},
		{[]float32{0, negative}, 0, negative},
		{[]float32{inf, nan, -inf}, nan, nan},
		{[]float32{nan, 1}, nan, nan},
		{[]float32{1, math.Float32frombits(0xFFC00001)}, nan, nan},
		{[]float32{-inf}, -inf, -inf},
	} {
		requireBits(t, []float32{c.max, c.min}, []float32{MaxOf(c.x), MinOf(c.x)}, "extremes", c.x)
	}
}

func TestShortOperandPanics(t *testing.T) {
	long, short := make([]float32, 16), make([]float32, 15)
	for _, op := range binaries {
		assert.Panics(t, func() { op.slices(long, short, long) }, op.name)
		assert.Panics(t, func() { op.slices(long, long, short) }, op.name)
		assert.Panics(t, func() { op.right(long, short, 1) }, op.name)
	}
}

func BenchmarkElementwise(b *testing.B) {
	x := floats(source("kernel/benchmark"), 1<<14, ordinary)
	dst := make([]float32, len(x))
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			Add(dst, x, x)
		}
	})
	b.Run("AddPortable", func(b *testing.B) {
		for b.Loop() {
			addPortable(dst, x, x)
		}
	})
	b.Run("MulScalar", func(b *testing.B) {
		for b.Loop() {
			MulScalar(dst, x, 0.5)
		}
	})
}
