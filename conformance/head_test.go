package conformance_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/manifest"
)

// TestHead exports the LM head of the subject in four shards, or finds them up
// to date, and judges each by the whole catalogue. The ladder does not concern
// it; the settings are those of TestTail.
func TestHead(t *testing.T) {
	s := newSubject(t)
	s.wantWhole(t)
	for _, rows := range s.exportHead(t, exporter.DefaultHeadShards) {
		t.Run("rows"+rows.String(), func(t *testing.T) { judgeShard(t, s.headOptions(rows), s.dir) })
	}
}

// TestHeadCoverage: an LM head of which a shard is missing does not pass, though
// the shards that there are do.
func TestHeadCoverage(t *testing.T) {
	for missing, want := range []string{"rows 0:85 ", "rows 85:170 ", "rows 170:256 "} {
		s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
		cut, err := exporter.HeadRanges(256, 3)
		require.NoError(t, err)
		judged := cut[(missing+1)%3]
		for i := range cut {
			if i != missing {
				opt := s.exportOptions()
				opt.Head = exporter.Head{Shard: i, Of: 3}
				_, err := exporter.Export(context.Background(), opt)
				require.NoError(t, err)
			}
		}
		verdict, err := conformance.Run(context.Background(), s.headOptions(judged), nil)
		require.NoError(t, err)
		assert.Equal(t, manifest.Fail, verdict.Result)
		i := slices.IndexFunc(verdict.Checks, func(c manifest.Check) bool { return c.Name == conformance.CheckPackage })
		assert.Contains(t, verdict.Checks[i].Reason, "coverage: "+want)

		_, err = conformance.NewSuite(s.headOptions(cut[missing]))
		assert.ErrorIs(t, err, conformance.ErrNoShard)
	}
}

// TestHeadModels judges the LM heads of models of other shapes, untied and of
// dimensions that nothing divides among them.
func TestHeadModels(t *testing.T) {
	for _, preset := range synth.Presets() {
		t.Run(preset.Name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "checkpoint")
			require.NoError(t, synth.Write(context.Background(), dir, preset.Spec))
			s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
			s.useCheckpoint(t, "synth", dir)
			s.recipe.Slots, s.recipe.Precision = 64, exporter.FP16
			s.layout = exporter.Layout{s.checkpoint.Config().Layers}
			for _, rows := range s.exportHead(t, 4) {
				verdict, err := conformance.Run(context.Background(), s.headOptions(rows), nil)
				require.NoError(t, err)
				assert.Equal(t, manifest.Partial, verdict.Result)
				for _, c := range verdict.Checks {
					assert.True(t, c.Result == manifest.Pass || c.Name == conformance.CheckResidency, "%s: %s", c.Name, c.Reason)
				}
			}
		})
	}
}

// TestHeadFunctions judges LM heads of one function: a block alone is compared
// with itself, one live row at a time; a single alone has nothing to compare.
func TestHeadFunctions(t *testing.T) {
	for _, tt := range []struct {
		rows   []int
		parity manifest.Result
	}{{[]int{4}, manifest.Pass}, {[]int{1}, manifest.NotMeasured}} {
		s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
		s.recipe.Rows = tt.rows
		verdict, err := conformance.Run(context.Background(), s.headOptions(s.exportHead(t, 1)[0]), nil)
		require.NoError(t, err)
		requireResults(t, map[string]manifest.Result{
			conformance.CheckPackage: manifest.Pass, conformance.CheckLint: manifest.Pass, conformance.CheckEquivalence: manifest.Pass, conformance.CheckOracle: manifest.Pass,
			conformance.CheckParity: tt.parity, conformance.CheckResidency: manifest.NotMeasured,
		}, verdict)
	}
}

// exportHead exports every shard of the LM head and returns their rows.
func (s subject) exportHead(t *testing.T, n int) []exporter.Range {
	t.Helper()
	rows, err := exporter.HeadRanges(s.checkpoint.Config().VocabSize, n)
	require.NoError(t, err)
	for i := range rows {
		opt := s.exportOptions()
		opt.Head = exporter.Head{Shard: i, Of: n}
		_, err := exporter.Export(context.Background(), opt)
		require.NoError(t, err)
	}
	return rows
}

func (s subject) headOptions(rows exporter.Range) conformance.Options {
	opt := s.options(exporter.Range{})
	opt.Vocab, opt.Command = rows, "go test ./conformance -run Head -count=1"
	return opt
}

// TestHeadRecipes judges nano's LM head in both precisions and all norm forms,
// cut evenly, unevenly and not at all. The prescaled form fails by design: its
// eps/d leaves float16.
func TestHeadRecipes(t *testing.T) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		for i, norm := range exporter.Norms() {
			t.Run(string(precision)+"_"+string(norm), func(t *testing.T) {
				t.Parallel()
				s := nanoSubject(t, precision, norm)
				want := soundHere()
				if norm == exporter.Prescaled {
					want[conformance.CheckLint] = manifest.Fail
					if precision == exporter.FP16 { // within what int8 may lose
						want[conformance.CheckOracle] = manifest.Fail
					}
				}
				for _, rows := range s.exportHead(t, []int{3, 1, 7}[i]) {
					verdict, err := conformance.Run(context.Background(), s.headOptions(rows), nil)
					require.NoError(t, err)
					requireResults(t, want, verdict)
					assert.Equal(t, &manifest.VocabRange{Start: rows.Start, End: rows.End}, verdict.Vocab)
					assert.Equal(t, manifest.LayerRange{}, verdict.Shard)
				}
			})
		}
	}
}
