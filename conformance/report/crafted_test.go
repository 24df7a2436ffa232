package report_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// Everything in this file is test data: no such package, Mac or figure exists.

// sha is a well-formed digest made of one hex digit.
func sha(digit string) string { return strings.Repeat(digit, 64) }

// The digests of the catalogues of today and of some earlier day.
var (
	catalogueNow    = sha("c")
	catalogueBefore = sha("b")
)

// fresh is what the suite would say of a crafted verdict.
func fresh(v manifest.Verdict, _ manifest.Record) error {
	if v.Catalogue.Digest != catalogueNow {
		return errors.New("its catalogue is not this program's")
	}
	return nil
}

// crafted is an output directory that is put together.
type crafted struct {
	t      *testing.T
	record manifest.Record
	files  fstest.MapFS
}

// craft returns a directory whose record has these shards of the layout 4+2.
func craft(t *testing.T, shards ...manifest.LayerRange) *crafted {
	t.Helper()
	c := &crafted{t: t, files: fstest.MapFS{}}
	c.record = manifest.Record{
		Schema: manifest.RecordSchema,
		Model: manifest.Model{
			Name: "crafted", ConfigSHA256: sha("a"),
			Dims:       manifest.Dims{Layers: 6, Hidden: 64, Intermediate: 128, Heads: 4, KVHeads: 2, HeadDim: 16, RotaryDim: 12, Vocab: 256},
			RMSNormEps: 1e-5,
			Rope:       manifest.Rope{Theta: 10000, Dim: 12, Table: manifest.RopeNone, AttentionFactor: 1, Max: 4096},
			Tensors:    []manifest.TensorDigest{{Name: "model.layers.4.input_layernorm.weight", SHA256: sha("1")}},
		},
		Layout: []int{4, 2},
		Recipe: manifest.Recipe{
			Slots: 128, Functions: []string{"t1", "t4"}, Precision: manifest.PrecisionInt8, Norm: manifest.NormLayerNormConcat, Writer: "1",
		},
	}
	var err error
	c.record.RecipeSHA256, err = c.record.Recipe.Digest()
	require.NoError(t, err)
	for _, s := range shards {
		c.record.Shards = append(c.record.Shards, c.shard(s))
	}
	return c.write()
}

// write puts the record into the directory.
func (c *crafted) write() *crafted {
	c.t.Helper()
	text, err := manifest.EncodeRecord(c.record)
	require.NoError(c.t, err)
	c.files[manifest.RecordFile] = &fstest.MapFile{Data: text}
	return c
}

// addHead records an LM head shard of all rows and adds its verdict.
func (c *crafted) addHead(plane string) *crafted {
	c.t.Helper()
	rows := manifest.VocabRange{End: c.record.Model.Dims.Vocab}
	like := c.shard(manifest.LayerRange{Start: 1, End: 2})
	like.Package.Path = "crafted_head0_256_int8.mlpackage"
	for i := range like.Functions {
		like.Functions[i].States = nil
	}
	c.record.LMHead = []manifest.LMHeadShard{{Start: rows.Start, End: rows.End, Package: like.Package, Functions: like.Functions, Notes: like.Notes}}
	return c.write().add(1, c.verdict(manifest.LayerRange{}, plane, func(v *manifest.Verdict) {
		v.Vocab, v.Package = &rows, manifest.VerdictPackage{Path: like.Package.Path, Digest: like.Package.Digest}
		v.Command = "lockstep gate --out crafted --head 0 --plane " + plane
	}))
}

func (c *crafted) shard(r manifest.LayerRange) manifest.Shard {
	files := []manifest.File{{Path: "Manifest.json", Bytes: int64(100 + r.Start), SHA256: sha("5")}}
	digest, err := manifest.PackageDigest(files)
	require.NoError(c.t, err)
	fn := func(name string, rows int) manifest.Function {
		return manifest.Function{
			Name: name, T: rows,
			Inputs:   []manifest.Feature{{Name: "x", Shape: []int{1, 64, rows, 1}}},
			Outputs:  []manifest.Feature{{Name: "hidden", Shape: []int{1, 64, rows, 1}}},
			States:   []manifest.Feature{{Name: "layers_0_k_state", Shape: []int{1, 2, 128, 16}}},
			OpCounts: map[string]int{"conv": 8},
		}
	}
	return manifest.Shard{
		Start: r.Start, End: r.End,
		Package:   manifest.Package{Path: packagePath(r), Bytes: files[0].Bytes, Digest: digest, Files: files},
		Functions: []manifest.Function{fn("t1", 1), fn("t4", 4)},
		Notes:     map[string]int64{"weights_underflowed": 0},
	}
}

