package elementary

import "math"

// MaxAngle bounds the arguments of Sin and Cos, in radians.
const MaxAngle = 1 << 26

const (
	// pi/2 in four parts, the first three of 27 bits, whose products with a
	// whole number below 2^26 are exact. See W. J. Cody and W. Waite, "Software
	// Manual for the Elementary Functions", 1980.
	halfPi1 = 0x1.921fb54000000p+0
	halfPi2 = 0x1.10b4610000000p-30
	halfPi3 = 0x1.a626330000000p-58
	halfPi4 = 0x1.45c06e0e68948p-86
)

// Sin returns the sine of x radians with an absolute error below 2^-50. It is
// NaN where |x| is above MaxAngle, and for NaN.
func Sin(x float64) float64 {
	r, quadrant := reduce(x)
	switch quadrant {
	case 0:
		return sinKernel(r)
	case 1:
		return cosKernel(r)
	case 2:
		return -sinKernel(r)
	default:
		return -cosKernel(r)
	}
}

// Cos returns the cosine of x radians with an absolute error below 2^-50. It is
// NaN where |x| is above MaxAngle, and for NaN.
func Cos(x float64) float64 {
	r, quadrant := reduce(x)
	switch quadrant {
	case 0:
		return cosKernel(r)
	case 1:
		return -sinKernel(r)
	case 2:
		return -cosKernel(r)
	default:
		return sinKernel(r)
	}
}

// reduce returns r in about [-pi/4, pi/4] and the quadrant n mod 4 with x = r +
// n pi/2.
func reduce(x float64) (r float64, quadrant int) {
	if !(math.Abs(x) <= MaxAngle) {
		return math.NaN(), 0
	}
	n := math.Floor(float64(x*(2/math.Pi)) + 0.5)
	if n == 0 {
		return x, 0
	}
	// The first difference is exact: its operands are within a factor of two.
	first := twoSum(x-float64(n*halfPi1), -float64(n*halfPi2))
	second := twoSum(first.hi, -float64(n*halfPi3))
	r = second.hi + (second.lo + (first.lo - float64(n*halfPi4)))
	return r, int(n) & 3
}

// sinKernel is the Taylor series of sine; the first omitted term is below
// 2^-63.
func sinKernel(r float64) float64 {
	const (
		c3  = -1.0 / 6
		c5  = -c3 / 20
		c7  = -c5 / 42
		c9  = -c7 / 72
		c11 = -c9 / 110
		c13 = -c11 / 156
		c15 = -c13 / 210
		c17 = -c15 / 272
	)
	if r == 0 {
		return r // the sum below would turn -0 into +0
	}
	r2 := float64(r * r)
	s := c15 + float64(r2*c17)
	s = c13 + float64(r2*s)
	s = c11 + float64(r2*s)
	s = c9 + float64(r2*s)
	s = c7 + float64(r2*s)
	s = c5 + float64(r2*s)
	s = c3 + float64(r2*s)
	return r + float64(float64(r*r2)*s)
}

// cosKernel is the Taylor series of cosine; the first omitted term is below
// 2^-58.
func cosKernel(r float64) float64 {
	const (
		c4  = 1.0 / 24
		c6  = -c4 / 30
		c8  = -c6 / 56
		c10 = -c8 / 90
		c12 = -c10 / 132
		c14 = -c12 / 182
		c16 = -c14 / 240
	)
	r2 := float64(r * r)
	s := c14 + float64(r2*c16)
	s = c12 + float64(r2*s)
	s = c10 + float64(r2*s)
	s = c8 + float64(r2*s)
	s = c6 + float64(r2*s)
	s = c4 + float64(r2*s)
	return (1 - float64(r2*0.5)) + float64(float64(r2*r2)*s)
}
