package manifest_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// document is one of the two kinds of text with its decoder and its schema.
type document struct {
	text   []byte
	decode func([]byte) error
	schema *jsonschema.Schema
}

func recordDocument(t testing.TB) document {
	t.Helper()
	text, err := manifest.EncodeRecord(sampleRecord(t))
	require.NoError(t, err)
	return document{
		text:   text,
		decode: func(b []byte) error { _, err := manifest.DecodeRecord(b); return err },
		schema: compile(t, manifest.RecordJSONSchema()),
	}
}

func verdictDocument(t testing.TB) document {
	t.Helper()
	text, err := manifest.EncodeVerdict(sampleVerdict())
	require.NoError(t, err)
	return document{
		text:   text,
		decode: func(b []byte) error { _, err := manifest.DecodeVerdict(b); return err },
		schema: compile(t, manifest.VerdictJSONSchema()),
	}
}

func compile(t testing.TB, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	return s
}

// validate checks text against the schema.
func (d document) validate(t testing.TB, text []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return d.schema.Validate(value)
}

// edited returns the document's text after an edit of its generic form.
func (d document) edited(t testing.TB, edit func(root map[string]any)) []byte {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(d.text))
	dec.UseNumber()
	var root map[string]any
	require.NoError(t, dec.Decode(&root))
	edit(root)
	text, err := json.Marshal(root)
	require.NoError(t, err)
	return text
}

// at walks a path like shards.0.package and returns what is there.
func at(root any, path string) any {
	if path == "" {
		return root
	}
	for _, part := range strings.Split(path, ".") {
		switch v := root.(type) {
		case map[string]any:
			root = v[part]
		case []any:
			i, _ := strconv.Atoi(part)
			root = v[i]
		}
	}
	return root
}

// set returns an edit that puts value at path.
func set(path string, value any) func(map[string]any) {
	return func(root map[string]any) {
		i := strings.LastIndex(path, ".")
		parent := at(root, path[:max(i, 0)])
		switch v := parent.(type) {
		case map[string]any:
			v[path[i+1:]] = value
		case []any:
			n, _ := strconv.Atoi(path[i+1:])
			v[n] = value
		}
	}
}

// swap returns an edit that exchanges the first two elements of a list.
func swap(path string) func(map[string]any) {
	return func(root map[string]any) {
		list := at(root, path).([]any)
		list[0], list[1] = list[1], list[0]
	}
}

// twice returns an edit that repeats the first element of a list.
func twice(path string) func(map[string]any) {
	return func(root map[string]any) {
		list := at(root, path).([]any)
		set(path, append([]any{list[0]}, list...))(root)
	}
}

// headRange returns an edit that sets a verdict's layers and its vocabulary.
func headRange(start, end int, vocab map[string]any) func(map[string]any) {
	return func(root map[string]any) {
		set("shard.start", start)(root)
		set("shard.end", end)(root)
		if vocab != nil {
			set("vocab", vocab)(root)
		}
	}
}

func TestSchemasAcceptSamples(t *testing.T) {
	for name, d := range map[string]document{"record": recordDocument(t), "verdict": verdictDocument(t)} {
		assert.NoError(t, d.validate(t, d.text), name)
		assert.NoError(t, d.decode(d.text), name)
	}
	r := sampleRecord(t)
	r.Shards, r.Anchors, r.Model.Tensors = nil, nil, nil
	r.Model.Rope.Table, r.Model.Rope.Factors, r.Model.Rope.OriginalMax = manifest.RopeNone, nil, 0
	r.Embedding = &manifest.Embedding{Path: "nano_embedding.bin", Bytes: 32768, SHA256: hexOf("f"), Rows: 256}
	text, err := manifest.EncodeRecord(r)
	require.NoError(t, err)
	d := recordDocument(t)
	assert.NoError(t, d.validate(t, text))
	assert.NoError(t, d.decode(text))

	v := sampleVerdict()
	v.Shard, v.Vocab, v.Ranges = manifest.LayerRange{}, &manifest.VocabRange{Start: 64, End: 128}, nil
	text, err = manifest.EncodeVerdict(v)
	require.NoError(t, err)
	d = verdictDocument(t)
	assert.NoError(t, d.validate(t, text))
	back, err := manifest.DecodeVerdict(text)
	require.NoError(t, err)
	assert.Equal(t, v.Vocab, back.Vocab)
	assert.NotContains(t, string(d.text), `"vocab"`, "verdicts about layers are spelled as before")
}