func packagePath(r manifest.LayerRange) string {
	return fmt.Sprintf("crafted_layers%d_%d_int8.mlpackage", r.Start, r.End)
}

// add writes a verdict under a number.
func (c *crafted) add(number int, v manifest.Verdict) *crafted {
	c.t.Helper()
	text, err := manifest.EncodeVerdict(v)
	require.NoError(c.t, err)
	return c.put(manifest.VerdictName{Piece: v.Piece(), Plane: v.Plane, Number: number}.String(), string(text))
}

// put writes any text among the verdicts.
func (c *crafted) put(name, text string) *crafted {
	c.files[manifest.VerdictDir+"/"+name] = &fstest.MapFile{Data: []byte(text)}
	return c
}

// verdict is a verdict about the recorded package that passes all its checks;
// change says what is otherwise.
func (c *crafted) verdict(shard manifest.LayerRange, plane string, change func(*manifest.Verdict)) manifest.Verdict {
	v := manifest.Verdict{
		Schema:  manifest.VerdictSchema,
		Package: manifest.VerdictPackage{Path: packagePath(shard), Digest: c.shard(shard).Package.Digest},
		Shard:   shard, Subject: "crafted", Plane: plane,
		Checks: []manifest.Check{
			passed("package", nil, "digests", "decodes"),
			passed("lint", []string{"package"}, "op"),
			passed("oracle", []string{"package"}, "seeded_cache/pos=0", "seeded_cache/pos=1"),
			passed("parity", []string{"package"}, "t4_vs_4xt1/pos=0/live=4", "t4_vs_4xt1/pos=127/live=1"),
			passed("residency", []string{"package"}, "function=t1", "function=t4"),
		},
		Metrics: []manifest.Metric{
			{Name: "cosine_hidden_min", Value: manifest.NewFigure(0.9998), Unit: "1", Method: "minimum over all tokens of the oracle's cases"},
			{Name: "latency_t4_p50", Value: manifest.NewFigure(7.5), Unit: "ms", Method: "p50 of predictions through Core ML"},
			{Name: "perplexity", Unit: "1", Method: "held-out text through every shard", NotMeasured: "one shard is not the whole model"},
		},
		Catalogue: manifest.Catalogue{Digest: catalogueNow, Cases: 9, Ran: 9},
		Machine:   manifest.Machine{GOOS: "darwin", GOARCH: "arm64", Chip: "crafted chip", OSBuild: "00X000"},
		Versions:  manifest.Versions{Lockstep: "(devel)", Go: "go1.26.8"},
		Command:   fmt.Sprintf("lockstep gate --out crafted --layers %d:%d --plane %s", shard.Start, shard.End, plane),
	}
	if plane == manifest.PlaneReference {
		v.Machine = manifest.Machine{GOOS: "linux", GOARCH: "amd64"}
		unmeasure(&v, "residency", "no Core ML")
		v.Metrics[1].Value, v.Metrics[1].NotMeasured = nil, "no Core ML"
	}
	if change != nil {
		change(&v)
	}
	v.Result = manifest.Overall(v.Checks)
	return v
}

func passed(name string, dependsOn []string, cases ...string) manifest.Check {
	c := manifest.Check{Name: name, Result: manifest.Pass, DependsOn: dependsOn}
	for _, k := range cases {
		c.Cases = append(c.Cases, manifest.Case{Name: k, Result: manifest.Pass})
	}
	return c
}

// check finds a check.
func check(v *manifest.Verdict, name string) *manifest.Check {
	for i := range v.Checks {
		if v.Checks[i].Name == name {
			return &v.Checks[i]
		}
	}
	panic("no check " + name)
}

// unmeasure makes every case of a check not measured.
func unmeasure(v *manifest.Verdict, name, reason string) {
	spoil(v, name, manifest.NotMeasured, reason, 0)
}

// spoil gives the cases of a check from one on another result.
func spoil(v *manifest.Verdict, name string, r manifest.Result, reason string, from int) {
	c := check(v, name)
	for i := range c.Cases[from:] {
		c.Cases[from+i].Result, c.Cases[from+i].Reason = r, reason
	}
	c.Result, c.Reason = r, c.Cases[from].Name+": "+reason
}
