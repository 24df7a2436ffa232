// Package half converts between IEEE 754 binary16 (float16) and wider numbers,
// one number at a time and in slices.
//
// Every conversion to float16 rounds once, to nearest even, and turns any NaN
// into 0x7E00. The results are the same bits on every CPU: where the processor
// has conversion instructions they are used, and tests compare them with the
// portable code on every input.
package half
