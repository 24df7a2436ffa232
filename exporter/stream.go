package exporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Progress is told how an export goes. Calls come from one goroutine.
type Progress interface {
	// Begin starts a piece of work of the given number of bytes.
	Begin(label string, bytes int64)
	// Advance reports n more bytes.
	Advance(n int64)
	// End closes the piece of work, finished or not.
	End()
}

type noProgress struct{}

func (noProgress) Begin(string, int64) {}
func (noProgress) Advance(int64)       {}
func (noProgress) End()                {}

// chunkBytes is how much of a tensor is read at a time, and chunksAhead how
// many such pieces are read ahead: the whole of what export holds in memory
// besides one tensor's scales.
const (
	chunkBytes  = 2 << 20
	chunksAhead = 4
)

// chunk is a run of whole rows of one tensor, as stored.
type chunk struct {
	weight   int // index into the shard's weights
	firstRow int
	raw      []byte
	digest   string // of the whole tensor, with its last chunk
}

// streamer writes a shard's weights: one read and one write of each byte.
// Reading and hashing the source, and converting and writing, run side by side.
type streamer struct {
	ck       *checkpoint.Checkpoint
	weights  []weight
	tensors  []*checkpoint.Tensor
	progress Progress

	chunks chan chunk
	free   chan []byte
}

// streamWeights writes weight.bin to out and returns the digests of the
// tensors it read, in their order, and what rounding did.
func streamWeights(ctx context.Context, ck *checkpoint.Checkpoint, s *shard, out io.Writer, progress Progress) ([]manifest.TensorDigest, Notes, error) {
	st := &streamer{
		ck: ck, weights: s.weights, progress: progress,
		chunks: make(chan chunk, chunksAhead), free: make(chan []byte, chunksAhead+2),
	}
	for _, w := range s.weights {
		t, err := ck.Tensor(w.role, w.layer)
		if err != nil {
			return nil, Notes{}, err
		}
		st.tensors = append(st.tensors, t)
	}
	for range cap(st.free) {
		st.free <- nil
	}
	var digests []manifest.TensorDigest
	var notes Notes
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return st.read(ctx) })
	group.Go(func() (err error) {
		digests, notes, err = st.write(ctx, mlpackage.NewBlobWriter(out, s.layout))
		return err
	})
	err := group.Wait()
	return digests, notes, err
}

// read fills chunks in the order of weight.bin.
func (st *streamer) read(ctx context.Context) error {
	defer close(st.chunks)
	for i, t := range st.tensors {
		sum := sha256.New()
		rows := max(1, chunkBytes/t.RowBytes())
		for first := 0; first < t.Rows(); first += rows {
			n := min(rows, t.Rows()-first)
			var buf []byte
			select {
			case <-ctx.Done():
				return ctx.Err()
			case buf = <-st.free:
			}
			c := chunk{weight: i, firstRow: first, raw: grow(buf, n*t.RowBytes())}
			if err := t.ReadRaw(c.raw, first); err != nil {
				return err
			}
			sum.Write(c.raw)
			if first+n == t.Rows() {
				c.digest = hex.EncodeToString(sum.Sum(nil))
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case st.chunks <- c:
			}
		}
	}
	return nil
}

// write converts chunks and writes the blobs.
func (st *streamer) write(ctx context.Context, blobs *mlpackage.BlobWriter) ([]manifest.TensorDigest, Notes, error) {
	var digests []manifest.TensorDigest
	var notes Notes
	bf16 := newBF16Table()
	var halfs *halfRows
	var quants *int8Rows
	var dst []byte
	for c := range st.chunks {
		w, t := st.weights[c.weight], st.tensors[c.weight]
		if c.firstRow == 0 {
			halfs, quants = newHalfRows(t, bf16), &int8Rows{tensor: t}
			if _, err := blobs.Next(); err != nil {
				return nil, notes, err
			}
		}
		values := len(c.raw) / t.DType.Size()
		var err error
		if w.quant {
			dst = grow(dst, values)
			err = quants.convert(dst, c.raw, c.firstRow, &notes)
		} else {
			dst = grow(dst, 2*values)
			err = halfs.convert(dst, c.raw, c.firstRow, &notes)
		}
		if err == nil {
			_, err = blobs.Write(dst)
		}
		if err == nil && c.digest != "" {
			digests = append(digests, manifest.TensorDigest{Name: t.Name, SHA256: c.digest})
			err = writeScales(blobs, w, quants)
		}
		if err != nil {
			return nil, notes, err
		}
		st.progress.Advance(int64(len(dst)))
		select {
		case <-ctx.Done():
			return nil, notes, ctx.Err()
		case st.free <- c.raw:
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, notes, err
	}
	if err := blobs.Close(); err != nil {
		return nil, notes, fmt.Errorf("weights: %w", err)
	}
	return digests, notes, nil
}

// writeScales writes the scales of an int8 weight after its values.
func writeScales(blobs *mlpackage.BlobWriter, w weight, quants *int8Rows) error {
	if !w.quant {
		return nil
	}
	if _, err := blobs.Next(); err != nil {
		return err
	}
	raw := make([]byte, 2*len(quants.scales))
	half.ToBytes(raw, quants.scales)
	_, err := blobs.Write(raw)
	return err
}
