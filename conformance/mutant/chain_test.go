package mutant_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/conformance/mutant"
	"lockstep/conformance/report"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// soundModel exports nano whole and says how it is judged: fewer slots than it
// is meant for make passes cheap, and the text is short.
func soundModel(t *testing.T) conformance.ChainOptions {
	t.Helper()
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	golden, err := fixtures.Golden()
	require.NoError(t, err)
	opt := exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(t.TempDir(), "model"), Layout: exporter.DefaultLayout(), Recipe: exporter.DefaultRecipe(),
		Name: "nano", OffLadder: true,
	}
	opt.Recipe.Slots = 112
	parts := []exporter.Options{opt}
	parts[0].Embedding = true
	for _, r := range opt.Layout.Shards() {
		part := opt
		part.Layers = r
		parts = append(parts, part)
	}
	for i := range 4 {
		part := opt
		part.Head = exporter.Head{Shard: i, Of: 4}
		parts = append(parts, part)
	}
	for _, part := range parts {
		_, err := exporter.Export(context.Background(), part)
		require.NoError(t, err)
	}
	text := &conformance.Heldout{Window: 64}
	for _, b := range fixtures.Heldout()[:128] {
		text.Tokens = append(text.Tokens, int(b))
	}
	text.NLL, err = conformance.OracleNLL(context.Background(), ck, slices.Collect(slices.Chunk(text.Tokens, text.Window)))
	require.NoError(t, err)
	return conformance.ChainOptions{Dir: opt.Dir, Plane: reference.Plane{}, Golden: golden, Heldout: text, Prompts: 1, NewTokens: 12}
}

// chainRow is a row of the kill matrix: the result of each check, and the kinds
// of cases that failed.
type chainRow struct {
	name    string
	results map[string]manifest.Result
	kinds   []string
}

// judgeModel runs the catalogue. Of a model whose runtime alone is at fault the
// sessions are run, which alone have one; the rest is as in the sound row.
func judgeModel(t *testing.T, name string, opt conformance.ChainOptions, sound map[string]manifest.Result) chainRow {
	t.Helper()
	suite, err := conformance.NewChainSuite(context.Background(), opt)
	require.NoError(t, err)
	defer func() { require.NoError(t, suite.Close()) }()
	row := chainRow{name: name, results: map[string]manifest.Result{}}
	results := map[string][]manifest.Result{}
	for _, c := range suite.Cases() {
		if opt.Runtime != nil && c.Check != conformance.CheckSpeculation {
			results[c.Check] = []manifest.Result{sound[c.Check]}
			continue
		}
		out := suite.RunCase(context.Background(), c)
		results[c.Check] = append(results[c.Check], out.Result)
		kind, _, _ := strings.Cut(c.Name, "/")
		if out.Result == manifest.Fail && !slices.Contains(row.kinds, kind) {
			row.kinds = append(row.kinds, kind)
		}
	}
	for check, list := range results {
		row.results[check] = manifest.Combine(list...)
	}
	return row
}

func (r chainRow) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s", r.name)
	for _, check := range conformance.ChainChecks() {
		word := string(r.results[check])
		if r.results[check] == manifest.Fail {
			word = "KILLED"
		}
		fmt.Fprintf(&b, "  %-12s", word)
	}
	return b.String() + "  " + strings.Join(r.kinds, " ") + "\n"
}

// tallyOfModels counts the mutants of a whole model, whose checks are its own.
func tallyOfModels(rows []chainRow) report.Mutants {
	m := tallyOf("decode", make([]*mutant.Kill, len(rows)))
	for _, row := range rows {
		if row.results == nil {
			continue
		}
		m.Undecided--
		if slices.Contains(slices.Collect(maps.Values(row.results)), manifest.Fail) {
			m.Killed++
		} else {
			m.Survived = append(m.Survived, row.name)
		}
	}
	return m
}

// TestChainMutantsAreKilled runs every mutant of the whole model through its
// checks; each must be killed by the check it names, and the matrix is golden.
// Its first row is the model without a fault.
func TestChainMutantsAreKilled(t *testing.T) {
	opt := soundModel(t)
	sound := judgeModel(t, "none", opt, nil)
	require.Empty(t, sound.kinds, "the sound model passes")
	mutants := mutant.ChainCatalogue()
	rows := make([]chainRow, len(mutants))
	t.Run("of", func(t *testing.T) {
		for i, m := range mutants {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				opt := opt
				m.Seed(&opt)
				rows[i] = judgeModel(t, m.Name, opt, sound.results)
				assert.Equal(t, manifest.Fail, rows[i].results[m.KilledBy], "%s must be killed by %s", m.Name, m.KilledBy)
			})
		}
	})
	tally := tallyOfModels(rows)
	leaveTally(t, tally)
	assert.Empty(t, tally.Survived)
	var matrix strings.Builder
	fmt.Fprintf(&matrix, "%-34s", "mutant")
	for _, check := range conformance.ChainChecks() {
		fmt.Fprintf(&matrix, "  %-12s", check)
	}
	matrix.WriteString("  kinds of cases that failed\n")
	for _, row := range append([]chainRow{sound}, rows...) {
		if row.results == nil {
			return // -run chose among the mutants
		}
		matrix.WriteString(row.String())
	}
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).
		Assert(t, "kill_matrix_decode", []byte(matrix.String()))
	statedInDoc(t, "decode", tally.Killed, 0, len(tally.Survived))
}
