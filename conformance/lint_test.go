package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// sample is a small function that keeps every rule; a fault is one change of
// how it is built.
type sample struct {
	state     mil.Type
	scale     mil.Literal
	finish    func(b *mil.Builder, out string) string
	afterRead string // "old", "stored" or "new": what is used after the write
}

func soundSample() sample {
	return sample{
		state:     mil.Tensor(mil.Float16, 1, 2, 64, 32),
		scale:     mil.Half(half.FromFloat64(0.5)),
		finish:    func(_ *mil.Builder, out string) string { return out },
		afterRead: "new",
	}
}

func (s sample) build(t *testing.T) *mlpackage.Package {
	t.Helper()
	b := mil.NewBuilder("main", "CoreML8")
	x := b.Input("x", s.state)
	b.State("cache", s.state)
	old := b.Op("read_state", "old", mil.Arg("input", "cache"))
	stored := b.Op("add", "stored", mil.Arg("x", old), mil.Arg("y", x))
	b.Write("cache", stored)
	values := map[string]string{"old": old, "stored": stored, "new": b.Op("read_state", "new", mil.Arg("input", "cache"))}
	out := b.Op("mul", "scaled", mil.Arg("x", values[s.afterRead]), mil.Lit("y", s.scale))
	out = s.finish(b, out)
	if out != "stored" {
		out = b.Op("relu", "out", mil.Arg("x", out))
	}
	f, err := b.Finish(out)
	require.NoError(t, err)
	return &mlpackage.Package{Model: &mlpackage.Model{Program: &mil.Program{Functions: []*mil.Function{f}}}}
}

// TestLintRules: the sound sample passes each rule, and each rule catches the
// faults that it is for, which no other rule does.
func TestLintRules(t *testing.T) {
	faults := []struct {
		name  string
		rules []string
		seed  func(*sample)
	}{
		{"none", nil, func(*sample) {}},
		{"rank five", []string{"rank"}, func(s *sample) {
			s.finish = func(b *mil.Builder, out string) string {
				return b.Op("expand_dims", "wide", mil.Arg("x", out), mil.Lit("axes", mil.Int32s(0)))
			}
		}},
		{"int32 value", []string{"int_runtime", "op"}, func(s *sample) {
			s.finish = func(b *mil.Builder, out string) string {
				return b.Op("cast", "back", mil.Arg("x", b.Op("cast", "whole", mil.Arg("x", out), mil.Lit("dtype", mil.StringScalar("int32")))),
					mil.Lit("dtype", mil.StringScalar("fp16")))
			}
		}},
		{"cast between floats", []string{"op"}, func(s *sample) {
			s.finish = func(b *mil.Builder, out string) string {
				return b.Op("cast", "back", mil.Arg("x", b.Op("cast", "wide", mil.Arg("x", out), mil.Lit("dtype", mil.StringScalar("fp32")))),
					mil.Lit("dtype", mil.StringScalar("fp16")))
			}
		}},
		{"infinite constant", []string{"const"}, func(s *sample) { s.scale = mil.Half(0x7C00) }},
		{"NaN constant", []string{"const"}, func(s *sample) { s.scale = mil.Half(half.NaN) }},
		{"constant lost to float16", []string{"const"}, func(s *sample) { s.scale = mil.Half(half.FromFloat64(1e-9)) }},
		{"constant moved by rounding", []string{"const"}, func(s *sample) { s.scale = mil.Half(half.FromFloat64(7.8e-8)) }},
		{"state of odd width", []string{"state"}, func(s *sample) { s.state = mil.Tensor(mil.Float16, 1, 2, 64, 33) }},
		{"state of odd height", []string{"state"}, func(s *sample) { s.state = mil.Tensor(mil.Float16, 1, 2, 270, 32) }},
		{"value read before the write", []string{"state_chain"}, func(s *sample) { s.afterRead = "old" }},
		{"value used without reading it again", []string{"state_chain"}, func(s *sample) { s.afterRead = "stored" }},
		{"output is the stored value", []string{"state_chain"}, func(s *sample) {
			s.finish = func(*mil.Builder, string) string { return "stored" }
		}},
	}
	covered := map[string]bool{"package_bytes": true, "state_type": true} // tested below
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := soundSample()
			f.seed(&s)
			p := s.build(t)
			var caught []string
			for _, rule := range lintRules() {
				if out := lint(&linted{pkg: p}, rule); out.Result == manifest.Fail {
					caught = append(caught, rule.name)
				} else {
					assert.Equal(t, manifest.Pass, out.Result, "%s: %s", rule.name, out.Reason)
				}
			}
			assert.Equal(t, f.rules, caught)
			for _, r := range f.rules {
				covered[r] = true
			}
		})
	}
	for _, rule := range lintRules() {
		assert.True(t, covered[rule.name], "rule %s has no fault that it catches", rule.name)
	}
}

