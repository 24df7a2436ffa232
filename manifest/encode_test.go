package manifest_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/manifest"
)

func TestRecordRoundTrip(t *testing.T) {
	first, err := manifest.EncodeRecord(sampleRecord(t))
	require.NoError(t, err)
	decoded, err := manifest.DecodeRecord(first)
	require.NoError(t, err)
	second, err := manifest.EncodeRecord(*decoded)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
	assert.Equal(t, 30, decoded.Shards[1].Start)
	assert.InDelta(t, 1.19, decoded.Model.Rope.AttentionFactor, 0)
}

func TestVerdictRoundTrip(t *testing.T) {
	first, err := manifest.EncodeVerdict(sampleVerdict())
	require.NoError(t, err)
	decoded, err := manifest.DecodeVerdict(first)
	require.NoError(t, err)
	second, err := manifest.EncodeVerdict(*decoded)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
	assert.True(t, math.IsNaN(float64(*decoded.Checks[1].Cases[0].Evidence[1].Value)))
}

// A verdict of a plane that cannot show ranges has none.
func TestVerdictWithoutRanges(t *testing.T) {
	v := sampleVerdict()
	v.Ranges = nil
	text, err := manifest.EncodeVerdict(v)
	require.NoError(t, err)
	assert.NotContains(t, string(text), `"ranges"`)
	require.NoError(t, verdictDocument(t).validate(t, text))
	decoded, err := manifest.DecodeVerdict(text)
	require.NoError(t, err)
	assert.Nil(t, decoded.Ranges)
}

func TestHeadroom(t *testing.T) {
	r := sampleRanges()
	assert.InDelta(t, 2, float64(r.Headroom()), 0, "65504 / 32752")
	assert.True(t, math.IsInf(float64(manifest.HeadroomOf(0, 0)), 1), "zero has room for anything")
	assert.Zero(t, manifest.HeadroomOf(1, 1), "an infinity has left float16")
}

func TestCanonicalForm(t *testing.T) {
	record, err := manifest.EncodeRecord(sampleRecord(t))
	require.NoError(t, err)
	verdict, err := manifest.EncodeVerdict(sampleVerdict())
	require.NoError(t, err)
	for name, text := range map[string]string{"record": string(record), "verdict": string(verdict)} {
		assert.True(t, strings.HasPrefix(text, "{\n  \"schema\": "), "%s starts with the schema, indented by two", name)
		assert.True(t, strings.HasSuffix(text, "\n}\n"), "%s ends in one newline", name)
	}
	assert.Contains(t, string(record), `"lm_head": [],`, "an empty list is a list")
	assert.Contains(t, string(record), `"embedding": null`)
	assert.Less(t, strings.Index(string(record), `"add": 4`), strings.Index(string(record), `"conv": 8`), "map keys are sorted")
	assert.Contains(t, string(verdict), "cpu <none> & more", "no HTML escapes")
	assert.NotContains(t, string(verdict), `"reason": ""`)
}

func TestEncodeRefusesWhatDisagrees(t *testing.T) {
	r := sampleRecord(t)
	r.Layout = []int{20, 4, 6, 1}
	text, err := manifest.EncodeRecord(r)
	require.ErrorIs(t, err, manifest.ErrInvalid)
	assert.Nil(t, text)

	v := sampleVerdict()
	v.Result = manifest.Pass
	text, err = manifest.EncodeVerdict(v)
	require.ErrorIs(t, err, manifest.ErrInvalid)
	assert.Nil(t, text)
}

func TestFigure(t *testing.T) {
	for _, tt := range []struct {
		value float64
		text  string
	}{
		{0, `0`},
		{math.Copysign(0, -1), `-0`},
		{0.1, `0.1`},
		{math.MaxFloat64, `1.7976931348623157e+308`},
		{math.NaN(), `"NaN"`},
		{math.Inf(1), `"+Inf"`},
		{math.Inf(-1), `"-Inf"`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			text, err := json.Marshal(manifest.Figure(tt.value))
			require.NoError(t, err)
			assert.Equal(t, tt.text, string(text))
			var back manifest.Figure
			require.NoError(t, json.Unmarshal(text, &back))
			assert.Equal(t, canonicalBits(tt.value), canonicalBits(float64(back)))
		})
	}
	for _, text := range []string{`"nan"`, `"1"`, `true`, `[]`, `1e999`, `""`} {
		var f manifest.Figure
		assert.ErrorIs(t, json.Unmarshal([]byte(text), &f), manifest.ErrType, "%s is no figure", text)
	}
}

