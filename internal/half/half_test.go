package half

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"pgregory.net/rapid"
)

// source gives a random stream that depends on the name alone.
func source(name string) *rand.Rand {
	var seed [32]byte
	copy(seed[:], name)
	return rand.New(rand.NewChaCha8(seed))
}

// exact is the value of a finite float16 by the format's definition.
func exact(h uint16) float64 {
	exponent, mantissa := int(h>>10&31), float64(h&0x3FF)
	value := math.Ldexp(1+mantissa/1024, exponent-15)
	if exponent == 0 {
		value = math.Ldexp(mantissa, -24)
	}
	if h&0x8000 != 0 {
		value = math.Copysign(value, -1)
	}
	return value
}

func TestToFloat32EveryValue(t *testing.T) {
	for i := range 1 << 16 {
		h := float16.Float16(i)
		got := ToFloat32(h)
		require.Equal(t, math.Float32bits(h.Float32()), math.Float32bits(got), "%#04x", i)
		if !IsFinite(h) {
			require.True(t, math.IsInf(float64(got), 0) || got != got, "%#04x", i)
			continue
		}
		require.Equal(t, math.Float64bits(exact(uint16(i))), math.Float64bits(ToFloat64(h)), "%#04x", i)
	}
}

// TestRoundingAtEveryBoundary checks both conversions at each float16 value, at
// each midpoint, and on both sides of the midpoints, in float32 and float64
// steps: together these fix a monotone function everywhere.
func TestRoundingAtEveryBoundary(t *testing.T) {
	check := func(f float64, want uint16) {
		require.Equal(t, want, uint16(FromFloat64(f)), "FromFloat64(%x)", f)
		require.Equal(t, want|0x8000, uint16(FromFloat64(-f)), "FromFloat64(%x)", -f)
		if float64(float32(f)) == f {
			require.Equal(t, want, uint16(FromFloat32(float32(f))), "FromFloat32(%x)", f)
			require.Equal(t, want|0x8000, uint16(FromFloat32(float32(-f))), "FromFloat32(%x)", -f)
		}
	}
	for i := range uint16(infinity) {
		low := exact(i)
		check(low, i)
		high := exact(i + 1)
		if i+1 == infinity {
			high = 65536 // the value that would come next decides the midpoint
		}
		middle := (low + high) / 2
		even := i + i&1
		check(middle, even)
		check(math.Nextafter(middle, 0), i)
		check(math.Nextafter(middle, 1e9), i+1)
		check(float64(math.Nextafter32(float32(middle), 0)), i)
		check(float64(math.Nextafter32(float32(middle), 1e9)), i+1)
	}
	check(math.Inf(1), infinity)
	check(math.MaxFloat64, infinity)
	check(math.MaxFloat32, infinity)
	check(math.SmallestNonzeroFloat64, 0)
	check(math.SmallestNonzeroFloat32, 0)
}

func TestNaNIsCanonical(t *testing.T) {
	for _, bits := range []uint32{0x7FC00000, 0x7F800001, 0xFFC00000, 0xFF800001, 0x7FFFFFFF} {
		assert.Equal(t, NaN, FromFloat32(math.Float32frombits(bits)), "%#x", bits)
	}
	for _, bits := range []uint64{0x7FF8000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF} {
		assert.Equal(t, NaN, FromFloat64(math.Float64frombits(bits)), "%#x", bits)
	}
}

// TestFromFloat64RoundsOnce has a number that a detour through float32 gets
// wrong: it lies just above a midpoint, on which float32 would put it.
func TestFromFloat64RoundsOnce(t *testing.T) {
	f := 1 + 0x1p-11 + 0x1p-40
	assert.Equal(t, uint16(0x3C01), uint16(FromFloat64(f)))
	assert.Equal(t, uint16(0x3C00), uint16(FromFloat32(float32(f))))
}

func TestFromFloat64IsNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-66000, 66000).Draw(t, "f")
		got := FromFloat64(f)
		if !IsFinite(got) {
			require.GreaterOrEqual(t, math.Abs(f), 65520.0)
			return
		}
		distance := func(h uint16) *big.Float {
			d := new(big.Float).Sub(big.NewFloat(exact(h)), big.NewFloat(f))
			return d.Abs(d)
		}
		best := distance(uint16(got))
		for _, next := range []uint16{uint16(got) - 1, uint16(got) + 1} {
			if next&0x7C00 != 0x7C00 && next&0x8000 == uint16(got)&0x8000 {
				require.LessOrEqual(t, best.Cmp(distance(next)), 0)
			}
		}
	})
}

// specials are float32 bit patterns at which conversions have gone wrong.
var specials = []uint32{
	0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF,
	0x33000000, 0x33000001, 0x32FFFFFF, 0x33800000, 0x387FFFFF, 0x38800000, 0x477FEFFF, 0x477FF000, 0x477FE000, 0x7F7FFFFF,
}

