package conformance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/half"
)

// TestPortableBits: nano's package bytes, hidden states and caches are the same
// whatever the number of threads and the instruction set. The golden digests
// are compared on every machine that runs the tests, and by `make portable`
// with one thread, for amd64.v3 and for arm64.
func TestPortableBits(t *testing.T) {
	ck, err := checkpoint.Open(fixtures.Nano())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	var text strings.Builder
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		for _, norm := range exporter.Norms() {
			rec := exporter.DefaultRecipe()
			rec.Slots, rec.Precision, rec.Norm = 256, precision, norm
			dir := filepath.Join(t.TempDir(), string(precision)+string(norm))
			layers := exporter.Range{Start: 30, End: 32}
			res, err := exporter.Export(context.Background(), exporter.Options{
				Checkpoint: ck, Dir: dir, Layers: layers, Layout: exporter.DefaultLayout(), Recipe: rec, Name: "nano",
			})
			require.NoError(t, err)
			suite, err := NewSuite(Options{Dir: dir, Layers: layers, Plane: reference.Plane{}})
			require.NoError(t, err)
			fmt.Fprintf(&text, "%s %s package %s\n", precision, norm, res.Shard.Package.Digest)
			for _, rows := range rec.Rows {
				fmt.Fprintf(&text, "%s %s t%d %x\n", precision, norm, rows, bitsOf(t, suite, rows))
			}
			require.NoError(t, suite.Close())
		}
	}
	goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".txt")).Assert(t, "nano_bits", []byte(text.String()))
}

// bitsOf digests the hidden states of twelve tokens and the caches after them.
// Both functions must come to the same, since the tokens are.
func bitsOf(t *testing.T, s *Suite, rows int) []byte {
	t.Helper()
	d, err := s.driver(context.Background(), rows)
	require.NoError(t, err)
	seed := seedStates("portable", d.fn.Signature())
	st, err := d.newState(seed)
	require.NoError(t, err)
	sum := sha256.New()
	tokens := HiddenRows("portable x", 12, s.record.Model.Dims.Hidden)
	for pos := 0; pos < len(tokens); pos += rows {
		out, err := d.run(context.Background(), st, pos, tokens[pos:pos+rows])
		require.NoError(t, err)
		for _, row := range out {
			digest(sum, row)
		}
	}
	after, err := seed.read(st)
	require.NoError(t, err)
	for _, name := range after.names() {
		digest(sum, after[name])
	}
	return sum.Sum(nil)
}

func digest(sum hash.Hash, data []float16.Float16) {
	raw := make([]byte, 2*len(data))
	half.ToBytes(raw, data)
	sum.Write(raw)
}