// broken is one fault in a document. Faults that only relate fields to each
// other are outside what a JSON Schema can say.
type broken struct {
	name     string
	edit     func(map[string]any)
	sentinel error
	path     string // what the error starts with
	relation bool
}

func TestBrokenRecords(t *testing.T) {
	judge(t, recordDocument(t), []broken{
		{"version", set("schema", "lockstep.record/2"), manifest.ErrSchemaVersion, "$.schema", false},
		{"digest not hex", set("model.config_sha256", strings.Repeat("g", 64)), manifest.ErrInvalid, "$.model.config_sha256", false},
		{"digest short", set("model.tensors.1.sha256", "ab"), manifest.ErrInvalid, "$.model.tensors[1].sha256", false},
		{"digest upper case", set("shards.0.package.files.0.sha256", hexOf("A")), manifest.ErrInvalid, "$.shards[0].package.files[0].sha256", false},
		{"model name", set("model.name", "na-no"), manifest.ErrInvalid, "$.model.name", false},
		{"no layers", set("model.dims.layers", 0), manifest.ErrInvalid, "$.model.dims.layers", false},
		{"fractional layers", set("model.dims.layers", 31.5), manifest.ErrType, "$.model.dims.layers", false},
		{"head_dim", set("model.dims.head_dim", 32), manifest.ErrInvalid, "$.model.dims.head_dim", true},
		{"kv_heads", set("model.dims.kv_heads", 3), manifest.ErrInvalid, "$.model.dims.kv_heads", true},
		{"odd rotary_dim", set("model.dims.rotary_dim", 11), manifest.ErrInvalid, "$.model.dims.rotary_dim", true},
		{"rope dim", set("model.rope.dim", 10), manifest.ErrInvalid, "$.model.rope.dim", true},
		{"rope table", set("model.rope.table", "yarn"), manifest.ErrInvalid, "$.model.rope.table", false},
		{"rope factors", set("model.rope.factors", []any{1.0}), manifest.ErrInvalid, "$.model.rope.factors", true},
		{"rope factors of plain RoPE", set("model.rope.table", "none"), manifest.ErrInvalid, "$.model.rope.factors", false},
		{"rope factor zero", set("model.rope.factors.0", 0), manifest.ErrInvalid, "$.model.rope.factors[0]", false},
		{"no original maximum", set("model.rope.original_max", 0), manifest.ErrInvalid, "$.model.rope.original_max", false},
		{"eps zero", set("model.rms_norm_eps", 0), manifest.ErrInvalid, "$.model.rms_norm_eps", false},
		{"eps beyond float64", set("model.rms_norm_eps", json.Number("1e999")), manifest.ErrType, "$.model.rms_norm_eps", true},
		{"tensors unsorted", swap("model.tensors"), manifest.ErrInvalid, "$.model.tensors[1]", true},
		{"tensor twice", twice("model.tensors"), manifest.ErrInvalid, "$.model.tensors[1]", false},
		{"commit", set("anchors.0.commit", "main"), manifest.ErrInvalid, "$.anchors[0].commit", false},
		{"tag", set("anchors.0.tag", "-x"), manifest.ErrInvalid, "$.anchors[0].tag", false},
		{"anchor twice", twice("anchors"), manifest.ErrInvalid, "$.anchors[1]", false},
		{"layout short", set("layout.3", 1), manifest.ErrInvalid, "$.layout", true},
		{"layout long", set("layout.3", 3), manifest.ErrInvalid, "$.layout", true},
		{"layout wraps around", set("layout", []any{json.Number("9223372036854775807"), json.Number("9223372036854775807"), 34}), manifest.ErrInvalid, "$.layout", true},
		{"layout zero", set("layout", []any{32, 0}), manifest.ErrInvalid, "$.layout[1]", false},
		{"layout empty", set("layout", []any{}), manifest.ErrInvalid, "$.layout", false},
		{"slots", set("recipe.slots", -1), manifest.ErrInvalid, "$.recipe.slots", false},
		{"unknown function", set("recipe.functions.1", "prefill"), manifest.ErrInvalid, "$.recipe.functions[1]", false},
		{"function t0", set("recipe.functions.0", "t0"), manifest.ErrInvalid, "$.recipe.functions[0]", false},
		{"functions unsorted", swap("recipe.functions"), manifest.ErrInvalid, "$.recipe.functions[1]", true},
		{"no functions", set("recipe.functions", []any{}), manifest.ErrInvalid, "$.recipe.functions", false},
		{"precision", set("recipe.precision", "int4"), manifest.ErrInvalid, "$.recipe.precision", false},
		{"norm", set("recipe.norm", "rms"), manifest.ErrInvalid, "$.recipe.norm", false},
		{"rope factor of the host", set("recipe.rope_factor", "host"), manifest.ErrInvalid, "$.recipe.rope_factor", false},
		{"rope factor empty", set("recipe.rope_factor", ""), manifest.ErrType, "$.recipe.rope_factor", false},
		{"writer", set("recipe.writer", ""), manifest.ErrInvalid, "$.recipe.writer", false},
		{"recipe digest", set("recipe_sha256", hexOf("0")), manifest.ErrInvalid, "$.recipe_sha256", true},
		{"recipe changed", set("recipe.writer", "2"), manifest.ErrInvalid, "$.recipe_sha256", true},
		{"shard beyond the model", set("shards.1.end", 33), manifest.ErrInvalid, "$.shards[1]", true},
		{"shard reversed", set("shards.1.end", 30), manifest.ErrInvalid, "$.shards[1]", true},
		{"shard negative", set("shards.0.start", -2), manifest.ErrInvalid, "$.shards[0]", false},
		{"shard outside the layout", set("shards.0.off_ladder", false), manifest.ErrInvalid, "$.shards[0]", true},
		{"shards unsorted", swap("shards"), manifest.ErrInvalid, "$.shards[1]", true},
		{"shard twice", twice("shards"), manifest.ErrInvalid, "$.shards[1]", false},
		{"two shards at one path", set("shards.1.package.path", "nano_layers28_32_int8.mlpackage"), manifest.ErrInvalid, "$.shards[1].package.path", true},
		{"accepted parity", set("shards.1.accepted_partial.0", "parity"), manifest.ErrInvalid, "$.shards[1].accepted_partial[0]", false},
		{"package outside", set("shards.0.package.path", "../x.mlpackage"), manifest.ErrInvalid, "$.shards[0].package.path", false},
		{"package absolute", set("shards.0.package.path", "/x.mlpackage"), manifest.ErrInvalid, "$.shards[0].package.path", false},
		{"file outside", set("shards.0.package.files.0.path", "Data/../../x"), manifest.ErrInvalid, "$.shards[0].package.files[0].path", false},
		{"files unsorted", swap("shards.0.package.files"), manifest.ErrInvalid, "$.shards[0].package.files[1]", true},
		{"file twice", twice("shards.0.package.files"), manifest.ErrInvalid, "$.shards[0].package.files[1]", false},
		{"no files", set("shards.0.package.files", []any{}), manifest.ErrInvalid, "$.shards[0].package.files", false},
		{"file size negative", set("shards.0.package.files.0.bytes", -1), manifest.ErrInvalid, "$.shards[0].package.files[0].bytes", false},
		{"file sizes wrap around", set("shards.0.package.files.0.bytes", json.Number("9223372036854775807")), manifest.ErrInvalid, "$.shards[0].package.files[1].bytes", true},
		{"package size", set("shards.0.package.bytes", 2131), manifest.ErrInvalid, "$.shards[0].package.bytes", true},
		{"package digest", set("shards.0.package.digest", hexOf("0")), manifest.ErrInvalid, "$.shards[0].package.digest", true},
		{"function name", set("shards.0.functions.0.name", "main"), manifest.ErrInvalid, "$.shards[0].functions[0].name", true},
		{"function unknown", set("shards.0.functions.0.name", "prefill"), manifest.ErrInvalid, "$.shards[0].functions[0].name", false},
		{"function rows", set("shards.0.functions.1.t", 3), manifest.ErrInvalid, "$.shards[0].functions[1].t", true},
		{"shape zero", set("shards.0.functions.0.inputs.0.shape.2", 0), manifest.ErrInvalid, "$.shards[0].functions[0].inputs[0].shape[2]", false},
		{"input twice", twice("shards.0.functions.0.inputs"), manifest.ErrInvalid, "$.shards[0].functions[0].inputs[1]", false},
		{"no output", set("shards.0.functions.0.outputs", []any{}), manifest.ErrInvalid, "$.shards[0].functions[0].outputs", false},
		{"states differ", swap("shards.0.functions.1.states"), manifest.ErrInvalid, "$.shards[0].functions[1].states", true},
		{"op count zero", set("shards.0.functions.0.op_counts.conv", 0), manifest.ErrInvalid, "$.shards[0].functions[0].op_counts.conv", false},
		{"op name", set("shards.0.functions.0.op_counts", map[string]any{"a b": 1}), manifest.ErrInvalid, "$.shards[0].functions[0].op_counts", false},
		{"note negative", set("shards.0.notes.int8_scales_raised", -1), manifest.ErrInvalid, "$.shards[0].notes.int8_scales_raised", false},
		{"note null", set("shards.0.notes", nil), manifest.ErrType, "$.shards[0].notes", false},
		{"embedding rows", set("embedding", map[string]any{"path": "e.bin", "bytes": 1, "sha256": hexOf("1"), "rows": 255}), manifest.ErrInvalid, "$.embedding.rows", true},
		{"list null", set("shards", nil), manifest.ErrType, "$.shards", false},
	})
}

