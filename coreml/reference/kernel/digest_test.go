package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
)

// TestDigests pins the bits of everything that rounds more than once, so that
// every processor and every later change is held to the same ones.
func TestDigests(t *testing.T) {
	var text strings.Builder
	record := func(name string, values []float32) {
		hash := sha256.New()
		require.NoError(t, binary.Write(hash, binary.LittleEndian, bitsOf(values)))
		fmt.Fprintf(&text, "%s %x\n", name, hash.Sum(nil))
	}
	// Multiples of 1/512 in [-4, 4): drawn without a float function whose bits
	// might depend on the processor.
	r := source("kernel/digests")
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = half.ToFloat32(half.FromFloat32(float32(r.IntN(4096)-2048) / 512))
		}
		return x
	}
	const k, rows, cols = 3072, 24, 4
	x, w := draw(cols*k), make([]float16.Float16, rows*k)
	half.Encode(w, draw(rows*k))
	dst := make([]float32, rows*cols)
	ConvHalfSums(dst, w, x, k, cols)
	record("conv_half_sums", dst)
	q, scale := make([]int8, rows*k), make([]float16.Float16, rows)
	for i := range q {
		q[i] = int8(r.IntN(255) - 127)
	}
	for i := range scale {
		scale[i] = float16.Float16(0x1C00 + r.IntN(0x800))
	}
	ConvInt8Sums(dst, q, scale, x, k, cols)
	record("conv_int8_sums", dst)

	var exponentials []float32
	for bits := math.Float32bits(-0x1p-30); bits < math.Float32bits(-87.5); bits += 4999 {
		exponentials = append(exponentials, Exp32(math.Float32frombits(bits)))
	}
	record("exp32", exponentials)

	norm := make([]float32, k)
	LayerNorm(norm, x[:k], x[k:2*k], x[2*k:3*k], 1e-5)
	record("layer_norm", norm)
	record("sums", []float32{Sum(exponentials), SumSquares(exponentials)})
	for row := range cols {
		Softmax(x[row*k:(row+1)*k], x[row*k:(row+1)*k])
	}
	record("softmax", x)
	for _, name := range UnaryNames() {
		table, err := Unary(name, 0)
		require.NoError(t, err)
		record(name, table.values[:])
	}
	recordFloat32(t, record)
	goldie.New(t, goldie.WithFixtureDir("../../../golden"), goldie.WithNameSuffix(".txt")).Assert(t, "kernel_digests", []byte(text.String()))
}

// recordFloat32 pins the functions of float32 values.
func recordFloat32(t *testing.T, record func(name string, values []float32)) {
	r := source("kernel/digests float32")
	draw := func(n int) []float32 { // multiples of 2^-21 in [-4, 4)
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.IntN(1<<24)-1<<23) / (1 << 21)
		}
		return x
	}
	const n, slots, size = 2000, 70, 50
	a, b, dst := draw(n), draw(n), make([]float32, n)
	record("dot_float32", []float32{DotFloat32(a, b), DotFloat32(a[:999], b[1:1000])})
	LayerNormFloat32(dst, a, b, a, 1e-6)
	record("layer_norm_float32", dst)
	SoftmaxFloat32(dst, a)
	record("softmax_float32", dst)
	Attention(dst[:size], make([]float32, slots), draw(size), draw(slots*size), draw(slots*size), draw(slots), 0.125)
	record("attention", dst[:size])
	for i, f := range b {
		a[i] = max(f, -f)
	}
	wide, ok := PairsFloat32("pow")
	require.True(t, ok)
	wide.VV(dst, a, b)
	record("pow_float32", dst)
	PowHalf().VV(dst, a, b)
	record("pow_half", dst)
	for _, name := range UnaryNames() {
		apply, err := UnaryFloat32(name, 0)
		require.NoError(t, err)
		apply(dst, b)
		record(name+"_float32", dst)
	}
}

func bitsOf(x []float32) []uint32 {
	bits := make([]uint32, len(x))
	for i, f := range x {
		bits[i] = math.Float32bits(f)
	}
	return bits
}
