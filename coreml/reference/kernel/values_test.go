package kernel

import (
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
)

// source gives a random stream that depends on the name alone.
func source(name string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256([]byte(name))))
}

// A kind is a way to draw float16 values.
type kind int

const (
	ordinary     kind = iota // about 1
	finite                   // every finite bit pattern: magnitudes so far apart that the order of a sum shows
	withSpecials             // a few infinities and NaN with the finite ones
)

func halves(r *rand.Rand, n int, k kind) []float16.Float16 {
	s := make([]float16.Float16, n)
	for i := range s {
		switch {
		case k == ordinary:
			s[i] = half.FromFloat64(r.NormFloat64())
		case k == withSpecials && r.IntN(12) == 0:
			s[i] = []float16.Float16{0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x7C01, 0x8000, 0x0001, 0x8001, 0x03FF, 0x7BFF}[r.IntN(10)]
		default:
			for s[i] = float16.Float16(r.Uint32()); !half.IsFinite(s[i]); {
				s[i] = float16.Float16(r.Uint32())
			}
		}
	}
	return s
}

func wide(s []float16.Float16) []float32 {
	f := make([]float32, len(s))
	for i, h := range s {
		f[i] = half.ToFloat32(h)
	}
	return f
}

func floats(r *rand.Rand, n int, k kind) []float32 { return wide(halves(r, n, k)) }

// definedSum is the order of summation as the design defines it, with nothing
// skipped.
func definedSum(n int, product func(k int) float32) float32 {
	var s [16]float32
	for k := range n {
		s[k%16] += product(k)
	}
	for _, h := range []int{8, 4, 2, 1} {
		for i := range h {
			s[i] += s[i+h]
		}
	}
	return s[0]
}

func definedDot(a, b []float32) float32 {
	return definedSum(len(a), func(k int) float32 { return float32(a[k] * b[k]) })
}

// requireBits checks equality of every bit, where want's NaN are the one NaN.
func requireBits(t require.TestingT, want, got []float32, what string, args ...any) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := math.Float32bits(want[i]), math.Float32bits(got[i])
		if want[i] != want[i] {
			w = 0x7FC00000
		}
		if w != g {
			require.Failf(t, "bits differ", "%s %v: element %d of %d: want %x (%#08x), got %x (%#08x)", what, args, i, len(want), want[i], w, got[i], g)
		}
	}
}

// lengths are 0 to 67 and some around the chunk length.
func lengths() []int {
	var n []int
	for i := range 68 {
		n = append(n, i)
	}
	return append(n, 128, 200, chunk-16, chunk-1, chunk, chunk+1, chunk+40, 2*chunk+17)
}

func forEachKind(t *testing.T, test func(t *testing.T, k kind)) {
	for k, name := range []string{"ordinary", "finite", "with specials"} {
		t.Run(name, func(t *testing.T) { test(t, kind(k)) })
	}
}
