package oracle

import (
	"context"
	"fmt"

	"lockstep/internal/checkpoint"
)

// Head is what a whole model has around its layers: the embedding, the final
// RMSNorm and the vocabulary projection. The two vocabulary matrices stay on
// disk and are read when needed, a block of rows at a time. A Head serves one
// goroutine at a time, as long as its checkpoint is open.
type Head struct {
	hidden, vocab    int
	eps              float64
	norm             []float32
	embedding, logit *checkpoint.Tensor
}

// LoadHead finds the tensors around the layers. A tied checkpoint projects
// with its embedding.
func LoadHead(ctx context.Context, ckpt *checkpoint.Checkpoint) (*Head, error) {
	cfg := ckpt.Config()
	h := &Head{hidden: cfg.HiddenSize, vocab: cfg.VocabSize, eps: cfg.RMSNormEps}
	norm, err := readMatrix(ctx, ckpt, checkpoint.FinalNorm, 0, 1, h.hidden)
	if err != nil {
		return nil, err
	}
	h.norm = norm.data
	role := checkpoint.LMHead
	if cfg.TieWordEmbeddings {
		role = checkpoint.Embedding
	}
	for _, part := range []struct {
		role checkpoint.Role
		dst  **checkpoint.Tensor
	}{{checkpoint.Embedding, &h.embedding}, {role, &h.logit}} {
		t, err := ckpt.Tensor(part.role, 0)
		if err != nil {
			return nil, err
		}
		if t.Rows() != h.vocab || t.RowLen() != h.hidden {
			return nil, fmt.Errorf("%w: %s: tensor %s has %d rows of %d, want %d of %d",
				ErrModel, t.File, t.Name, t.Rows(), t.RowLen(), h.vocab, h.hidden)
		}
		*part.dst = t
	}
	return h, nil
}

// Embed returns a token's embedding, the input of layer 0.
func (h *Head) Embed(token int) ([]float64, error) {
	if token < 0 || token >= h.vocab {
		return nil, fmt.Errorf("%w: token %d is outside the vocabulary of %d", ErrInput, token, h.vocab)
	}
	row := make([]float32, h.hidden)
	if err := h.embedding.ReadRows(row, token); err != nil {
		return nil, err
	}
	x := make([]float64, h.hidden)
	for i, v := range row {
		x[i] = float64(v)
	}
	return x, nil
}

// FinalNorm returns the RMSNorm of the last layer's hidden states.
func (h *Head) FinalNorm(x []float64) ([]float64, error) {
	if err := checkVector("hidden", x, h.hidden); err != nil {
		return nil, err
	}
	normed := rmsNorm(x, h.norm, h.eps)
	if err := checkVector("final norm", normed, h.hidden); err != nil {
		return nil, err
	}
	return normed, nil
}

// Logits returns one logit per token of the vocabulary from the last layer's
// hidden states (before the final norm).
func (h *Head) Logits(ctx context.Context, x []float64) ([]float64, error) {
	all, err := h.LogitsOfRows(ctx, [][]float64{x}, 0, h.vocab)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// LogitsOfRows returns the logits of several tokens for the rows [start, end) of
// the vocabulary: one list per token of xs, each the last layer's hidden states.
// The rows are read once, whatever the number of tokens.
func (h *Head) LogitsOfRows(ctx context.Context, xs [][]float64, start, end int) ([][]float64, error) {
	if start < 0 || start >= end || end > h.vocab {
		return nil, fmt.Errorf("%w: rows [%d,%d) are outside the vocabulary of %d", ErrInput, start, end, h.vocab)
	}
	normed := make([][]float64, len(xs))
	for i, x := range xs {
		var err error
		if normed[i], err = h.FinalNorm(x); err != nil {
			return nil, err
		}
	}
	logits := make([][]float64, len(xs))
	step := min(end-start, max(1, readBlock/h.hidden))
	buf := make([]float32, step*h.hidden)
	for row := start; row < end; row += step {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(step, end-row)
		block := matrix{rows: n, cols: h.hidden, data: buf[:n*h.hidden]}
		if err := h.logit.ReadRows(block.data, row); err != nil {
			return nil, err
		}
		for i := range normed {
			logits[i] = append(logits[i], block.times(normed[i])...)
		}
	}
	return logits, nil
}
