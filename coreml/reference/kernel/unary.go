package kernel

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"sort"

	"github.com/x448/float16"

	"lockstep/internal/elementary"
	"lockstep/internal/half"
)

// ErrUnary is wrapped by Unary's errors: a name that is not in the table of
// operations, or an epsilon that does not fit.
var ErrUnary = errors.New("unsupported unary operation")

// The names of gelu's three modes. The other unary operations have their op
// type as their name.
const (
	GeluExact   = "gelu/EXACT"
	GeluTanh    = "gelu/TANH_APPROXIMATION"
	GeluSigmoid = "gelu/SIGMOID_APPROXIMATION"
)

// unaryFunctions gives each operation as a float64 function whose relative
// error is below 2^-44 wherever its magnitude is at least 2^-26. A float16
// result then is the correctly rounded one, unless the true value lies within
// that error of a midpoint between two float16 values without being one; the
// tests compare each entry of each table with arbitrary precision and so show
// that this does not occur. sqrt and square cannot come that near: their
// midpoints would need more bits than float16 arguments have. At an infinity
// a function is what its formula gives, so that -Inf is NaN for silu and gelu
// and an overflow upstream does not vanish.
var unaryFunctions = map[string]func(float64) float64{
	"abs":       math.Abs,
	"exp":       elementary.Exp,
	"relu":      relu,
	"sigmoid":   sigmoid,
	"silu":      silu,
	"sqrt":      math.Sqrt,
	"square":    func(x float64) float64 { return x * x },
	"tanh":      tanh,
	GeluExact:   func(x float64) float64 { return x * normalCDF(x) },
	GeluTanh:    geluTanh,
	GeluSigmoid: func(x float64) float64 { return x / (1 + elementary.Exp(float64(-1.702*x))) },
}

// rsqrtName is the one operation with an epsilon.
const rsqrtName = "rsqrt"

// UnaryNames lists the names that Unary knows, sorted.
func UnaryNames() []string {
	names := []string{rsqrtName}
	for name := range unaryFunctions {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Table is a unary float16 operation as its 65,536 correctly rounded results.
// It is immutable and safe for concurrent use. It takes 256 KiB and some
// milliseconds to build, so whoever needs one keeps it.
type Table struct {
	values [1 << 16]float32
}

// Unary builds the table of the named operation. eps is rsqrt's epsilon, in
// 1/sqrt(x+eps), from 0 to 65504; it must be 0 for every other operation.
// Errors wrap ErrUnary.
func Unary(name string, eps float32) (*Table, error) {
	if name == rsqrtName {
		if !(eps >= 0 && eps <= half.MaxFinite) {
			return nil, fmt.Errorf("%w: %s with epsilon %v, want 0 to %d", ErrUnary, name, eps, half.MaxFinite)
		}
		return newTable(func(x float64) float16.Float16 { return rsqrt(x, float64(eps)) }), nil
	}
	f, ok := unaryFunctions[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q, want one of %q", ErrUnary, name, UnaryNames())
	}
	if eps != 0 {
		return nil, fmt.Errorf("%w: %s has no epsilon, found %v", ErrUnary, name, eps)
	}
	return newTable(func(x float64) float16.Float16 { return half.FromFloat64(f(x)) }), nil
}

func newTable(f func(float64) float16.Float16) *Table {
	t := new(Table)
	for i := range t.values {
		result := half.NaN
		if x := half.ToFloat64(float16.Float16(i)); x == x {
			result = f(x)
		}
		t.values[i] = half.ToFloat32(result)
	}
	return t
}

// Apply sets each dst[i] to the operation's result for src[i]. dst may be src;
// it is as long as src.
func (t *Table) Apply(dst, src []float32) {
	for i, f := range src[:len(dst)] {
		dst[i] = t.values[half.FromFloat32(f)]
	}
}

// At returns the operation's result for h.
func (t *Table) At(h float16.Float16) float16.Float16 { return half.FromFloat32(t.values[h]) }

func relu(x float64) float64 {
	if x > 0 {
		return x
	}
	return 0
}

func sigmoid(x float64) float64 { return 1 / (1 + elementary.Exp(-x)) }

func silu(x float64) float64 { return x / (1 + elementary.Exp(-x)) }

// tanh is J. H. Lambert's continued fraction near 0, where the exponentials
// would cancel.
func tanh(x float64) float64 {
	if math.Abs(x) >= 0.5 {
		e := elementary.Exp(-2 * math.Abs(x))
		return math.Copysign((1-e)/(1+e), x)
	}
	square := float64(x * x)
	fraction := 21.0
	for odd := 19.0; odd > 0; odd -= 2 {
		fraction = odd + square/fraction
	}
	return x / fraction
}

// geluTanh is x/2 (1 + tanh(u)) = x/(1 + e^-2u), which does not cancel, with u =
// sqrt(2/pi) (x + 0.044715 x^3).
func geluTanh(x float64) float64 {
	const factor = -1.5957691216057307117597842397375274738 // -2 sqrt(2/pi)
	cube := float64(float64(x*x) * x)
	return x / (1 + elementary.Exp(float64(factor*(x+float64(0.044715*cube)))))
}

// normalCDF is the standard normal distribution function: for x <= -1.5 the
// density times Laplace's continued fraction of Mills' ratio, else 1/2 plus the
// density times x + x^3/3 + x^5/15 + ...
func normalCDF(x float64) float64 {
	const (
		rootTwoPi = 2.5066282746310005024157652848110452530
		terms     = 200
	)
	if x > 9 { // 1 - normalCDF(9) is below 2^-62
		return 1
	}
	square := float64(x * x)
	density := elementary.Exp(float64(-0.5*square)) / rootTwoPi
	if x <= -1.5 {
		fraction := -x
		for i := float64(terms); i > 0; i-- {
			fraction = -x + i/fraction
		}
		return density / fraction
	}
	sum, term := x, x
	for odd := 3.0; math.Abs(term) > math.Abs(sum)*0x1p-56; odd += 2 {
		term = float64(term*square) / odd
		sum += term
	}
	return 0.5 + float64(density*sum)
}

// rsqrt returns 1/sqrt(x+eps), correctly rounded whatever the epsilon: where
// float64 cannot tell on which side of a midpoint the result lies, exact
// arithmetic does.
func rsqrt(x, eps float64) float16.Float16 {
	estimate := 1 / math.Sqrt(x+eps)
	low := half.FromFloat64(estimate * (1 - 0x1p-48))
	high := half.FromFloat64(estimate * (1 + 0x1p-48))
	if low == high || estimate != estimate {
		return low
	}
	above := half.ToFloat64(high)
	if !half.IsFinite(high) {
		above = 1 << 16 // what would come next decides the last midpoint
	}
	middle := (half.ToFloat64(low) + above) / 2
	exact := func(f float64) *big.Float { return new(big.Float).SetPrec(400).SetFloat64(f) }
	product := exact(x)
	product.Add(product, exact(eps)).Mul(product, exact(middle)).Mul(product, exact(middle))
	// (x+eps) middle^2 > 1 says that the result is below the midpoint.
	switch product.Cmp(exact(1)) {
	case 1:
		return low
	case -1:
		return high
	default:
		return half.FromFloat64(middle)
	}
}
