package kernel

import (
	"math"

	"lockstep/internal/half"
)

// MatMulTransposed computes dst[i*n+j] = float16(sum over l of a[i*k+l] *
// b[j*k+l]): a holds m rows of k elements, b holds n rows of k elements. It is
// matmul with transpose_y.
func MatMulTransposed(dst, a, b []float32, m, n, k int) {
	dst, a, b = dst[:m*n], a[:m*k], b[:n*k]
	// A group of b's rows stays in the first-level cache while every row of a
	// passes by.
	for j := 0; j < n; j += group {
		width := min(group, n-j)
		for i := range m {
			var sums [group]lanes
			multiply(sums[:width], a[i*k:(i+1)*k], b[j*k:], k, hasSIMD)
			finish(dst[i*n+j:i*n+j+width], &sums, hasSIMD)
		}
	}
	half.Round(dst)
}

// columnBlock is how many columns of b one pass of MatMul covers.
const columnBlock = 32

// MatMul computes dst[i*n+j] = float16(sum over l of a[i*k+l] * b[l*n+j]): a is
// m x k and b is k x n, both row-major.
//
// Zeros in a are cheap: trailing ones, as a causal mask leaves behind a
// softmax, and whole or one-hot rows, as in a cache write. That they may be
// left out needs b's rows there to be finite, which is looked at first.
func MatMul(dst, a, b []float32, m, k, n int) {
	dst, a, b = dst[:m*n], a[:m*k], b[:k*n]
	used := usedColumns(a, k)
	if used < k && !AllFinite(b[used*n:]) {
		used = k
	}
	sparse := used > 0 && used <= laneCount && AllFinite(b[:used*n])
	for i := range m {
		row, out := a[i*k:i*k+used], dst[i*n:(i+1)*n]
		if sparse && sparseRow(out, row, b) {
			continue
		}
		denseRow(out, row, b, n)
	}
	half.Round(dst)
}

// usedColumns is the number of columns of a, k in a row, up to the last that
// is not all zero.
func usedColumns(a []float32, k int) int {
	used := 0
	for ; len(a) >= k && k > 0; a = a[k:] {
		for l := k; l > used; l-- {
			if a[l-1] != 0 {
				used = l
			}
		}
	}
	return used
}

// sparseRow writes the product of a row with at most one element that is not
// zero, given that b is finite, and says whether the row was one.
func sparseRow(out, row, b []float32) bool {
	at := -1
	for l, f := range row {
		if f != 0 {
			if at >= 0 {
				return false
			}
			at = l
		}
	}
	if at < 0 {
		clear(out)
		return true
	}
	factor := row[at]
	for j, f := range b[at*len(out) : (at+1)*len(out)] {
		out[j] = 0 + float32(factor*f) // a lane starts at +0, which -0 does not change
	}
	return true
}

// denseRow computes one row of the product: row has the elements of a, out the
// n results.
func denseRow(out, row, b []float32, n int) {
	done := denseRowSIMD(out, row, b, n)
	for ; done < n; done += columnBlock {
		denseBlock(out[done:min(done+columnBlock, n)], row, b[done:], n)
	}
}

// denseBlock computes up to 32 results of a row; b starts at their first
// column.
func denseBlock(out, row, b []float32, n int) {
	var sums [laneCount][columnBlock]float32
	for l, f := range row {
		lane := sums[l%laneCount][:len(out)]
		for j, v := range b[l*n : l*n+len(out)] {
			lane[j] += float32(f * v)
		}
	}
	for h := laneCount / 2; h > 0; h /= 2 {
		for lane := range h {
			for j := range out {
				sums[lane][j] += sums[lane+h][j]
			}
		}
	}
	copy(out, sums[0][:])
}

// AllFinite says whether x holds no NaN and no infinity.
func AllFinite(x []float32) bool {
	n, ok := allFiniteSIMD(x)
	return ok && allFinitePortable(x[n:])
}

func allFinitePortable(x []float32) bool {
	for _, f := range x {
		if math.Float32bits(f)&0x7F800000 == 0x7F800000 {
			return false
		}
	}
	return true
}
