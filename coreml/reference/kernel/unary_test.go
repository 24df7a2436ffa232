package kernel

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/elementary/bigref"
	"lockstep/internal/half"
)

func num(f float64) *big.Float { return bigref.Number(f) }

func decimal(s string) *big.Float {
	f, _, err := big.ParseFloat(s, 10, bigref.Precision, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return f
}

// logistic returns 1/(1+e^-x).
func logistic(x *big.Float) *big.Float {
	e := bigref.Exp(new(big.Float).Neg(x))
	return e.Quo(num(1), e.Add(e, num(1)))
}

// references gives the operations in arbitrary precision for 0 < |x| <= 30.
var references = map[string]func(x *big.Float) *big.Float{
	"abs":     func(x *big.Float) *big.Float { return new(big.Float).Abs(x) },
	"exp":     bigref.Exp,
	"sigmoid": logistic,
	"silu":    func(x *big.Float) *big.Float { return new(big.Float).Mul(x, logistic(x)) },
	"square":  func(x *big.Float) *big.Float { return new(big.Float).Mul(x, x) },
	"relu": func(x *big.Float) *big.Float {
		if x.Sign() < 0 {
			return num(0)
		}
		return x
	},
	"sqrt": func(x *big.Float) *big.Float {
		if x.Sign() < 0 {
			return nil
		}
		return num(0).Sqrt(x)
	},
	"tanh": func(x *big.Float) *big.Float { // (e^2x-1)/(e^2x+1) at 192 bits can spare what cancels
		e := bigref.Exp(new(big.Float).Add(x, x))
		return num(0).Quo(num(0).Sub(e, num(1)), num(0).Add(e, num(1)))
	},
	GeluExact: func(x *big.Float) *big.Float {
		if f, _ := x.Float64(); f < -12 { // below 12 phi(12), some 2^-104
			return num(-0x1p-60)
		} else if f > 12 {
			return x
		}
		return new(big.Float).Mul(x, bigref.NormalCDF(x))
	},
	GeluTanh: func(x *big.Float) *big.Float {
		cube := num(0).Mul(x, num(0).Mul(x, x))
		u := num(0).Add(x, cube.Mul(cube, decimal("0.044715")))
		twice := num(0).Quo(num(8), bigref.Pi()) // (2 sqrt(2/pi))^2
		u.Mul(u, twice.Sqrt(twice))
		return u.Mul(x, logistic(u))
	},
	GeluSigmoid: func(x *big.Float) *big.Float {
		return num(0).Mul(x, logistic(num(0).Mul(x, decimal("1.702"))))
	},
}

// saturated gives the float64 limits beyond |x| = 30, which round to the
// float16 that the true value does.
var saturated = map[string]func(x float64) float64{
	"exp": func(x float64) float64 {
		if x > 0 {
			return math.Inf(1)
		}
		return 0
	},
	"sigmoid": func(x float64) float64 { return math.Max(0, math.Copysign(1, x)) },
	"tanh":    func(x float64) float64 { return math.Copysign(1, x) },
	"silu":    gate, GeluExact: gate, GeluTanh: gate, GeluSigmoid: gate,
}

func gate(x float64) float64 {
	if x > 0 {
		return x
	}
	return math.Copysign(0, -1)
}

// roundBig rounds an exact or nearly exact number to float16, by comparing it
// with midpoints.
func roundBig(f *big.Float) float16.Float16 {
	approximate, _ := f.Float64()
	h := half.FromFloat64(approximate)
	sign := h & 0x8000
	for magnitude := max(int(h&0x7FFF)-1, 0); ; magnitude++ {
		if magnitude == 0x7C00 {
			return sign | 0x7C00
		}
		low, high := half.ToFloat64(float16.Float16(magnitude)), 65536.0
		if magnitude < 0x7BFF {
			high = half.ToFloat64(float16.Float16(magnitude + 1))
		}
		order := new(big.Float).Abs(f).Cmp(num((low + high) / 2))
		if order < 0 || order == 0 && magnitude%2 == 0 {
			return sign | float16.Float16(magnitude)
		}
	}
}

func wantUnary(name string, h float16.Float16) float16.Float16 {
	x := half.ToFloat64(h)
	if limit, ok := saturated[name]; ok && math.Abs(x) > 30 {
		return half.FromFloat64(limit(x))
	}
	result := references[name](num(x))
	if result == nil {
		return half.NaN
	}
	want := roundBig(result)
	if want == 0 && math.Signbit(x) && result.Sign() < 0 {
		want = 0x8000
	}
	return want
}

// tableStep thins the entries out where -short is given.
func tableStep() int {
	if testing.Short() {
		return 61
	}
	return 1
}

// TestUnaryTablesAreCorrectlyRounded compares every finite entry, but for the
// zeros, with arbitrary precision.
func TestUnaryTablesAreCorrectlyRounded(t *testing.T) {
	for _, name := range UnaryNames() {
		if name == rsqrtName {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, references, name)
			table, err := Unary(name, 0)
			require.NoError(t, err)
			for i := 1; i < 1<<16; i += tableStep() {
				h := float16.Float16(i)
				if !half.IsFinite(h) || h == 0x8000 {
					continue
				}
				if want, got := wantUnary(name, h), table.At(h); want != got {
					require.Failf(t, "wrongly rounded", "%s(%v): want %#04x, got %#04x", name, h, uint16(want), uint16(got))
				}
			}
		})
	}
}

