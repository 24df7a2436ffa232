package conformance_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/internal/contract"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// called is a plane under another name. Nothing that it gives leaves the test.
type called struct {
	coreml.Plane
	name string
}

func (p called) Name() string { return p.name }

// spoiltBlocks is a plane whose block function spoils what a pass gave.
type spoiltBlocks struct {
	coreml.Plane
	spoil func(in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error
}

func (p spoiltBlocks) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	return spoiltPackage{pkg, p}, err
}

type spoiltPackage struct {
	coreml.Package
	plane spoiltBlocks
}

func (p spoiltPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil || name != "t4" {
		return f, err
	}
	return spoiltFunction{f, p.plane}, nil
}

type spoiltFunction struct {
	coreml.Function
	plane spoiltBlocks
}

func (f spoiltFunction) Predict(ctx context.Context, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error {
	if err := f.Function.Predict(ctx, in, st, out); err != nil {
		return err
	}
	return f.plane.spoil(in, st, out)
}

// spoilHidden changes every row of the hidden states of a block.
func spoilHidden(change func(c, t int, get func(c, t int) float64) float64) func(map[string]coreml.Tensor, coreml.State, map[string]coreml.Tensor) error {
	return func(_ map[string]coreml.Tensor, _ coreml.State, out map[string]coreml.Tensor) error {
		hidden := out[contract.Hidden]
		rows := hidden.Shape[2]
		before := append([]float16.Float16{}, hidden.Data...)
		for i := range hidden.Data {
			v := change(i/rows, i%rows, func(c, t int) float64 { return half.ToFloat64(before[c*rows+t]) })
			hidden.Data[i] = half.FromFloat64(v)
		}
		return nil
	}
}

// spoilState changes the value of one state's slot after each pass of a block.
func spoilState(slot func(written []int) int, change func(float64) float64) func(map[string]coreml.Tensor, coreml.State, map[string]coreml.Tensor) error {
	return func(in map[string]coreml.Tensor, st coreml.State, _ map[string]coreml.Tensor) error {
		const kvHeads, slots, dim = 2, 64, 32 // nano's
		name := contract.VState(0)
		data := make([]float16.Float16, kvHeads*slots*dim)
		if err := st.Read(name, data); err != nil {
			return err
		}
		at := slot(writtenSlots(in[contract.WriteMask])) * dim
		for i := at; i < at+dim; i++ {
			data[i] = half.FromFloat64(change(half.ToFloat64(data[i])))
		}
		return st.Write(name, data)
	}
}

// parityOf runs the parity cases whose names have a part in common.
func parityOf(t *testing.T, opt conformance.Options, part string) map[string]conformance.Outcome {
	t.Helper()
	suite, err := conformance.NewSuite(opt)
	require.NoError(t, err)
	defer func() { assert.NoError(t, suite.Close()) }()
	out := map[string]conformance.Outcome{}
	for _, c := range suite.Cases() {
		if c.Check == conformance.CheckParity && strings.Contains(c.Name, part) {
			out[c.Name] = suite.RunCase(context.Background(), c)
		}
	}
	require.NotEmpty(t, out)
	return out
}

// TestToleranceOfBlocks: on plane coreml a block may be off singles by what two
// roundings come to, and by no fault; everywhere else by nothing.
func TestToleranceOfBlocks(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.recipe.Slots = 64
	s.export(t, tail)
	same := func(v float64) float64 { return v }
	spoilt := func(spoil func(map[string]coreml.Tensor, coreml.State, map[string]coreml.Tensor) error) coreml.Plane {
		return spoiltBlocks{reference.Plane{}, spoil}
	}
	first := func(written []int) int { return written[0] }
	for _, tt := range []struct {
		name   string
		plane  coreml.Plane
		reason string // on plane coreml; elsewhere each fails but the first
	}{
		{"sound", reference.Plane{}, ""},
		{"rounded another way", drifting{Plane: reference.Plane{}, bound: 0.002}, ""},
		{"rounded another way, caches too", drifting{Plane: reference.Plane{}, bound: 0.002, caches: true}, ""},
		{"far off", drifting{Plane: reference.Plane{}, bound: 0.5}, "cosine of hidden"},
		{"rows exchanged", spoilt(spoilHidden(func(c, t int, get func(c, t int) float64) float64 { return get(c, t^1) })), "cosine of hidden"},
		{"the last row a copy of the one before", spoilt(spoilHidden(func(c, t int, get func(c, t int) float64) float64 { return get(c, min(t, 2)) })), "row 3"},
		{"channels of other tokens", spoilt(spoilHidden(func(c, t int, get func(c, t int) float64) float64 { return get(c, (t+c)%4) })), "cosine of hidden"},
		{"hidden without what the shard adds least", spoilt(spoilHidden(func(c, t int, get func(c, t int) float64) float64 {
			if c%8 == 0 {
				return 0
			}
			return get(c, t)
		})), "cosine of hidden"},
		{"a written slot turned", spoilt(spoilState(first, func(v float64) float64 { return -v })), "cosine"},
		{"a slot that nobody wrote off by a little", spoilt(spoilState(func([]int) int { return 20 }, func(v float64) float64 { return v * (1 + 1.0/1024) })), "no token was written there"},
		{"a slot that nobody wrote, rewritten", spoilt(spoilState(func([]int) int { return 20 }, same)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := s.options(tail)
			const block = "t4_vs_4xt1/pos=0/live=4"
			opt.Plane = called{tt.plane, manifest.PlaneCoreML}
			out := parityOf(t, opt, block)[block]
			if tt.reason == "" {
				require.Equal(t, manifest.Pass, out.Result, out.Reason)
			} else {
				require.Equal(t, manifest.Fail, out.Result)
				assert.Contains(t, out.Reason, tt.reason)
			}
			opt.Plane = called{tt.plane, manifest.PlaneFake}
			exact := parityOf(t, opt, block)[block]
			assert.Equal(t, tt.name == "sound" || tt.name == "a slot that nobody wrote, rewritten", exact.Result == manifest.Pass, exact.Reason)
		})
	}
}

// TestIndependenceIsExact: that a row does not depend on its place and its
// neighbours is what exact speculation rests on, so no plane may miss it by a
// bit.
func TestIndependenceIsExact(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.recipe.Slots = 64
	s.export(t, tail)
	opt := s.options(tail)
	opt.Plane = called{drifting{Plane: reference.Plane{}, bound: 0.002}, manifest.PlaneCoreML}
	for name, out := range parityOf(t, opt, "/pos=1") {
		assert.Equal(t, manifest.Pass, out.Result, "%s: %s", name, out.Reason)
	}
	opt.Plane = called{drifting{Plane: reference.Plane{}, bound: 0.002, caches: true}, manifest.PlaneCoreML}
	place := parityOf(t, opt, "row_place/pos=1")["row_place/pos=1"]
	assert.Equal(t, manifest.Fail, place.Result)
	assert.Contains(t, place.Reason, "ulp")
}

// TestToleranceIsInTheEvidence: what was tolerated can be read off the verdict.
func TestToleranceIsInTheEvidence(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.recipe.Slots = 64
	s.export(t, tail)
	opt := s.options(tail)
	opt.Plane = called{drifting{Plane: reference.Plane{}, bound: 0.002}, manifest.PlaneCoreML}
	const block = "t4_vs_4xt1/pos=0/live=4"
	figures := map[string]float64{}
	for _, e := range parityOf(t, opt, block)[block].Evidence {
		figures[e.Name] = float64(*e.Value)
	}
	assert.Positive(t, figures["hidden_max_abs_difference"])
	assert.InDelta(t, 4, figures["rows_compared"], 0)
	assert.Zero(t, figures["rows_equal_bit_for_bit"])
	assert.Less(t, figures["cosine_hidden_min"], 1.0)
	assert.Less(t, figures["cosine_hidden_minus_x_min"], figures["cosine_hidden_min"])
	assert.Equal(t, 1.0, figures["cosine_written_slots_min"])
}

// spoilLogits changes the logits of a block.
func spoilLogits(change func(i int, v float64) float64) coreml.Plane {
	return spoiltBlocks{reference.Plane{}, func(_ map[string]coreml.Tensor, _ coreml.State, out map[string]coreml.Tensor) error {
		logits := out[contract.Logits].Data
		for i := range logits {
			logits[i] = half.FromFloat64(change(i, half.ToFloat64(logits[i])))
		}
		return nil
	}}
}

// TestToleranceOfLogits is TestToleranceOfBlocks of an LM head shard, of which
// a cosine does not see a single logit.
func TestToleranceOfLogits(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	rows := s.exportHead(t, 1)[0]
	const block = "t4_vs_4xt1/live=4"
	for _, tt := range []struct {
		name   string
		plane  coreml.Plane
		reason string
	}{
		{"sound", reference.Plane{}, ""},
		{"rounded another way", spoilLogits(func(i int, v float64) float64 { return v * (1 + 0.002*float64(i%3-1)) }), ""},
		{"one logit of a row", spoilLogits(func(i int, v float64) float64 {
			if i == 4*77+2 {
				return v + 8
			}
			return v
		}), "row 2: "},
		{"negated", spoilLogits(func(_ int, v float64) float64 { return -v }), "row 0: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := s.headOptions(rows)
			opt.Plane = called{tt.plane, manifest.PlaneCoreML}
			out := parityOf(t, opt, block)[block]
			assert.Equal(t, tt.reason == "", out.Result == manifest.Pass, out.Reason)
			assert.Contains(t, out.Reason, tt.reason)
			opt.Plane = called{tt.plane, manifest.PlaneFake}
			assert.Equal(t, tt.name == "sound", parityOf(t, opt, block)[block].Result == manifest.Pass)
		})
	}
}

