package conformance_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/manifest"
)

// foldedSubject is nano with the attention factor in the weights.
func foldedSubject(t *testing.T, p exporter.Precision, rows ...int) subject {
	t.Helper()
	s := nanoSubject(t, p, exporter.LayerNormConcat)
	s.recipe.FoldRope, s.recipe.Rows = true, rows
	return s
}

// TestTailFolded judges nano's tail with the attention factor in the weights,
// with both functions and with the one that a runtime has that names none: the
// oracle and the golden vectors are those of any other export.
func TestTailFolded(t *testing.T) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		for _, rows := range [][]int{{1, 4}, {1}, {4}} {
			t.Run(fmt.Sprintf("%s_%v", precision, rows), func(t *testing.T) {
				t.Parallel()
				s := foldedSubject(t, precision, rows...)
				verdict := s.judge(t, tail)
				want := soundHere()
				if len(rows) == 1 && rows[0] == 1 {
					want[conformance.CheckParity] = manifest.NotMeasured // there is no block
				}
				requireResults(t, want, verdict)
				assert.Equal(t, verdict.Catalogue.Cases, verdict.Catalogue.Ran)
				record, err := exporter.ReadRecord(s.dir)
				require.NoError(t, err)
				assert.Equal(t, 1.0, record.Model.Rope.AttentionFactor, "the host's")
			})
		}
	}
}

// TestFoldedHeadNeedsNoFactor: an LM head shard and the embedding have the bytes
// that they have where the host has the factor.
func TestFoldedHeadNeedsNoFactor(t *testing.T) {
	digests := map[bool][]string{}
	for _, folded := range []bool{false, true} {
		s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
		s.recipe.FoldRope = folded
		opt := s.exportOptions()
		for _, piece := range []func(*exporter.Options){
			func(o *exporter.Options) { o.Head = exporter.Head{Shard: 1, Of: 4} },
			func(o *exporter.Options) { o.Embedding = true },
		} {
			opt.Head, opt.Embedding = exporter.Head{}, false
			piece(&opt)
			res, err := exporter.Export(t.Context(), opt)
			require.NoError(t, err)
			for _, f := range res.Shard.Package.Files {
				digests[folded] = append(digests[folded], f.SHA256)
			}
		}
	}
	require.NotEmpty(t, digests[false])
	assert.Equal(t, digests[false], digests[true])
}
