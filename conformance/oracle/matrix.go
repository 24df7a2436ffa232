package oracle

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"lockstep/internal/checkpoint"
)

// matrix is a weight matrix, row-major, one row per output value.
type matrix struct {
	rows, cols int
	data       []float32
}

// readBlock bounds the values that one read of a tensor decodes, so that a
// cancelled context is noticed soon.
const readBlock = 1 << 20

// readMatrix reads a whole tensor, in blocks of rows, and checks its shape.
func readMatrix(ctx context.Context, ckpt *checkpoint.Checkpoint, role checkpoint.Role, layer, rows, cols int) (matrix, error) {
	t, err := ckpt.Tensor(role, layer)
	if err != nil {
		return matrix{}, err
	}
	if t.Rows() != rows || t.RowLen() != cols {
		return matrix{}, fmt.Errorf("%w: %s: tensor %s has %d rows of %d, want %d of %d",
			ErrModel, t.File, t.Name, t.Rows(), t.RowLen(), rows, cols)
	}
	m := matrix{rows: rows, cols: cols, data: make([]float32, rows*cols)}
	step := max(1, readBlock/cols)
	for row := 0; row < rows; row += step {
		if err := ctx.Err(); err != nil {
			return matrix{}, err
		}
		n := min(step, rows-row)
		if err := t.ReadRows(m.data[row*cols:(row+n)*cols], row); err != nil {
			return matrix{}, err
		}
	}
	return m, nil
}

// times returns the matrix times the vector x.
func (m matrix) times(x []float64) []float64 {
	y := make([]float64, m.rows)
	parallel(m.rows, max(1, (1<<16)/m.cols), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			y[r] = dot(m.data[r*m.cols:][:m.cols], x)
		}
	})
	return y
}

// dot sums in four interleaved float64 partial sums.
func dot(w []float32, x []float64) float64 {
	var s0, s1, s2, s3 float64
	x = x[:len(w)]
	k := 0
	for ; k+4 <= len(w); k += 4 {
		s0 += float64(float64(w[k]) * x[k])
		s1 += float64(float64(w[k+1]) * x[k+1])
		s2 += float64(float64(w[k+2]) * x[k+2])
		s3 += float64(float64(w[k+3]) * x[k+3])
	}
	for ; k < len(w); k++ {
		s0 += float64(float64(w[k]) * x[k])
	}
	return (s0 + s1) + (s2 + s3)
}

// parallel runs f over [0,n) in contiguous pieces of at least least items, one
// goroutine per piece and at most one per processor.
func parallel(n, least int, f func(lo, hi int)) {
	pieces := min(runtime.GOMAXPROCS(0), n/max(1, least))
	if pieces <= 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for p := range pieces {
		wg.Go(func() { f(n*p/pieces, n*(p+1)/pieces) })
	}
	wg.Wait()
}

// rmsNorm returns weight * x / sqrt(mean(x^2) + eps), or NaN throughout where a
// square leaves float64: x would otherwise come out as zero, which looks fine.
func rmsNorm(x []float64, weight []float32, eps float64) []float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v * v)
	}
	inv := 1 / math.Sqrt(sum/float64(len(x))+eps)
	if math.IsInf(sum, 0) {
		inv = math.NaN()
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(weight[i]) * (v * inv)
	}
	return y
}
