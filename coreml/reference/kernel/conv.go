package kernel

import (
	"github.com/x448/float16"

	"lockstep/internal/half"
)

const (
	// chunk is how many weights of a row are taken at a time: four columns of
	// that many float32 values and eight rows of weights leave half of a
	// first-level cache of 32 KiB for what is prefetched. A multiple of 16.
	chunk = 512

	// group is how many columns, or rows, share one reading of the other side.
	group = 4

	// rowBlock is how many rows use a chunk of the columns while it is cached.
	rowBlock = 8
)

// ConvHalf computes a 1x1 convolution, or any product of a weight matrix with
// columns, over the output channels that it is given:
//
//	dst[r*cols+c] = float16(sum over i of w[r*k+i] * x[c*k+i])
//
// w holds the rows one after another, x the columns one after another. The
// number of rows is len(w)/k, and dst must hold rows*cols elements. Rows are
// independent of each other, so a caller may split them over goroutines.
func ConvHalf(dst []float32, w []float16.Float16, x []float32, k, cols int) {
	half.Round(convHalf(dst, w, x, k, cols))
}

// ConvHalfSums is ConvHalf without the rounding to float16, for a convolution
// with a bias: the bias is added to the float32 sum, then the result is rounded.
func ConvHalfSums(dst []float32, w []float16.Float16, x []float32, k, cols int) {
	canonicalize(convHalf(dst, w, x, k, cols))
}

// convHalf returns the part of dst that it has filled.
func convHalf(dst []float32, w []float16.Float16, x []float32, k, cols int) []float32 {
	rows := rowsOf(len(w), k)
	dst, x = dst[:rows*cols], x[:cols*k]
	if !convHalfSIMD(dst, w, x, rows, k, cols) {
		weights{half: w, k: k}.product(dst, x, rows, cols)
	}
	return dst
}

// ConvInt8 is ConvHalf with weights in the form of constexpr_blockwise_shift_scale
// without offset: each weight is float16(scale*q). scale has one element per
// row, or one for all.
func ConvInt8(dst []float32, w []int8, scale []float16.Float16, x []float32, k, cols int) {
	half.Round(convInt8(dst, w, scale, x, k, cols))
}

// ConvInt8Sums is ConvInt8 without the rounding to float16.
func ConvInt8Sums(dst []float32, w []int8, scale []float16.Float16, x []float32, k, cols int) {
	canonicalize(convInt8(dst, w, scale, x, k, cols))
}

// convInt8 returns the part of dst that it has filled.
func convInt8(dst []float32, w []int8, scale []float16.Float16, x []float32, k, cols int) []float32 {
	rows := rowsOf(len(w), k)
	dst, x = dst[:rows*cols], x[:cols*k]
	if len(scale) != 1 {
		scale = scale[:rows]
	}
	weights{int8: w, scale: scale, k: k, simd: hasSIMD}.product(dst, x, rows, cols)
	return dst
}

// DequantizeInt8 sets dst[i] to float16(scale*q[i]). dst must be as long as q.
func DequantizeInt8(dst []float32, q []int8, scale float16.Float16) {
	wide := half.ToFloat32(scale)
	n := dequantizeSIMD(dst[:len(q)], q, wide)
	dequantizePortable(dst[n:], q[n:], wide)
}

func dequantizePortable(dst []float32, q []int8, scale float32) {
	for i, v := range q {
		dst[i] = scale * float32(v) // 11 bits times 8 bits: exact in float32
	}
	half.Round(dst[:len(q)])
}

func rowsOf(weights, k int) int {
	if k == 0 {
		return 0
	}
	return weights / k
}

// weights are rows of k weights in one of two forms. simd says which loops
// multiply them.
type weights struct {
	half  []float16.Float16
	int8  []int8
	scale []float16.Float16 // of int8's rows, or one for all
	k     int
	simd  bool
}

// read converts a piece of a row, from its element from on. It is a method of a
// concrete type because a function value would send its buffer to the heap.
func (w weights) read(to []float32, row, from int) {
	at := row*w.k + from
	switch {
	case w.int8 == nil:
		half.Decode(to, w.half[at:at+len(to)])
	case w.simd:
		DequantizeInt8(to, w.int8[at:at+len(to)], w.scale[min(row, len(w.scale)-1)])
	default:
		dequantizePortable(to, w.int8[at:at+len(to)], half.ToFloat32(w.scale[min(row, len(w.scale)-1)]))
	}
}

// product is the matrix product of the rows with the columns x. It converts
// each weight once for every four columns.
func (w weights) product(dst, x []float32, rows, cols int) {
	if cols == 1 {
		w.productVector(dst, x, rows)
		return
	}
	for c := 0; c < cols; c += group {
		width := min(group, cols-c)
		for row := range rows {
			w.productRow(dst[row*cols+c:row*cols+c+width], x[c*w.k:(c+width)*w.k], row)
		}
	}
}

// productRow computes one row's results for len(dst) <= 4 columns.
func (w weights) productRow(dst, x []float32, row int) {
	var sums [group]lanes
	var buffer [chunk]float32
	for from := 0; from < w.k; from += chunk {
		piece := buffer[:min(chunk, w.k-from)]
		w.read(piece, row, from)
		multiply(sums[:len(dst)], piece, x[from:], w.k, w.simd)
	}
	finish(dst, &sums, w.simd)
}

// productVector computes the results for one column, four rows at a time.
func (w weights) productVector(dst, x []float32, rows int) {
	var buffer [group * chunk]float32
	for row := 0; row < rows; row += group {
		height := min(group, rows-row)
		var sums [group]lanes
		for from := 0; from < w.k; from += chunk {
			n := min(chunk, w.k-from)
			for r := range height {
				w.read(buffer[r*chunk:r*chunk+n], row+r, from)
			}
			multiply(sums[:height], x[from:from+n], buffer[:], chunk, w.simd)
		}
		finish(dst[row:row+height], &sums, w.simd)
	}
}

// multiply adds to sums[i] the products of a with len(a) elements of b from
// i*stride on.
func multiply(sums []lanes, a, b []float32, stride int, simd bool) {
	full := len(a) &^ (laneCount - 1)
	if simd {
		multiplySIMD(sums, a[:full], b, stride)
	} else {
		for i := range sums {
			accumulate(&sums[i], a[:full], b[i*stride:i*stride+full])
		}
	}
	if full < len(a) {
		for i := range sums {
			accumulateTail(&sums[i], a[full:], b[i*stride+full:])
		}
	}
}

// finish stores the totals of the first len(dst) sums.
func finish(dst []float32, sums *[group]lanes, simd bool) {
	if simd && len(dst) == group {
		totalsSIMD((*[group]float32)(dst), sums)
		return
	}
	for i := range dst {
		dst[i] = sums[i].total()
	}
}
