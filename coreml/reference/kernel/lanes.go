package kernel

import "math"

// laneCount is the number of partial sums of every sum.
const laneCount = 16

// lanes are the partial sums of one sum.
type lanes [laneCount]float32

// total adds the lanes: s[i] += s[i+h] for h = 8, 4, 2, 1.
func (s *lanes) total() float32 {
	var half [8]float32
	for i := range half {
		half[i] = s[i] + s[i+8]
	}
	a0, a1 := half[0]+half[4], half[1]+half[5]
	a2, a3 := half[2]+half[6], half[3]+half[7]
	return (a0 + a2) + (a1 + a3)
}

// canonical replaces any NaN by the one NaN, 0x7FC00000.
func canonical(f float32) float32 {
	if f != f {
		return math.Float32frombits(0x7FC00000)
	}
	return f
}

func canonicalize(x []float32) {
	for i, f := range x {
		x[i] = canonical(f)
	}
}

// Dot returns the sum of w[i]*x[i], not rounded to float16. The products of
// float16 values are exact; x must be as long as w.
func Dot(w, x []float32) float32 {
	x = x[:len(w)]
	var s [1]lanes
	multiply(s[:], w, x, 0, hasSIMD)
	return canonical(s[0].total())
}

// Sum returns the sum of x, not rounded to float16. The elements may be any
// float32 values.
func Sum(x []float32) float32 {
	var s lanes
	for ; len(x) >= laneCount; x = x[laneCount:] {
		block := (*lanes)(x)
		for i := range s {
			s[i] += block[i]
		}
	}
	for i, f := range x {
		s[i] += f
	}
	return canonical(s.total())
}

// SumSquares returns the sum of x[i]*x[i], each product rounded to float32
// before it is added, and the sum not rounded to float16. The elements may be
// any float32 values.
func SumSquares(x []float32) float32 {
	var s lanes
	for ; len(x) >= laneCount; x = x[laneCount:] {
		block := (*lanes)(x)
		for i := range s {
			s[i] += float32(block[i] * block[i])
		}
	}
	for i, f := range x {
		s[i] += float32(f * f)
	}
	return canonical(s.total())
}

// accumulate adds the products of a and b to the lanes. The lengths are equal
// and a multiple of 16. Two passes of eight lanes keep the sums in registers.
func accumulate(s *lanes, a, b []float32) {
	for first := 0; first < laneCount; first += 8 {
		accumulateEight((*[8]float32)(s[first:]), a, b, first)
	}
}

func accumulateEight(s *[8]float32, a, b []float32, first int) {
	b = b[:len(a)]
	s0, s1, s2, s3 := s[0], s[1], s[2], s[3]
	s4, s5, s6, s7 := s[4], s[5], s[6], s[7]
	for i := first; i+8 <= len(a); i += laneCount {
		p, q := (*[8]float32)(a[i:]), (*[8]float32)(b[i:])
		s0 += float32(p[0] * q[0])
		s1 += float32(p[1] * q[1])
		s2 += float32(p[2] * q[2])
		s3 += float32(p[3] * q[3])
		s4 += float32(p[4] * q[4])
		s5 += float32(p[5] * q[5])
		s6 += float32(p[6] * q[6])
		s7 += float32(p[7] * q[7])
	}
	*s = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

// accumulateTail adds the products of fewer than 16 last elements.
func accumulateTail(s *lanes, a, b []float32) {
	for i, f := range a {
		s[i] += float32(f * b[i])
	}
}
