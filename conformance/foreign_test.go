package conformance_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// foreignPackages are built by coremltools; see its README for what each is.
const foreignPackages = "../fixtures/foreign/packages"

// tracedNames are what fixtures/foreign/traced.py calls the contract's
// features.
func tracedNames() map[string]string {
	return map[string]string{
		"x": "hidden_in", "rope_cos": "cos", "rope_sin": "sin", "attn_mask": "mask", "kv_write_mask": "write", "hidden": "hidden_out",
	}
}

// judgeForeign judges nano's tail as somebody else built it.
func judgeForeign(t *testing.T, dir string, names map[string]string) *manifest.Verdict {
	t.Helper()
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	opt := s.options(tail)
	opt.Dir, opt.Package, opt.Names = "", dir, names
	verdict, err := conformance.Run(context.Background(), opt, nil)
	require.NoError(t, err)
	return verdict
}

// checkOf and caseOf find what a verdict says.
func checkOf(t *testing.T, v *manifest.Verdict, name string) manifest.Check {
	t.Helper()
	i := slices.IndexFunc(v.Checks, func(c manifest.Check) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return v.Checks[i]
}

func caseOf(t *testing.T, v *manifest.Verdict, check, name string) manifest.Case {
	t.Helper()
	cases := checkOf(t, v, check).Cases
	i := slices.IndexFunc(cases, func(c manifest.Case) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, "%s/%s", check, name)
	return cases[i]
}

// texts are a case's evidence in words, by name.
func texts(c manifest.Case) map[string]string {
	out := map[string]string{}
	for _, e := range c.Evidence {
		if e.Text != "" {
			out[e.Name] = e.Text
		}
	}
	return out
}

// foreignCase is what the gate says of a package.
type foreignCase struct {
	file  string // without .mlpackage
	names map[string]string

	fails   map[string]string // a check that fails: its first reason
	states  string
	storage string
	slots   int
	rows    []string // functions
}

func foreignCases() []foreignCase {
	const named, ordered = "by name", "by order: keys, then values, of each layer"
	const plain = "float, not compressed"
	both, lone := []string{"t1", "t4"}, []string{"main"}
	withStates := tracedNames()
	for _, name := range []string{"0", "1"} {
		withStates["layers_"+name+"_k_state"], withStates["layers_"+name+"_v_state"] = "k_cache_"+name, "v_cache_"+name
	}
	return []foreignCase{
		{"built", nil, nil, named, plain, 256, both},
		// Right at T=1, which the oracle sees: only the block tells.
		{"built_head_token_dim", nil, map[string]string{
			"equivalence": `keeps_step/pos=0/live=4: state layers_1_k_state, head 0, slot 0, dim 0: made by reshape "reshape_3"`,
			"parity":      "t4_vs_4xt1/pos=0/live=1: pos=0: hidden differ at [row 0, channel 0]: block ",
		}, named, plain, 256, both},
		{"traced", tracedNames(), nil, ordered, plain, 64, both},
		{"traced", withStates, nil, named, plain, 64, both},
		{"traced_main", nil, nil, named, plain, 64, lone},
		{"traced_int8_channel", nil, nil, named, "int8 with scales", 64, lone},
		{"traced_uint8_channel", nil, nil, named, "uint8 with scales", 64, lone},
		{"built_int8_tensor", nil, nil, named, "int8 with scales", 256, both},
		{"built_lut6", nil, nil, named, "uint6 indices of tables", 256, both},
		{"traced_lut6_int8", nil, nil, named, "int8 with scales, uint6 indices of tables", 64, lone},
		{"traced_lut4_group", nil, nil, named, "uint4 indices of tables", 64, lone},
		// Its values are right; where it would run is not.
		{"built_int4_block", nil, map[string]string{
			"lint": `op: function t1: weight "conv_0_weight_0_quantized" is linear int4 per block`,
		}, named, "int4 with scales", 256, both},
	}
}

// TestForeign judges every package of fixtures/foreign.
func TestForeign(t *testing.T) {
	cases := foreignCases()
	dirs, err := filepath.Glob(filepath.Join(foreignPackages, "*.mlpackage"))
	require.NoError(t, err)
	for _, dir := range dirs {
		assert.True(t, slices.ContainsFunc(cases, func(c foreignCase) bool { return c.file+".mlpackage" == filepath.Base(dir) }), "%s is not judged", dir)
	}
	for i, c := range cases {
		t.Run(fmt.Sprintf("%d_%s", i, c.file), func(t *testing.T) {
			t.Parallel()
			v := judgeForeign(t, filepath.Join(foreignPackages, c.file+".mlpackage"), c.names)
			assert.Equal(t, c.file+".mlpackage", v.Package.Path)
			assert.Equal(t, v.Catalogue.Cases, v.Catalogue.Ran)
			for _, check := range v.Checks {
				reason, fails := c.fails[check.Name]
				switch {
				case fails:
					assert.Equal(t, manifest.Fail, check.Result, check.Name)
					assert.Contains(t, check.Reason, reason, check.Name)
				case check.Name == conformance.CheckResidency:
					assert.Equal(t, manifest.NotMeasured, check.Result)
				default:
					assert.Equal(t, manifest.Pass, check.Result, "%s: %s", check.Name, check.Reason)
				}
			}
			found := caseOf(t, v, conformance.CheckPackage, "contract")
			words := texts(found)
			assert.Equal(t, c.states, words["states"])
			assert.Equal(t, c.storage, words["weight_storage"])
			assert.InDelta(t, c.slots, float64(*found.Evidence[0].Value), 0)
			for own := range slices.Values(c.rows) {
				assert.Contains(t, slices.Collect(maps.Values(words)), own, "function")
			}
		})
	}
}

// TestForeignNeedsTheMap: a package with names of its own is refused by the
// contract, which says what there is; nothing else is judged.
func TestForeignNeedsTheMap(t *testing.T) {
	for _, tt := range []struct {
		drop, wants string
	}{
		{"x", "function t1: not the graph contract: input x: want [1,128,?,1], found no input x; there are hidden_in, cos, sin, mask, write"},
		{"attn_mask", "input attn_mask: want [1,1,1,?], found no input attn_mask"},
		{"hidden", "output hidden: want [1,128,1,1], found no output hidden; there are hidden_out"},
	} {
		names := tracedNames()
		delete(names, tt.drop)
		v := judgeForeign(t, filepath.Join(foreignPackages, "traced.mlpackage"), names)
		assert.Equal(t, manifest.Fail, v.Result)
		assert.Contains(t, checkOf(t, v, conformance.CheckPackage).Reason, tt.wants)
		for _, check := range []string{conformance.CheckLint, conformance.CheckOracle, conformance.CheckParity, conformance.CheckResidency} {
			assert.Equal(t, manifest.NotRun, checkOf(t, v, check).Result, check)
		}
	}
}

// TestForeignRefusals are the runs that cannot begin.
func TestForeignRefusals(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	base := s.options(tail)
	base.Dir, base.Package = "", filepath.Join(foreignPackages, "built.mlpackage")
	for _, tt := range []struct {
		name string
		edit func(*conformance.Options)
		want error
	}{
		{"no checkpoint", func(o *conformance.Options) { o.Checkpoint = nil }, conformance.ErrNoCheckpoint},
		{"layers", func(o *conformance.Options) { o.Layers.End = 33 }, exporter.ErrRange},
		{"name", func(o *conformance.Options) { o.Names = map[string]string{"y": "x"} }, conformance.ErrNames},
		{"no package", func(o *conformance.Options) { o.Package = filepath.Join(t.TempDir(), "none") }, fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := base
			tt.edit(&opt)
			_, err := conformance.NewSuite(opt)
			assert.ErrorIs(t, err, tt.want)
		})
	}
}

