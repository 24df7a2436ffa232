package mlpackage

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/mil"
)

// TestPack uses bytes that coremltools 9.0 wrote.
func TestPack(t *testing.T) {
	for _, c := range []struct {
		dt      mil.DType
		values  []int8
		packed  string
		padding int
	}{
		{mil.UInt4, []int8{1, 2, 3, 4, 5}, "21 43 05", 4},
		{mil.Int4, []int8{-1, -8, 7, 0}, "8f 07", 0},
		{mil.UInt6, []int8{1, 2, 3, 4, 5}, "81 30 10 05", 2},
		{mil.UInt3, []int8{1, 2, 3, 4, 5}, "d1 58", 1},
		{mil.UInt2, []int8{1, 2, 3, 0, 1}, "39 01", 6},
		{mil.UInt1, []int8{1, 0, 1}, "05", 5},
	} {
		t.Run(c.dt.String(), func(t *testing.T) {
			packed, err := Pack(c.dt, c.values)
			require.NoError(t, err)
			assert.Equal(t, unhex(t, c.packed), packed)
			values, err := Unpack(c.dt, packed, len(c.values))
			require.NoError(t, err)
			assert.Equal(t, c.values, values)
			typ, ok := BlobTypeOf(c.dt)
			require.True(t, ok)
			size, padding := BlobSize(typ, int64(len(c.values)))
			assert.EqualValues(t, len(packed), size)
			assert.Equal(t, c.padding, padding)
		})
	}
}

func TestPackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dt := rapid.SampledFrom([]mil.DType{mil.UInt1, mil.UInt2, mil.UInt3, mil.UInt4, mil.UInt6, mil.Int4}).Draw(t, "type")
		low, high, err := subByteRange(dt)
		require.NoError(t, err)
		values := rapid.SliceOfN(rapid.Int8Range(low, high), 0, 70).Draw(t, "values")
		packed, err := Pack(dt, values)
		require.NoError(t, err)
		back, err := Unpack(dt, packed, len(values))
		require.NoError(t, err)
		require.Equal(t, len(values), len(back))
		for i := range values {
			require.Equal(t, values[i], back[i])
		}
	})
}

func TestPackRefuses(t *testing.T) {
	for _, c := range []struct {
		dt    mil.DType
		value int8
	}{{mil.UInt1, 2}, {mil.UInt2, 4}, {mil.UInt3, 8}, {mil.UInt4, 16}, {mil.UInt6, -1}, {mil.Int4, 8}, {mil.Int4, -9}} {
		_, err := Pack(c.dt, []int8{0, c.value})
		require.ErrorIs(t, err, ErrConvention)
		assert.ErrorContains(t, err, c.dt.String()+" element 1")
	}
	for _, dt := range []mil.DType{mil.Int8, mil.UInt8, mil.Float16, mil.String} {
		_, err := Pack(dt, nil)
		require.ErrorIs(t, err, ErrUnsupported)
		_, err = Unpack(dt, nil, 0)
		require.ErrorIs(t, err, ErrUnsupported)
	}
	for name, c := range map[string]struct {
		packed []byte
		count  int
	}{
		"too short": {[]byte{0}, 3}, "too long": {[]byte{0, 0}, 2}, "negative": {nil, -1},
		"huge": {nil, 1 << 62}, "bits after the last": {[]byte{0x10}, 1},
	} {
		_, err := Unpack(mil.UInt4, c.packed, c.count)
		assert.ErrorIs(t, err, ErrConvention, name)
	}
}