// canonicalBits gives a float's bits, one NaN for all.
func canonicalBits(v float64) uint64 {
	if math.IsNaN(v) {
		v = math.NaN()
	}
	return math.Float64bits(v)
}

func TestFigureKeepsEveryBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		text, err := json.Marshal(manifest.Figure(value))
		require.NoError(t, err)
		var back manifest.Figure
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, canonicalBits(value), canonicalBits(float64(back)))
	})
}

func TestPackageDigest(t *testing.T) {
	files := sampleRecord(t).Shards[0].Package.Files
	digest, err := manifest.PackageDigest(files)
	require.NoError(t, err)
	// printf '%s  %d  %s\n' of the three lines, through sha256sum.
	assert.Equal(t, "53b3f3bcacefa37a12aaf25698d37f177fa96270be0757ce02d43375179f505d", digest)

	reordered, err := manifest.PackageDigest([]manifest.File{files[2], files[0], files[1]})
	require.NoError(t, err)
	assert.Equal(t, digest, reordered, "the order of the files does not matter")

	for name, change := range map[string]func(f *manifest.File){
		"bytes":  func(f *manifest.File) { f.Bytes++ },
		"sha256": func(f *manifest.File) { f.SHA256 = hexOf("e") },
		"path":   func(f *manifest.File) { f.Path += "x" },
	} {
		changed := append([]manifest.File(nil), files...)
		change(&changed[1])
		other, err := manifest.PackageDigest(changed)
		require.NoError(t, err)
		assert.NotEqual(t, digest, other, "another %s is another package", name)
	}
	for name, bad := range map[string]manifest.File{
		"parent":    {Path: "../x", SHA256: hexOf("1")},
		"absolute":  {Path: "/x", SHA256: hexOf("1")},
		"newline":   {Path: "a\nb", SHA256: hexOf("1")},
		"empty":     {Path: "", SHA256: hexOf("1")},
		"digest":    {Path: "x", SHA256: "12"},
		"negative":  {Path: "x", SHA256: hexOf("1"), Bytes: -1},
		"duplicate": files[0],
	} {
		_, err := manifest.PackageDigest(append([]manifest.File{files[0]}, bad))
		assert.ErrorIs(t, err, manifest.ErrInvalid, name)
	}
}

// TestFoldedRecord: a record of before that choice keeps its text and digest, and
// one that makes it leaves the host no factor.
func TestFoldedRecord(t *testing.T) {
	r := sampleRecord(t)
	text, err := manifest.EncodeRecord(r)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "rope_factor")
	// printf of the canonical JSON of the five fields, through sha256sum.
	assert.Equal(t, "bc3e6f12ae592b91f31860273cc5250568a1e66775a2193a1e65d571babf6334", r.RecipeSHA256)

	fold(t, &r)
	text, err = manifest.EncodeRecord(r)
	require.NoError(t, err)
	back, err := manifest.DecodeRecord(text)
	require.NoError(t, err)
	assert.Equal(t, manifest.RopeFactorFolded, back.Recipe.RopeFactor)

	r.Model.Rope.AttentionFactor = 1.19
	_, err = manifest.EncodeRecord(r)
	require.ErrorIs(t, err, manifest.ErrInvalid)
	assert.ErrorContains(t, err, "$.model.rope.attention_factor")
}

// fold gives a record the recipe whose weights carry the attention factor.
func fold(t testing.TB, r *manifest.Record) {
	t.Helper()
	r.Recipe.RopeFactor, r.Model.Rope.AttentionFactor = manifest.RopeFactorFolded, 1
	var err error
	r.RecipeSHA256, err = r.Recipe.Digest()
	require.NoError(t, err)
}

func TestRecipeDigestTellsRecipesApart(t *testing.T) {
	base := sampleRecord(t).Recipe
	digests := map[string]string{}
	add := func(name string, r manifest.Recipe) {
		digest, err := r.Digest()
		require.NoError(t, err)
		assert.Empty(t, digests[digest], "%s has the digest of another recipe", name)
		digests[digest] = name
	}
	add("base", base)
	for name, change := range map[string]func(r *manifest.Recipe){
		"slots":     func(r *manifest.Recipe) { r.Slots = 64 },
		"functions": func(r *manifest.Recipe) { r.Functions = []string{"t4"} },
		"precision": func(r *manifest.Recipe) { r.Precision = manifest.PrecisionFP16 },
		"norm":      func(r *manifest.Recipe) { r.Norm = manifest.NormClamped },
		"writer":    func(r *manifest.Recipe) { r.Writer = "2" },
		"factor":    func(r *manifest.Recipe) { r.RopeFactor = manifest.RopeFactorFolded },
	} {
		r := base
		change(&r)
		add(name, r)
	}
}
