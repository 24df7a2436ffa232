package mutant_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// base exports nano's tail by the default recipe.
func base(t *testing.T) mutant.Base {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	rec := exporter.DefaultRecipe()
	rec.Slots = 256
	b := mutant.Base{
		Source: fixtures.Nano(), Golden: golden, Plane: reference.Plane{},
		Export: exporter.Options{
			Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "base"), Layers: exporter.Range{Start: 30, End: 32},
			Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
		},
	}
	_, err = exporter.Export(context.Background(), b.Export)
	require.NoError(t, err)
	return b
}

// TestMutantsAreKilled runs every mutant through the whole gate; each must be
// killed by the check it names, and the matrix is golden.
func TestMutantsAreKilled(t *testing.T) {
	b := base(t)
	var matrix strings.Builder
	fmt.Fprintf(&matrix, "%-30s", "mutant")
	for _, check := range conformance.Checks() {
		fmt.Fprintf(&matrix, "  %-12s", check)
	}
	matrix.WriteString("  kinds of cases that failed\n")
	for _, m := range mutant.Catalogue() {
		t.Run(m.Name, func(t *testing.T) {
			kill, err := mutant.Run(context.Background(), b, m, filepath.Join(t.TempDir(), "mutant"))
			require.NoError(t, err)
			assert.Contains(t, kill.Killers(), m.KilledBy, "%s must be killed by %s", m.Name, m.KilledBy)
			assert.Equal(t, manifest.Fail, kill.Verdict.Result)
			matrix.WriteString(line(kill))
		})
	}
	if strings.Contains(t.Name(), "/") {
		return
	}
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).
		Assert(t, "kill_matrix", []byte(matrix.String()))
}

// line is a mutant's row of the kill matrix.
func line(k *mutant.Kill) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-30s", k.Mutant.Name)
	var kinds []string
	for _, c := range k.Verdict.Checks {
		word := string(c.Result)
		if c.Result == manifest.Fail {
			word = "KILLED"
		}
		for _, cs := range c.Cases {
			kind, _, _ := strings.Cut(cs.Name, "/")
			if cs.Result == manifest.Fail && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		fmt.Fprintf(&b, "  %-12s", word)
	}
	return b.String() + "  " + strings.Join(kinds, " ") + "\n"
}
