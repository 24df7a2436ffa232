package half

import (
	"github.com/x448/float16"
	"golang.org/x/sys/cpu"
)

// hasConversions says that the processor has the F16C conversions and the AVX2
// integer instructions around them. It never changes.
var hasConversions = cpu.X86.HasAVX2 && cpu.X86.HasF16C

func encode(dst []float16.Float16, src []float32) {
	n := 0
	if hasConversions && len(src) >= 8 {
		n = len(src) &^ 7
		encodeAVX(&dst[0], &src[0], n)
	}
	encodePortable(dst[n:], src[n:])
}

func decode(dst []float32, src []float16.Float16) {
	n := 0
	if hasConversions && len(src) >= 8 {
		n = len(src) &^ 7
		decodeAVX(&dst[0], &src[0], n)
	}
	decodePortable(dst[n:], src[n:])
}

func round(x []float32) {
	n := 0
	if hasConversions && len(x) >= 8 {
		n = len(x) &^ 7
		roundAVX(&x[0], n)
	}
	roundPortable(x[n:])
}

// encodeAVX encodes n elements; n is a positive multiple of 8.
//
//go:noescape
func encodeAVX(dst *float16.Float16, src *float32, n int)

// decodeAVX decodes n elements; n is a positive multiple of 8.
//
//go:noescape
func decodeAVX(dst *float32, src *float16.Float16, n int)

// roundAVX rounds n elements in place; n is a positive multiple of 8.
//
//go:noescape
func roundAVX(x *float32, n int)
