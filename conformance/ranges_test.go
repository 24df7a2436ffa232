package conformance_test

import (
	"context"
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mlpackage"
	"lockstep/internal/safetensors"
	"lockstep/manifest"
)

// ranges exports nano's tail, unless it is there, and measures its ranges.
func (s subject) ranges(t *testing.T) *manifest.Ranges {
	t.Helper()
	s.export(t, tail)
	suite, err := conformance.NewSuite(s.options(tail))
	require.NoError(t, err)
	defer suite.Close()
	r, err := suite.Ranges(t.Context())
	require.NoError(t, err)
	return r
}

func metricOf(t *testing.T, v *manifest.Verdict, name string) manifest.Metric {
	t.Helper()
	i := slices.IndexFunc(v.Metrics, func(m manifest.Metric) bool { return m.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return v.Metrics[i]
}

// rowOf is a value's row in a layer; 0 stands for no layer.
func rowOf(t *testing.T, r *manifest.Ranges, layer int, value string) manifest.ValueRange {
	t.Helper()
	for _, l := range r.Layers {
		if (l.Layer == nil) != (layer == 0) || l.Layer != nil && *l.Layer != layer {
			continue
		}
		i := slices.IndexFunc(l.Values, func(v manifest.ValueRange) bool { return v.Value == value })
		require.GreaterOrEqual(t, i, 0, "layer %d, value %s", layer, value)
		return l.Values[i]
	}
	require.Fail(t, "no such layer", "%d", layer)
	return manifest.ValueRange{}
}

// TestRanges: the verdict has every run-time value of the program once, in its
// layer, and the figure is the least headroom.
func TestRanges(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	verdict := s.judge(t, tail)
	r := verdict.Ranges
	require.NotNil(t, r)
	assert.Equal(t, "t1", r.Function)
	assert.Contains(t, r.Inputs, "golden vectors: 96 tokens of 3 prompts")
	assert.Equal(t, 98, r.Passes)
	assert.Subset(t, r.Positions, []int{0, 1, 31, 128, 255})
	assert.Empty(t, r.Warnings, "masked scores of -1e4 have headroom enough")

	files, err := mlpackage.Open(filepath.Join(s.dir, verdict.Package.Path))
	require.NoError(t, err)
	defer files.Close()
	var want, got []string
	for _, op := range files.Model.Program.Function("t1").Ops {
		if op.Type != "const" && !strings.HasPrefix(op.Type, "constexpr_") {
			for _, out := range op.Outputs {
				want = append(want, op.Type+" "+out.Name)
			}
		}
	}
	for i, l := range r.Layers {
		prefix := []string{"", "layers_0_", "layers_1_"}[i]
		for _, v := range l.Values {
			name := prefix + v.Value
			if v.Value == "hidden" {
				name = v.Value
			}
			got = append(got, v.Op+" "+name)
		}
	}
	assert.ElementsMatch(t, want, got)
	require.Len(t, r.Layers, 3)
	assert.Nil(t, r.Layers[0].Layer)
	assert.Equal(t, 30, *r.Layers[1].Layer)
	assert.Equal(t, 31, *r.Layers[2].Layer)

	metric := metricOf(t, verdict, "value_range_headroom")
	require.NotNil(t, metric.Value)
	assert.Equal(t, r.Headroom(), *metric.Value)
	masked := rowOf(t, r, 30, "masked_0")
	assert.InDelta(t, 10000, float64(masked.MaxAbs), 100)
	assert.InDelta(t, 1, float64(rowOf(t, r, 0, "kv_keep").MaxAbs), 0)
	assert.Zero(t, rowOf(t, r, 0, "rope_sin_4d").NonFinite)
}

// TestRangesWithoutGolden: the inputs are the seeded ones then, and it says so.
func TestRangesWithoutGolden(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.golden, s.checkpoint = nil, nil
	seeded := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	seeded.golden = nil
	seeded.export(t, tail)
	s.dir = seeded.dir
	suite, err := conformance.NewSuite(s.options(tail))
	require.NoError(t, err)
	defer suite.Close()
	r, err := suite.Ranges(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "seeded hidden states, as in the oracle's cases: 8 tokens from an empty cache; at positions 0, 1, 128, 255 over seeded keys and values", r.Inputs)
	assert.Equal(t, 12, r.Passes)
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 128, 255}, r.Positions)
	assert.Equal(t, r, seeded.ranges(t), "the checkpoint changes nothing")
}

