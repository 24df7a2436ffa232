// Package kernel holds the reference plane's inner loops: dot products, matrix
// products, normalizations, element-wise operations and unary tables.
//
// Each result is defined to the bit. Values travel as float32 slices whose
// elements are float16 values, float32 values where a name says so (Float32), or
// the bits of integers (Ints); unless a function's comment says otherwise, its
// arguments must be such values and its results are float32 computations
// rounded once to float16, to nearest even. Any NaN among the results is the
// one NaN 0x7FC00000, which is 0x7E00 as float16.
//
// A sum over k runs in 16 float32 partial sums ("lanes") that start at +0:
// element k is added to lane k mod 16, k ascending; then lane i takes lane i+h
// for h = 8, 4, 2, 1. The order depends on no number of columns, threads or
// instruction set. Two liberties leave every bit in place, because a lane never
// holds -0: padding with +0, and leaving out zero products whose other factor is
// finite.
//
// A product of two float16 values is exact in float32, so there an instruction
// that fuses it with the addition changes nothing; every other product is
// rounded before it is added.
//
// On amd64 the hot loops are assembly where the processor has AVX2, FMA and
// F16C; the portable loops serve every other processor, and tests compare the
// two on every kind of input. Lengths that do not fit each other are the
// caller's fault and panic; the interpreter has checked all shapes before.
package kernel
