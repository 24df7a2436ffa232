// Package bigref computes elementary functions in arbitrary precision, as the
// reference that tests judge float64 code by. It shares no code, constants or
// method of argument reduction with package elementary, and only tests import
// it.
package bigref

import (
	"math"
	"math/big"
	"sync"
)

// Precision is the mantissa of every result, in bits. The relative error of a
// result is below 2^-140, of Sin and Cos the absolute error.
const Precision = 192

func number() *big.Float { return new(big.Float).SetPrec(Precision) }

// Number returns x as a reference number.
func Number(x float64) *big.Float { return number().SetFloat64(x) }

// small says whether a is zero or below 2^-170 of b.
func small(a, b *big.Float) bool {
	return a.Sign() == 0 || a.MantExp(nil) < b.MantExp(nil)-170
}

// Exp returns e^x for |x| below 2^20: the Taylor series of x/2^k, squared k
// times.
func Exp(x *big.Float) *big.Float {
	halvings := max(0, x.MantExp(nil)+8)
	if x.Sign() == 0 {
		halvings = 0
	}
	r := number().SetMantExp(x, -halvings)
	sum, term := Number(1), Number(1)
	for i := 1; ; i++ {
		term.Mul(term, r)
		term.Quo(term, Number(float64(i)))
		sum.Add(sum, term)
		if small(term, sum) {
			break
		}
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// Log returns ln x for x > 0, by Halley's iteration on Exp.
func Log(x *big.Float) *big.Float {
	mantissa := number()
	exponent := x.MantExp(mantissa)
	m, _ := mantissa.Float64()
	y := Number(math.Log(m) + float64(exponent)*math.Ln2) // a first guess only
	for range 4 {
		e := Exp(y)
		step := number().Sub(x, e)
		step.Quo(step, number().Add(x, e))
		y.Add(y, step.Add(step, step))
	}
	return y
}

// Pow returns x^y for x > 0.
func Pow(x, y *big.Float) *big.Float {
	return Exp(number().Mul(y, Log(x)))
}

// Pi returns pi.
func Pi() *big.Float { return number().Set(computedPi()) }

// computedPi is computed once and copied by each caller.
var computedPi = sync.OnceValue(machin)

// machin returns pi by J. Machin's formula.
func machin() *big.Float {
	arctan := func(inverse int64) *big.Float {
		power := number().Quo(Number(1), Number(float64(inverse)))
		square := Number(float64(inverse * inverse))
		sum := number().Set(power)
		for i := int64(3); ; i += 2 {
			power.Quo(power, square)
			power.Neg(power)
			term := number().Quo(power, Number(float64(i)))
			sum.Add(sum, term)
			if small(term, sum) {
				return sum
			}
		}
	}
	pi := number().Mul(arctan(5), Number(16))
	return pi.Sub(pi, number().Mul(arctan(239), Number(4)))
}

// SinCos returns the sine and the cosine of x, reduced modulo the whole circle
// and then by a cube of halvings of the angle.
func SinCos(x *big.Float) (sin, cos *big.Float) {
	circle := Pi()
	circle.Add(circle, circle)
	turns, _ := number().Quo(x, circle).Int(nil)
	r := number().Sub(x, number().Mul(circle, number().SetInt(turns)))
	const halvings = 8
	r.SetMantExp(r, -halvings)

	square := number().Mul(r, r)
	sin, cos = number().Set(r), Number(1)
	sinTerm, cosTerm := number().Set(r), Number(1)
	for i := 1; i < 30; i++ {
		cosTerm.Mul(cosTerm, square).Quo(cosTerm, Number(-float64((2*i-1)*(2*i))))
		cos.Add(cos, cosTerm)
		sinTerm.Mul(sinTerm, square).Quo(sinTerm, Number(-float64((2*i)*(2*i+1))))
		sin.Add(sin, sinTerm)
	}
	for range halvings {
		double := number().Mul(sin, cos)
		cos.Mul(cos, cos).Sub(cos, number().Mul(sin, sin))
		sin = double.Add(double, double)
	}
	return sin, cos
}

// NormalCDF returns the standard normal distribution function for |x| at most
// 12: 1/2 + phi(x) (x + x^3/3 + x^5/15 + ...).
func NormalCDF(x *big.Float) *big.Float {
	square := number().Mul(x, x)
	sum, term := number().Set(x), number().Set(x)
	for i := 3; ; i += 2 {
		term.Mul(term, square).Quo(term, Number(float64(i)))
		sum.Add(sum, term)
		if small(term, sum) {
			break
		}
	}
	density := Exp(square.Quo(square, Number(-2)))
	density.Quo(density, number().Sqrt(number().Mul(Pi(), Number(2))))
	return sum.Mul(sum, density).Add(sum, Number(0.5))
}
