package main

import (
	"fmt"
	"math"
	"os"

	"lockstep/internal/checkpoint"
	"lockstep/internal/safetensors"
)

// The vectors by which golden vectors are tied to their checkpoint: the first
// prompt's tokens, and the embedding of each.
const (
	goldenIDs   = "p0.ids"   // [tokens] int32
	goldenEmbed = "p0.embed" // [tokens, hidden] float32
)

// readTensors reads a safetensors file of small tensors that a flag names.
func readTensors(flag, name string) (*safetensors.Values, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	values, err := safetensors.ParseValues(name, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return values, nil
}

// readGolden reads golden vectors and refuses those of another checkpoint:
// held against it, a good package would fail. The embedding tells, whose rows
// are the checkpoint's to the bit.
func readGolden(name string, ck *checkpoint.Checkpoint) (*safetensors.Values, error) {
	values, err := readTensors("--golden", name)
	if err != nil {
		return nil, err
	}
	ids, _, err := values.Int32(goldenIDs)
	if err != nil {
		return nil, fmt.Errorf("--golden: %w", err)
	}
	embed, shape, err := values.Float32(goldenEmbed)
	if err != nil {
		return nil, fmt.Errorf("--golden: %w", err)
	}
	table, err := ck.Tensor(checkpoint.Embedding, 0)
	if err != nil {
		return nil, fmt.Errorf("--golden: it is held against the checkpoint's embedding: %w", err)
	}
	hidden := table.RowLen()
	if len(embed) != len(ids)*hidden {
		return nil, &flagError{"--golden " + name, fmt.Sprintf("%s of shape [%d %d]", goldenEmbed, len(ids), hidden), fmt.Sprint(shape)}
	}
	row := make([]float32, hidden)
	for i, id := range ids {
		if id < 0 || int(id) >= table.Rows() {
			return nil, &flagError{"--golden " + name, fmt.Sprintf("tokens of %s below %d", goldenIDs, table.Rows()), fmt.Sprint(id)}
		}
		if err := table.ReadRows(row, int(id)); err != nil {
			return nil, err
		}
		for c, want := range row {
			if got := embed[i*hidden+c]; math.Float32bits(got) != math.Float32bits(want) {
				return nil, &flagError{
					"--golden " + name, "vectors of this checkpoint",
					fmt.Sprintf("those of another one: %s at [%d, %d] is %v, the checkpoint's embedding has %v", goldenEmbed, i, c, got, want),
				}
			}
		}
	}
	return values, nil
}
