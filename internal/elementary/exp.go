package elementary

import "math"

const (
	// ln 2 = ln2High + ln2Middle + ln2Low, whose first two have so few bits
	// that their products with a whole number below 2^12 are exact.
	ln2High   = 0x1.62e42fee00000p-1
	ln2Middle = 0x1.a39ef35792000p-33
	ln2Low    = 0x1.c7673007e5ed6p-73

	overflowExp  = 709.782712893384  // just above ln(MaxFloat64)
	underflowExp = -745.133219101942 // just below ln(2^-1075), where even the tie rounds to 0
)

// Exp returns e^x. The relative error is below 2^-50 where the result is
// normal; a subnormal result is within one unit of 2^-1074. Exp(0) is 1,
// Exp(+Inf) is +Inf, Exp(-Inf) is 0, and Exp of NaN is NaN.
func Exp(x float64) float64 {
	return expDouble(double{hi: x})
}

// expDouble returns e^(x.hi+x.lo).
func expDouble(x double) float64 {
	switch {
	case x.hi != x.hi:
		return math.NaN()
	case x.hi > overflowExp:
		return math.Inf(1)
	case x.hi < underflowExp:
		return 0
	}
	n := math.Floor(float64(x.hi*math.Log2E) + 0.5)
	// x - n ln 2, the first difference being exact.
	r := twoSum(x.hi-float64(n*ln2High), -float64(n*ln2Middle))
	r = quickTwoSum(r.hi, r.lo+(x.lo-float64(n*ln2Low)))

	// e^r = 1 + r + r^2 q(r), the leading terms with their rounding errors.
	leading := twoSum(1, r.hi)
	tail := float64(float64(r.hi*r.hi)*expTail(r.hi)) + float64(r.lo*leading.hi)
	return scaleByPower(leading.hi+(leading.lo+tail), int(n))
}

// expTail returns (e^r - 1 - r)/r^2 for |r| <= 0.35 by its Taylor series, whose
// first omitted term is below 2^-63 of the sum.
func expTail(r float64) float64 {
	const (
		c2  = 1.0 / 2
		c3  = c2 / 3
		c4  = c3 / 4
		c5  = c4 / 5
		c6  = c5 / 6
		c7  = c6 / 7
		c8  = c7 / 8
		c9  = c8 / 9
		c10 = c9 / 10
		c11 = c10 / 11
		c12 = c11 / 12
		c13 = c12 / 13
		c14 = c13 / 14
	)
	// Pairs of coefficients, then powers of r^2: shorter chains than Horner's.
	r2 := float64(r * r)
	s := c12 + float64(r*c13) + float64(r2*c14)
	s = c10 + float64(r*c11) + float64(r2*s)
	s = c8 + float64(r*c9) + float64(r2*s)
	s = c6 + float64(r*c7) + float64(r2*s)
	s = c4 + float64(r*c5) + float64(r2*s)
	return c2 + float64(r*c3) + float64(r2*s)
}

// scaleByPower returns a*2^n for a in [0.5, 2] and n in [-1076, 1024], rounding
// only where the result is subnormal. Its products are rounded even where the
// compiler puts them in line beside a caller's addition.
func scaleByPower(a float64, n int) float64 {
	switch {
	case n > 1000:
		return float64(float64(a*0x1p1000) * powerOfTwo(n-1000))
	case n < -1000:
		return float64(float64(a*0x1p-1000) * powerOfTwo(n+1000))
	}
	return float64(a * powerOfTwo(n))
}

// powerOfTwo returns 2^n for n in [-1022, 1023].
func powerOfTwo(n int) float64 {
	return math.Float64frombits(uint64(n+1023) << 52)
}
