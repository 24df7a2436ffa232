package exporter

import (
	"encoding/binary"
	"math"
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"pgregory.net/rapid"

	"lockstep/internal/half"
)

// nearestHalf rounds a magnitude to float16 by searching all of them, so that
// it shares nothing with the conversions under test. From 65520 on the answer
// is infinity.
func nearestHalf(x float64) float16.Float16 {
	value := func(bits int) float64 {
		if bits == 0x7C00 {
			return 65536 // what the next larger number would be
		}
		return float64(float16.Frombits(uint16(bits)).Float32())
	}
	up := sort.Search(0x7C00, func(bits int) bool { return value(bits) >= x })
	if up == 0 {
		return 0
	}
	below, above := x-value(up-1), value(up)-x
	if below < above || below == above && up%2 == 1 {
		up--
	}
	return float16.Frombits(uint16(up))
}

func TestQuantiseRow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		row   []float32
		scale float16.Float16
		want  []int8
		notes Notes
	}{
		{"scale 1: ties go to even", []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5}, 0x3C00, []int8{127, 0, 2, 2, 0, -2, -2, 4}, Notes{}},
		{"negative peak", []float32{-254, 1, 3}, 0x4000, []int8{-127, 0, 2}, Notes{}},
		{"a row of zeros has scale 1", []float32{0, float32(math.Copysign(0, -1))}, 0x3C00, []int8{0, 0}, Notes{ZeroRows: 1}},
		{"one value", []float32{-3}, nearestHalf(3.0 / 127), []int8{-127}, Notes{}},
		// 127 * 2^-26 / 127 is a quarter of the smallest float16.
		{"scale raised to 2^-24", []float32{127 * 0x1p-26, -127 * 0x1p-26, 0x1p-22}, 1, []int8{32, -32, 4}, Notes{ScalesRaised: 1}},
		// 2^-25 is halfway to 0, whose last bit is even: rounds to 0, raised.
		{"a tie at half the smallest scale", []float32{127 * 0x1p-25}, 1, []int8{64}, Notes{ScalesRaised: 1}},
		// 1.4 * 2^-24 rounds down to 2^-24, so the peak is at 177.8 scales.
		{"clamped", []float32{1.4 * 127 * 0x1p-24, -1.4 * 127 * 0x1p-24, 100 * 0x1p-24}, 1, []int8{127, -127, 100}, Notes{}},
		{"smallest float32", []float32{math.SmallestNonzeroFloat32, 0}, 1, []int8{0, 0}, Notes{ScalesRaised: 1}},
		{"as large as float16 takes", []float32{65024, -512}, 0x6000, []int8{127, -1}, Notes{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst, notes := make([]byte, len(tt.row)), Notes{}
			scale, bad := quantiseRow(dst, tt.row, &notes)
			require.Equal(t, -1, bad)
			assert.Equal(t, tt.scale, scale)
			found := make([]int8, len(dst))
			for i, b := range dst {
				found[i] = int8(b)
			}
			assert.Equal(t, tt.want, found)
			assert.Equal(t, tt.notes, notes)
		})
	}
}

// TestQuantiseRowOverflow holds the limit: what comes back as scale*127 must be
// a float16, whether the scale or the product leaves it.
func TestQuantiseRowOverflow(t *testing.T) {
	for _, tt := range []struct {
		row []float32
		bad int
	}{
		{[]float32{0, 65504, 1}, 1},  // scale 516, 127 times which is 65532
		{[]float32{1, 2, -65520}, 2}, // float16 itself cannot hold it
		{[]float32{1e5}, 0},
		{[]float32{0, math.MaxFloat32}, 1}, // the scale is infinite
		{[]float32{65472}, -1},             // scale 515.5, product 65468.5
	} {
		_, bad := quantiseRow(make([]byte, len(tt.row)), tt.row, &Notes{})
		assert.Equal(t, tt.bad, bad, "%v", tt.row)
	}
}

