package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func definedMatMul(a, b []float32, m, k, n int) []float32 {
	dst := make([]float32, m*n)
	for i := range m {
		for j := range n {
			dst[i*n+j] = definedSum(k, func(l int) float32 { return float32(a[i*k+l] * b[l*n+j]) })
		}
	}
	return rounded16(dst)
}

func matMulLengths() []int {
	return []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 64, 67, 130}
}

func TestMatMul(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/matmul")
		for _, k := range matMulLengths() {
			for _, n := range []int{1, 5, 31, 32, 33, 64, 96, 101} {
				m := 1 + r.IntN(4)
				a, b, got := floats(r, m*k, kind), floats(r, k*n, kind), make([]float32, m*n)
				MatMul(got, a, b, m, k, n)
				requireBits(t, definedMatMul(a, b, m, k, n), got, "MatMul", m, k, n)
			}
		}
	})
}

// sparsify empties parts of the rows of a as masks and write columns do.
func sparsify(r *rand.Rand, a []float32, k int) {
	tail := r.IntN(k + 1)
	for row := a; len(row) > 0; row = row[k:] {
		switch r.IntN(4) {
		case 0: // nothing
			clear(row[:k])
		case 1: // at most one element, often 1
			at := r.IntN(k)
			value := row[at]
			if r.IntN(2) == 0 {
				value = 1
			}
			clear(row[:k])
			row[at] = value
		default: // a tail of zeros, some of them negative
			for l := tail; l < k; l++ {
				row[l] = float32(math.Copysign(0, float64(r.IntN(2))-0.5))
			}
		}
	}
}

// TestMatMulSparse has the zero, one-hot and masked rows that are computed in
// part, with b finite, with -0, and with a NaN or an infinity where it must
// show and where it must not.
func TestMatMulSparse(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/sparse")
		for range 3000 {
			m, k, n := 1+r.IntN(5), 1+r.IntN(40), 1+r.IntN(70)
			a, b, got := floats(r, m*k, min(kind, finite)), floats(r, k*n, min(kind, finite)), make([]float32, m*n)
			sparsify(r, a, k)
			if kind == withSpecials {
				b[r.IntN(len(b))] = []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}[r.IntN(3)]
			}
			b[r.IntN(len(b))] = float32(math.Copysign(0, -1))
			MatMul(got, a, b, m, k, n)
			requireBits(t, definedMatMul(a, b, m, k, n), got, "MatMul", m, k, n)
		}
	})
}

// TestDenseRows compares the portable block and the assembly, each by itself,
// with the definition.
func TestDenseRows(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/dense")
		for _, k := range append(matMulLengths(), 160) {
			for _, n := range []int{1, 3, 31, 32, 33, 70} {
				a, b, got := floats(r, k, kind), floats(r, k*n, kind), make([]float32, n)
				want := definedMatMul(a, b, 1, k, n)
				for from := 0; from < n; from += columnBlock {
					denseBlock(got[from:min(from+columnBlock, n)], a, b[from:], n)
				}
				requireBits(t, want, rounded16(got), "denseBlock", k, n)
				clear(got)
				done := denseRowSIMD(got, a, b, n)
				requireBits(t, want[:done], rounded16(got[:done]), "denseRowSIMD", k, n)
			}
		}
	})
}

func TestMatMulTransposed(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/transposed")
		for _, k := range matMulLengths() {
			for n := 1; n <= 9; n++ {
				m := 1 + r.IntN(13)
				a, b, got := floats(r, m*k, kind), floats(r, n*k, kind), make([]float32, m*n)
				MatMulTransposed(got, a, b, m, n, k)
				requireBits(t, rounded16(definedProduct(a, b, m, k, n)), got, "MatMulTransposed", m, n, k)
			}
		}
	})
}

// TestMatMulOfNothing has empty sums, which are +0.
func TestMatMulOfNothing(t *testing.T) {
	got := []float32{7, 7, 7, 7}
	MatMul(got, nil, nil, 2, 0, 2)
	assert.Equal(t, make([]float32, 4), got)
	got = []float32{7, 7, 7, 7}
	MatMulTransposed(got, nil, nil, 2, 2, 0)
	assert.Equal(t, make([]float32, 4), got)
	require.NotPanics(t, func() { MatMul(nil, nil, make([]float32, 16), 0, 4, 4) })
}

func TestMatMulDoesNotAllocate(t *testing.T) {
	r := source("kernel/allocation")
	a, b, dst := floats(r, 12*64, ordinary), floats(r, 64*128, ordinary), make([]float32, 12*128)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		MatMul(dst, a, b, 12, 64, 128)
		MatMulTransposed(dst, a, b, 12, 128, 64)
	}))
}

// Attention's two products for one KV head of Phi-4-mini with 2048 slots: three
// query heads of T rows.
func BenchmarkAttention(b *testing.B) {
	const slots, dim = 2048, 128
	r := source("kernel/benchmark")
	cache := floats(r, slots*dim, ordinary)
	for _, c := range []struct {
		name string
		rows int
	}{{"T=1", 3}, {"T=4", 12}} {
		q, scores := floats(r, c.rows*dim, ordinary), floats(r, c.rows*slots, ordinary)
		b.Run("scores/"+c.name, func(b *testing.B) {
			dst := make([]float32, c.rows*slots)
			for b.Loop() {
				MatMulTransposed(dst, q, cache, c.rows, slots, dim)
			}
		})
		b.Run("values/"+c.name, func(b *testing.B) {
			dst := make([]float32, c.rows*dim)
			for b.Loop() {
				MatMul(dst, scores, cache, c.rows, slots, dim)
			}
		})
	}
}

// BenchmarkCacheWrite is one KV head's product of write columns and new rows.
func BenchmarkCacheWrite(b *testing.B) {
	const slots, rows, dim = 2048, 4, 128
	write, fresh, dst := make([]float32, slots*rows), floats(source("kernel/benchmark"), rows*dim, ordinary), make([]float32, slots*dim)
	for t := range rows {
		write[(700+t)*rows+t] = 1
	}
	for b.Loop() {
		MatMul(dst, write, fresh, slots, rows, dim)
	}
}