// TestLintStrayOps: each op that the reference plane executes and the Neural
// Engine is known to leave is a finding, and so is every integer or bool on the
// way.
func TestLintStrayOps(t *testing.T) {
	text := func(param, value string) mil.Operand { return mil.Lit(param, mil.StringScalar(value)) }
	x := mil.Arg("x", "x")
	where := mil.Lit("indices", mil.Int32s(0))
	begin, end := mil.Lit("begin", mil.Int32s(0, 0)), mil.Lit("end", mil.Int32s(1, 2))
	covered := map[string]bool{}
	for i, tc := range []struct {
		op     string // that is to be named
		rules  []string
		values []string // integers or bools that are to be named
		build  func(b *mil.Builder) string
	}{
		{"gather", []string{"op"}, nil, func(b *mil.Builder) string { return b.Op("gather", "out", x, where) }},
		{"cast", []string{"op"}, nil, func(b *mil.Builder) string { return b.Op("cast", "out", x, text("dtype", "fp32")) }},
		{"topk", []string{"int_runtime", "op"}, []string{"places"}, func(b *mil.Builder) string { return b.Ops("topk", []string{"out", "places"}, x)[0] }},
		{"topk", []string{"op"}, nil, func(b *mil.Builder) string {
			return b.Op("topk", "out", x, mil.Lit("return_indices", mil.BoolScalar(false)))
		}},
		{"reduce_argmax", []string{"int_runtime", "op"}, []string{"out"}, func(b *mil.Builder) string { return b.Op("reduce_argmax", "out", x) }},
		{"scaled_dot_product_attention", []string{"op"}, nil, func(b *mil.Builder) string {
			y := b.Op("expand_dims", "y", x, mil.Lit("axes", mil.Int32s(0)))
			return b.Op("scaled_dot_product_attention", "out", mil.Arg("query", y), mil.Arg("key", y), mil.Arg("value", y))
		}},
		{"slice_update", []string{"int_runtime", "op"}, []string{"first"}, func(b *mil.Builder) string {
			b.Op("cast", "first", mil.Inline("x", mil.Halfs([]int{2}, make([]float16.Float16, 2))), text("dtype", "int32"))
			return b.Op("slice_update", "out", x, mil.Inline("update", mil.Halfs([]int{1, 2}, make([]float16.Float16, 2))), mil.Arg("begin", "first"), end)
		}},
		{"", nil, nil, func(b *mil.Builder) string {
			return b.Op("slice_update", "out", x, mil.Inline("update", mil.Halfs([]int{1, 2}, make([]float16.Float16, 2))), begin, end)
		}},
		{"", []string{"int_runtime", "op"}, []string{"whole", "out"}, func(b *mil.Builder) string {
			y := b.Op("cast", "whole", x, text("dtype", "int32"))
			return b.Op("add", "out", mil.Arg("x", y), mil.Arg("y", y))
		}},
		{"", []string{"int_runtime"}, []string{"least"}, func(b *mil.Builder) string {
			b.Op("less", "least", x, mil.Arg("y", "x"))
			return b.Op("select", "out", mil.Arg("cond", "least"), mil.Arg("a", "x"), mil.Arg("b", "x"))
		}},
	} {
		t.Run(fmt.Sprint(i, tc.op), func(t *testing.T) {
			b := mil.NewBuilder("main", "CoreML8")
			b.Input("x", mil.Tensor(mil.Float16, 2, 2))
			f, err := b.Finish(tc.build(b))
			require.NoError(t, err)
			p := &mlpackage.Package{Model: &mlpackage.Model{Program: &mil.Program{Functions: []*mil.Function{f}}}}
			scope, err := mil.NewScope(f)
			require.NoError(t, err)
			l := &linted{pkg: p, scopes: map[string]*mil.Scope{"main": scope}}
			var caught []string
			for _, rule := range lintRules() {
				found := rule.findings(l)
				if len(found) == 0 {
					continue
				}
				caught = append(caught, rule.name)
				if rule.name == "int_runtime" {
					require.Len(t, found, len(tc.values))
					for i, value := range tc.values {
						assert.Contains(t, found[i], "run-time value "+value+" is ")
					}
				} else if tc.op != "" {
					assert.Contains(t, found[len(found)-1], tc.op+" \"out\"")
				}
			}
			assert.Equal(t, tc.rules, caught)
			covered[tc.op] = true
		})
	}
	for _, op := range strayOps() {
		assert.True(t, covered[op], "op %s has no case", op)
	}
}