func TestBrokenVerdicts(t *testing.T) {
	judge(t, verdictDocument(t), []broken{
		{"version", set("schema", "lockstep.record/1"), manifest.ErrSchemaVersion, "$.schema", false},
		{"absolute path", set("package.path", "/tmp/x.mlpackage"), manifest.ErrInvalid, "$.package.path", false},
		{"path with parent", set("package.path", "a/../b"), manifest.ErrInvalid, "$.package.path", false},
		{"path with newline", set("package.path", "a\nb"), manifest.ErrInvalid, "$.package.path", false},
		{"path dot", set("package.path", "./b"), manifest.ErrInvalid, "$.package.path", false},
		{"path with empty part", set("package.path", "a//b"), manifest.ErrInvalid, "$.package.path", false},
		{"package digest", set("package.digest", "x"), manifest.ErrInvalid, "$.package.digest", false},
		{"range", set("shard.end", 30), manifest.ErrInvalid, "$.shard", true},
		{"no layers", headRange(0, 0, nil), manifest.ErrInvalid, "$.shard", false},
		{"layers and vocabulary", set("vocab", map[string]any{"start": 0, "end": 64}), manifest.ErrInvalid, "$.shard", false},
		{"vocabulary of no rows", headRange(0, 0, map[string]any{"start": 64, "end": 64}), manifest.ErrInvalid, "$.vocab", true},
		{"vocabulary reversed", headRange(0, 0, map[string]any{"start": 64, "end": 0}), manifest.ErrInvalid, "$.vocab", false},
		{"vocabulary null", set("vocab", nil), manifest.ErrType, "$.vocab", false},
		{"vocabulary without end", headRange(0, 0, map[string]any{"start": 64}), manifest.ErrMissingField, "$.vocab.end", false},
		{"subject", set("subject", ""), manifest.ErrInvalid, "$.subject", false},
		{"plane", set("plane", "gpu"), manifest.ErrInvalid, "$.plane", false},
		{"result unknown", set("result", "ok"), manifest.ErrInvalid, "$.result", false},
		{"partial called pass", set("result", "pass"), manifest.ErrInvalid, "$.result", true},
		{"not measured as a whole", set("result", "not measured"), manifest.ErrInvalid, "$.result", false},
		{"no checks", set("checks", []any{}), manifest.ErrInvalid, "$.checks", false},
		{"check twice", twice("checks"), manifest.ErrInvalid, "$.checks[1]", true},
		{"check name", set("checks.0.name", "Package"), manifest.ErrInvalid, "$.checks[0].name", false},
		{"check result", set("checks.0.result", "skipped"), manifest.ErrInvalid, "$.checks[0].result", false},
		{"check partial", set("checks.0.result", "partial"), manifest.ErrInvalid, "$.checks[0].result", false},
		{"pass without a case", set("checks.0.cases", []any{}), manifest.ErrInvalid, "$.checks[0].cases", true},
		{"pass with a failed case", func(root map[string]any) {
			set("checks.1.cases.0.result", "fail")(root)
			set("checks.1.cases.0.reason", "differs")(root)
		}, manifest.ErrInvalid, "$.checks[1].result", true},
		{"failed case without a reason", set("checks.1.cases.0.result", "fail"), manifest.ErrInvalid, "$.checks[1].cases[0].reason", false},
		{"pass with a reason", set("checks.0.reason", "mostly"), manifest.ErrInvalid, "$.checks[0].reason", false},
		{"empty reason", set("checks.0.reason", ""), manifest.ErrType, "$.checks[0].reason", false},
		{"dependency unknown", set("checks.1.depends_on", []any{"lint"}), manifest.ErrInvalid, "$.checks[1].depends_on[0]", true},
		{"dependency later", set("checks.0.depends_on", []any{"parity"}), manifest.ErrInvalid, "$.checks[0].depends_on[0]", true},
		{"not run without a failure", func(root map[string]any) {
			set("checks.1.result", "not run")(root)
			set("checks.1.reason", "skipped")(root)
			set("checks.1.cases", []any{})(root)
		}, manifest.ErrInvalid, "$.checks[1].result", true},
		{"run after a failure", func(root map[string]any) {
			set("checks.0.result", "fail")(root)
			set("checks.0.reason", "differs")(root)
			set("checks.0.cases", []any{})(root)
		}, manifest.ErrInvalid, "$.checks[1].result", true},
		{"case twice", twice("checks.0.cases"), manifest.ErrInvalid, "$.checks[0].cases[1]", true},
		{"evidence null", set("checks.1.cases.0.evidence.0.value", nil), manifest.ErrType, "$.checks[1].cases[0].evidence[0].value", false},
		{"evidence with both", set("checks.1.cases.0.evidence.0.text", "x"), manifest.ErrInvalid, "$.checks[1].cases[0].evidence[0]", false},
		{"evidence nan in other letters", set("checks.1.cases.0.evidence.0.value", "nan"), manifest.ErrType, "$.checks[1].cases[0].evidence[0].value", false},
		{"metric with both", set("metrics.0.not_measured", "x"), manifest.ErrInvalid, "$.metrics[0]", false},
		{"metric without a method", set("metrics.0.method", ""), manifest.ErrInvalid, "$.metrics[0].method", false},
		{"metric twice", twice("metrics"), manifest.ErrInvalid, "$.metrics[1]", true},
		{"ranges null", set("ranges", nil), manifest.ErrType, "$.ranges", false},
		{"ranges without a function", set("ranges.function", ""), manifest.ErrInvalid, "$.ranges.function", false},
		{"ranges of two lines", set("ranges.inputs", "a\nb"), manifest.ErrInvalid, "$.ranges.inputs", false},
		{"ranges of no pass", set("ranges.passes", 0), manifest.ErrInvalid, "$.ranges.passes", false},
		{"no position", set("ranges.positions", []any{}), manifest.ErrInvalid, "$.ranges.positions", false},
		{"positions unsorted", swap("ranges.positions"), manifest.ErrInvalid, "$.ranges.positions[1]", true},
		{"position negative", set("ranges.positions.0", -1), manifest.ErrInvalid, "$.ranges.positions[0]", false},
		{"no layer", set("ranges.layers", []any{}), manifest.ErrInvalid, "$.ranges.layers", false},
		{"layers unsorted", swap("ranges.layers"), manifest.ErrInvalid, "$.ranges.layers[1].layer", true},
		{"layer of another shard", set("ranges.layers.1.layer", 32), manifest.ErrInvalid, "$.ranges.layers[1].layer", true},
		{"two of no layer", twice("ranges.layers"), manifest.ErrInvalid, "$.ranges.layers[1].layer", true},
		{"too few maxima", set("ranges.layers.0.max_by_position", []any{1}), manifest.ErrInvalid, "$.ranges.layers[0].max_by_position", true},
		{"maximum below its value", set("ranges.layers.1.max_by_position.1", 32751), manifest.ErrInvalid, "$.ranges.layers[1].max_by_position[1]", true},
		{"maximum above every value", set("ranges.layers.1.max_by_position.2", 32768), manifest.ErrInvalid, "$.ranges.layers[1].max_by_position[2]", true},
		{"no value", set("ranges.layers.1.values", []any{}), manifest.ErrInvalid, "$.ranges.layers[1].values", false},
		{"value twice", twice("ranges.layers.1.values"), manifest.ErrInvalid, "$.ranges.layers[1].values[1]", true},
		{"value at no position", set("ranges.layers.1.values.0.position", 2), manifest.ErrInvalid, "$.ranges.layers[1].values[0].position", true},
		{"value beyond float16", set("ranges.layers.1.values.0.max_abs", 65536), manifest.ErrInvalid, "$.ranges.layers[1].values[0].max_abs", false},
		{"value not a number", set("ranges.layers.1.values.0.max_abs", "NaN"), manifest.ErrInvalid, "$.ranges.layers[1].values[0].max_abs", false},
		{"another headroom", set("ranges.layers.1.values.0.headroom", 4), manifest.ErrInvalid, "$.ranges.layers[1].values[0].headroom", true},
		{"headroom of what is not finite", set("ranges.layers.1.values.0.non_finite", 1), manifest.ErrInvalid, "$.ranges.layers[1].values[0].headroom", true},
		{"share above 1", set("ranges.layers.1.values.0.subnormal_share", 1.5), manifest.ErrInvalid, "$.ranges.layers[1].values[0].subnormal_share", false},
		{"fewer than none", set("ranges.layers.1.values.0.non_finite", -1), manifest.ErrInvalid, "$.ranges.layers[1].values[0].non_finite", false},
		{"a warning left out", set("ranges.warnings", []any{}), manifest.ErrInvalid, "$.ranges.warnings", true},
		{"a warning too many", set("ranges.warnings", []any{"one", "two"}), manifest.ErrInvalid, "$.ranges.warnings", true},
		{"catalogue digest", set("catalogue.digest", ""), manifest.ErrInvalid, "$.catalogue.digest", false},
		{"ran more than there are", set("catalogue.ran", 4), manifest.ErrInvalid, "$.catalogue.ran", true},
		{"ran fewer", set("catalogue.ran", 2), manifest.ErrInvalid, "$.catalogue.ran", true},
		{"required and not measured", set("required", []any{"residency"}), manifest.ErrInvalid, "$.checks[2].result", true},
		{"required unknown", set("required", []any{"lint"}), manifest.ErrInvalid, "$.required[0]", true},
		{"goos", set("machine.goos", ""), manifest.ErrInvalid, "$.machine.goos", false},
		{"command of two lines", set("command", "a\nb"), manifest.ErrInvalid, "$.command", false},
	})
}

