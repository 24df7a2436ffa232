package hostinput_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
	"pgregory.net/rapid"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/internal/half"
)

func smallRope(t require.TestingT) *hostinput.Rows {
	rows, err := hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 8, Factors: []float64{1, 1.5, 2, 3}, AttentionFactor: 1.19})
	require.NoError(t, err)
	return rows
}

func drawRows(t *rapid.T, live, channels int) [][]float16.Float16 {
	x := make([][]float16.Float16, live)
	for i := range x {
		x[i] = make([]float16.Float16, channels)
		for c := range x[i] {
			x[i][c] = float16.Float16(rapid.Uint16Range(0, 0x7BFF).Draw(t, "x"))
		}
	}
	return x
}

// TestFill checks every element of every input at random places, after another
// Fill has left its traces.
func TestFill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rope := smallRope(t)
		s := hostinput.Shape{
			Hidden:   rapid.IntRange(1, 5).Draw(t, "hidden"),
			Rows:     rapid.IntRange(1, 5).Draw(t, "rows"),
			Slots:    rapid.IntRange(1, 12).Draw(t, "slots"),
			RopeHalf: 4,
		}
		p := hostinput.NewPass(s)
		for range 2 {
			live := rapid.IntRange(1, min(s.Rows, s.Slots)).Draw(t, "live")
			pos := rapid.IntRange(0, s.Slots-live).Draw(t, "pos")
			x := drawRows(t, live, s.Hidden)
			require.NoError(t, p.Fill(rope, pos, live, x))
			requirePass(t, p, s, rope, pos, live, x)
		}
	})
}

func requirePass(t *rapid.T, p *hostinput.Pass, s hostinput.Shape, rope *hostinput.Rows, pos, live int, x [][]float16.Float16) {
	in := p.Inputs()
	require.Len(t, in, 5)
	require.Equal(t, []int{1, s.Hidden, s.Rows, 1}, in["x"].Shape)
	require.Equal(t, []int{s.Rows, 4}, in["rope_cos"].Shape)
	require.Equal(t, []int{s.Rows, 4}, in["rope_sin"].Shape)
	require.Equal(t, []int{1, 1, s.Rows, s.Slots}, in["attn_mask"].Shape)
	require.Equal(t, []int{1, 1, s.Slots, s.Rows}, in["kv_write_mask"].Shape)

	cos, sin := make([]float16.Float16, 4), make([]float16.Float16, 4)
	for row := range s.Rows {
		token := row
		if row >= live {
			token = live - 1 // dead
		}
		for c := range s.Hidden {
			require.Equal(t, x[token][c], in["x"].Data[c*s.Rows+row], "x of row %d", row)
		}
		require.NoError(t, rope.Row(pos+token, cos, sin))
		require.Equal(t, cos, in["rope_cos"].Data[row*4:row*4+4], "cosines of row %d", row)
		require.Equal(t, sin, in["rope_sin"].Data[row*4:row*4+4], "sines of row %d", row)
		for slot := range s.Slots {
			mask := half.ToFloat32(in["attn_mask"].Data[row*s.Slots+slot])
			if slot <= pos+token {
				require.Zero(t, math.Float32bits(mask), "row %d does not see slot %d", row, slot)
			} else {
				require.InDelta(t, -1e4, mask, 0, "row %d sees slot %d", row, slot)
			}
			want := float32(0)
			if row < live && slot == pos+row {
				want = 1
			}
			require.Equal(t, math.Float32bits(want), math.Float32bits(half.ToFloat32(in["kv_write_mask"].Data[slot*s.Rows+row])), "row %d writes slot %d", row, slot)
		}
	}
}

func TestFillRefusesWhatDoesNotFit(t *testing.T) {
	rope := smallRope(t)
	s := hostinput.Shape{Hidden: 3, Rows: 4, Slots: 10, RopeHalf: 4}
	rows := func(n int) [][]float16.Float16 {
		x := make([][]float16.Float16, n)
		for i := range x {
			x[i] = make([]float16.Float16, 3)
		}
		return x
	}
	p := hostinput.NewPass(s)
	assert.Equal(t, s, p.Shape())
	for _, c := range []struct{ pos, live int }{{0, 0}, {0, -1}, {0, 5}, {-1, 1}, {7, 4}, {8, 3}, {10, 1}, {math.MaxInt, 1}, {math.MinInt, 4}} {
		assert.ErrorIs(t, p.Fill(rope, c.pos, c.live, rows(max(c.live, 0))), hostinput.ErrContext, "%+v", c)
	}
	for _, c := range []struct{ pos, live int }{{6, 4}, {7, 3}, {9, 1}} {
		assert.NoError(t, p.Fill(rope, c.pos, c.live, rows(c.live)), "%+v", c)
	}
	assert.ErrorIs(t, p.Fill(rope, 0, 2, rows(1)), hostinput.ErrShape)
	assert.ErrorIs(t, p.Fill(rope, 0, 2, rows(3)), hostinput.ErrShape)
	x := rows(2)
	x[1] = x[1][:2]
	assert.ErrorIs(t, p.Fill(rope, 0, 2, x), hostinput.ErrShape)

	other, err := hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 6, AttentionFactor: 1})
	require.NoError(t, err)
	assert.ErrorIs(t, p.Fill(other, 0, 1, rows(1)), hostinput.ErrShape)

	for _, bad := range []float16.Float16{0x7C00, 0xFC00, 0x7E00, 0xFD01} {
		x := rows(3)
		x[2][1] = bad
		err := p.Fill(rope, 0, 3, x)
		require.ErrorIs(t, err, coreml.ErrNonFinite)
		assert.ErrorContains(t, err, "row 2, channel 1")
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	rope := smallRope(t)
	p := hostinput.NewPass(hostinput.Shape{Hidden: 64, Rows: 4, Slots: 128, RopeHalf: 4})
	x := [][]float16.Float16{make([]float16.Float16, 64), make([]float16.Float16, 64)}
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		if p.Fill(rope, 77, 2, x) != nil {
			panic("refused")
		}
		_ = p.Inputs()
	}))
}
