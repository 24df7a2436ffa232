package reference_test

import (
	"math"
	"slices"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// float is a float32 scalar written in place.
func float(v float32) mil.Literal {
	return mil.Literal{Type: mil.Tensor(mil.Float32), Floats: []float32{v}}
}

// to casts a value.
func (s *sample) to(d mil.DType, x string) string {
	return s.op("cast", mil.Arg("x", x), mil.Lit("dtype", mil.StringScalar(d.String())))
}

// widened makes a value of the sample's type of two of float16, so that all of
// its bits vary: a + b/2^11 as float32, or a*40503*40503 + b*16777217 as int32.
func (s *sample) widened(a, b string) string {
	a, b = s.to(s.dtype, a), s.to(s.dtype, b)
	if s.dtype == mil.Float32 {
		b = s.op("mul", mil.Arg("x", b), mil.Lit("y", float(0x1p-11)))
	} else {
		for range 2 {
			a = s.op("mul", mil.Arg("x", a), mil.Lit("y", mil.Int32Scalar(40503)))
		}
		b = s.op("mul", mil.Arg("x", b), mil.Lit("y", mil.Int32Scalar(1<<24+1)))
	}
	return s.op("add", mil.Arg("x", a), mil.Arg("y", b))
}

// words is a constant of a type of 32 bits, in place or in the weight file.
func (s *sample) words(d mil.DType, shape ...int) mil.Literal {
	lit := mil.Literal{Type: mil.Tensor(d, shape...)}
	var words []uint32
	for range elements(shape) {
		f, n := float32(s.NormFloat64()), int32(s.Uint32())
		switch s.IntN(8) {
		case 0:
			f, n = 0, int32(s.between(-3, 3))
		case 1:
			f, n = f*0x1p-20, 1<<24+1
		}
		lit.Floats, lit.Ints = append(lit.Floats, f), append(lit.Ints, n)
		if d == mil.Float32 {
			n = int32(math.Float32bits(f))
		}
		words = append(words, uint32(n))
	}
	if s.IntN(2) == 0 {
		return s.blobs.words(d, shape, words)
	}
	if d == mil.Float32 {
		lit.Ints = nil
	} else {
		lit.Floats = nil
	}
	return lit
}

// reveal turns values of any type into float16 values that differ wherever they
// do: a float32 of ordinary size into three pieces of its bits, an int32 into
// what a float32 keeps of it and its low byte.
func (s *sample) reveal(outputs ...string) []string {
	var out []string
	for _, x := range outputs {
		switch s.Type(x).DType {
		case mil.Float16:
			out = append(out, x)
		case mil.Float32:
			out = append(out, s.pieces(x)...)
		case mil.Bool:
			out = append(out, s.to(mil.Float16, x))
		default:
			high := s.op("mul", mil.Arg("x", s.to(mil.Float32, x)), mil.Lit("y", float(0x1p-16)))
			out = append(append(out, s.to(mil.Float16, s.to(mil.UInt8, x))), s.pieces(high)...)
		}
	}
	return out
}

func (s *sample) pieces(x string) []string {
	var out []string
	for range 3 {
		piece := s.to(mil.Float16, x)
		rest := s.op("sub", mil.Arg("x", x), mil.Arg("y", s.to(mil.Float32, piece)))
		out, x = append(out, piece), s.op("mul", mil.Arg("x", rest), mil.Lit("y", float(0x1p12)))
	}
	return out
}

// indices are drawn numbers of rows of an axis, as a run-time value or a constant
// of any type that indices may have.
func (s *sample) indices(size int, shape ...int) string {
	values := s.ints(elements(shape), 0, size-1)
	var halfs []float16.Float16
	lit := mil.Literal{Type: mil.Tensor(mil.Int32, shape...)}
	for _, v := range values {
		halfs, lit.Ints = append(halfs, half.FromFloat64(float64(v))), append(lit.Ints, int32(v))
	}
	if s.IntN(2) == 0 {
		return s.Const(s.name(), lit)
	}
	// The sum with 0 times an input is known when the pass runs.
	types := []mil.DType{mil.Int32, mil.Int16, mil.UInt16, mil.Int8, mil.UInt8}
	constant := s.Const(s.name(), mil.Halfs(shape, halfs))
	zero := s.op("mul", mil.Arg("x", s.Input(s.name(), fp16(shape...))), mil.Lit("y", mil.Half(0)))
	return s.to(types[s.IntN(len(types))], s.op("add", mil.Arg("x", constant), mil.Arg("y", zero)))
}

// truth is a drawn bool value.
func (s *sample) truth(shape ...int) string {
	if s.IntN(3) == 0 {
		bools := make([]bool, elements(shape))
		for i := range bools {
			bools[i] = s.IntN(2) == 0
		}
		return s.Const(s.name(), mil.Literal{Type: mil.Tensor(mil.Bool, shape...), Bools: bools})
	}
	return s.op("less", mil.Arg("x", s.Input(s.name(), fp16(shape...))), mil.Lit("y", mil.Half(0x3000)))
}

// part draws a shape that broadcasts to another.
func (s *sample) part(shape []int) []int {
	own := slices.Clone(shape[s.between(0, len(shape)):])
	for d := range own {
		if s.IntN(3) == 0 {
			own[d] = 1
		}
	}
	return own
}