// judge checks that each fault is caught by the decoder, at its place, and by
// the schema if it is a matter of form.
func judge(t *testing.T, d document, table []broken) {
	for _, tt := range table {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			text := d.edited(t, tt.edit)
			err := d.decode(text)
			require.ErrorIs(t, err, tt.sentinel)
			assert.True(t, strings.HasPrefix(err.Error(), tt.path+":") || strings.HasPrefix(err.Error(), tt.path+"."),
				"%q names %s", err, tt.path)
			if !tt.relation {
				assert.Error(t, d.validate(t, text), "the schema must refuse it, too")
			}
		})
	}
}

// eachNode calls visit for every value under root with its path.
func eachNode(root any, path string, visit func(path string, value any)) {
	visit(path, root)
	join := func(part string) string { return strings.TrimPrefix(path+"."+part, ".") }
	switch v := root.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			eachNode(v[key], join(key), visit)
		}
	case []any:
		for i := range v {
			eachNode(v[i], join(strconv.Itoa(i)), visit)
		}
	}
}

// TestEveryFieldIsGuarded breaks both documents at every place in turn: a value
// of another type, a field left out, a field nobody knows.
func TestEveryFieldIsGuarded(t *testing.T) {
	for name, d := range map[string]document{"record": recordDocument(t), "verdict": verdictDocument(t), "runtime": runtimeDocument(t)} {
		t.Run(name, func(t *testing.T) {
			var root any
			require.NoError(t, json.Unmarshal(d.text, &root))
			places := 0
			eachNode(root, "", func(path string, value any) {
				places++
				refuse := func(what string, edit func(map[string]any)) {
					text := d.edited(t, edit)
					assert.Error(t, d.decode(text), "decode: %s at %q", what, path)
					assert.Error(t, d.validate(t, text), "schema: %s at %q", what, path)
				}
				if path != "" {
					refuse("wrong type", set(path, []any{map[string]any{"x": 1}}))
					if path != "embedding" {
						refuse("null", set(path, nil))
					}
				}
				object, ok := value.(map[string]any)
				if !ok {
					return
				}
				refuse("unknown field", func(root map[string]any) { at(root, path).(map[string]any)["Un-known"] = 1 })
				if strings.HasSuffix(path, "notes") || strings.HasSuffix(path, "op_counts") {
					return // any of their keys may be absent
				}
				for key := range object {
					if key == "ranges" || key == "layer" {
						continue // may be absent
					}
					refuse("without "+key, func(root map[string]any) { delete(at(root, path).(map[string]any), key) })
				}
			})
			assert.Greater(t, places, 70, "the walk saw the document")
		})
	}
}

