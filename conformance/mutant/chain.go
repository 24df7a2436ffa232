package mutant

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/decode"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// ChainMutant is one seeded fault of a whole model's runtime: in what the plane
// hands back for a package, or in what stands between a session and the chain.
type ChainMutant struct {
	Name     string
	Models   string // the failure in practice that it stands for
	KilledBy string // a check that must be among its killers
	// seed spoils the options of a sound model.
	seed func(*conformance.ChainOptions)
}

// ChainCatalogue lists the mutants of a whole model with the default layout and
// an LM head in four.
func ChainCatalogue() []ChainMutant {
	return []ChainMutant{
		{
			Name: "shards_swapped", KilledBy: conformance.CheckLayers,
			Models: "two shards run in each other's place",
			seed:   onPlane(swapShards("layers20_24", "layers24_30")),
		},
		{
			Name: "shard_fed_twice", KilledBy: conformance.CheckLayers,
			Models: "a shard's output goes through it once more",
			seed:   onPlane(afterPredict("layers24_30", feedTwice)),
		},
		{
			Name: "head_range_shifted", KilledBy: conformance.CheckLogits,
			Models: "a head shard's logits stand one id too far",
			seed:   onPlane(afterPredict("head64_128", shiftLogits)),
		},
		{
			Name: "window_of_forty_slots", KilledBy: conformance.CheckGreedy,
			Models: "a sliding window hides early slots, which short prompts do not show",
			seed:   onPlane(beforePredict("layers", hideEarly)),
		},
		{
			Name: "logits_halved", KilledBy: conformance.CheckPerplexity,
			Models: "a scale is applied twice in the head: every logit keeps its rank, and every cosine",
			seed:   onPlane(afterPredict("head", scaleLogits)),
		},
		{
			Name: "accepted_prefix_one_too_long", KilledBy: conformance.CheckSpeculation,
			Models: "one draft beyond those that agree is accepted",
			seed:   inRuntime(func(p decode.Passer) decode.Passer { return editedRows{p, acceptOneMore} }),
		},
		{
			Name: "bonus_token_dropped", KilledBy: conformance.CheckSpeculation,
			Models: "decoding goes on from the last accepted draft in place of the model's own next token",
			seed:   inRuntime(func(p decode.Passer) decode.Passer { return editedRows{p, dropBonus} }),
		},
		{
			Name: "slot_advanced_past_rejected_draft", KilledBy: conformance.CheckSpeculation,
			Models: "the next slot is counted from a block's end, so rejected drafts stay visible",
			seed:   inRuntime(func(p decode.Passer) decode.Passer { return &advanced{Passer: p} }),
		},
		{
			Name: "drafts_committed_early", KilledBy: conformance.CheckSpeculation,
			Models: "a draft's keys and values are committed before it is accepted, and stay",
			seed:   inRuntime(func(p decode.Passer) decode.Passer { return &committed{Passer: p, slots: map[int]int{}} }),
		},
		{
			Name: "ties_broken_the_other_way", KilledBy: conformance.CheckSpeculation,
			Models: "of equal logits the highest id is taken",
			seed:   inRuntime(func(p decode.Passer) decode.Passer { return editedRows{p, lastOfTies} }),
		},
	}
}

// Seed spoils the options of a sound model.
func (m ChainMutant) Seed(opt *conformance.ChainOptions) { m.seed(opt) }

func onPlane(wrap func(coreml.Plane) coreml.Plane) func(*conformance.ChainOptions) {
	return func(opt *conformance.ChainOptions) { opt.Plane = wrap(opt.Plane) }
}

func inRuntime(wrap func(decode.Passer) decode.Passer) func(*conformance.ChainOptions) {
	return func(opt *conformance.ChainOptions) { opt.Runtime = wrap }
}

// swapShards opens one package where the other is asked for.
func swapShards(a, b string) func(coreml.Plane) coreml.Plane {
	return func(p coreml.Plane) coreml.Plane { return swapped{p, a, b} }
}

type swapped struct {
	coreml.Plane
	a, b string
}

func (p swapped) Open(ctx context.Context, dir string) (coreml.Package, error) {
	parent, base := filepath.Split(dir)
	switch {
	case strings.Contains(base, p.a):
		base = strings.Replace(base, p.a, p.b, 1)
	case strings.Contains(base, p.b):
		base = strings.Replace(base, p.b, p.a, 1)
	}
	return p.Plane.Open(ctx, filepath.Join(parent, base))
}

// afterPredict spoils what the functions of one package hand back.
func afterPredict(name string, spoil spoiler) func(coreml.Plane) coreml.Plane {
	return func(p coreml.Plane) coreml.Plane { return spoiledPlane{p, name, spoil} }
}

// beforePredict spoils what the functions of the packages of a name are given.
func beforePredict(name string, edit func(in map[string]coreml.Tensor)) func(coreml.Plane) coreml.Plane {
	return func(p coreml.Plane) coreml.Plane {
		edited := false
		return planeOf{p, hostFault{Plane: p, edited: &edited, edit: func(_ int, in map[string]coreml.Tensor, _ coreml.State) bool {
			edit(in)
			return true
		}}, name}
	}
}

// planeOf is one plane for the packages of a name and another for the rest.
type planeOf struct {
	coreml.Plane
	of   coreml.Plane
	name string
}

func (p planeOf) Open(ctx context.Context, dir string) (coreml.Package, error) {
	if strings.Contains(filepath.Base(dir), p.name) {
		return p.of.Open(ctx, dir)
	}
	return p.Plane.Open(ctx, dir)
}

