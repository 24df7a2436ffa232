package exporter_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/exporter"
)

// TestPlanGolden holds the plan of the whole real model, and its sizes against
// those that others have measured.
func TestPlanGolden(t *testing.T) {
	// MB of compiled int8 shards of 20, 4, 6 and 2 layers on record, by layers.
	onRecord := map[int]float64{20: 2015.8, 4: 403.2, 6: 604.7, 2: 201.6}
	for _, p := range []exporter.Precision{exporter.Int8, exporter.FP16} {
		t.Run(string(p), func(t *testing.T) {
			rec := exporter.DefaultRecipe()
			rec.Precision = p
			plan, err := exporter.NewPlan(phi4Mini(t), "Phi_4_mini_instruct", exporter.DefaultLayout(), rec, exporter.DefaultHeadShards)
			require.NoError(t, err)
			text, err := json.MarshalIndent(plan, "", "  ")
			require.NoError(t, err)
			goldie.New(t, goldie.WithFixtureDir("../golden"), goldie.WithNameSuffix(".json")).
				Assert(t, "plan_phi4mini_"+string(p), append(text, '\n'))
			var sum int64
			for _, s := range plan.Shards {
				sum += s.Bytes
				assert.Equal(t, sum, s.Peak, "a finished package is its partial, renamed")
				want := onRecord[s.End-s.Start] * 1e6
				if p == exporter.FP16 {
					want *= 2
				}
				assert.InEpsilon(t, want, s.Bytes, 0.01, "layers %d:%d", s.Start, s.End)
			}
			require.Len(t, plan.LMHead, 4)
			for i, s := range plan.LMHead {
				sum += s.Bytes
				assert.Equal(t, sum, s.Peak)
				assert.Equal(t, []int{50016 * i, 50016 * (i + 1)}, []int{s.Start, s.End}, "the cut on record as resident")
			}
			assert.Equal(t, int64(2*200064*3072), plan.Embedding.Bytes)
			sum += plan.Embedding.Bytes
			assert.Equal(t, sum, plan.Embedding.Peak)
			assert.Equal(t, sum, plan.Bytes)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	_, err := exporter.NewPlan(phi4Mini(t), "m", exporter.Layout{20, 4, 6}, exporter.DefaultRecipe(), exporter.DefaultHeadShards)
	assert.ErrorIs(t, err, exporter.ErrLayout)
	rec := exporter.DefaultRecipe()
	rec.Precision = "int4"
	_, err = exporter.NewPlan(phi4Mini(t), "m", exporter.DefaultLayout(), rec, exporter.DefaultHeadShards)
	assert.ErrorIs(t, err, exporter.ErrRecipe)
	_, err = exporter.PlanShard(phi4Mini(t), "m", exporter.Range{Start: 30, End: 40}, exporter.DefaultRecipe())
	assert.ErrorIs(t, err, exporter.ErrRange)
}

// TestFit counts the shards that find room, in build order: 10, 20, 40 bytes.
func TestFit(t *testing.T) {
	const allowance = 1 << 20
	plan := &exporter.Plan{Shards: []exporter.ShardPlan{{Peak: 10}, {Peak: 30}, {Peak: 70}}}
	for _, tt := range []struct {
		name                    string
		free, reserve, standing int64
		fits                    int
		missing                 int64
	}{
		{"all", allowance + 70, 0, 0, 3, 0},
		{"one byte short for the last", allowance + 69, 0, 0, 2, 1},
		{"the reserve is kept", allowance + 30 + 99, 100, 0, 1, 1},
		{"none", 0, 0, 0, 0, allowance + 10},
		{"the first stands", allowance + 20, 0, 10, 2, 40},
		{"all stand on a full disk", 0, 1 << 30, 70, 3, 0},
		{"a reserve beyond any disk", math.MaxInt64 / 2, math.MaxInt64, 0, 0, math.MaxInt64 - math.MaxInt64/2 + 10 + allowance},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := plan.Fit(tt.free, tt.reserve, tt.standing)
			assert.Equal(t, exporter.Room{Free: tt.free, Reserve: tt.reserve, Standing: tt.standing, Fits: tt.fits, Missing: tt.missing}, room)
		})
	}
}

// TestElevenGiB is the disk that this project began with: 11 GiB free and the
// whole of Phi-4-mini. All of it fits with the reserve kept, smallest shard
// first, then the LM head, then the embedding; in fp16 the embedding no longer
// does with 10 GiB; with 8 GiB the largest fp16 shard does not, the three
// before it do, and the shortage is told in bytes.
func TestElevenGiB(t *testing.T) {
	cfg := phi4Mini(t)
	for _, tt := range []struct {
		precision exporter.Precision
		free      int64
		fits      int
	}{
		{exporter.Int8, 11 << 30, 9},
		{exporter.FP16, 11 << 30, 9},
		{exporter.FP16, 10 << 30, 8},
		{exporter.FP16, 8 << 30, 3},
		{exporter.Int8, 5 << 30, 3},
		{exporter.Int8, 2 << 30, 0},
	} {
		rec := exporter.DefaultRecipe()
		rec.Precision = tt.precision
		plan, err := exporter.NewPlan(cfg, "phi4mini", exporter.DefaultLayout(), rec, exporter.DefaultHeadShards)
		require.NoError(t, err)
		room := plan.Fit(tt.free, exporter.DefaultReserve, 0)
		assert.Equal(t, tt.fits, room.Fits, "%s with %d bytes free", tt.precision, tt.free)
		assert.Equal(t, tt.fits < len(plan.Steps()), room.Missing > 0)
		var order []int
		for _, s := range plan.Shards {
			order = append(order, s.Start)
		}
		assert.Equal(t, []int{30, 20, 24, 0}, order)
	}
}