func TestStrictText(t *testing.T) {
	for name, d := range map[string]document{"record": recordDocument(t), "verdict": verdictDocument(t)} {
		t.Run(name, func(t *testing.T) {
			text := string(d.text)
			for _, tt := range []struct {
				name, text string
				sentinel   error
			}{
				{"empty", "", manifest.ErrSyntax},
				{"truncated", text[:len(text)/2], manifest.ErrSyntax},
				{"no closing brace", strings.TrimSuffix(text, "}\n"), manifest.ErrSyntax},
				{"trailing object", text + "{}", manifest.ErrTrailingData},
				{"trailing garbage", text + "x", manifest.ErrTrailingData},
				{"list", "[]", manifest.ErrType},
				{"null", "null", manifest.ErrType},
				{"no schema", "{}", manifest.ErrMissingField},
				{"schema number", `{"schema": 1}`, manifest.ErrType},
				{"schema twice", strings.Replace(text, "{", `{"schema": "lockstep.`+name+`/1",`, 1), manifest.ErrDuplicateKey},
				{"other letter case", strings.Replace(text, `"shard`, `"Shard`, 1), manifest.ErrUnknownField},
				{"nested key twice", strings.Replace(text, `"start": 30,`, `"start": 30, "start": 30,`, 1), manifest.ErrDuplicateKey},
				{"invalid UTF-8", strings.Replace(text, "nano", "nan\xff", 1), manifest.ErrSyntax},
				{"comma", strings.Replace(text, `"start": 30,`, `"start": 30,,`, 1), manifest.ErrSyntax},
				{"newer version with new fields", strings.Replace(text, `/1",`, `/2", "more": {"a": [1]},`, 1), manifest.ErrSchemaVersion},
			} {
				t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
					require.NotEqual(t, text, tt.text, "the edit found its place")
					assert.ErrorIs(t, d.decode([]byte(tt.text)), tt.sentinel)
				})
			}
		})
	}
}
