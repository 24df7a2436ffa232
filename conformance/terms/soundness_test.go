package terms_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/conformance/mutant"
	"lockstep/conformance/terms"
	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// TestSoundness holds terms against a pass on the reference plane, value by
// value: elements of the same term have the same number, wherever in the program
// they stand, and a concrete term's number is the element's. It does so for a
// sound program and for rewired ones, some with their attention in one op.
func TestSoundness(t *testing.T) {
	b := newBench(t)
	traced := 0
	for i := range 25 {
		p := b.model.Program.Clone()
		if i%5 == 4 {
			p = fuseAttention(t, p)
		}
		if i > 0 {
			_, err := mutant.Rewire(fmt.Sprintf("soundness %d", i), p)
			require.NoError(t, err)
		}
		if p.Check() != nil {
			continue
		}
		pkg, err := b.open(t, p)
		require.NoError(t, err)
		for _, spot := range []terms.Spot{{Pos: 2, Live: 4}, {Pos: 5, Live: 2}} {
			if b.holds(t, pkg, p, spot) {
				traced++
			}
		}
		require.NoError(t, pkg.Close())
	}
	assert.Greater(t, traced, 10)
}

// holds traces a block and compares; false if its values are not finite.
func (b *bench) holds(t *testing.T, pkg coreml.Package, p *mil.Program, spot terms.Spot) bool {
	t.Helper()
	values, err := terms.BlockValues(context.Background(), terms.Subject{Program: p, Block: "t4", Single: "t1"}, spot)
	require.NoError(t, err)
	fn, err := pkg.Function(context.Background(), "t4")
	if err != nil {
		return false // an op that the plane does not execute this way
	}
	shape := b.shape
	shape.Rows = 4
	tokens := make([][]float16.Float16, spot.Live)
	for i := range tokens {
		tokens[i] = b.draw(shape.Hidden)
	}
	pass := hostinput.NewPass(shape)
	require.NoError(t, pass.Fill(b.rope, spot.Pos, spot.Live, tokens))
	st, _, err := b.states(pkg)
	require.NoError(t, err)
	out := coreml.Tensor{Shape: []int{1, shape.Hidden, 4, 1}, Data: make([]float16.Float16, shape.Hidden*4)}
	numbers := map[terms.Term]float16.Float16{}
	compared := 0
	err = fn.(coreml.Tracer).Trace(context.Background(), pass.Inputs(), st, map[string]coreml.Tensor{contract.Hidden: out}, func(o coreml.Observed) error {
		if half.FirstNonFinite(o.Tensor.Data) >= 0 {
			return errNotFinite
		}
		for i, term := range values[o.Name] {
			h := o.Tensor.Data[i]
			if h == 0x8000 {
				h = 0
			}
			want, seen := numbers[term]
			if !seen {
				numbers[term], want = h, h
			}
			if v, concrete := term.Number(); concrete {
				want = half.FromFloat64(v)
			}
			if h != want {
				return fmt.Errorf("%s[%d]: term %s is %v here and %v elsewhere", o.Name, i, term, h, want)
			}
			compared++
		}
		return nil
	})
	if err != nil && half.FirstNonFinite(out.Data) < 0 {
		require.ErrorIs(t, err, errNotFinite)
	}
	return err == nil && compared > 1000
}