// TestLintSizeOfPackage needs no two gigabytes: only the length is read.
func TestLintSizeOfPackage(t *testing.T) {
	rule := ruleNamed(t, "package_bytes")
	p := soundSample().build(t)
	assert.Empty(t, rule.findings(&linted{pkg: p, weightBytes: maxPackageBytes}))
	assert.NotEmpty(t, rule.findings(&linted{pkg: p, weightBytes: maxPackageBytes + 1}))
}

// TestLintStateType: the type rules of MIL keep other states out of a checked
// program, so the rule is shown on its own.
func TestLintStateType(t *testing.T) {
	rule := ruleNamed(t, "state_type")
	p := soundSample().build(t)
	assert.Empty(t, rule.findings(&linted{pkg: p}))
	i := slices.IndexFunc(p.Model.Program.Functions[0].Inputs, func(v mil.Value) bool { return v.Type.State })
	p.Model.Program.Functions[0].Inputs[i].Type.DType = mil.Float32
	assert.NotEmpty(t, rule.findings(&linted{pkg: p}))
}

func ruleNamed(t *testing.T, name string) lintRule {
	t.Helper()
	rules := lintRules()
	i := slices.IndexFunc(rules, func(r lintRule) bool { return r.name == name })
	require.GreaterOrEqual(t, i, 0)
	return rules[i]
}

// TestForeseeSizes: a plan is warned of what the size rules will find, and of
// nothing below the size from which they apply.
func TestForeseeSizes(t *testing.T) {
	assert.Empty(t, ForeseeSizes(3072, 128, 2048, maxPackageBytes))
	assert.Empty(t, ForeseeSizes(128, 33, 1000, maxPackageBytes+1))
	assert.Len(t, ForeseeSizes(3072, 128, 1000, maxPackageBytes), 1)
	assert.Len(t, ForeseeSizes(3072, 128, 1000, maxPackageBytes+1), 2)
}

// TestLintModel: without weights the rules are the same, and constants that
// stand in the program are judged; the size rules begin at their hidden size.
func TestLintModel(t *testing.T) {
	s := soundSample()
	s.state = mil.Tensor(mil.Float16, 1, 2, 64, 33)
	s.scale = mil.Half(0x7C00)
	m := s.build(t).Model
	failed := func(hidden int, weightBytes int64) []string {
		var names []string
		for _, c := range LintModel(m, hidden, weightBytes).Cases {
			if c.Result != manifest.Pass {
				names = append(names, c.Name)
			}
		}
		return names
	}
	assert.Equal(t, []string{"const"}, failed(sizeRulesFrom-1, maxPackageBytes+1))
	assert.Equal(t, []string{"const", "state"}, failed(sizeRulesFrom, maxPackageBytes))
	assert.Equal(t, []string{"const", "state", "package_bytes"}, failed(sizeRulesFrom, maxPackageBytes+1))
	sound := LintModel(soundSample().build(t).Model, sizeRulesFrom, maxPackageBytes)
	assert.Equal(t, manifest.Pass, sound.Result, sound.Reason)
}
