package durable_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/durable"
	"lockstep/internal/durable/faultfs"
)

// put writes a file's bytes straight into a file system.
func put(t require.TestingT, fsys durable.FS, name string, data []byte) {
	f, err := fsys.OpenKeep(name)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// get reads a file's bytes straight from a file system.
func get(t require.TestingT, fsys durable.FS, name string) []byte {
	f, err := fsys.OpenRead(name)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	data := make([]byte, info.Size)
	if info.Size > 0 {
		_, err = f.ReadAt(data, 0)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return data
}

// TestWriterResumes is the promise of the resuming writer: whatever a killed
// run left, the file ends with the true bytes, what was right is not written
// again, and what is too long is refused and left.
func TestWriterResumes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 300).Draw(t, "truth")
		left := leftover(t, truth)
		fsys := faultfs.NewMem()
		const final = "/weight.bin"
		partial := durable.PartialName(final, "key")
		if left != nil {
			put(t, fsys, partial, left)
		}

		f, err := durable.OpenFile(fsys, final, "key", int64(len(truth)))
		if len(left) > len(truth) {
			require.ErrorIs(t, err, durable.ErrPartialTooLong)
			require.ErrorContains(t, err, partial)
			require.Equal(t, left, get(t, fsys, partial))
			return
		}
		require.NoError(t, err)
		for rest := truth; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			wrote, err := f.Write(rest[:n])
			require.NoError(t, err)
			require.Equal(t, n, wrote)
			rest = rest[n:]
		}
		sum, err := f.Publish()
		require.NoError(t, err)

		common := 0
		for common < len(left) && left[common] == truth[common] {
			common++
		}
		want := sha256.Sum256(truth)
		require.True(t, bytes.Equal(truth, get(t, fsys, final)), "the file holds the true bytes")
		require.Equal(t, hex.EncodeToString(want[:]), sum.SHA256)
		require.Equal(t, int64(len(truth)), sum.Bytes)
		require.Equal(t, int64(common), sum.Verified)
		require.Equal(t, int64(len(truth)-common), f.Written())
	})
}

// leftover draws what may stand in the partial: nothing, a true prefix, a
// prefix with corrupted bytes, other bytes, too many.
func leftover(t *rapid.T, truth []byte) []byte {
	switch rapid.SampledFrom([]string{"none", "prefix", "corrupt", "other", "longer"}).Draw(t, "leftover") {
	case "prefix":
		return bytes.Clone(truth[:rapid.IntRange(0, len(truth)).Draw(t, "length")])
	case "corrupt":
		left := bytes.Clone(truth[:rapid.IntRange(0, len(truth)).Draw(t, "length")])
		for range rapid.IntRange(1, 3).Draw(t, "faults") {
			if len(left) > 0 {
				left[rapid.IntRange(0, len(left)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			}
		}
		return left
	case "other":
		return rapid.SliceOfN(rapid.Byte(), 0, len(truth)).Draw(t, "bytes")
	case "longer":
		return append(bytes.Clone(truth), rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "more")...)
	default:
		return nil
	}
}

func TestWriterComparesAcrossItsBuffer(t *testing.T) {
	truth := bytes.Repeat([]byte("0123456789abcdef"), 50_000) // 800 kB, above the 256 KiB that are compared at once
	for _, at := range []int{0, 256<<10 - 1, 256 << 10, 700_000} {
		left := bytes.Clone(truth[:750_000])
		left[at] ^= 1
		fsys := faultfs.NewMem()
		put(t, fsys, durable.PartialName("/w", "key"), left)
		f, err := durable.OpenFile(fsys, "/w", "key", int64(len(truth)))
		require.NoError(t, err)
		_, err = f.Write(truth)
		require.NoError(t, err)
		sum, err := f.Publish()
		require.NoError(t, err)
		assert.Equal(t, int64(at), sum.Verified)
		assert.True(t, bytes.Equal(truth, get(t, fsys, "/w")))
	}
}

func TestWriterHoldsToThePlan(t *testing.T) {
	fsys := faultfs.NewMem()

	long, err := durable.OpenFile(fsys, "/long", "key", 4)
	require.NoError(t, err)
	_, err = long.Write([]byte("1234"))
	require.NoError(t, err)
	_, err = long.Write([]byte("5"))
	require.ErrorIs(t, err, durable.ErrSize)
	_, err = long.Publish()
	require.ErrorIs(t, err, durable.ErrSize, "an error sticks")
	require.NoError(t, long.Close())
	assert.Equal(t, "1234", string(get(t, fsys, durable.PartialName("/long", "key"))), "nothing beyond the plan was written")

	short, err := durable.OpenFile(fsys, "/short", "key", 4)
	require.NoError(t, err)
	_, err = short.Write([]byte("123"))
	require.NoError(t, err)
	_, err = short.Publish()
	require.ErrorIs(t, err, durable.ErrSize)
	_, err = fsys.Stat("/short")
	assert.Error(t, err, "no finished name")

	put(t, fsys, durable.PartialName("/left", "key"), []byte("1234"))
	left, err := durable.OpenFile(fsys, "/left", "key", 4)
	require.NoError(t, err)
	_, err = left.Write([]byte("12"))
	require.NoError(t, err)
	_, err = left.Publish()
	require.ErrorIs(t, err, durable.ErrSize, "what stands beyond the stream is not verified")

	shared, err := durable.OpenFile(fsys, "/shared", "key", 2)
	require.NoError(t, err)
	_, err = shared.Write([]byte("12"))
	require.NoError(t, err)
	put(t, fsys, durable.PartialName("/shared", "key"), []byte("123"))
	_, err = shared.Publish()
	require.ErrorIs(t, err, durable.ErrSize, "another process made it longer")

	_, err = durable.OpenFile(fsys, "/negative", "key", -1)
	assert.ErrorIs(t, err, durable.ErrSize)

	closed, err := durable.OpenFile(fsys, "/closed", "key", 0)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, err = closed.Publish()
	assert.ErrorIs(t, err, durable.ErrUnfinished)
}

func TestWriterRefusesHardLinks(t *testing.T) {
	fsys := faultfs.NewMem()
	partial := durable.PartialName("/w", "key")
	put(t, fsys, partial, []byte("12"))
	require.NoError(t, fsys.Link(partial, "/backup"))
	_, err := durable.OpenFile(fsys, "/w", "key", 4)
	require.ErrorIs(t, err, durable.ErrNotOurs)
	assert.Equal(t, "12", string(get(t, fsys, "/backup")))
}

func TestPartialNamesTellContentApart(t *testing.T) {
	final := filepath.Join("out", "x.mlpackage")
	a, b := durable.PartialName(final, "recipe a"), durable.PartialName(final, "recipe b")
	assert.NotEqual(t, a, b)
	assert.Regexp(t, `^x\.mlpackage\.[0-9a-f]{16}\.partial$`, filepath.Base(a))
	assert.Equal(t, "out", filepath.Dir(a))
}
