package probe

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/contract"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

func named(t *testing.T, name string) Variant {
	t.Helper()
	found, err := Select(Variants(), []string{name})
	require.NoError(t, err)
	return found[0]
}

func modelOf(t *testing.T, d Dimensions, name string) *mlpackage.Model {
	t.Helper()
	m, err := named(t, name).model(d, nil)
	require.NoError(t, err)
	return m
}

// TestModels: every variant's model type-checks at both sizes, with the
// contract's states in every function.
func TestModels(t *testing.T) {
	for _, d := range []Dimensions{Nano(), Real()} {
		for _, v := range Variants() {
			m := modelOf(t, d, v.Name)
			require.NoError(t, m.Program.Check(), "%s %s", d.Name, v.Name)
			require.NoError(t, m.CheckSignature(), "%s %s", d.Name, v.Name)
			require.Len(t, m.Program.Functions, len(v.rows(d)))
			for _, f := range m.Program.Functions {
				states := f.States()
				require.Len(t, states, 2)
				assert.Equal(t, contract.KState(0), states[0].Name)
			}
		}
	}
}

// TestChanges: a rewritten program differs from the baseline in the ops that
// its choice is about, and in no other.
func TestChanges(t *testing.T) {
	const kvHeads = 2 // nano's
	baseline := modelOf(t, Nano(), Baseline).Program
	for name, want := range map[string]map[string]int{
		"state=not_read_again": {"read_state": -2},
		"scale=after":          {"mul": kvHeads - 1},
		"cache=slice_update": {
			"reduce_sum": 0, "sub": -1, "add": -2 + 1, "mul": -2 + 1, "matmul": -2, "slice_update": 2, "slice_by_index": 1, "cast": 2, "concat": 2,
		},
		"weights=int8_per_tensor": {},
		"tokens=width":            {},
	} {
		for _, f := range modelOf(t, Nano(), name).Program.Functions {
			got := f.OpCounts()
			for typ, n := range baseline.Function(f.Name).OpCounts() {
				got[typ] -= n
			}
			delete(got, "const")
			maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
			maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
			assert.Equal(t, want, got, "%s %s", name, f.Name)
		}
	}
}

// TestTokensOnWidth: hidden states have T on the last axis everywhere.
func TestTokensOnWidth(t *testing.T) {
	m := modelOf(t, Nano(), "tokens=width")
	for name, rows := range map[string]int{"t1": 1, "t4": 4} {
		d := m.Description.Function(name)
		want := []int{1, 128, 1, rows}
		assert.Equal(t, want, d.Inputs[0].Shape)
		assert.Equal(t, want, d.Outputs[0].Shape)
		for _, op := range m.Program.Function(name).Ops {
			for _, o := range op.Outputs {
				if rows > 1 && len(o.Type.Shape) == 4 && o.Type.Shape[1] == 128 {
					assert.NotEqual(t, []int{1, 128, rows, 1}, o.Type.Shape, "%s of %s", o.Name, name)
				}
			}
		}
	}
}

// TestNoStrayConstants: what a dropped op alone used is gone with it.
func TestNoStrayConstants(t *testing.T) {
	for _, v := range Variants() {
		for _, f := range modelOf(t, Nano(), v.Name).Program.Functions {
			used := map[string]bool{}
			for _, op := range f.Ops {
				for _, a := range op.Args {
					for _, b := range a.Bindings {
						used[b.Name] = true
					}
				}
			}
			for _, op := range f.Ops {
				if op.Type == "const" {
					assert.True(t, used[op.Name], "%s %s: nothing uses %s", v.Name, f.Name, op.Name)
				}
			}
		}
	}
}

// TestRewriteRefuses: a change that finds other sites than it supposes is an
// error, not a variant that is the baseline by mistake.
func TestRewriteRefuses(t *testing.T) {
	m := modelOf(t, Nano(), Baseline)
	rows := map[string]int{"t1": 1, "t4": 4}
	for _, again := range []func() change{notReadAgain, scaleAfter} {
		once, err := rewrite(m, rows, again)
		require.NoError(t, err)
		_, err = rewrite(once, rows, again)
		assert.ErrorIs(t, err, ErrRewrite)
	}
	_, err := rewrite(m, rows, func() change {
		return change{sites: exactly(1), op: func(*rewriter, *mil.Op) bool { return false }}
	})
	require.ErrorIs(t, err, ErrRewrite)
	assert.ErrorContains(t, err, "function t1: the variant's change does not fit the program: want 1 ops to change, found 0")
}

func TestSelect(t *testing.T) {
	all := Variants()
	found, err := Select(all, []string{"scale=after", Baseline})
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Equal(t, Baseline, found[0].Name, "in their own order")
	_, err = Select(all, []string{"scale=before"})
	require.ErrorIs(t, err, ErrVariant)
	assert.ErrorContains(t, err, `want one of baseline, norm=clamped,`)
	_, err = ParseDimensions("huge")
	assert.ErrorIs(t, err, ErrVariant)
}
