package exporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/x448/float16"
	"golang.org/x/sync/errgroup"

	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// chunkBytes is how much of a tensor is read at a time, and chunksAhead how
// many such pieces wait between two stages: the whole of what export holds in
// memory besides one tensor's scales.
const (
	chunkBytes  = 2 << 20
	chunksAhead = 3
)

// chunk is a run of whole rows of one tensor, as stored.
type chunk struct {
	weight   int // index into the shard's weights
	firstRow int // of the tensor
	raw      []byte
}

// piece is a run of bytes of weight.bin. One with first opens the next blob.
type piece struct {
	data  []byte
	first bool
}

// streamer writes a shard's weights: one read and one write of each byte. Its
// three stages run side by side, so the work of the two SHA-256 sums and of the
// conversion is spread: read and hash the source, convert, hash and write.
type streamer struct {
	weights  []weight
	tensors  []*checkpoint.Tensor
	progress Progress

	chunks chan chunk
	pieces chan piece
	raws   chan []byte // buffers of chunks that are done with
	datas  chan []byte // buffers of pieces that are done with

	digests []manifest.TensorDigest // filled by read
	notes   Notes                   // filled by convert
}

// blobs takes the blobs of a file of weights one after another.
type blobs interface {
	io.Writer
	Next() (mlpackage.Blob, error) // starts the next blob
	Close() error                  // ends the file
}

// bare is a file that is its one blob alone, without a header.
type bare struct{ io.Writer }

func (bare) Next() (mlpackage.Blob, error) { return mlpackage.Blob{}, nil }
func (bare) Close() error                  { return nil }

// streamWeights writes the file of weights, weight.bin or the embedding's, to
// out and returns the digests of the tensors it read, in their order, and what
// rounding did.
func streamWeights(ctx context.Context, ck *checkpoint.Checkpoint, s *shard, out io.Writer, progress Progress) ([]manifest.TensorDigest, Notes, error) {
	st := &streamer{
		weights: s.weights, progress: progress,
		chunks: make(chan chunk, chunksAhead), pieces: make(chan piece, chunksAhead),
		raws: buffers(), datas: buffers(),
	}
	for _, w := range s.weights {
		t, err := ck.Tensor(w.role, w.layer)
		if err != nil {
			return nil, Notes{}, err
		}
		st.tensors = append(st.tensors, t)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return st.read(ctx) })
	group.Go(func() error { return st.convert(ctx) })
	var to blobs = bare{out}
	if s.kind != embeddingFile {
		to = mlpackage.NewBlobWriter(out, s.layout)
	}
	group.Go(func() error { return st.write(ctx, to) })
	err := group.Wait()
	return st.digests, st.notes, err
}

// buffers is a pool of as many buffers as two stages and what waits between
// them hold; they get their size when they are first used.
func buffers() chan []byte {
	pool := make(chan []byte, chunksAhead+2)
	for range cap(pool) {
		pool <- nil
	}
	return pool
}

// send passes v to the next stage. A channel is closed only after a stage's
// last send, not after a failure: that the others learn from ctx.
func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case to <- v:
		return nil
	}
}

// receive takes the next value; ok is false after the last one.
func receive[T any](ctx context.Context, from <-chan T) (v T, ok bool, err error) {
	select {
	case <-ctx.Done():
		return v, false, ctx.Err()
	case v, ok = <-from:
		return v, ok, nil
	}
}

// read fills chunks in the order of weight.bin.
func (st *streamer) read(ctx context.Context) error {
	for i, t := range st.tensors {
		w := st.weights[i]
		sum := sha256.New()
		rows, end := max(1, chunkBytes/t.RowBytes()), w.first+w.rows()
		for first := w.first; first < end; first += rows {
			buf, _, err := receive(ctx, st.raws)
			if err != nil {
				return err
			}
			c := chunk{weight: i, firstRow: first, raw: grow(buf, min(rows, end-first)*t.RowBytes())}
			if err := t.ReadRaw(c.raw, first); err != nil {
				return err
			}
			sum.Write(c.raw)
			if err := send(ctx, st.chunks, c); err != nil {
				return err
			}
		}
		st.digests = append(st.digests, manifest.TensorDigest{Name: w.source(t), SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	close(st.chunks)
	return nil
}

// convert turns chunks into the bytes of their blobs.
func (st *streamer) convert(ctx context.Context) error {
	bf16 := newBF16Table()
	var halfs halfRows
	var quants int8Rows
	for {
		c, ok, err := receive(ctx, st.chunks)
		if err != nil {
			return err
		}
		if !ok {
			close(st.pieces)
			return nil
		}
		w, t := st.weights[c.weight], st.tensors[c.weight]
		first := c.firstRow == w.first
		if first {
			halfs.begin(t, w.fold, bf16)
			quants.begin(t, w.fold)
		}
		data, _, err := receive(ctx, st.datas)
		if err != nil {
			return err
		}
		if values := len(c.raw) / t.RowBytes() * t.RowLen(); w.quant {
			data = grow(data, values)
			err = quants.convert(data, c.raw, c.firstRow, &st.notes)
		} else {
			data = grow(data, 2*values)
			err = halfs.convert(data, c.raw, c.firstRow, &st.notes)
		}
		if err != nil {
			return err
		}
		if err := send(ctx, st.raws, c.raw); err != nil {
			return err
		}
		if err := send(ctx, st.pieces, piece{data: data, first: first}); err != nil {
			return err
		}
		if w.quant && len(quants.scales) == w.rows() {
			if err := st.sendScales(ctx, quants.scales); err != nil {
				return err
			}
		}
	}
}

// sendScales passes on the scales of an int8 weight, the blob after its values.
func (st *streamer) sendScales(ctx context.Context, scales []float16.Float16) error {
	data, _, err := receive(ctx, st.datas)
	if err != nil {
		return err
	}
	data = grow(data, 2*len(scales))
	half.ToBytes(data, scales)
	return send(ctx, st.pieces, piece{data: data, first: true})
}

// write writes the blobs.
func (st *streamer) write(ctx context.Context, to blobs) error {
	for {
		p, ok, err := receive(ctx, st.pieces)
		if err != nil {
			return err
		}
		if !ok {
			if err := to.Close(); err != nil {
				return fmt.Errorf("weights: %w", err)
			}
			return nil
		}
		if p.first {
			if _, err := to.Next(); err != nil {
				return err
			}
		}
		if _, err := to.Write(p.data); err != nil {
			return err
		}
		st.progress.Advance(int64(len(p.data)))
		if err := send(ctx, st.datas, p.data); err != nil {
			return err
		}
	}
}
