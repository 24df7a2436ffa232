package mlpackage

import (
	"encoding/binary"
	"fmt"
	"io"
)

// BlobWriter streams a weight file that a Layout has planned: Next opens the
// next blob, Write takes its data in any pieces, Close verifies that all of
// them were written. The first error sticks. It holds no more than a record,
// and writes each byte once and in order.
type BlobWriter struct {
	w      io.Writer
	layout *Layout
	next   int   // index of the blob that Next opens
	at     int64 // bytes written
	left   int64 // data bytes that the open blob still wants
	err    error
}

// NewBlobWriter returns a writer of layout's file to w. The layout must not
// grow afterwards.
func NewBlobWriter(w io.Writer, layout *Layout) *BlobWriter {
	return &BlobWriter{w: w, layout: layout, err: layout.Err()}
}

// Next finishes the open blob, if any, and opens the next one by writing its
// metadata record. An unfinished blob or one beyond the layout is ErrWeights.
func (w *BlobWriter) Next() (Blob, error) {
	w.start()
	w.finish()
	if w.err == nil && w.next == w.layout.Count() {
		w.fail(w.next, fmt.Sprintf("%d blobs", w.layout.Count()), "one more")
	}
	if w.err != nil {
		return Blob{}, w.err
	}
	blob := w.layout.blobs[w.next]
	record := make([]byte, blob.DataOffset-w.at) // padding and metadata
	putRecord(record[len(record)-blobRecord:], blob)
	w.emit(record)
	w.next++
	w.left = blob.Size
	return blob, w.err
}

// Write writes data of the open blob. More data than planned is ErrWeights,
// and then none of it is written.
func (w *BlobWriter) Write(p []byte) (int, error) {
	if w.err == nil && w.next == 0 {
		w.fail(0, "Next before its data", "none")
	}
	if w.err == nil && int64(len(p)) > w.left {
		w.fail(w.next-1, fmt.Sprintf("%d more bytes of data", w.left), fmt.Sprint(len(p)))
	}
	if w.err != nil {
		return 0, w.err
	}
	n := w.emit(p)
	w.left -= int64(n)
	return n, w.err
}

// Close verifies that the file is complete. It does not close the underlying
// writer.
func (w *BlobWriter) Close() error {
	w.start()
	w.finish()
	if w.err == nil && w.next != w.layout.Count() {
		w.fail(w.next, fmt.Sprintf("%d blobs", w.layout.Count()), fmt.Sprintf("%d written", w.next))
	}
	return w.err
}

// start writes the storage header, once.
func (w *BlobWriter) start() {
	if w.err != nil || w.at > 0 {
		return
	}
	header := make([]byte, blobHeader)
	binary.LittleEndian.PutUint32(header[0:], uint32(w.layout.Count()))
	binary.LittleEndian.PutUint32(header[4:], blobVersion)
	w.emit(header)
}

// finish verifies that the open blob has all of its data.
func (w *BlobWriter) finish() {
	if w.err == nil && w.left > 0 {
		size := w.layout.blobs[w.next-1].Size
		w.fail(w.next-1, fmt.Sprintf("%d bytes of data", size), fmt.Sprint(size-w.left))
	}
}

func (w *BlobWriter) fail(blob int, wanted, found string) {
	w.err = weightsError(fmt.Sprintf("blob %d", blob), wanted, found)
}

func (w *BlobWriter) emit(p []byte) int {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("%s: write at byte %d: %w", WeightsPath, w.at+int64(n), err)
	}
	w.at += int64(n)
	return n
}

// putRecord writes blob's metadata into record, 64 zero bytes.
func putRecord(record []byte, blob Blob) {
	le := binary.LittleEndian
	le.PutUint32(record[0:], blobSentinel)
	le.PutUint32(record[4:], uint32(blob.Type))
	le.PutUint64(record[8:], uint64(blob.Size))
	le.PutUint64(record[16:], uint64(blob.DataOffset))
	le.PutUint64(record[24:], uint64(blob.PaddingBits))
}

// weightsError is an Error about the weight file.
func weightsError(field, wanted, found string) error {
	return &Error{File: WeightsPath, Field: field, Wanted: wanted, Found: found, Kind: ErrWeights}
}
