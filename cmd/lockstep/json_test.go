package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// invoke runs a command line that must succeed and decodes what it prints.
func invoke(t *testing.T, args ...string) (doc map[string]any) {
	t.Helper()
	invokeInto(t, &doc, args)
	return doc
}

// invokeList is invoke of a command that prints a list.
func invokeList(t *testing.T, args ...string) (doc []any) {
	t.Helper()
	invokeInto(t, &doc, args)
	return doc
}

func invokeInto(t *testing.T, doc any, args []string) {
	t.Helper()
	var out, errs bytes.Buffer
	require.Equal(t, exitPass, run(args, streams{&out, &errs}), errs.String())
	assert.Empty(t, errs.String())
	require.NoError(t, json.Unmarshal(out.Bytes(), doc), "one JSON document and nothing else")
}

// keys wants exactly these keys of an object.
func keys(t *testing.T, at string, v any, want ...string) map[string]any {
	t.Helper()
	object, ok := v.(map[string]any)
	require.True(t, ok, "%s: want an object, found %T", at, v)
	var got []string
	for k := range object {
		got = append(got, k)
	}
	assert.ElementsMatch(t, want, got, at)
	return object
}

// TestJSON holds the documents that programs read to their keys, and their
// figures to what lies on the disk.
func TestJSON(t *testing.T) {
	nano, out := filepath.Join("..", "..", "fixtures", "nano"), filepath.Join(t.TempDir(), "out")

	plan := keys(t, "plan", invoke(t, "plan", "--checkpoint", nano, "--out", out, "--slots", "256", "--json"),
		"model", "layers", "layout", "slots", "functions", "precision", "norm", "shards", "lm_head", "embedding", "bytes", "room", "warnings")
	assert.Equal(t, "20+4+6+2", plan["layout"])
	assert.Equal(t, []any{"t1", "t4"}, plan["functions"])
	keys(t, "plan.room", plan["room"], "free", "reserve", "standing", "fits", "missing")
	shards := plan["shards"].([]any)
	require.Len(t, shards, 4)
	tail := keys(t, "plan.shards[0]", shards[0], "start", "end", "package", "files", "bytes", "peak", "compile_estimate")
	assert.EqualValues(t, 30, tail["start"], "build order: the smallest first")
	keys(t, "plan.shards[0].compile_estimate", tail["compile_estimate"], "temporary", "compiled", "cache")

	export := keys(t, "export", invoke(t, "export", "--checkpoint", nano, "--layers", "30:32", "--out", out, "--slots", "256", "--json"),
		"package", "record", "up_to_date", "resumed_bytes", "shard")
	assert.Equal(t, filepath.Join(out, tail["package"].(string)), export["package"])
	assert.Equal(t, filepath.Join(out, "lockstep.json"), export["record"])
	assert.Equal(t, false, export["up_to_date"])
	var bytesOnDisk int64
	for _, f := range tail["files"].([]any) {
		file := keys(t, "plan.shards[0].files[]", f, "path", "bytes")
		info, err := os.Stat(filepath.Join(export["package"].(string), filepath.FromSlash(file["path"].(string))))
		require.NoError(t, err)
		assert.EqualValues(t, file["bytes"], info.Size(), file["path"])
		bytesOnDisk += info.Size()
	}
	assert.EqualValues(t, tail["bytes"], bytesOnDisk)

	ranges := keys(t, "ranges", invoke(t, "ranges", "--out", out, "--layers", "30:32", "--json"),
		"function", "inputs", "layers_by", "passes", "positions", "layers", "warnings")
	layers := ranges["layers"].([]any)
	require.Len(t, layers, 3)
	keys(t, "ranges.layers[0]", layers[0], "max_by_position", "values")
	last := keys(t, "ranges.layers[2]", layers[2], "layer", "max_by_position", "values")
	assert.EqualValues(t, 31, last["layer"])
	assert.Len(t, last["max_by_position"], len(ranges["positions"].([]any)))
	keys(t, "ranges.layers[].values[0]", last["values"].([]any)[0], "op", "value", "max_abs", "position", "headroom", "subnormal_share", "non_finite")

	again := invoke(t, "export", "--checkpoint", nano, "--layers", "30:32", "--out", out, "--slots", "256", "--json")
	assert.Equal(t, true, again["up_to_date"])
	assert.Equal(t, export["shard"], again["shard"])

	heads := invokeList(t, "export", "--checkpoint", nano, "--head", "--head-shards", "3", "--out", out, "--slots", "256", "--json")
	require.Len(t, heads, 3)
	head := keys(t, "export[1]", heads[1], "package", "record", "up_to_date", "resumed_bytes", "lm_head")
	assert.EqualValues(t, 85, head["lm_head"].(map[string]any)["start"])
	verdicts := invokeList(t, "gate", "--head", "--out", out, "--checkpoint", nano, "--accept-partial", "residency", "--json")
	require.Len(t, verdicts, 3)
	assert.Equal(t, map[string]any{"start": 170.0, "end": 256.0}, verdicts[2].(map[string]any)["vocab"])

	all := keys(t, "export --all", invoke(t, "export", "--checkpoint", nano, "--all", "--head-shards", "3", "--out", out, "--slots", "256", "--accept-partial", "residency", "--json"),
		"record", "complete", "steps", "stopped", "missing", "next")
	assert.Equal(t, true, all["complete"])
	steps := all["steps"].([]any)
	require.Len(t, steps, 8)
	keys(t, "export --all.steps[0]", steps[0], "piece", "package", "bytes", "up_to_date", "resumed_bytes", "judged", "result", "verdict")
	for i, made := range []bool{false, true, true, true, false, false, false, true} {
		assert.Equal(t, !made, steps[i].(map[string]any)["up_to_date"], "step %d", i)
	}
	embedding := keys(t, "export --embedding", invoke(t, "export", "--checkpoint", nano, "--embedding", "--out", out, "--slots", "256", "--json"),
		"package", "record", "up_to_date", "resumed_bytes", "embedding")
	assert.EqualValues(t, 256, embedding["embedding"].(map[string]any)["rows"])

	inspect := keys(t, "inspect", invoke(t, "inspect", "--json", export["package"].(string)),
		"spec_version", "functions", "default_function", "weight_bytes", "blobs")
	functions := inspect["functions"].([]any)
	require.Len(t, functions, 2)
	for i, name := range []string{"t1", "t4"} {
		f := keys(t, "inspect.functions", functions[i], "name", "opset", "inputs", "outputs", "states", "ops")
		assert.Equal(t, name, f["name"])
		assert.Len(t, f["inputs"], 5)
		assert.Len(t, f["outputs"], 1)
		assert.Len(t, f["states"], 4)
		keys(t, "inspect.functions[].inputs[0]", f["inputs"].([]any)[0], "name", "type")
		assert.EqualValues(t, 8, f["ops"].(map[string]any)["conv"])
	}
}