// spoiler is given a finished pass.
type spoiler func(ctx context.Context, f coreml.Function, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error

type spoiledPlane struct {
	coreml.Plane
	name  string
	spoil spoiler
}

func (p spoiledPlane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	pkg, err := p.Plane.Open(ctx, dir)
	if err != nil || !strings.Contains(filepath.Base(dir), p.name) {
		return pkg, err
	}
	return spoiledPackage{pkg, p.spoil}, nil
}

type spoiledPackage struct {
	coreml.Package
	spoil spoiler
}

func (p spoiledPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	f, err := p.Package.Function(ctx, name)
	if err != nil {
		return nil, err
	}
	return spoiledFunction{f, p.spoil}, nil
}

type spoiledFunction struct {
	coreml.Function
	spoil spoiler
}

func (f spoiledFunction) Predict(ctx context.Context, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error {
	if err := f.Function.Predict(ctx, in, st, out); err != nil {
		return err
	}
	return f.spoil(ctx, f.Function, in, st, out)
}

func feedTwice(ctx context.Context, f coreml.Function, in map[string]coreml.Tensor, st coreml.State, out map[string]coreml.Tensor) error {
	again := map[string]coreml.Tensor{}
	for name, t := range in {
		again[name] = t
	}
	hidden := out[contract.Hidden]
	again[contract.X] = coreml.Tensor{Shape: hidden.Shape, Data: slices.Clone(hidden.Data)}
	return f.Predict(ctx, again, st, out)
}

func shiftLogits(_ context.Context, _ coreml.Function, _ map[string]coreml.Tensor, _ coreml.State, out map[string]coreml.Tensor) error {
	logits := out[contract.Logits]
	rows := logits.Shape[2]
	first := append([]float16.Float16(nil), logits.Data[:rows]...)
	copy(logits.Data, logits.Data[rows:])
	copy(logits.Data[len(logits.Data)-rows:], first)
	return nil
}

func scaleLogits(_ context.Context, _ coreml.Function, _ map[string]coreml.Tensor, _ coreml.State, out map[string]coreml.Tensor) error {
	for i, h := range out[contract.Logits].Data {
		out[contract.Logits].Data[i] = half.FromFloat64(half.ToFloat64(h) / 2)
	}
	return nil
}

// hideEarly hides from each row the slots more than forty before its own.
func hideEarly(in map[string]coreml.Tensor) {
	mask := in[contract.AttnMask]
	slots := mask.Shape[3]
	for r := range mask.Shape[2] {
		line := row(mask, r, slots)
		own := 0 // the last slot that the row sees
		for s, h := range line {
			if h == 0 {
				own = s
			}
		}
		for s := range max(0, own-40) {
			line[s] = half.FromFloat64(-1e4)
		}
	}
}

// editedRows changes the logits of passes of several tokens, as the session
// sees them. at is the row of the first draft that the model does not agree
// with, the last row if there is none.
type editedRows struct {
	decode.Passer
	edit func(rows [][]float32, ids []int, at int)
}

func (p editedRows) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	rows, err := p.Passer.Pass(ctx, pos, ids)
	if err != nil {
		return nil, err
	}
	at := 0
	for at < len(ids)-1 && argmax(rows[at]) == ids[at+1] {
		at++
	}
	p.edit(rows, ids, at)
	return rows, nil
}

func argmax(row []float32) int {
	best := 0
	for id, v := range row {
		if v > row[best] {
			best = id
		}
	}
	return best
}

// acceptOneMore makes the rejected draft the model's choice.
func acceptOneMore(rows [][]float32, ids []int, at int) {
	if at < len(ids)-1 {
		rows[at][ids[at+1]] = rows[at][argmax(rows[at])] + 1
	}
}

// dropBonus makes the last accepted token the model's next.
func dropBonus(rows [][]float32, ids []int, at int) {
	if len(ids) > 1 {
		rows[at][ids[at]] = rows[at][argmax(rows[at])] + 1
	}
}

// lastOfTies lowers all but the last of the largest logits.
func lastOfTies(rows [][]float32, _ []int, _ int) {
	for _, row := range rows {
		largest, last := row[argmax(row)], 0
		for id, v := range row {
			if v == largest {
				last = id
			}
		}
		for id, v := range row[:last] {
			if v == largest {
				row[id] = v - 1
			}
		}
	}
}

// advanced counts slots from the end of the last pass: what a session would
// write over stays, and stays visible.
type advanced struct {
	decode.Passer
	end   int // position after the last pass, as the session counts
	extra int // slots that rejected drafts hold
}

func (p *advanced) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	at := p.slot(pos, len(ids))
	return p.Passer.Pass(ctx, at, ids)
}

func (p *advanced) Feed(ctx context.Context, pos int, ids []int) error {
	return p.Passer.Feed(ctx, p.slot(pos, len(ids)), ids)
}

func (p *advanced) slot(pos, n int) int {
	p.extra += max(0, p.end-pos)
	p.end = pos + n
	return min(pos+p.extra, p.Size().Slots-n)
}

// committed keeps the first token that was written to each slot.
type committed struct {
	decode.Passer
	slots map[int]int
}

func (p *committed) Pass(ctx context.Context, pos int, ids []int) ([][]float32, error) {
	return p.Passer.Pass(ctx, pos, p.kept(pos, ids))
}

func (p *committed) Feed(ctx context.Context, pos int, ids []int) error {
	return p.Passer.Feed(ctx, pos, p.kept(pos, ids))
}

func (p *committed) kept(pos int, ids []int) []int {
	out := slices.Clone(ids)
	for t, id := range ids {
		if first, ok := p.slots[pos+t]; ok {
			out[t] = first
			continue
		}
		p.slots[pos+t] = id
	}
	return out
}
