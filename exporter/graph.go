package exporter

import (
	"fmt"
	"math"

	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// opset is the op version of iOS 18 and macOS 15, the first with states.
const opset = "CoreML8"

// Program builds the MIL program of a shard from the config alone: weights are
// references to offsets in weight.bin.
func Program(cfg checkpoint.Config, layers Range, rec Recipe) (*mil.Program, error) {
	return program(cfg, layersPart(layers), rec)
}

// HeadProgram is Program of an LM head shard: the final RMSNorm and the
// projection to the vocabulary's rows [rows.Start, rows.End).
func HeadProgram(cfg checkpoint.Config, rows Range, rec Recipe) (*mil.Program, error) {
	return program(cfg, headPart(rows), rec)
}

func program(cfg checkpoint.Config, p part, rec Recipe) (*mil.Program, error) {
	if err := checkPart(cfg, p, rec); err != nil {
		return nil, err
	}
	build := buildFunction
	if p.kind == headShard {
		build = buildHead
	}
	ws, _ := partWeights(cfg, p, rec)
	prog := &mil.Program{}
	for _, t := range rec.Rows {
		f, err := build(cfg, rec, t, ws)
		if err != nil {
			return nil, err
		}
		prog.Functions = append(prog.Functions, f)
	}
	sortFunctions(prog)
	return prog, prog.Check()
}

// graph builds one function of T rows.
type graph struct {
	*mil.Builder
	cfg  checkpoint.Config
	rec  Recipe
	rows int // T

	cos, sin  string // [1, 1, T, rotary/2]
	keep      string // [1, 1, S, 1]: 1 where no row writes, else 0
	mask      string
	writeMask string
}

func buildFunction(cfg checkpoint.Config, rec Recipe, rows int, ws []weight) (*mil.Function, error) {
	g := &graph{Builder: mil.NewBuilder(rec.FunctionName(rows), opset), cfg: cfg, rec: rec, rows: rows}
	x := g.inputs()
	states := len(ws) / weightsPerLayer
	for layer := range states {
		kv := mil.Type{DType: mil.Float16, Shape: []int{1, cfg.KVHeads, rec.Slots, cfg.HeadDim()}, State: true}
		g.State(contract.KState(layer), kv)
		g.State(contract.VState(layer), kv)
	}
	g.prepare()
	for layer := range states {
		out := fmt.Sprintf("layers_%d_out", layer)
		if layer == states-1 {
			out = contract.Hidden
		}
		x = g.layer(layer, x, out, ws[layer*weightsPerLayer:(layer+1)*weightsPerLayer])
	}
	return g.Finish(contract.Hidden)
}

const weightsPerLayer = 6

// buildHead builds one function of an LM head shard: hidden [1, d, T, 1] to
// logits [1, rows, T, 1]. It has no state: a row's logits follow from its hidden
// states alone.
func buildHead(cfg checkpoint.Config, rec Recipe, rows int, ws []weight) (*mil.Function, error) {
	g := &graph{Builder: mil.NewBuilder(rec.FunctionName(rows), opset), cfg: cfg, rec: rec, rows: rows}
	x := g.Input(contract.Hidden, mil.Type{DType: mil.Float16, Shape: []int{1, cfg.HiddenSize, rows, 1}})
	g.conv(contract.Logits, g.rmsNorm(contract.FinalNorm, x, ws[0]), ws[1])
	return g.Finish(contract.Logits)
}

// inputs declares the five inputs of the contract.
func (g *graph) inputs() string {
	t, s, r := g.rows, g.rec.Slots, g.cfg.RotaryDim()/2
	fp16 := func(shape ...int) mil.Type { return mil.Type{DType: mil.Float16, Shape: shape} }
	x := g.Input(contract.X, fp16(1, g.cfg.HiddenSize, t, 1))
	g.cos = g.Input(contract.RopeCos, fp16(t, r))
	g.sin = g.Input(contract.RopeSin, fp16(t, r))
	g.mask = g.Input(contract.AttnMask, fp16(1, 1, t, s))
	g.writeMask = g.Input(contract.WriteMask, fp16(1, 1, s, t))
	return x
}

// prepare computes what every layer shares: the RoPE rows at rank 4, and which
// slots keep their value.
func (g *graph) prepare() {
	g.cos = g.Op("expand_dims", "rope_cos_4d", mil.Arg("x", g.cos), mil.Lit("axes", mil.Int32s(0, 1)))
	g.sin = g.Op("expand_dims", "rope_sin_4d", mil.Arg("x", g.sin), mil.Lit("axes", mil.Int32s(0, 1)))
	written := g.Op("reduce_sum", "kv_written", mil.Arg("x", g.writeMask),
		mil.Lit("axes", mil.Int32s(3)), mil.Lit("keep_dims", mil.BoolScalar(true)))
	g.keep = g.Op("sub", "kv_keep", mil.Lit("x", mil.Half(half.FromFloat64(1))), mil.Arg("y", written))
}

// layer adds one decoder layer and returns its output, named out.
//
//	h = x + o_proj(attention(rms(x)));  y = h + down(silu(gate) * up), (gate, up) of rms(h)
func (g *graph) layer(i int, x, out string, ws []weight) string {
	p := func(name string) string { return fmt.Sprintf("layers_%d_%s", i, name) }
	attnNorm, qkv, attnOut, mlpNorm, gateUp, down := ws[0], ws[1], ws[2], ws[3], ws[4], ws[5]

	normed := g.rmsNorm(p("attn_norm"), x, attnNorm)
	heads := g.attention(i, p, g.conv(p("qkv"), normed, qkv))
	h := g.binary("add", p("attn_residual"), x, g.conv(p("attn_out"), heads, attnOut))

	f := g.cfg.IntermediateSize
	gu := g.split([]string{p("gate"), p("up")}, g.conv(p("gate_up"), g.rmsNorm(p("mlp_norm"), h, mlpNorm), gateUp), 1, f, f)
	act := g.binary("mul", p("mlp_act"), g.Op("silu", p("gate_silu"), mil.Arg("x", gu[0])), gu[1])
	return g.binary("add", out, h, g.conv(p("down"), act, down))
}

// attention takes the fused projection [1, (heads+2*kv)*head_dim, T, 1] to the
// heads' output [1, heads*head_dim, T, 1], writing the new keys and values.
func (g *graph) attention(layer int, p func(string) string, qkv string) string {
	hd, nq, nkv := g.cfg.HeadDim(), g.cfg.Heads, g.cfg.KVHeads
	parts := g.split([]string{p("q_proj"), p("k_proj"), p("v_proj")}, qkv, 1, nq*hd, nkv*hd, nkv*hd)

	// Scaling q, not the scores: a raw score can leave float16.
	q := g.Op("mul", p("q_scaled"), mil.Arg("x", g.rope(p("q"), g.rowsOfHeads(p("q"), parts[0], nq))),
		mil.Lit("y", mil.Half(half.FromFloat64(1/math.Sqrt(float64(hd))))))
	k := g.cache(p("k"), contract.KState(layer), g.rope(p("k"), g.rowsOfHeads(p("k"), parts[1], nkv)))
	v := g.cache(p("v"), contract.VState(layer), g.rowsOfHeads(p("v"), parts[2], nkv))

	qs, ks, vs := g.perKVHead(p("q_group"), q), g.perKVHead(p("k_head"), k), g.perKVHead(p("v_head"), v)
	outs := make([]string, nkv)
	for j := range nkv {
		n := func(name string) string { return p(fmt.Sprintf("%s_%d", name, j)) }
		scores := g.matmul(n("scores"), qs[j], ks[j], true)
		probs := g.Op("softmax", n("probs"), mil.Arg("x", g.binary("add", n("masked"), scores, g.mask)),
			mil.Lit("axis", mil.Int32Scalar(-1)))
		outs[j] = g.matmul(n("context"), probs, vs[j], false)
	}
	return g.channelsOfHeads(p("heads"), g.concat(p("context"), 1, outs...))
}

// cache blends the new rows [1, kv, T, head_dim] into a state and returns the
// state as read again after the write, the form that is on record as staying
// on the Neural Engine.
func (g *graph) cache(name, state, rows string) string {
	old := g.Op("read_state", name+"_cache_old", mil.Arg("input", state))
	kept := g.binary("mul", name+"_cache_kept", old, g.keep)
	fresh := g.matmul(name+"_cache_new", g.writeMask, rows, false)
	g.Write(state, g.binary("add", name+"_cache_blend", kept, fresh))
	return g.Op("read_state", name+"_cache", mil.Arg("input", state))
}

// rope turns the first rotary dims of each row in halves, not interleaved:
// y[i] = x[i]*cos - x[i+r]*sin, y[i+r] = x[i+r]*cos + x[i]*sin.
func (g *graph) rope(name, x string) string {
	r, hd := g.cfg.RotaryDim()/2, g.cfg.HeadDim()
	names, sizes := []string{name + "_rot_a", name + "_rot_b"}, []int{r, r}
	if rest := hd - 2*r; rest > 0 {
		names, sizes = append(names, name+"_pass"), append(sizes, rest)
	}
	parts := g.split(names, x, 3, sizes...)
	a, b := parts[0], parts[1]
	ya := g.binary("sub", name+"_turned_a", g.binary("mul", name+"_a_cos", a, g.cos), g.binary("mul", name+"_b_sin", b, g.sin))
	yb := g.binary("add", name+"_turned_b", g.binary("mul", name+"_b_cos", b, g.cos), g.binary("mul", name+"_a_sin", a, g.sin))
	return g.concat(name+"_rope", 3, append([]string{ya, yb}, parts[2:]...)...)
}

// rowsOfHeads turns channels [1, heads*head_dim, T, 1] into [1, heads, T, head_dim].
func (g *graph) rowsOfHeads(name, x string, heads int) string {
	split := g.reshape(name+"_heads", x, 1, heads, g.cfg.HeadDim(), g.rows)
	return g.transpose(name+"_rows", split)
}

// channelsOfHeads is the inverse of rowsOfHeads. The transpose must come
// first: reshaping [head, token, dim] into channels mixes tokens at T > 1 and
// is invisible at T = 1.
func (g *graph) channelsOfHeads(name, x string) string {
	return g.reshape(name+"_channels", g.transpose(name+"_columns", x), 1, g.cfg.HiddenSize, g.rows, 1)
}

// perKVHead cuts the head axis into one piece per KV head; query head h is in
// the piece h / (heads per KV head).
func (g *graph) perKVHead(name, x string) []string {
	n := g.cfg.KVHeads
	if n == 1 {
		return []string{x}
	}
	outs := make([]string, n)
	for j := range outs {
		outs[j] = fmt.Sprintf("%s_%d", name, j)
	}
	return g.Ops("split", outs, mil.Arg("x", x), mil.Lit("num_splits", mil.Int32Scalar(n)), mil.Lit("axis", mil.Int32Scalar(1)))
}

func (g *graph) binary(op, out, x, y string) string {
	return g.Op(op, out, mil.Arg("x", x), mil.Arg("y", y))
}

func (g *graph) matmul(out, x, y string, transposeY bool) string {
	return g.Op("matmul", out, mil.Arg("x", x), mil.Arg("y", y),
		mil.Lit("transpose_x", mil.BoolScalar(false)), mil.Lit("transpose_y", mil.BoolScalar(transposeY)))
}

func (g *graph) reshape(out, x string, shape ...int) string {
	return g.Op("reshape", out, mil.Arg("x", x), mil.Lit("shape", mil.Int32s(shape...)))
}

// transpose swaps the last two axes.
func (g *graph) transpose(out, x string) string {
	return g.Op("transpose", out, mil.Arg("x", x), mil.Lit("perm", mil.Int32s(0, 1, 3, 2)))
}

func (g *graph) split(outs []string, x string, axis int, sizes ...int) []string {
	return g.Ops("split", outs, mil.Arg("x", x), mil.Lit("split_sizes", mil.Int32s(sizes...)), mil.Lit("axis", mil.Int32Scalar(axis)))
}

func (g *graph) concat(out string, axis int, values ...string) string {
	if len(values) == 1 {
		return values[0]
	}
	return g.Op("concat", out, mil.Arg("values", values...), mil.Lit("axis", mil.Int32Scalar(axis)), mil.Lit("interleave", mil.BoolScalar(false)))
}

// conv is a 1x1 projection by a stored weight.
func (g *graph) conv(out, x string, w weight) string {
	return g.Op("conv", out, mil.Arg("x", x), mil.Arg("weight", g.convWeight(out+"_weight", w)),
		mil.Lit("strides", mil.Int32s(1, 1)), mil.Lit("pad_type", mil.StringScalar("valid")),
		mil.Lit("pad", mil.Int32s(0, 0, 0, 0)), mil.Lit("dilations", mil.Int32s(1, 1)), mil.Lit("groups", mil.Int32Scalar(1)))
}

// convWeight is the weight under its name in the contract: a const, or int8
// data with one scale per output channel.
func (g *graph) convWeight(name string, w weight) string {
	if !w.quant {
		return g.Const(name, w.literal())
	}
	return g.Op("constexpr_blockwise_shift_scale", name,
		mil.Inline("data", mil.Blob(mil.Int8, w.shape, w.data)),
		mil.Inline("scale", mil.Blob(mil.Float16, []int{w.shape[0], 1, 1, 1}, w.scale)))
}
