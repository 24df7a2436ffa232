package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
)

// definedProduct is the definition: weight rows times columns, not rounded.
func definedProduct(w, x []float32, rows, k, cols int) []float32 {
	dst := make([]float32, rows*cols)
	for r := range rows {
		for c := range cols {
			dst[r*cols+c] = definedDot(w[r*k:(r+1)*k], x[c*k:(c+1)*k])
		}
	}
	return dst
}

// shapes calls test for every length with some rows and columns.
func shapes(r *rand.Rand, test func(rows, k, cols int)) {
	for _, k := range lengths() {
		if k == 0 {
			continue
		}
		for cols := 1; cols <= 9; cols++ {
			test(1+r.IntN(2*rowBlock), k, cols)
		}
	}
}

func rounded16(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, f := range x {
		out[i] = half.ToFloat32(half.FromFloat32(f))
	}
	return out
}

func TestConvHalf(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/conv half")
		shapes(r, func(rows, k, cols int) {
			w, x := halves(r, rows*k, kind), floats(r, cols*k, kind)
			want := definedProduct(wide(w), x, rows, k, cols)
			got := make([]float32, rows*cols)
			ConvHalfSums(got, w, x, k, cols)
			requireBits(t, want, got, "ConvHalfSums", rows, k, cols)
			ConvHalf(got, w, x, k, cols)
			requireBits(t, rounded16(want), got, "ConvHalf", rows, k, cols)

			clear(got)
			weights{half: w, k: k}.product(got, x, rows, cols)
			canonicalize(got)
			requireBits(t, want, got, "portable", rows, k, cols)
		})
	})
}

func TestConvInt8(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind kind) {
		r := source("kernel/conv int8")
		shapes(r, func(rows, k, cols int) {
			q, x := make([]int8, rows*k), floats(r, cols*k, kind)
			scale := halves(r, rows, kind)
			if r.IntN(3) == 0 {
				scale = scale[:1]
			}
			w := make([]float32, len(q))
			for i := range q {
				q[i] = int8(r.Int())
				exact := float64(half.ToFloat32(scale[min(i/k, len(scale)-1)])) * float64(q[i])
				w[i] = half.ToFloat32(half.FromFloat64(exact))
			}
			want := definedProduct(w, x, rows, k, cols)
			got := make([]float32, rows*cols)
			ConvInt8Sums(got, q, scale, x, k, cols)
			requireBits(t, want, got, "ConvInt8Sums", rows, k, cols, len(scale))
			ConvInt8(got, q, scale, x, k, cols)
			requireBits(t, rounded16(want), got, "ConvInt8", rows, k, cols, len(scale))

			clear(got)
			weights{int8: q, scale: scale, k: k}.product(got, x, rows, cols)
			canonicalize(got)
			requireBits(t, want, got, "portable", rows, k, cols, len(scale))
		})
	})
}

func TestDequantizeInt8(t *testing.T) {
	all := make([]int8, 256)
	for i := range all {
		all[i] = int8(i)
	}
	got, portable, want := make([]float32, 256), make([]float32, 256), make([]float32, 256)
	for s := 0; s < 1<<16; s += 7 {
		scale := half.ToFloat32(float16.Float16(s))
		for i, q := range all {
			want[i] = half.ToFloat32(half.FromFloat64(float64(scale) * float64(q)))
		}
		DequantizeInt8(got, all, float16.Float16(s))
		requireBits(t, want, got, "DequantizeInt8", s)
		dequantizePortable(portable, all, scale)
		requireBits(t, want, portable, "portable", s)
	}
	for n := range 68 {
		got := make([]float32, n+1)
		DequantizeInt8(got, all[100:100+n], 0x3C00)
		for i := range n {
			require.Equal(t, float32(all[100+i]), got[i])
		}
		require.Zero(t, got[n], "wrote past the end")
	}
}

// TestColumnsAreIndependent is what block and singles rest on: a column's
// results do not depend on how many columns there are, nor on what they hold.
func TestColumnsAreIndependent(t *testing.T) {
	r := source("kernel/independent")
	const rows, k = 13, 200
	w, x := halves(r, rows*k, finite), floats(r, 7*k, finite)
	single, block := make([]float32, rows), make([]float32, rows*7)
	for cols := 2; cols <= 7; cols++ {
		for c := range cols {
			ConvHalf(block[:rows*cols], w, x[:cols*k], k, cols)
			ConvHalf(single, w, x[c*k:(c+1)*k], k, 1)
			for i := range rows {
				requireBits(t, single[i:i+1], block[i*cols+c:i*cols+c+1], "row and column", i, c, cols)
			}
		}
	}
}

