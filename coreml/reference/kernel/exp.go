package kernel

import "math"

// exp2Sixteenths holds 2^(j/16).
var exp2Sixteenths = [16]float64{
	1,
	0x1.0b5586cf9890fp+0,
	0x1.172b83c7d517bp+0,
	0x1.2387a6e756238p+0,
	0x1.306fe0a31b715p+0,
	0x1.3dea64c123422p+0,
	0x1.4bfdad5362a27p+0,
	0x1.5ab07dd485429p+0,
	0x1.6a09e667f3bcdp+0,
	0x1.7a11473eb0187p+0,
	0x1.8ace5422aa0dbp+0,
	0x1.9c49182a3f090p+0,
	0x1.ae89f995ad3adp+0,
	0x1.c199bdd85529cp+0,
	0x1.d5818dcfba487p+0,
	0x1.ea4afa2a490dap+0,
}

// Exp32 returns e^x, not rounded to float16, for x <= 0, which may be any
// float32. It is within 2 units in the last place of the true value, never
// falls as x rises, is 1 at 0, and is +0 at or below -87, so that nothing
// subnormal arises. NaN gives NaN. A positive x, which softmax never has, gives
// NaN too.
//
// x = n (ln 2)/16 + r: then e^x = 2^(n div 16) 2^(n mod 16 / 16) e^r with |r| at
// most (ln 2)/32, in float64 throughout and rounded to float32 at the end.
func Exp32(x float32) float32 {
	const (
		sixteenthsPerUnit = 16 * math.Log2E
		sixteenthHigh     = 0x1.62e42fefa2000p-5 // 40 bits of (ln 2)/16, so that n times it is exact
		sixteenthLow      = 0x1.9ef35793c7673p-45
	)
	if !(x > -87) {
		if x != x {
			return canonical(x)
		}
		return 0
	}
	if x > 0 {
		return math.Float32frombits(0x7FC00000)
	}
	t := float64(x)
	n := int(float64(t*sixteenthsPerUnit) - 0.5)
	r := (t - float64(float64(n)*sixteenthHigh)) - float64(float64(n)*sixteenthLow)
	r2 := float64(r * r)
	// The first omitted term is below 2^-42.
	high := 1.0/24 + float64(r*(1.0/120))
	low := 0.5 + float64(r*(1.0/6))
	tail := low + float64(r2*high)
	e := 1 + (r + float64(r2*tail))
	power := math.Float64frombits(uint64(n>>4+1023) << 52)
	return float32(float64(exp2Sixteenths[n&15]*e) * power)
}
