package kernel

import (
	"github.com/x448/float16"
	"golang.org/x/sys/cpu"

	"lockstep/internal/half"
)

// hasSIMD says that the processor has every instruction of simd_amd64.s. It
// never changes.
var hasSIMD = cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C

// convHalfSIMD is weights.product with the conversion and the products in one
// loop. It says whether it did the work.
func convHalfSIMD(dst []float32, w []float16.Float16, x []float32, rows, k, cols int) bool {
	if !hasSIMD || k < laneCount {
		return false
	}
	if cols == 1 {
		convVector(dst, w, x, rows, k)
		return true
	}
	for c := 0; c < cols; c += group {
		width := min(group, cols-c)
		for row := 0; row < rows; row += rowBlock {
			height := min(rowBlock, rows-row)
			convBlock(dst[row*cols+c:], w[row*k:(row+height)*k], x[c*k:(c+width)*k], k, cols, width)
		}
	}
	return true
}

// convVector computes one column, four rows at a time; what is left goes row by
// row, as four copies of which one counts.
func convVector(dst []float32, w []float16.Float16, x []float32, rows, k int) {
	full := k &^ (laneCount - 1)
	row := 0
	for ; row+group <= rows; row += group {
		var sums [group]lanes
		accumulateRowsAVX(&sums, &w[row*k], k, &x[0], full)
		for i := range sums {
			halfTail(&sums[i], w[(row+i)*k+full:(row+i+1)*k], x[full:])
		}
		totalsAVX((*[group]float32)(dst[row:]), &sums)
	}
	for ; row < rows; row++ {
		var sums [group]lanes
		accumulateRowsAVX(&sums, &w[row*k], 0, &x[0], full)
		halfTail(&sums[0], w[row*k+full:(row+1)*k], x[full:])
		dst[row] = sums[0].total()
	}
}

// prefetchRows is how many rows ahead of a chunk convBlock asks for weights: it
// jumps from row to row before the processor's own prefetching gets going.
const prefetchRows = 2

// convBlock computes up to eight rows and four columns, chunk by chunk, so that
// each chunk of the columns is used by every row while it is cached. Columns
// that are not there are computed as copies of the first and dropped.
func convBlock(dst []float32, w []float16.Float16, x []float32, k, cols, width int) {
	var sums [rowBlock][group]lanes
	rows := len(w) / k
	var at [group]int
	for i := range width {
		at[i] = i * k
	}
	full := k &^ (laneCount - 1)
	for from := 0; from < full; from += chunk {
		n := min(chunk, full-from)
		for r := range rows {
			accumulateColumnsAVX(&sums[r], &w[r*k+from], &x[at[0]+from], &x[at[1]+from], &x[at[2]+from], &x[at[3]+from], n, prefetchRows*k)
		}
	}
	for r := range rows {
		for i := range width {
			halfTail(&sums[r][i], w[r*k+full:(r+1)*k], x[i*k+full:])
		}
		finish(dst[r*cols:r*cols+width], &sums[r], true)
	}
}

// halfTail adds the products of a row's fewer than 16 last weights.
func halfTail(s *lanes, w []float16.Float16, x []float32) {
	for i, h := range w {
		s[i] += float32(half.ToFloat32(h) * x[i])
	}
}

// dequantizeSIMD does the first elements of dequantizePortable and says how
// many.
func dequantizeSIMD(dst []float32, q []int8, scale float32) int {
	n := vectorLength(len(q))
	if n > 0 {
		dequantizeAVX(&dst[0], &q[0], scale, n)
	}
	return n
}

// vectorLength is the part of n elements that the loops over eight do.
func vectorLength(n int) int {
	if !hasSIMD {
		return 0
	}
	return n &^ 7
}

// multiplySIMD is accumulate for each of up to four sums; it needs hasSIMD.
func multiplySIMD(sums []lanes, a, b []float32, stride int) {
	if len(a) == 0 {
		return
	}
	if len(sums) == group {
		accumulateFloatsAVX((*[group]lanes)(sums), &a[0], &b[0], &b[stride], &b[2*stride], &b[3*stride], len(a))
		return
	}
	for i := range sums {
		var four [group]lanes
		four[0] = sums[i]
		at := &b[i*stride]
		accumulateFloatsAVX(&four, &a[0], at, at, at, at, len(a))
		sums[i] = four[0]
	}
}