// scaled is nano with one tensor times a power of two.
func scaled(t *testing.T, tensor string, power int) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	found := 0
	require.NoError(t, fs.WalkDir(fixtures.Nano(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fixtures.Nano(), name)
		if err != nil {
			return err
		}
		data = slices.Clone(data)
		files[name] = &fstest.MapFile{Data: data}
		if filepath.Ext(name) != ".safetensors" {
			return nil
		}
		values, err := safetensors.ParseValues(name, data)
		if err != nil {
			return err
		}
		if at, ok := values.Lookup(tensor); ok {
			found++
			for i := at.Begin; i < at.End; i += 2 { // bfloat16
				bits := binary.LittleEndian.Uint16(data[i:])
				v := math.Float32frombits(uint32(bits) << 16)
				binary.LittleEndian.PutUint16(data[i:], uint16(math.Float32bits(float32(math.Ldexp(float64(v), power)))>>16))
			}
		}
		return nil
	}))
	require.Equal(t, 1, found)
	return files
}

// scaledSubject is nano with the last layer's down projection times a power of
// two, as float16.
func scaledSubject(t *testing.T, power int) subject {
	t.Helper()
	s := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	ck, err := checkpoint.Open(scaled(t, "model.layers.31.mlp.down_proj.weight", power))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	s.name, s.checkpoint = "large", ck
	return s
}

// TestRangesWarn: a checkpoint whose last layer grows beyond a quarter of
// float16's range passes every check, as it must, and is warned of.
func TestRangesWarn(t *testing.T) {
	sound := nanoSubject(t, exporter.FP16, exporter.LayerNormConcat)
	before := float64(rowOf(t, sound.ranges(t), 31, "down").MaxAbs)
	power := int(math.Ceil(math.Log2(manifest.LargestHalf / manifest.LeastHeadroom / before)))
	s := scaledSubject(t, power)
	s.golden = nil // of the sound one
	verdict := s.judge(t, tail)
	for _, c := range verdict.Checks {
		if c.Name != conformance.CheckResidency {
			assert.Equal(t, manifest.Pass, c.Result, "%s: %s", c.Name, c.Reason)
		}
	}

	s.golden = sound.golden // as activations
	r := s.ranges(t)
	down := rowOf(t, r, 31, "down")
	assert.Less(t, float64(down.Headroom), 4.0)
	assert.InDelta(t, before*math.Ldexp(1, power), float64(down.MaxAbs), before*math.Ldexp(1, power-10), "the planted one")
	assert.Zero(t, down.NonFinite)
	require.Len(t, r.Warnings, 1, "layer 30 is as it was")
	assert.Contains(t, r.Warnings[0], "layer 31: ")
	assert.Contains(t, r.Warnings[0], "under 4")
}

// TestRangesOfAnOverflow: a value that leaves float16 ends its run and is shown
// for what it is.
func TestRangesOfAnOverflow(t *testing.T) {
	r := scaledSubject(t, 16).ranges(t)
	hidden := rowOf(t, r, 31, "hidden")
	assert.Positive(t, hidden.NonFinite)
	assert.Zero(t, hidden.Headroom)
	assert.Zero(t, r.Headroom())
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "left float16")
	assert.Less(t, r.Passes, 98, "a spoilt state is not used on")
}

// smallGolden are golden vectors times a power of two.
type smallGolden struct {
	conformance.Golden
	power int
}

func (g smallGolden) Float32(name string) ([]float32, []int, error) {
	values, shape, err := g.Golden.Float32(name)
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(math.Ldexp(float64(v), g.power))
	}
	return out, shape, err
}

// TestRangesSubnormals: on small inputs the squares of the prescaled norm are
// mostly subnormal, or gone; the default form's values are not.
func TestRangesSubnormals(t *testing.T) {
	share := func(norm exporter.Norm, value string) float64 {
		s := nanoSubject(t, exporter.FP16, norm)
		s.golden = smallGolden{s.golden, -8}
		return float64(rowOf(t, s.ranges(t), 30, value).SubnormalShare)
	}
	assert.Greater(t, share(exporter.Prescaled, "attn_norm_square"), 0.5)
	assert.Less(t, share(exporter.LayerNormConcat, "attn_norm_ln"), 0.01)
}

