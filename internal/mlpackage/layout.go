package mlpackage

import (
	"fmt"
	"math"
	"sort"
)

// The fixed figures of MIL blob storage v2.
const (
	blobAlignment = 64
	blobHeader    = 64 // bytes of the storage header
	blobRecord    = 64 // bytes of a blob's metadata
	blobVersion   = 2
	blobSentinel  = 0xDEADBEEF
)

// Blob is one blob of a weight file.
type Blob struct {
	Type BlobType
	// Offset is that of the metadata record: what mil.BlobRef.Offset names.
	Offset uint64
	// DataOffset is that of the first data byte, always 64 after Offset.
	DataOffset int64
	// Size is the data's length in bytes.
	Size int64
	// PaddingBits are the unused high bits of the last byte: 0 to 7, and 0
	// for types of whole bytes.
	PaddingBits int
}

// Elements is the number of elements.
func (b Blob) Elements() int64 {
	if b.Type.Bits() == 0 {
		return 0
	}
	return (8*b.Size - int64(b.PaddingBits)) / int64(b.Type.Bits())
}

// problem says what is wrong with type, size and padding, or "".
func (b Blob) problem() string {
	width := int64(b.Type.Bits())
	switch {
	case width == 0:
		return b.Type.String()
	case b.Size < 0 || b.Size > maxBytes:
		return fmt.Sprintf("%d bytes", b.Size)
	case b.PaddingBits < 0 || b.PaddingBits > 7 || int64(b.PaddingBits) > 8*b.Size,
		(8*b.Size-int64(b.PaddingBits))%width != 0: // which leaves 0 for whole bytes
		return fmt.Sprintf("%d bytes less %d bits of %v", b.Size, b.PaddingBits, b.Type)
	}
	return ""
}

// end is the offset after the last data byte.
func (b Blob) end() int64 { return b.DataOffset + b.Size }

// Layout plans a weight file: blobs in order, each at the next 64-byte
// boundary. The zero Layout is an empty plan.
type Layout struct {
	blobs []Blob
	err   error
}

// NewLayout returns an empty plan.
func NewLayout() *Layout { return new(Layout) }

// Add plans the next blob, of size bytes with paddingBits unused bits at its
// end (see BlobSize), and returns the offset of its metadata record, by which
// a program refers to it. A wrong argument sticks; see Err.
func (l *Layout) Add(t BlobType, size int64, paddingBits int) (offset uint64) {
	start := alignUp(l.Size())
	blob := Blob{
		Type: t, Offset: uint64(start), DataOffset: start + blobRecord,
		Size: size, PaddingBits: paddingBits,
	}
	if found := blob.problem(); found != "" {
		l.fail("type, size and padding bits that go together", found)
		return 0
	}
	if len(l.blobs) == math.MaxUint32 || size > math.MaxInt64-2*blobAlignment-blob.DataOffset {
		l.fail("a file below 2^63 bytes and 2^32 blobs", fmt.Sprintf("%d more bytes after %d", size, start))
		return 0
	}
	l.blobs = append(l.blobs, blob)
	return blob.Offset
}

func (l *Layout) fail(wanted, found string) {
	if l.err == nil {
		l.err = &Error{
			File: WeightsPath, Field: fmt.Sprintf("blob %d", len(l.blobs)),
			Wanted: wanted, Found: found, Kind: ErrWeights,
		}
	}
}

// Err returns the first wrong Add, as ErrWeights.
func (l *Layout) Err() error { return l.err }

// Size is the file's size in bytes. The file ends with its last data byte.
func (l *Layout) Size() int64 {
	if len(l.blobs) == 0 {
		return blobHeader
	}
	return l.blobs[len(l.blobs)-1].end()
}

// Count is the number of blobs.
func (l *Layout) Count() int { return len(l.blobs) }

// Blobs returns the planned blobs in file order; the slice is the caller's.
func (l *Layout) Blobs() []Blob { return append([]Blob(nil), l.blobs...) }

// Blob returns the planned blob whose metadata record lies at offset.
func (l *Layout) Blob(offset uint64) (Blob, bool) { return findBlob(l.blobs, offset) }

// findBlob searches blobs in file order.
func findBlob(blobs []Blob, offset uint64) (Blob, bool) {
	i := sort.Search(len(blobs), func(i int) bool { return blobs[i].Offset >= offset })
	if i == len(blobs) || blobs[i].Offset != offset {
		return Blob{}, false
	}
	return blobs[i], true
}

func alignUp(offset int64) int64 { return (offset + blobAlignment - 1) &^ (blobAlignment - 1) }