// TestForeignBroken: a package that does not decode has a verdict too.
func TestForeignBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "copy.mlpackage")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(foreignPackages, "built.mlpackage"))))
	model := filepath.Join(dir, "Data/com.apple.CoreML/model.mlmodel")
	require.NoError(t, os.Truncate(model, 1000))
	v := judgeForeign(t, dir, nil)
	assert.Equal(t, manifest.Fail, v.Result)
	assert.Equal(t, manifest.Fail, caseOf(t, v, conformance.CheckPackage, "decode").Result)
	assert.Equal(t, manifest.NotRun, checkOf(t, v, conformance.CheckParity).Result)
}

// edited is a copy of a package whose model or weights a test has changed.
func edited(t *testing.T, file string, model func(*mlpackage.Model), weights func([]byte)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), file+".mlpackage")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(foreignPackages, file+".mlpackage"))))
	change := func(name string, edit func([]byte) []byte) {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), edit(data), 0o600))
	}
	if model != nil {
		change(mlpackage.ModelPath, func(data []byte) []byte {
			m, err := mlpackage.DecodeModel(data)
			require.NoError(t, err)
			model(m)
			data, err = mlpackage.EncodeModel(m)
			require.NoError(t, err)
			return data
		})
	}
	if weights != nil {
		change(mlpackage.WeightsPath, func(data []byte) []byte { weights(data); return data })
	}
	return dir
}