func TestConvShapePanics(t *testing.T) {
	w, x := make([]float16.Float16, 64), make([]float32, 32)
	assert.Panics(t, func() { ConvHalf(make([]float32, 1), w, x, 32, 1) })
	assert.Panics(t, func() { ConvHalf(make([]float32, 4), w, x, 32, 2) })
	assert.Panics(t, func() { ConvInt8(make([]float32, 2), make([]int8, 64), nil, x, 32, 1) })
	assert.NotPanics(t, func() { ConvHalf(nil, nil, nil, 0, 4) })
}

func TestNoAllocation(t *testing.T) {
	r := source("kernel/allocation")
	w, x, q := halves(r, 8*1500, ordinary), floats(r, 4*1500, ordinary), make([]int8, 8*1500)
	dst := make([]float32, 32)
	for _, cols := range []int{1, 4} {
		assert.Zero(t, testing.AllocsPerRun(10, func() { ConvHalf(dst, w, x, 1500, cols) }))
		assert.Zero(t, testing.AllocsPerRun(10, func() { ConvInt8(dst, q, w[:8], x, 1500, cols) }))
		assert.Zero(t, testing.AllocsPerRun(10, func() { weights{half: w, k: 1500}.product(dst, x, 8, cols) }))
	}
}

// The 1x1 convolutions of two layers of Phi-4-mini.
var realConvs = []struct{ k, rows int }{{3072, 5120}, {3072, 3072}, {3072, 16384}, {8192, 3072}}

// benchmarkConvs times one pass over a real-size two-layer shard's 201 M
// weights, split over as many goroutines as there are processors.
func benchmarkConvs(b *testing.B, weightBytes int64, conv func(layer, i int, dst, x []float32, first, rows, k, cols int)) {
	for _, cols := range []int{1, 4} {
		b.Run(fmt.Sprintf("T=%d", cols), func(b *testing.B) {
			x := floats(source("kernel/benchmark"), 4*8192, ordinary)
			dst := make([]float32, 4*16384)
			b.SetBytes(weightBytes * 2 * 100663296)
			for b.Loop() {
				for layer := range 2 {
					for i, c := range realConvs {
						parallel(c.rows, func(first, rows int) {
							conv(layer, i, dst[first*cols:(first+rows)*cols], x[:cols*c.k], first, rows, c.k, cols)
						})
					}
				}
			}
		})
	}
}

func parallel(rows int, work func(first, rows int)) {
	workers := runtime.GOMAXPROCS(0)
	var group sync.WaitGroup
	for i := range workers {
		first, last := rows*i/workers, rows*(i+1)/workers
		group.Go(func() { work(first, last-first) })
	}
	group.Wait()
}

func benchmarkWeights() [2][4][]float16.Float16 {
	var w [2][4][]float16.Float16
	r := source("kernel/benchmark weights")
	block := halves(r, 1<<16, ordinary)
	for layer := range w {
		for i, c := range realConvs {
			w[layer][i] = make([]float16.Float16, c.k*c.rows)
			for at := 0; at < len(w[layer][i]); at += len(block) {
				copy(w[layer][i][at:], block)
			}
		}
	}
	return w
}

func BenchmarkConvHalf(b *testing.B) {
	w := benchmarkWeights()
	benchmarkConvs(b, 2, func(layer, i int, dst, x []float32, first, rows, k, cols int) {
		ConvHalf(dst, w[layer][i][first*k:(first+rows)*k], x, k, cols)
	})
}

// BenchmarkConvHalfPortable still converts the weights with F16C; run
// BenchmarkConvHalf with GODEBUG=cpu.avx2=off for portable code throughout.
func BenchmarkConvHalfPortable(b *testing.B) {
	w := benchmarkWeights()
	benchmarkConvs(b, 2, func(layer, i int, dst, x []float32, first, rows, k, cols int) {
		weights{half: w[layer][i][first*k : (first+rows)*k], k: k}.product(dst, x, rows, cols)
	})
}

func BenchmarkConvInt8(b *testing.B) {
	var w [2][4][]int8
	r := source("kernel/benchmark weights")
	block := make([]int8, 1<<16)
	for i := range block {
		block[i] = int8(r.IntN(255) - 127)
	}
	for layer := range w {
		for i, c := range realConvs {
			w[layer][i] = make([]int8, c.k*c.rows)
			for at := 0; at < len(w[layer][i]); at += len(block) {
				copy(w[layer][i][at:], block)
			}
		}
	}
	scale := halves(r, 16384, ordinary)
	benchmarkConvs(b, 1, func(layer, i int, dst, x []float32, first, rows, k, cols int) {
		ConvInt8(dst, w[layer][i][first*k:(first+rows)*k], scale[first:first+rows], x, k, cols)
	})
}