// TestRsqrt compares exactly: a candidate is right if the argument lies between
// the inverse squares of the midpoints around it.
func TestRsqrt(t *testing.T) {
	for _, eps := range []float32{0, 1e-12, 1e-5, half.ToFloat32(half.FromFloat32(1e-5)), 1e-6, 0x1p-149, 1, 65504} {
		table, err := Unary("rsqrt", eps)
		require.NoError(t, err)
		for i := 0; i < 1<<16; i += tableStep() {
			h := float16.Float16(i)
			if !half.IsFinite(h) {
				continue
			}
			got := table.At(h)
			v := new(big.Float).SetPrec(300).Add(num(half.ToFloat64(h)), num(float64(eps)))
			switch v.Sign() {
			case -1:
				require.Equal(t, half.NaN, got, "rsqrt(%v+%v)", h, eps)
			case 0:
				require.Equal(t, float16.Float16(0x7C00), got, "rsqrt(%v+%v)", h, eps)
			default:
				root := new(big.Float).SetPrec(300).Sqrt(v)
				want := roundBig(root.Quo(new(big.Float).SetPrec(300).SetInt64(1), root))
				require.Equal(t, want, got, "rsqrt(%v+%v)", h, eps)
			}
		}
	}
}

// TestRsqrtNextToMidpoints gives rsqrt itself epsilons of 53 bits, with which
// x+eps is as good as the inverse square of a midpoint, so that float64 cannot
// tell the sides apart.
func TestRsqrtNextToMidpoints(t *testing.T) {
	for i := uint16(0x3C00); i < 0x3FFF; i++ {
		middle := (half.ToFloat64(float16.Float16(i)) + half.ToFloat64(float16.Float16(i+1))) / 2
		inverse := new(big.Float).SetPrec(300).Quo(num(1), num(middle*middle))
		target, _ := inverse.Float64()
		x := half.FromFloat64(target * (1 - 0x1p-11)) // somewhat below
		rest, _ := inverse.Sub(inverse, num(half.ToFloat64(x))).Float64()
		for _, eps := range []float64{math.Nextafter(rest, 0), rest, math.Nextafter(rest, 1)} {
			v := new(big.Float).SetPrec(300).Add(num(half.ToFloat64(x)), num(eps))
			root := new(big.Float).SetPrec(300).Sqrt(v)
			want := roundBig(root.Quo(num(1), root))
			require.Equal(t, want, rsqrt(half.ToFloat64(x), eps), "rsqrt(%v+%x)", x, eps)
		}
	}
	// Exact midpoints: 2^-25 is between 0 and the smallest subnormal.
	assert.Equal(t, float16.Float16(0), rsqrt(0, 0x1p50))
	assert.Equal(t, float16.Float16(1), rsqrt(-0x1p-24, 0x1p50))
	assert.Equal(t, float16.Float16(0), rsqrt(0x1p-24, 0x1p50))
}

func TestUnarySpecialArguments(t *testing.T) {
	const (
		infinity, minus = 0x7C00, 0xFC00
		nan, zero       = 0x7E00, 0x8000 // -0
	)
	for name, want := range map[string]struct{ plus, minus, zero, negativeZero uint16 }{
		"abs":       {infinity, infinity, 0, 0},
		"exp":       {infinity, 0, 0x3C00, 0x3C00},
		"relu":      {infinity, 0, 0, 0},
		"sigmoid":   {0x3C00, 0, 0x3800, 0x3800},
		"silu":      {infinity, nan, 0, zero},
		"sqrt":      {infinity, nan, 0, zero},
		"square":    {infinity, infinity, 0, 0},
		"tanh":      {0x3C00, 0xBC00, 0, zero},
		"rsqrt":     {0, nan, infinity, infinity},
		GeluExact:   {infinity, nan, 0, zero},
		GeluTanh:    {infinity, nan, 0, zero},
		GeluSigmoid: {infinity, nan, 0, zero},
	} {
		table, err := Unary(name, 0)
		require.NoError(t, err)
		for h, w := range map[float16.Float16]uint16{
			infinity: want.plus, minus: want.minus, 0: want.zero, zero: want.negativeZero,
			nan: nan, 0x7C01: nan, 0xFE00: nan, 0xFFFF: nan,
		} {
			assert.Equal(t, w, uint16(table.At(h)), "%s(%#04x)", name, uint16(h))
		}
	}
}

func TestUnaryApply(t *testing.T) {
	table, err := Unary("silu", 0)
	require.NoError(t, err)
	x := make([]float32, 1<<16)
	for i := range x {
		x[i] = half.ToFloat32(float16.Float16(i))
	}
	table.Apply(x, x)
	for i, f := range x {
		require.Equal(t, table.At(float16.Float16(i)), half.FromFloat32(f))
		if f != f {
			require.Equal(t, uint32(0x7FC00000), math.Float32bits(f))
		}
	}
}

func TestUnaryRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		eps  float32
	}{{"softplus", 0}, {"", 0}, {"gelu", 0}, {"silu", 1e-5}, {"rsqrt", -1}, {"rsqrt", float32(math.NaN())}, {"rsqrt", float32(math.Inf(1))}, {"exp", float32(math.NaN())}} {
		table, err := Unary(c.name, c.eps)
		assert.ErrorIs(t, err, ErrUnary, "%+v", c)
		assert.Nil(t, table)
	}
}

func BenchmarkUnaryBuild(b *testing.B) {
	for _, name := range UnaryNames() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Unary(name, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
