package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

func TestSameCheckpointAndRecipe(t *testing.T) {
	base := sampleRecord(t)
	require.NoError(t, manifest.SameCheckpointAndRecipe(base, base))

	other := sampleRecord(t)
	other.Model.Tensors = []manifest.TensorDigest{{Name: "model.layers.20.input_layernorm.weight", SHA256: hexOf("9")}}
	other.Shards = nil
	other.Anchors = nil
	require.NoError(t, manifest.SameCheckpointAndRecipe(base, other), "other layers, other anchors")

	for _, tt := range []struct {
		name     string
		change   func(r *manifest.Record)
		sentinel error
		names    []string // what the error tells of both sides
	}{
		{"config", func(r *manifest.Record) { r.Model.ConfigSHA256 = hexOf("b") }, manifest.ErrOtherCheckpoint, []string{hexOf("a"), hexOf("b")}},
		{"tensor", func(r *manifest.Record) { r.Model.Tensors[0].SHA256 = hexOf("9") }, manifest.ErrOtherCheckpoint, []string{hexOf("1"), hexOf("9")}},
		{"name", func(r *manifest.Record) { r.Model.Name = "micro" }, manifest.ErrOtherCheckpoint, []string{"nano", "micro"}},
		{"factors", func(r *manifest.Record) { r.Model.Rope.Factors[0] = 3 }, manifest.ErrOtherCheckpoint, []string{"[1 1 1 1.25", "[3 1 1 1.25"}},
		{"precision", func(r *manifest.Record) { r.Recipe.Precision = manifest.PrecisionFP16 }, manifest.ErrOtherRecipe, []string{"int8", "fp16"}},
		{"functions", func(r *manifest.Record) { r.Recipe.Functions = []string{"t4"} }, manifest.ErrOtherRecipe, []string{"[t1 t4]", "[t4]"}},
		{"rope factor", func(r *manifest.Record) {
			r.Recipe.RopeFactor, r.Model.Rope.AttentionFactor = manifest.RopeFactorFolded, 1
		}, manifest.ErrOtherRecipe, []string{"recipe.rope_factor", "absent", "folded"}},
		{"layout", func(r *manifest.Record) { r.Layout = []int{30, 2} }, manifest.ErrOtherLayout, []string{"[20 4 6 2]", "[30 2]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := sampleRecord(t)
			tt.change(&changed)
			for _, err := range []error{
				manifest.SameCheckpointAndRecipe(base, changed),
				manifest.SameCheckpointAndRecipe(changed, base),
			} {
				require.ErrorIs(t, err, tt.sentinel)
				for _, name := range tt.names {
					assert.ErrorContains(t, err, name)
				}
			}
			_, err := manifest.Merge(base, changed)
			assert.ErrorIs(t, err, tt.sentinel)
		})
	}
}

func TestMerge(t *testing.T) {
	base := sampleRecord(t)
	before, err := manifest.EncodeRecord(base)
	require.NoError(t, err)

	added := sampleRecord(t)
	added.Anchors = []manifest.Anchor{{Tag: "pass-2026-04-29", Commit: "290e3d3"}}
	added.Model.Tensors = []manifest.TensorDigest{{Name: "model.layers.20.input_layernorm.weight", SHA256: hexOf("9")}}
	added.Shards = []manifest.Shard{sampleShard(t, 20, 24, "nano_layers20_24_int8.mlpackage", false)}

	both, err := manifest.Merge(base, added)
	require.NoError(t, err)
	text, err := manifest.EncodeRecord(both)
	require.NoError(t, err)
	other, err := manifest.Merge(added, base)
	require.NoError(t, err)
	otherText, err := manifest.EncodeRecord(other)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(otherText), "the order of the exports does not matter")
	assert.Len(t, both.Shards, 3)
	assert.Equal(t, 20, both.Shards[0].Start)
	assert.Len(t, both.Anchors, 2)
	assert.Len(t, both.Model.Tensors, 3)

	again, err := manifest.Merge(both, added)
	require.NoError(t, err)
	againText, err := manifest.EncodeRecord(again)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(againText), "merging again changes nothing")

	after, err := manifest.EncodeRecord(base)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after), "the sides are left alone")
}

func TestMergeRefusesConflicts(t *testing.T) {
	base := sampleRecord(t)

	added := sampleRecord(t)
	added.Shards = added.Shards[1:]
	added.Shards[0].Package.Files[2].SHA256 = hexOf("6")
	digest, err := manifest.PackageDigest(added.Shards[0].Package.Files)
	require.NoError(t, err)
	added.Shards[0].Package.Digest = digest
	_, err = manifest.Merge(base, added)
	assert.ErrorIs(t, err, manifest.ErrOtherPackage)

	added = sampleRecord(t)
	added.Anchors[0].Commit = "290e3d3"
	_, err = manifest.Merge(base, added)
	assert.ErrorIs(t, err, manifest.ErrOtherAnchor)

	base.Embedding = &manifest.Embedding{Path: "e.bin", Bytes: 1, SHA256: hexOf("1"), Rows: 256}
	added = sampleRecord(t)
	merged, err := manifest.Merge(base, added)
	require.NoError(t, err)
	assert.Equal(t, base.Embedding, merged.Embedding)
	added.Embedding = &manifest.Embedding{Path: "e.bin", Bytes: 1, SHA256: hexOf("2"), Rows: 256}
	_, err = manifest.Merge(base, added)
	assert.ErrorIs(t, err, manifest.ErrOtherPackage)
}

func TestVerdictOfFailure(t *testing.T) {
	v := sampleVerdict()
	v.Checks[0].Cases[0].Result, v.Checks[0].Cases[0].Reason = manifest.Fail, "weight.bin: blob 3 is out of range"
	v.Checks[0].Result, v.Checks[0].Reason = manifest.Fail, "1 of 1 cases failed"
	for i := range v.Checks[1:] {
		v.Checks[1+i].Result, v.Checks[1+i].Reason, v.Checks[1+i].Cases = manifest.NotRun, "package failed", nil
	}
	v.Result, v.Catalogue.Ran = manifest.Fail, 1
	assert.NoError(t, v.Verify())
}

func TestVerdictOfRequiredCheck(t *testing.T) {
	v := sampleVerdict()
	v.Required = []string{"residency"}
	v.Checks[2].Result, v.Result = manifest.Fail, manifest.Fail
	assert.NoError(t, v.Verify(), "not measured is fail where it is required")
	v.Required = nil
	assert.ErrorIs(t, v.Verify(), manifest.ErrInvalid, "and only there")
}

func TestSingleFunctionIsCalledMain(t *testing.T) {
	r := sampleRecord(t)
	r.Recipe.Functions = []string{"t4"}
	var err error
	r.RecipeSHA256, err = r.Recipe.Digest()
	require.NoError(t, err)
	for i := range r.Shards {
		r.Shards[i].Functions = r.Shards[i].Functions[1:]
		r.Shards[i].Functions[0].Name = "main"
	}
	require.NoError(t, r.Verify())
	r.Shards[0].Functions[0].Name = "t4"
	assert.ErrorIs(t, r.Verify(), manifest.ErrInvalid)
}
