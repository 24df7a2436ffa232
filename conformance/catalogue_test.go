package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"

	"lockstep/exporter"
)

// TestCatalogue keeps the list of cases under review: for nano with golden
// vectors, for a real shard, for shards of the LM head, for a package of another maker with 4-bit weights,
// and for one that cannot be read.
func TestCatalogue(t *testing.T) {
	g := goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".txt"))
	nano := exporter.DefaultRecipe()
	nano.Slots = 256
	ofHead := func(rec exporter.Recipe, _, hidden int, golden bool) []Case {
		return HeadCatalogue(rec, hidden, golden)
	}
	for _, c := range []struct {
		name   string
		list   func(rec exporter.Recipe, layers, hidden int, golden bool) []Case
		rec    exporter.Recipe
		layers int
		hidden int
		golden bool
	}{
		{"catalogue_nano", Catalogue, nano, 2, 128, true},
		{"catalogue_real", Catalogue, exporter.DefaultRecipe(), 2, 3072, false},
		{"catalogue_real_20", Catalogue, exporter.DefaultRecipe(), 20, 3072, false},
		{"catalogue_head_nano", ofHead, nano, 2, 128, true},
		{"catalogue_head_real", ofHead, exporter.DefaultRecipe(), 2, 3072, false},
		{"catalogue_foreign", ForeignCatalogue, exporter.Recipe{Slots: 64, Rows: []int{1, 4}, Precision: fewBits}, 2, 3072, true},
		{"catalogue_foreign_unread", ForeignCatalogue, exporter.Recipe{}, 2, 3072, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cases := c.list(c.rec, c.layers, c.hidden, c.golden)
			seen := map[string]bool{}
			var text strings.Builder
			fmt.Fprintf(&text, "digest %s\ncases %d\n", CatalogueDigest(cases), len(cases))
			for _, cs := range cases {
				assert.False(t, seen[cs.ID()], "%s stands twice", cs.ID())
				seen[cs.ID()] = true
				fmt.Fprintf(&text, "%-40s  %s\n", cs.ID(), cs.Description)
			}
			g.Assert(t, c.name, []byte(text.String()))
		})
	}
}

// TestParitySpots: the positions of the design, none past the context's end.
func TestParitySpots(t *testing.T) {
	for _, slots := range []int{4, 5, 8, 256, 2048} {
		spots := paritySpots(slots, 4)
		for _, want := range []spot{{0, 4}, {1, min(4, slots-1)}, {slots - 4, 1}, {slots - 4, 4}, {slots - 3, 3}, {slots - 2, 2}, {slots - 1, 1}} {
			assert.Contains(t, spots, want, "slots=%d", slots)
		}
		for _, p := range spots {
			assert.LessOrEqual(t, p.pos+p.live, slots, "slots=%d", slots)
		}
	}
}