// TestQuantiseRowProperties compares random rows with the rule as it is stated,
// computed the slow way.
func TestQuantiseRowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spread := rapid.IntRange(-40, 15).Draw(t, "exponent")
		row := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
			m := rapid.Int32Range(-1<<20, 1<<20).Draw(t, "mantissa")
			return float32(math.Ldexp(float64(m), spread-20))
		}), 1, 40).Draw(t, "row")
		peak := 0.0
		for _, v := range row {
			peak = max(peak, math.Abs(float64(v)))
		}
		want := nearestHalf(peak / 127)
		switch {
		case peak == 0:
			want = nearestHalf(1)
		case want == 0:
			want = 1
		}
		dst := make([]byte, len(row))
		scale, bad := quantiseRow(dst, row, &Notes{})
		require.Equal(t, -1, bad)
		require.Equal(t, want, scale)
		s := float64(want.Float32())
		for i, v := range row {
			q := float64(int8(dst[i]))
			require.LessOrEqual(t, math.Abs(q), 127.0)
			exact := float64(v) / s
			if math.Abs(exact) > 127 {
				require.Equal(t, math.Copysign(127, exact), q)
				continue
			}
			off := math.Abs(q - exact)
			require.LessOrEqual(t, off, 0.5)
			require.True(t, off < 0.5 || math.Mod(q, 2) == 0, "%g is halfway, and %g is odd", exact, q)
		}
	})
}

// TestBF16Table compares the table with the careful conversion on every
// bfloat16, in runs of every length modulo the unrolled four.
func TestBF16Table(t *testing.T) {
	table := newBF16Table()
	var all []byte
	for bits := range 1 << 16 {
		all = binary.LittleEndian.AppendUint16(all, uint16(bits))
	}
	var under int64
	for bits := range 1 << 16 {
		v := math.Float32frombits(uint32(bits) << 16)
		raw, dst := all[2*bits:2*bits+2], make([]byte, 2)
		flags, underflowed := table.convert(dst, raw)
		found := float16.Frombits(binary.LittleEndian.Uint16(dst))
		switch {
		case v != v || math.IsInf(float64(v), 0):
			require.Equal(t, uint32(bf16NonFinite), flags&(bf16NonFinite|bf16Overflow|bf16Underflow), "%04x", bits)
			continue
		case math.Abs(float64(v)) >= 65520:
			require.Equal(t, uint32(bf16Overflow), flags&(bf16NonFinite|bf16Overflow|bf16Underflow), "%04x", bits)
			continue
		}
		want := nearestHalf(math.Abs(float64(v)))
		if math.Signbit(float64(v)) {
			want |= 0x8000
		}
		require.Equal(t, want, found, "%04x", bits)
		lost := v != 0 && want&0x7FFF == 0
		require.Equal(t, lost, underflowed == 1, "%04x", bits)
		require.Equal(t, lost, flags&bf16Underflow != 0, "%04x", bits)
		require.Zero(t, flags&(bf16NonFinite|bf16Overflow), "%04x", bits)
		under += underflowed
	}
	whole := make([]byte, len(all))
	flags, underflowed := table.convert(whole, all)
	assert.Equal(t, under, underflowed)
	assert.Equal(t, uint32(bf16NonFinite|bf16Overflow|bf16Underflow), flags&(bf16NonFinite|bf16Overflow|bf16Underflow))
	careful := make([]float16.Float16, 1<<16)
	values := make([]float32, 1<<16)
	for bits := range values {
		values[bits] = math.Float32frombits(uint32(bits) << 16)
	}
	half.Encode(careful, values)
	for length := range 9 {
		for at := 0; at+length <= 1<<16; at += 101 {
			dst := make([]byte, 2*length)
			table.convert(dst, all[2*at:2*(at+length)])
			for i := range length {
				if found := binary.LittleEndian.Uint16(dst[2*i:]); found != careful[at+i].Bits() {
					require.Equal(t, careful[at+i].Bits(), found, "%04x in a run of %d", at+i, length)
				}
			}
		}
	}
}