// setHalf sets the scalar constant of that name in every function.
func setHalf(t *testing.T, m *mlpackage.Model, name string, bits float16.Float16) {
	t.Helper()
	for _, f := range m.Program.Functions {
		i := slices.IndexFunc(f.Ops, func(op *mil.Op) bool { return op.Name == name })
		require.GreaterOrEqual(t, i, 0, "function %s: op %s", f.Name, name)
		lit := mil.Half(bits)
		f.Ops[i].Val = &lit
	}
}

// TestCompressedFaults: what compressing does to the values does not hide what
// is wrong with the graph or with a weight.
func TestCompressedFaults(t *testing.T) {
	t.Run("score scale an eighth too large, under int4", func(t *testing.T) {
		dir := edited(t, "built_int4_block", func(m *mlpackage.Model) { setHalf(t, m, "mul_6_y_0", half.FromFloat32(0.17675781*9/8)) }, nil)
		v := judgeForeign(t, dir, nil)
		oracle := checkOf(t, v, conformance.CheckOracle)
		assert.Equal(t, manifest.Fail, oracle.Result)
		assert.Equal(t, manifest.Pass, caseOf(t, v, conformance.CheckOracle, "weights").Result)
		for _, c := range oracle.Cases {
			if strings.HasPrefix(c.Name, "golden/") {
				assert.Equal(t, manifest.Pass, c.Result, "%s is too coarse to see it", c.Name)
			}
		}
		assert.Equal(t, manifest.Pass, checkOf(t, v, conformance.CheckParity).Result, "the fault is in both functions")
	})
	t.Run("a few values of a weight", func(t *testing.T) {
		dir := edited(t, "built_int8_tensor", nil, func(data []byte) {
			for i := range 256 {
				data[40_000+i] ^= 0x40
			}
		})
		v := judgeForeign(t, dir, nil)
		assert.Equal(t, manifest.Fail, caseOf(t, v, conformance.CheckOracle, "weights").Result)
		assert.Contains(t, caseOf(t, v, conformance.CheckOracle, "weights").Reason, "layer 30: weight ")
	})
	t.Run("every scale a quarter too large", func(t *testing.T) {
		dir := edited(t, "built_int8_tensor", func(m *mlpackage.Model) {
			for _, f := range m.Program.Functions {
				mil.WalkLiterals(f, func(op *mil.Op, param string, lit *mil.Literal) {
					if op.Type == "constexpr_blockwise_shift_scale" && param == "scale" {
						scale := make([]float16.Float16, 1)
						half.FromBytes(scale, lit.Bytes)
						half.ToBytes(lit.Bytes, []float16.Float16{half.FromFloat32(1.25 * half.ToFloat32(scale[0]))})
					}
				})
			}
		}, nil)
		v := judgeForeign(t, dir, nil)
		assert.Equal(t, manifest.Fail, caseOf(t, v, conformance.CheckOracle, "weights").Result)
		assert.Contains(t, caseOf(t, v, conformance.CheckOracle, "weights").Reason, "layer 30: weight ")
	})
	t.Run("weights of other layers", func(t *testing.T) {
		s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
		opt := s.options(exporter.Range{Start: 20, End: 22})
		opt.Dir, opt.Package = "", filepath.Join(foreignPackages, "built_int8_tensor.mlpackage")
		v, err := conformance.Run(context.Background(), opt, nil)
		require.NoError(t, err)
		assert.NotEqual(t, manifest.Pass, v.Result)
		for _, name := range []string{"weights", "seeded_cache/pos=0", "from_empty"} {
			c := caseOf(t, v, conformance.CheckOracle, name)
			assert.Equal(t, manifest.NotMeasured, c.Result, name)
			assert.Contains(t, c.Reason, "layer 20: weight ")
			assert.Contains(t, c.Reason, " of the package is like it")
		}
	})
}
