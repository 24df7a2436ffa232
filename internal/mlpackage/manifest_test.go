package mlpackage

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// coremltoolsManifest is a manifest in the form that coremltools 9.0 writes.
const coremltoolsManifest = `{
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {
        "6d57e36b-5265-44f8-a385-8540b37c648a": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        },
        "d1280e7f-9ad0-40c9-8a74-b1981ed88622": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": "com.apple.CoreML/weights"
        }
    },
    "rootModelIdentifier": "6d57e36b-5265-44f8-a385-8540b37c648a"
}`

var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func TestManifestForm(t *testing.T) {
	text := string(EncodeManifest(true))
	// Ours differs in the identifiers and, with them, in the order of items.
	lines := func(s string) []string { return strings.Split(uuid.ReplaceAllString(strings.TrimSpace(s), "ID"), "\n") }
	assert.ElementsMatch(t, lines(coremltoolsManifest), lines(text))

	items := uuid.FindAllString(text, -1)
	require.Len(t, items, 3)
	assert.NotEqual(t, items[0], items[1])
	assert.True(t, items[0] < items[1], "identifiers sorted")
	assert.Equal(t, text, string(EncodeManifest(true)))
	for _, id := range items {
		assert.Regexp(t, `^.{14}8.{4}[89ab]`, id, "version 8 and variant of RFC 9562")
	}
}

func TestManifestRoundTrip(t *testing.T) {
	for _, hasWeights := range []bool{true, false} {
		m, err := DecodeManifest(EncodeManifest(hasWeights))
		require.NoError(t, err)
		assert.Equal(t, ModelItem, m.Items[m.Root].Path)
		assert.Equal(t, hasWeights, m.Has(WeightsItem))
		assert.True(t, m.Has(ModelItem))
	}
	m, err := DecodeManifest([]byte(coremltoolsManifest))
	require.NoError(t, err)
	assert.Equal(t, "6d57e36b-5265-44f8-a385-8540b37c648a", m.Root)
	assert.Equal(t, Item{
		Path: "com.apple.CoreML/weights", Name: "weights", Author: "com.apple.CoreML", Description: "CoreML Model Weights",
	}, m.Items["d1280e7f-9ad0-40c9-8a74-b1981ed88622"])
}

func TestManifestVersions(t *testing.T) {
	for version, good := range map[string]bool{
		"1.0.0": true, "0.9.12": true, "0.0.0": true,
		"1.0.1": false, "1.1.0": false, "2.0.0": false, "1.0": false, "1.0.0.0": false, "1.0.x": false, "": false,
		"-1.0.0": false, "1.0.0-a": false, "99999999999.0.0": false,
	} {
		_, err := DecodeManifest([]byte(strings.Replace(coremltoolsManifest, "1.0.0", version, 1)))
		if good {
			assert.NoError(t, err, version)
		} else {
			assert.ErrorIs(t, err, ErrManifest, version)
			assert.ErrorContains(t, err, "fileFormatVersion", version)
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	const model, weights = "6d57e36b-5265-44f8-a385-8540b37c648a", "d1280e7f-9ad0-40c9-8a74-b1981ed88622"
	replace := func(old, new string) string {
		return strings.Replace(coremltoolsManifest, old, new, 1)
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":             {"", "JSON object"},
		"array":             {"[]", "JSON object"},
		"not UTF-8":         {replace("Weights", "\xff"), "UTF-8"},
		"cut short":         {coremltoolsManifest[:300], "itemInfoEntries"},
		"cut at the end":    {coremltoolsManifest[:len(coremltoolsManifest)-1], "end of the object"},
		"trailing data":     {coremltoolsManifest + "{}", "after the object"},
		"unknown key":       {replace(`"fileFormatVersion"`, `"x": 1, "fileFormatVersion"`), `"x"`},
		"key twice":         {replace(`"fileFormatVersion"`, `"rootModelIdentifier": "", "fileFormatVersion"`), "each key once"},
		"item twice":        {replace(weights, model), "each key once"},
		"item key twice":    {replace(`"name": "weights"`, `"name": "weights", "author": "x"`), "each key once"},
		"key in other case": {replace("fileFormatVersion", "FileFormatVersion"), "key fileFormatVersion"},
		"no version":        {replace(`"fileFormatVersion": "1.0.0",`, ""), "key fileFormatVersion"},
		"no entries":        {replace("itemInfoEntries", "x"), "key itemInfoEntries"},
		"no root":           {replace("rootModelIdentifier", "x"), "key rootModelIdentifier"},
		"version no string": {replace(`"1.0.0"`, "1"), "fileFormatVersion: wanted a string"},
		"version null":      {replace(`"1.0.0"`, "null"), "fileFormatVersion: wanted a string"},
		"root null":         {replace(`"rootModelIdentifier": "`+model+`"`, `"rootModelIdentifier": null`), "rootModelIdentifier: wanted a string"},
		"entries no object": {replace("{\n        \""+model, "[], \"y\": {\"a"), "itemInfoEntries"},
		"item no object":    {replace(`"`+weights+`": {`, `"`+weights+`": 3, "b": {`), "itemInfoEntries." + weights},
		"root unknown":      {replace(`"rootModelIdentifier": "6`, `"rootModelIdentifier": "7`), "identifier of an item"},
		"no path":           {replace(`"path"`, `"x"`), model + ": wanted key path"},
		"no name":           {replace(`"name"`, `"x"`), "key name"},
		"no author":         {replace(`"author"`, `"x"`), "key author"},
		"no description":    {replace(`"description"`, `"x"`), "key description"},
		"item key unknown":  {replace(`"name"`, `"x": "", "name"`), "alone"},
		"name no string":    {replace(`"name": "weights"`, `"name": {}`), weights + ".name"},
		"path not the name": {replace(`"name": "weights"`, `"name": "weight"`), weights + ".path"},
		"path upwards":      {strings.NewReplacer(`CoreML/weights`, `CoreML/../x`, `"name": "weights"`, `"name": "../x"`).Replace(coremltoolsManifest), weights + ".path"},
		"absolute path": {strings.NewReplacer(`com.apple.CoreML/weights`, `/etc/x`, `"name": "weights"`, `"name": "x"`, `"author": "com.apple.CoreML",
            "description": "CoreML Model W`, `"author": "/etc",
            "description": "CoreML Model W`).Replace(coremltoolsManifest), weights + ".path"},
		"huge":       {strings.Repeat(" ", MaxManifestBytes) + coremltoolsManifest, "at most"},
		"deep":       {replace(`"1.0.0"`, strings.Repeat("[", 100_000)), "fileFormatVersion"},
		"long value": {replace(`"1.0.0"`, "["+strings.Repeat("1,", 5000)+"1]"), "..."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeManifest([]byte(c.text))
			require.ErrorIs(t, err, ErrManifest)
			assert.ErrorContains(t, err, ManifestPath)
			assert.ErrorContains(t, err, c.says)
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}
