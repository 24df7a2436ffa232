package manifest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Verify checks that the record agrees with itself: digests are digests, lists
// are sorted, sums are sums, ranges lie inside the model, functions follow from
// the recipe. It cannot know whether the files on disk agree. The error is
// ErrInvalid with the JSON path of the first fault, or ErrSchemaVersion.
func (r Record) Verify() error {
	if r.Schema != RecordSchema {
		return fmt.Errorf("$.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, RecordSchema, r.Schema)
	}
	v := &verifier{}
	v.model("$.model", r.Model)
	for i, a := range r.Anchors {
		at := fmt.Sprintf("$.anchors[%d]", i)
		v.form(at+".tag", tagForm, a.Tag)
		v.form(at+".commit", commitForm, a.Commit)
	}
	v.ascending("$.anchors", keysOf(r.Anchors, func(a Anchor) string { return a.Tag }))
	v.layout("$.layout", r.Layout, r.Model.Dims.Layers)
	v.recipe("$.recipe", r.Recipe)
	want, err := r.Recipe.Digest()
	v.check(err == nil && r.RecipeSHA256 == want, "$.recipe_sha256", "wanted the recipe's digest %s, found %.80q", want, r.RecipeSHA256)
	if r.Recipe.RopeFactor == RopeFactorFolded {
		v.check(r.Model.Rope.AttentionFactor == 1, "$.model.rope.attention_factor", "wanted 1, since the weights carry it, found %v", r.Model.Rope.AttentionFactor)
	}
	v.shards(r)
	v.lmHead(r)
	v.embedding("$.embedding", r.Embedding, r.Model.Dims.Vocab)
	v.packagePaths(r)
	return v.err
}

func (v *verifier) model(at string, m Model) {
	v.form(at+".name", modelNameForm, m.Name)
	v.digest(at+".config_sha256", m.ConfigSHA256)
	v.dims(at+".dims", m.Dims)
	v.positiveFloat(at+".rms_norm_eps", m.RMSNormEps)
	v.rope(at+".rope", m.Rope, m.Dims)
	for i, t := range m.Tensors {
		v.line(fmt.Sprintf("%s.tensors[%d].name", at, i), t.Name)
		v.digest(fmt.Sprintf("%s.tensors[%d].sha256", at, i), t.SHA256)
	}
	v.ascending(at+".tensors", keysOf(m.Tensors, func(t TensorDigest) string { return t.Name }))
}

func (v *verifier) dims(at string, d Dims) {
	v.positive(at+".layers", d.Layers)
	v.positive(at+".hidden", d.Hidden)
	v.positive(at+".intermediate", d.Intermediate)
	v.positive(at+".heads", d.Heads)
	v.positive(at+".kv_heads", d.KVHeads)
	v.positive(at+".head_dim", d.HeadDim)
	v.positive(at+".rotary_dim", d.RotaryDim)
	v.positive(at+".vocab", d.Vocab)
	if v.err != nil {
		return
	}
	v.check(d.Hidden%d.Heads == 0 && d.Hidden/d.Heads == d.HeadDim, at+".head_dim",
		"wanted hidden/heads = %d/%d, found %d", d.Hidden, d.Heads, d.HeadDim)
	v.check(d.Heads%d.KVHeads == 0, at+".kv_heads", "%d does not divide %d heads", d.KVHeads, d.Heads)
	v.check(d.RotaryDim%2 == 0 && d.RotaryDim <= d.HeadDim, at+".rotary_dim",
		"wanted an even number up to %d, found %d", d.HeadDim, d.RotaryDim)
}

func (v *verifier) rope(at string, r Rope, d Dims) {
	v.positiveFloat(at+".theta", r.Theta)
	v.positiveFloat(at+".attention_factor", r.AttentionFactor)
	v.positive(at+".max", r.Max)
	v.check(r.Dim == d.RotaryDim, at+".dim", "wanted dims.rotary_dim %d, found %d", d.RotaryDim, r.Dim)
	v.oneOf(at+".table", r.Table, RopeNone, RopeShort, RopeLong)
	factors := r.Dim / 2
	if r.Table == RopeNone {
		factors = 0
		v.check(r.OriginalMax >= 0, at+".original_max", "is negative: %d", r.OriginalMax)
	} else {
		v.positive(at+".original_max", r.OriginalMax)
	}
	v.check(len(r.Factors) == factors, at+".factors", "wanted %d factors, found %d", factors, len(r.Factors))
	for i, f := range r.Factors {
		v.positiveFloat(fmt.Sprintf("%s.factors[%d]", at, i), f)
	}
}

func (v *verifier) positiveFloat(at string, f float64) {
	v.check(f > 0 && !math.IsInf(f, 0), at, "wanted a positive finite number, found %v", f)
}

// layout sums by subtraction, so that no sum can wrap around.
func (v *verifier) layout(at string, layout []int, layers int) {
	left := layers
	for i, n := range layout {
		v.positive(fmt.Sprintf("%s[%d]", at, i), n)
		if v.err != nil {
			return
		}
		if n > left {
			v.check(false, at, "sums to more than the model's %d layers", layers)
			return
		}
		left -= n
	}
	v.check(left == 0, at, "sums to %d, the model has %d layers", layers-left, layers)
}

func (v *verifier) recipe(at string, r Recipe) {
	v.positive(at+".slots", r.Slots)
	v.check(len(r.Functions) > 0, at+".functions", "has no function")
	for i, name := range r.Functions {
		path := fmt.Sprintf("%s.functions[%d]", at, i)
		v.form(path, functionForm, name)
		if v.err == nil {
			v.check(i == 0 || rowsOf(r.Functions[i-1]) < rowsOf(name), path, "%q stands twice or is not sorted by rows", name)
			v.check(rowsOf(name) <= r.Slots, path, "%q has more rows than there are slots (%d)", name, r.Slots)
		}
	}
	v.oneOf(at+".precision", r.Precision, PrecisionInt8, PrecisionFP16)
	v.oneOf(at+".norm", r.Norm, NormLayerNormConcat, NormClamped, NormPrescaled)
	if r.RopeFactor != "" {
		v.oneOf(at+".rope_factor", r.RopeFactor, RopeFactorFolded)
	}
	v.line(at+".writer", r.Writer)
}

// rowsOf returns T of "t<T>", whose form has been checked.
func rowsOf(function string) int {
	t, err := strconv.Atoi(strings.TrimPrefix(function, "t"))
	if err != nil {
		return 0
	}
	return t
}

func (v *verifier) shards(r Record) {
	inLayout := map[[2]int]bool{}
	at := 0
	for _, n := range r.Layout {
		inLayout[[2]int{at, at + n}] = true
		at += n
	}
	for i, s := range r.Shards {
		at := fmt.Sprintf("$.shards[%d]", i)
		v.span(at, s.Start, s.End, r.Model.Dims.Layers, "layers")
		v.check(s.OffLadder || inLayout[[2]int{s.Start, s.End}], at,
			"[%d,%d) is no shard of the layout and not marked off_ladder", s.Start, s.End)
		for j, name := range s.AcceptedPartial {
			v.oneOf(fmt.Sprintf("%s.accepted_partial[%d]", at, j), name, "residency")
		}
		v.ascending(at+".accepted_partial", s.AcceptedPartial)
		v.pack(at+".package", s.Package)
		v.functions(at+".functions", s.Functions, r.Recipe)
		v.notes(at+".notes", s.Notes)
		if i > 0 {
			prev := r.Shards[i-1]
			order := cmp.Or(cmp.Compare(prev.Start, s.Start), cmp.Compare(prev.End, s.End))
			v.check(order < 0, at, "[%d,%d) stands twice or is not sorted", s.Start, s.End)
		}
	}
}

func (v *verifier) lmHead(r Record) {
	for i, s := range r.LMHead {
		at := fmt.Sprintf("$.lm_head[%d]", i)
		v.span(at, s.Start, s.End, r.Model.Dims.Vocab, "vocabulary rows")
		v.pack(at+".package", s.Package)
		v.functions(at+".functions", s.Functions, r.Recipe)
		v.notes(at+".notes", s.Notes)
		v.check(i == 0 || r.LMHead[i-1].End <= s.Start, at, "[%d,%d) overlaps or is not sorted", s.Start, s.End)
	}
}

func (v *verifier) span(at string, start, end, limit int, of string) {
	v.check(0 <= start && start < end && end <= limit, at, "[%d,%d) is no range of the model's %d %s", start, end, limit, of)
}

func (v *verifier) embedding(at string, e *Embedding, vocab int) {
	if e == nil {
		return
	}
	v.form(at+".path", plainPathForm, e.Path)
	v.check(e.Bytes > 0, at+".bytes", "wanted a positive number, found %d", e.Bytes)
	v.digest(at+".sha256", e.SHA256)
	v.check(e.Rows == vocab, at+".rows", "wanted the vocabulary's %d, found %d", vocab, e.Rows)
}

func (v *verifier) pack(at string, p Package) {
	v.form(at+".path", plainPathForm, p.Path)
	v.check(len(p.Files) > 0, at+".files", "has no file")
	var sum int64
	for i, f := range p.Files {
		path := fmt.Sprintf("%s.files[%d]", at, i)
		v.form(path+".path", plainPathForm, f.Path)
		v.check(f.Bytes >= 0 && f.Bytes <= math.MaxInt64-sum, path+".bytes", "no size of a file: %d", f.Bytes)
		v.digest(path+".sha256", f.SHA256)
		if v.err != nil {
			return
		}
		sum += f.Bytes
	}
	v.ascending(at+".files", keysOf(p.Files, func(f File) string { return f.Path }))
	v.check(p.Bytes == sum, at+".bytes", "wanted the files' sum %d, found %d", sum, p.Bytes)
	if v.err != nil {
		return
	}
	want, err := PackageDigest(p.Files)
	v.check(err == nil && want == p.Digest, at+".digest", "wanted the files' digest %s, found %.80q", want, p.Digest)
}

// functions checks a package's functions against the recipe's.
func (v *verifier) functions(at string, fns []Function, r Recipe) {
	v.check(len(fns) == len(r.Functions), at, "wanted the recipe's %d functions, found %d", len(r.Functions), len(fns))
	if v.err != nil {
		return
	}
	for i, f := range fns {
		path := fmt.Sprintf("%s[%d]", at, i)
		name := r.Functions[i]
		v.check(f.T == rowsOf(name), path+".t", "wanted %d of the recipe's %q, found %d", rowsOf(name), name, f.T)
		if len(fns) == 1 {
			name = "main"
		}
		v.check(f.Name == name, path+".name", "wanted %q, found %.80q", name, f.Name)
		v.features(path+".inputs", f.Inputs)
		v.features(path+".outputs", f.Outputs)
		v.features(path+".states", f.States)
		v.check(len(f.Outputs) > 0, path+".outputs", "has no output")
		v.check(slices.EqualFunc(f.States, fns[0].States, sameFeature), path+".states", "differ from those of %q", fns[0].Name)
		v.check(len(f.OpCounts) > 0, path+".op_counts", "is empty")
		for _, op := range sortedKeys(f.OpCounts) {
			v.form(path+".op_counts", lowerSnakeForm, op)
			v.positive(path+".op_counts."+op, f.OpCounts[op])
		}
	}
}

func sameFeature(a, b Feature) bool { return a.Name == b.Name && slices.Equal(a.Shape, b.Shape) }

func (v *verifier) features(at string, features []Feature) {
	for i, f := range features {
		path := fmt.Sprintf("%s[%d]", at, i)
		v.line(path+".name", f.Name)
		for j, n := range f.Shape {
			v.positive(fmt.Sprintf("%s.shape[%d]", path, j), n)
		}
	}
	v.unique(at, keysOf(features, func(f Feature) string { return f.Name }))
}

func (v *verifier) notes(at string, notes map[string]int64) {
	for _, name := range sortedKeys(notes) {
		v.form(at, lowerSnakeForm, name)
		v.check(notes[name] >= 0, at+"."+name, "is negative: %d", notes[name])
	}
}

// packagePaths checks that no two things of the record lie at one path.
func (v *verifier) packagePaths(r Record) {
	seen := map[string]string{}
	add := func(at, path string) {
		v.check(seen[path] == "", at, "%q is the path of %s, too", path, seen[path])
		seen[path] = at
	}
	for i, s := range r.Shards {
		add(fmt.Sprintf("$.shards[%d].package.path", i), s.Package.Path)
	}
	for i, s := range r.LMHead {
		add(fmt.Sprintf("$.lm_head[%d].package.path", i), s.Package.Path)
	}
	if r.Embedding != nil {
		add("$.embedding.path", r.Embedding.Path)
	}
}

// sortedKeys returns the keys of a map, sorted.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
