package oracle_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/oracle"
	"lockstep/internal/checkpoint"
)

// TestWith: a layer whose two outputs are zero passes its input on, and the
// model that it was made from stays as it was.
func TestWith(t *testing.T) {
	ckpt := openNano(t)
	two, one := load(t, ckpt, 30, 32), load(t, ckpt, 30, 31)
	x := make([]float64, 128)
	for i := range x {
		x[i] = float64(i%7) - 3
	}
	before := forward(t, two, two.NewCache(4), x, 0)
	passing := two
	for role, count := range map[checkpoint.Role]int{checkpoint.AttnOut: 128 * 128, checkpoint.Down: downValues(t, ckpt)} {
		var err error
		passing, err = passing.With(role, 31, make([]float32, count))
		require.NoError(t, err)
	}
	assert.Equal(t, forward(t, one, one.NewCache(4), x, 0), forward(t, passing, passing.NewCache(4), x, 0))
	assert.Equal(t, before, forward(t, two, two.NewCache(4), x, 0))

	for _, bad := range []struct {
		role  checkpoint.Role
		layer int
		count int
	}{{checkpoint.Down, 29, 1}, {checkpoint.Down, 32, 1}, {checkpoint.Down, 31, 1}, {checkpoint.FinalNorm, 31, 128}} {
		_, err := two.With(bad.role, bad.layer, make([]float32, bad.count))
		assert.ErrorIs(t, err, oracle.ErrModel, "%+v", bad)
	}
}

func downValues(t *testing.T, ckpt *checkpoint.Checkpoint) int {
	t.Helper()
	down, err := ckpt.Tensor(checkpoint.Down, 31)
	require.NoError(t, err)
	return down.Rows() * down.RowLen()
}
