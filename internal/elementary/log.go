package elementary

import "math"

// logSeries holds 1/(2k+1).
var logSeries = [...]double{
	{1, 0},
	{0x1.5555555555555p-2, 0x1.5555555555555p-56},  // 1/3
	{0x1.999999999999ap-3, -0x1.999999999999ap-57}, // 1/5
	{0x1.2492492492492p-3, 0x1.2492492492492p-57},  // 1/7
	{0x1.c71c71c71c71cp-4, 0x1.c71c71c71c71cp-58},  // 1/9
	{0x1.745d1745d1746p-4, -0x1.745d1745d1746p-59}, // 1/11
	{0x1.3b13b13b13b14p-4, -0x1.3b13b13b13b14p-58}, // 1/13
	{0x1.1111111111111p-4, 0x1.1111111111111p-60},  // 1/15
	{0x1.e1e1e1e1e1e1ep-5, 0x1.e1e1e1e1e1e1ep-61},  // 1/17
	{0x1.af286bca1af28p-5, 0x1.af286bca1af28p-59},  // 1/19
	{0x1.8618618618618p-5, 0x1.8618618618618p-59},  // 1/21
	{0x1.642c8590b2164p-5, 0x1.642c8590b2164p-60},  // 1/23
	{0x1.47ae147ae147bp-5, -0x1.eb851eb851eb8p-61}, // 1/25
	{0x1.2f684bda12f68p-5, 0x1.2f684bda12f68p-59},  // 1/27
	{0x1.1a7b9611a7b96p-5, 0x1.1a7b9611a7b96p-61},  // 1/29
}

// Log returns the natural logarithm of x. The relative error is below 2^-50.
// Log(+Inf) is +Inf, Log(0) is -Inf, and Log of a negative number or of NaN is
// NaN.
func Log(x float64) float64 {
	switch {
	case x != x || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	}
	return logDouble(x).hi
}

// logDouble returns ln x for a positive finite x, with a relative error below
// 2^-66: ln(m 2^e) = e ln 2 + 2 artanh((m-1)/(m+1)) with m in [sqrt(1/2),
// sqrt(2)).
func logDouble(x float64) double {
	exponent := 0
	if x < 0x1p-1022 {
		x = float64(x * 0x1p54)
		exponent = -54
	}
	bits := math.Float64bits(x)
	exponent += int(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	if m > math.Sqrt2 {
		m *= 0.5
		exponent++
	}
	z := double{hi: m - 1}.div(twoSum(m, 1))
	w := z.mul(z)
	series := logSeries[len(logSeries)-1]
	for k := len(logSeries) - 2; k >= 0; k-- {
		series = series.mul(w).add(logSeries[k])
	}
	mantissa := z.mul(series).scale(2)
	e := float64(exponent)
	// The product with ln2High is exact; the other two parts are one double.
	whole := twoSum(float64(e*ln2High), float64(e*ln2Middle))
	whole.lo += float64(e * ln2Low)
	return quickTwoSum(whole.hi, whole.lo).add(mantissa)
}

// Pow returns x^y for x >= 0, and NaN for a negative x. The relative error is
// below 2^-50 where the result is normal. Pow(x, 0) and Pow(1, y) are 1. For x
// = 0, for infinite x and y and for NaN it follows C's pow.
func Pow(x, y float64) float64 {
	switch {
	case y == 0 || x == 1:
		return 1
	case x != x || y != y || x < 0:
		return math.NaN()
	case x == 0 || x > math.MaxFloat64:
		if (x == 0) == (y > 0) {
			return 0
		}
		return math.Inf(1)
	case math.Abs(y) > math.MaxFloat64:
		if (x > 1) == (y > 0) {
			return math.Inf(1)
		}
		return 0
	}
	log := logDouble(x)
	// Beyond these magnitudes the result is 0 or +Inf, or rounds to 1. Between
	// them |y| lies in [2^-70, 2^63], since |ln x| lies in [2^-53, 746]: neither
	// the splitting nor the rounding errors of the product leave the range.
	switch estimate := float64(log.hi * y); {
	case estimate > 1000:
		return math.Inf(1)
	case estimate < -1000:
		return 0
	case math.Abs(estimate) < 0x1p-60:
		return 1
	}
	return expDouble(log.scale(y))
}
