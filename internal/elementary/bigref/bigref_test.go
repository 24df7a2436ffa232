package bigref_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/elementary/bigref"
)

// near checks that got is want, a decimal of at least 46 digits, to 2^-140.
func near(t *testing.T, want string, got *big.Float) {
	t.Helper()
	w, _, err := big.ParseFloat(want, 10, 256, big.ToNearestEven)
	require.NoError(t, err)
	difference := new(big.Float).Sub(w, got)
	limit := new(big.Float).SetMantExp(w, -140)
	assert.Negative(t, difference.Abs(difference).Cmp(limit.Abs(limit)), "want %s, got %s", want, got.Text('g', 50))
}

// TestKnownConstants has published digits.
func TestKnownConstants(t *testing.T) {
	near(t, "3.14159265358979323846264338327950288419716939937510582", bigref.Pi())
	near(t, "2.71828182845904523536028747135266249775724709369995957", bigref.Exp(bigref.Number(1)))
	near(t, "0.69314718055994530941723212145817656807550013436025525", bigref.Log(bigref.Number(2)))
	near(t, "1.41421356237309504880168872420969807856967187537694807", bigref.Pow(bigref.Number(2), bigref.Number(0.5)))
	sin, cos := bigref.SinCos(bigref.Number(1))
	near(t, "0.84147098480789650665250232163029899962256306079837106", sin)
	near(t, "0.54030230586813971740093660744297660373231042061792222", cos)
	near(t, "0.5", bigref.NormalCDF(bigref.Number(0)))
}

// TestIdentities ties the functions to each other far from the constants.
func TestIdentities(t *testing.T) {
	for _, x := range []float64{0.001, 1.5, 37, 511.25, 98765.5} {
		sin, cos := bigref.SinCos(bigref.Number(x))
		one := new(big.Float).Add(new(big.Float).Mul(sin, sin), new(big.Float).Mul(cos, cos))
		near(t, "1", one)
		near(t, bigref.Number(x).Text('g', 60), bigref.Exp(bigref.Log(bigref.Number(x))))
	}
	for _, x := range []float64{0.25, 2, 5.5, 11} {
		near(t, "1", new(big.Float).Add(bigref.NormalCDF(bigref.Number(x)), bigref.NormalCDF(bigref.Number(-x))))
		value, _ := bigref.NormalCDF(bigref.Number(-x)).Float64()
		assert.InEpsilon(t, math.Erfc(x/math.Sqrt2)/2, value, 1e-13)
	}
}