// TestHeadOverFake measures an LM head shard over a Core ML in Go, in the
// machine's own time, of which nothing is asked but that it is there.
func TestHeadOverFake(t *testing.T) {
	s := nanoSubject(t, exporter.Int8, exporter.LayerNormConcat)
	s.plane = fakePlane(t, fakecoreml.Options{})
	opt := s.headOptions(s.exportHead(t, 1)[0])
	opt.Measure = conformance.Measures()[:2]
	opt.Instruments.CPUOnly = func(context.Context) (coreml.Plane, error) {
		return native.Over(fakecoreml.Start(t, fakecoreml.Options{CPUOnly: true}), native.Options{Reserve: 1, CPUOnly: true})
	}
	verdict, err := conformance.Run(context.Background(), opt, nil)
	require.NoError(t, err)
	measured := map[string]bool{}
	for _, m := range verdict.Metrics {
		measured[m.Name] = m.Value != nil
		if strings.HasPrefix(m.Name, "latency_") && strings.HasSuffix(m.Name, "_p50") {
			assert.Contains(t, m.Method, "passes over seeded hidden states after 5 to warm up")
		}
	}
	for _, name := range []string{
		"compile", "load_t1", "first_predict_t4", "latency_t1_p50", "latency_t4_p95", "latency_t1_cpu_only_p50", "latency_t4_cpu_only_ratio",
		"memory_peak", "disk_free_before", "disk_free_after",
	} {
		assert.True(t, measured[name], name)
	}
}