// outputsOnly hides what a plane could show.
type outputsOnly struct{ coreml.Plane }

func (p outputsOnly) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return outputsOnlyPackage{pkg}, err
}

type outputsOnlyPackage struct{ coreml.Package }

func (p outputsOnlyPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	fn, err := p.Package.Function(ctx, name)
	return struct{ coreml.Function }{fn}, err
}

// TestRangesOfOutputsOnly: a plane that shows no values has no ranges, and says
// why; the verdict is otherwise the same.
func TestRangesOfOutputsOnly(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.plane = outputsOnly{reference.Plane{}}
	verdict := s.judge(t, tail)
	assert.Equal(t, manifest.Partial, verdict.Result)
	assert.Nil(t, verdict.Ranges)
	assert.Equal(t, "plane reference shows outputs only", metricOf(t, verdict, "value_range_headroom").NotMeasured)
	suite, err := conformance.NewSuite(s.options(tail))
	require.NoError(t, err)
	defer suite.Close()
	_, err = suite.Ranges(t.Context())
	require.ErrorIs(t, err, conformance.ErrOutputsOnly)
}

// TestRangesOfAnUnsoundPackage: what fails its own check is not executed.
func TestRangesOfAnUnsoundPackage(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	res := s.export(t, tail)
	flipByte(t, filepath.Join(res.Dir, filepath.FromSlash(mlpackage.WeightsPath)), 5000)
	suite, err := conformance.NewSuite(s.options(tail))
	require.NoError(t, err)
	defer suite.Close()
	_, err = suite.Ranges(t.Context())
	require.ErrorIs(t, err, conformance.ErrUnsound)
	assert.ErrorContains(t, err, "package/digests")
	verdict, err := conformance.Run(t.Context(), s.options(tail), nil)
	require.NoError(t, err)
	assert.Nil(t, verdict.Ranges)
	assert.Equal(t, "the function was not executed", metricOf(t, verdict, "value_range_headroom").NotMeasured)
}

// TestRangesStopped: what is stopped blames no package, and a verdict whose
// figures were not taken is none.
func TestRangesStopped(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.export(t, tail)
	suite, err := conformance.NewSuite(s.options(tail))
	require.NoError(t, err)
	defer suite.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = suite.Ranges(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, conformance.ErrUnsound)
	_, err = suite.Verdict(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// TestRangesOfForeignPackages: the layers of a package that lockstep did not
// write are told by what its values are computed from.
func TestRangesOfForeignPackages(t *testing.T) {
	for _, tt := range []struct {
		file  string
		names map[string]string
		by    string
	}{
		{"built", nil, "the last layer whose keys or values"},
		{"built_lut6", nil, "the last layer whose weights, keys or values"},
		{"traced", tracedNames(), "the last layer whose keys or values"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			dir := filepath.Join(foreignPackages, tt.file+".mlpackage")
			verdict := judgeForeign(t, dir, tt.names)
			require.NotNil(t, verdict.Ranges)
			assert.Contains(t, verdict.Ranges.LayersBy, tt.by)
			files, err := mlpackage.Open(dir)
			require.NoError(t, err)
			defer files.Close()
			layerOf := map[string]string{}
			shown := 0
			for _, l := range verdict.Ranges.Layers {
				for _, v := range l.Values {
					layerOf[v.Value] = conformance.LayerName(l.Layer)
					shown++
				}
			}
			reads := 0
			for _, op := range files.Model.Program.Function(verdict.Ranges.Function).Ops {
				if op.Type != "read_state" {
					continue
				}
				reads++
				state := op.Args[0].Bindings[0].Name
				want := "layer 30"
				if strings.Contains(state, "1") {
					want = "layer 31"
				}
				assert.Equal(t, want, layerOf[op.Outputs[0].Name], "%s of %s", op.Outputs[0].Name, state)
			}
			assert.Positive(t, reads)
			assert.Greater(t, shown, 100)
		})
	}
}

// flipByte changes one byte of a file.
func flipByte(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[at] ^= 0xFF
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