func randomFloats(r *rand.Rand, n int) []float32 {
	floats := make([]float32, n)
	for i := range floats {
		switch r.IntN(4) {
		case 0:
			floats[i] = math.Float32frombits(specials[r.IntN(len(specials))])
		case 1:
			floats[i] = math.Float32frombits(r.Uint32())
		case 2: // float16's own range, by exponent
			floats[i] = math.Float32frombits(r.Uint32()&0x807FFFFF | uint32(100+r.IntN(45))<<23)
		default: // exact float16 values and midpoints
			floats[i] = math.Float32frombits(math.Float32bits(ToFloat32(float16.Float16(r.Uint32()))) | r.Uint32()&1<<12)
		}
	}
	return floats
}

func bits32(floats []float32) []uint32 {
	bits := make([]uint32, len(floats))
	for i, f := range floats {
		bits[i] = math.Float32bits(f)
	}
	return bits
}

// TestSlicesEqualPortable compares what runs on this processor with the
// portable code, at every length around the vector width.
func TestSlicesEqualPortable(t *testing.T) {
	r := source("half/slices")
	for n := range 68 {
		for range 20 {
			floats := randomFloats(r, n)
			halves, wantHalves := make([]float16.Float16, n), make([]float16.Float16, n)
			Encode(halves, floats)
			encodePortable(wantHalves, floats)
			require.Equal(t, wantHalves, halves)

			for i := range halves {
				halves[i] = float16.Float16(r.Uint32())
			}
			wide, wantWide := make([]float32, n), make([]float32, n)
			Decode(wide, halves)
			decodePortable(wantWide, halves)
			require.Equal(t, bits32(wantWide), bits32(wide))

			wantWide = append(wantWide[:0], floats...)
			Round(floats)
			roundPortable(wantWide)
			require.Equal(t, bits32(wantWide), bits32(floats))
		}
	}
}

func TestDecodeEveryValue(t *testing.T) {
	all := make([]float16.Float16, 1<<16)
	for i := range all {
		all[i] = float16.Float16(i)
	}
	wide := make([]float32, len(all))
	Decode(wide, all)
	for i, f := range wide {
		require.Equal(t, math.Float32bits(ToFloat32(all[i])), math.Float32bits(f), "%#04x", i)
	}
	Encode(all, wide)
	for i, h := range all {
		want := float16.Float16(i)
		if want&0x7FFF > infinity {
			want = NaN
		}
		require.Equal(t, want, h, "%#04x", i)
	}
}

func TestShortDestinationPanics(t *testing.T) {
	assert.Panics(t, func() { Decode(make([]float32, 9), make([]float16.Float16, 10)) })
	assert.Panics(t, func() { Encode(make([]float16.Float16, 9), make([]float32, 10)) })
}

func TestFirstNonFinite(t *testing.T) {
	s := []float16.Float16{0x7BFF, 0xFBFF, 0, 0x8000, 1}
	assert.Equal(t, -1, FirstNonFinite(s))
	assert.Equal(t, -1, FirstNonFinite(nil))
	for _, bad := range []float16.Float16{0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFE00} {
		for i := range s {
			with := append([]float16.Float16(nil), s...)
			with[i] = bad
			with = append(with, bad)
			assert.Equal(t, i, FirstNonFinite(with))
		}
	}
}

func TestBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		halves := make([]float16.Float16, len(text)/2)
		FromBytes(halves, text)
		for i, h := range halves {
			require.Equal(t, binary.LittleEndian.Uint16(text[2*i:]), uint16(h))
		}
		back := make([]byte, 2*len(halves))
		ToBytes(back, halves)
		require.Equal(t, text[:2*len(halves)], back)
	})
}

func benchmarkSlices(b *testing.B, f func(halves []float16.Float16, floats []float32)) {
	floats := make([]float32, 1<<14)
	halves := make([]float16.Float16, len(floats))
	r := source("half/benchmark")
	for i := range floats {
		floats[i] = float32(r.NormFloat64())
	}
	Encode(halves, floats)
	b.SetBytes(int64(4 * len(floats)))
	for b.Loop() {
		f(halves, floats)
	}
}

func BenchmarkEncode(b *testing.B) {
	benchmarkSlices(b, func(h []float16.Float16, f []float32) { Encode(h, f) })
}

func BenchmarkEncodePortable(b *testing.B) {
	benchmarkSlices(b, func(h []float16.Float16, f []float32) { encodePortable(h, f) })
}

func BenchmarkDecode(b *testing.B) {
	benchmarkSlices(b, func(h []float16.Float16, f []float32) { Decode(f, h) })
}

func BenchmarkDecodePortable(b *testing.B) {
	benchmarkSlices(b, func(h []float16.Float16, f []float32) { decodePortable(f, h) })
}

func BenchmarkRound(b *testing.B) {
	benchmarkSlices(b, func(_ []float16.Float16, f []float32) { Round(f) })
}

func BenchmarkRoundPortable(b *testing.B) {
	benchmarkSlices(b, func(_ []float16.Float16, f []float32) { roundPortable(f) })
}
