package mlpackage

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Weights is the index of a weight file. It does not hold the data.
type Weights struct {
	blobs []Blob
}

// OpenWeights reads the index of the weight file in the first size bytes of
// r: the header and each blob's metadata, not the data. It is strict: sentinel,
// version, element type, offsets, sizes, padding bits, and zero where the format
// has padding, are verified, and the file ends with the last blob, but for zero
// bytes up to the next multiple of 64. Everything else is ErrWeights.
func OpenWeights(r io.ReaderAt, size int64) (*Weights, error) {
	header := make([]byte, blobHeader)
	if err := readFull(r, header, 0, size, "header"); err != nil {
		return nil, err
	}
	count := binary.LittleEndian.Uint32(header)
	if version := binary.LittleEndian.Uint32(header[4:]); version != blobVersion {
		return nil, weightsError("header, version", "2", fmt.Sprint(version))
	}
	if err := wantZero(header[8:], 8, "header"); err != nil {
		return nil, err
	}
	if room := (size - blobHeader) / blobRecord; int64(count) > room {
		return nil, weightsError("header, count", fmt.Sprintf("at most %d blobs in %d bytes", room, size), fmt.Sprint(count))
	}
	out, at := new(Weights), int64(blobHeader)
	for i := range int(count) {
		blob, err := readRecord(r, at, size, fmt.Sprintf("blob %d", i))
		if err != nil {
			return nil, err
		}
		out.blobs = append(out.blobs, blob)
		at = blob.end()
	}
	return out, readTail(r, at, size)
}

// Blob returns the blob whose metadata record lies at offset; another offset
// is ErrWeights.
func (w *Weights) Blob(offset uint64) (Blob, error) {
	blob, ok := findBlob(w.blobs, offset)
	if !ok {
		return Blob{}, weightsError(fmt.Sprintf("offset %d", offset), fmt.Sprintf("one of %d metadata records", len(w.blobs)), "none")
	}
	return blob, nil
}

// Blobs returns all blobs in file order; the slice is the caller's.
func (w *Weights) Blobs() []Blob { return append([]Blob(nil), w.blobs...) }

// readRecord reads the padding that begins at offset at and the metadata
// record after it.
func readRecord(r io.ReaderAt, at, size int64, field string) (Blob, error) {
	start := alignUp(at)
	raw := make([]byte, start-at+blobRecord)
	if err := readFull(r, raw, at, size, field+", metadata"); err != nil {
		return Blob{}, err
	}
	if err := wantZero(raw[:start-at], at, field+", padding before it"); err != nil {
		return Blob{}, err
	}
	record, le := raw[start-at:], binary.LittleEndian
	if sentinel := le.Uint32(record); sentinel != blobSentinel {
		return Blob{}, weightsError(field+", sentinel", "0xdeadbeef", fmt.Sprintf("%#x", sentinel))
	}
	if err := wantZero(record[32:], start+32, field+", metadata"); err != nil {
		return Blob{}, err
	}
	blob := Blob{Type: BlobType(le.Uint32(record[4:])), Offset: uint64(start), DataOffset: start + blobRecord}
	if offset := le.Uint64(record[16:]); offset != uint64(blob.DataOffset) {
		return Blob{}, weightsError(field+", dataOffset", fmt.Sprint(blob.DataOffset), fmt.Sprint(offset))
	}
	length, padding := le.Uint64(record[8:]), le.Uint64(record[24:])
	if room := uint64(size - blob.DataOffset); length > room {
		return Blob{}, weightsError(field+", sizeInBytes", fmt.Sprintf("at most %d bytes of %d", room, size), fmt.Sprint(length))
	}
	blob.Size, blob.PaddingBits = int64(length), int(min(padding, math.MaxInt32))
	if found := blob.problem(); found != "" {
		return Blob{}, weightsError(field, "type, size and padding bits that go together", found)
	}
	return blob, nil
}

// readTail verifies the end of the file after the last data byte.
func readTail(r io.ReaderAt, at, size int64) error {
	if size > alignUp(at) {
		return weightsError("size", fmt.Sprintf("%d bytes, as the blobs take", at), fmt.Sprint(size))
	}
	tail := make([]byte, size-at)
	if err := readFull(r, tail, at, size, "tail"); err != nil {
		return err
	}
	return wantZero(tail, at, "tail")
}

// readFull reads len(p) bytes at offset at of a file of size bytes.
func readFull(r io.ReaderAt, p []byte, at, size int64, field string) error {
	if at > size-int64(len(p)) {
		return weightsError(field, fmt.Sprintf("%d bytes at %d", len(p), at), fmt.Sprintf("a file of %d bytes", size))
	}
	if n, err := r.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("%s: %s: read %d bytes at %d: %w", WeightsPath, field, len(p), at, err)
	}
	return nil
}

// wantZero verifies that p, which lies at offset at, is zero.
func wantZero(p []byte, at int64, field string) error {
	for i, b := range p {
		if b != 0 {
			return weightsError(fmt.Sprintf("%s, byte %d", field, at+int64(i)), "zero", fmt.Sprintf("%#02x", b))
		}
	}
	return nil
}