// totalsSIMD is lanes.total of four sums; it needs hasSIMD.
func totalsSIMD(dst *[group]float32, sums *[group]lanes) { totalsAVX(dst, sums) }

// denseRowSIMD does the row's whole blocks of 32 columns and says how many
// columns that is.
func denseRowSIMD(out, row, b []float32, n int) int {
	if !hasSIMD || len(row) == 0 {
		return 0
	}
	done := 0
	for ; done+columnBlock <= n; done += columnBlock {
		var sums [laneCount / 2][columnBlock]float32
		for lane := range min(len(sums), len(row)) {
			low, high := laneLength(len(row), lane), laneLength(len(row), lane+laneCount/2)
			lanePairAVX(&sums[lane], &row[lane], &b[lane*n+done], n, high, low-high)
		}
		for h := laneCount / 4; h > 0; h /= 2 {
			for lane := range h {
				addLanes(&sums[lane], &sums[lane+h])
			}
		}
		copy(out[done:], sums[0][:])
	}
	return done
}

// laneLength is how many of n elements a lane gets.
func laneLength(n, lane int) int { return (n - lane + laneCount - 1) / laneCount }

func addLanes(a, b *[columnBlock]float32) {
	for i, f := range b {
		a[i] += f
	}
}

func allFiniteSIMD(x []float32) (done int, ok bool) {
	n := vectorLength(len(x))
	if n == 0 {
		return 0, true
	}
	return n, allFiniteAVX(&x[0], n)
}

func addSIMD(dst, a, b []float32) int {
	n := vectorLength(len(dst))
	if n > 0 {
		addAVX(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func subSIMD(dst, a, b []float32) int {
	n := vectorLength(len(dst))
	if n > 0 {
		subAVX(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func mulSIMD(dst, a, b []float32) int {
	n := vectorLength(len(dst))
	if n > 0 {
		mulAVX(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func addScalarSIMD(dst, a []float32, b float32) int {
	n := vectorLength(len(dst))
	if n > 0 {
		addScalarAVX(&dst[0], &a[0], b, n)
	}
	return n
}

func mulScalarSIMD(dst, a []float32, b float32) int {
	n := vectorLength(len(dst))
	if n > 0 {
		mulScalarAVX(&dst[0], &a[0], b, n)
	}
	return n
}

// accumulateRowsAVX adds to sums[i] the products of n float16 weights from
// w[i*stride] on with x, for four rows; n is a positive multiple of 16.
//
//go:noescape
func accumulateRowsAVX(sums *[group]lanes, w *float16.Float16, stride int, x *float32, n int)

// accumulateColumnsAVX adds to sums[i] the products of n float16 weights with
// column xi; n is a positive multiple of 16. It prefetches the weights ahead
// elements further on, which need not exist.
//
//go:noescape
func accumulateColumnsAVX(sums *[group]lanes, w *float16.Float16, x0, x1, x2, x3 *float32, n, ahead int)

// accumulateFloatsAVX adds to sums[i] the products of n elements of a and bi; n
// is a positive multiple of 16.
//
//go:noescape
func accumulateFloatsAVX(sums *[group]lanes, a, b0, b1, b2, b3 *float32, n int)

// totalsAVX is lanes.total of four sums.
//
//go:noescape
func totalsAVX(dst *[group]float32, sums *[group]lanes)

// lanePairAVX computes 32 columns of two lanes of a row times a matrix and adds
// the two: a[0], a[16], ... times the rows 0, 16, ... of b, pairs+extra of them,
// and a[8], a[24], ... times the rows 8, 24, ..., pairs of them. stride is b's
// row length.
//
//go:noescape
func lanePairAVX(dst *[columnBlock]float32, a, b *float32, stride, pairs, extra int)

// dequantizeAVX sets n elements to float16(scale*q); n is a positive multiple
// of 8.
//
//go:noescape
func dequantizeAVX(dst *float32, q *int8, scale float32, n int)

// allFiniteAVX looks at n elements; n is a positive multiple of 8.
//
//go:noescape
func allFiniteAVX(x *float32, n int) bool

// The following round n results to float16; n is a positive multiple of 8.

//go:noescape
func addAVX(dst, a, b *float32, n int)

//go:noescape
func subAVX(dst, a, b *float32, n int)

//go:noescape
func mulAVX(dst, a, b *float32, n int)

//go:noescape
func addScalarAVX(dst, a *float32, b float32, n int)

//go:noescape
func mulScalarAVX(dst, a *float32, b float32, n int)
