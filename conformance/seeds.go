package conformance

import (
	"crypto/sha256"
	"math/rand/v2"

	"github.com/x448/float16"

	"lockstep/internal/half"
)

// Normals returns n float16 values of mean 0 and the given deviation, drawn
// from a stream that the name alone decides. They are sums of twelve uniform
// values (Irwin and Hall), so every CPU draws the same, and none is zero or
// beyond six deviations.
func Normals(name string, n int, deviation float64) []float16.Float16 {
	rng := rand.New(rand.NewChaCha8(sha256.Sum256([]byte("lockstep conformance " + name))))
	out := make([]float16.Float16, n)
	for i := range out {
		for out[i]&0x7FFF == 0 {
			sum := -6.0
			for range 12 {
				sum += rng.Float64()
			}
			out[i] = half.FromFloat64(sum * deviation)
		}
	}
	return out
}

// seededStates names the content that every case with seeded states starts
// from.
const seededStates = "states"

// HiddenRows returns rows of plausible hidden states: unit deviation, and one
// channel in 97 eight times as large, as the outlier channels of real models.
func HiddenRows(name string, rows, hidden int) [][]float16.Float16 {
	out := make([][]float16.Float16, rows)
	flat := Normals(name, rows*hidden, 1)
	for r := range out {
		out[r] = flat[r*hidden : (r+1)*hidden]
		for c := 96; c < hidden; c += 97 {
			out[r][c] = half.FromFloat32(8 * half.ToFloat32(out[r][c]))
		}
	}
	return out
}
