package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/reference"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// The steps of a variant, in their order.
const (
	StepPackage = "package" // write it
	StepProgram = "program" // show on the reference plane what it means
	StepCompile = "compile"
	StepLoad    = "load"
	StepPlan    = "plan"
	StepParity  = "parity"
	StepState   = "state"
	StepRows    = "rows"
	StepLatency = "latency"
)

// step is one thing to try. Each has the plane open the package anew: in a
// process of its own, where the plane lives in workers.
type step struct {
	name  string
	needs string // the step that must be done before; "" for none
	about string
	run   func(s *subject, ctx context.Context) ([]manifest.Evidence, error)
}

// errNotMeasured is wrapped where there is nothing to measure; the rest of the
// text says why.
var errNotMeasured = errors.New("not measured")

func notMeasured(why string) error { return fmt.Errorf("%w: %s", errNotMeasured, why) }

func steps() []step {
	return []step{
		{StepPackage, "", "write the package", (*subject).sizes},
		{StepProgram, StepPackage, "execute its program on the reference plane, against the model", (*subject).program},
		{StepCompile, StepPackage, "compile it", (*subject).compile},
		{StepLoad, StepCompile, "load each function, and make its first pass", (*subject).load},
		{StepPlan, StepLoad, "make the compute plan of each function", (*subject).plan},
		{StepParity, StepLoad, "hold a block against singles, and both against the reference plane", (*subject).parity},
		{StepState, StepLoad, "run both functions over one state", (*subject).shared},
		{StepRows, StepLoad, "change the rows beside a row, and its place", (*subject).independence},
		{StepLatency, StepLoad, "time passes", (*subject).latency},
	}
}

// Steps names the steps in their order.
func Steps() []string {
	var names []string
	for _, s := range steps() {
		names = append(names, s.name)
	}
	return names
}

// subject is what a step is about.
type subject struct {
	lab     *lab
	variant Variant
	dir     string // of the package
	plane   coreml.Plane

	identity *manifest.VerdictPackage
}

func (s *subject) open(ctx context.Context, use func(*bench) error) error {
	return onBench(ctx, s.plane, s.lab, s.variant, s.dir, use)
}

// sizes tells what the package takes; it was written when the step began.
func (s *subject) sizes(context.Context) ([]manifest.Evidence, error) {
	var list []manifest.Evidence
	for _, f := range []struct{ name, path string }{{"model_bytes", mlpackage.ModelPath}, {"weight_bytes", mlpackage.WeightsPath}} {
		info, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(f.path)))
		if err != nil {
			return nil, err
		}
		list = append(list, figure(f.name, float64(info.Size()), "B"))
	}
	return list, nil
}

// compile has the plane open the package for the first time.
func (s *subject) compile(ctx context.Context) ([]manifest.Evidence, error) {
	var list []manifest.Evidence
	began := time.Now()
	err := s.open(ctx, func(b *bench) error {
		list = append(list, figure("compile", time.Since(began).Seconds(), "s"), note("functions", strings.Join(b.pkg.FunctionNames(), ", ")))
		if c, ok := b.pkg.(coreml.Compiler); ok {
			list = append(list, note("compiled_before", yes(!c.Compiled())))
		}
		return nil
	})
	return list, err
}

// load loads every function into one process and makes each one's first pass,
// where a compile for the Neural Engine may still fail.
func (s *subject) load(ctx context.Context) ([]manifest.Evidence, error) {
	var list []manifest.Evidence
	err := s.open(ctx, func(b *bench) error {
		for _, t := range s.variant.rows(s.lab.dims) {
			began := time.Now()
			d, err := b.driver(ctx, t)
			if err != nil {
				return err
			}
			list = append(list, figure(fmt.Sprintf("t%d_load", t), time.Since(began).Seconds(), "s"))
			began = time.Now()
			if _, err := b.block(ctx, d, 0, tokens(s.lab.dims, 0)[:t]); err != nil {
				return err
			}
			list = append(list, figure(fmt.Sprintf("t%d_first_pass", t), time.Since(began).Seconds(), "s"))
		}
		return nil
	})
	return list, err
}

// plan counts the ops of each function's compute plan by device, and judges it
// as the residency check does.
func (s *subject) plan(ctx context.Context) ([]manifest.Evidence, error) {
	model, err := mlpackage.OpenModel(s.dir)
	if err != nil {
		return nil, err
	}
	var list []manifest.Evidence
	err = s.open(ctx, func(b *bench) error {
		for _, t := range s.variant.rows(s.lab.dims) {
			d, err := b.driver(ctx, t)
			if err != nil {
				return err
			}
			plan, err := d.fn.ComputePlan(ctx)
			if errors.Is(err, coreml.ErrNoComputePlan) {
				return notMeasured(err.Error())
			}
			if err != nil {
				return err
			}
			prefix := fmt.Sprintf("t%d_", t)
			out := conformance.JudgePlan(plan, model.Program.Function(s.variant.recipeOf(s.lab.dims).FunctionName(t)))
			judged := string(out.Result)
			if out.Reason != "" {
				judged += ": " + out.Reason
			}
			list = append(list, note(prefix+"residency", judged), figure(prefix+"compiled", float64(plan.CompiledBytes), "B"))
			for _, e := range out.Evidence {
				e.Name = prefix + e.Name
				list = append(list, e)
			}
		}
		return nil
	})
	return list, err
}

// program shows what the variant's program means: on the reference plane a
// block must equal singles on every bit, and both the model.
func (s *subject) program(ctx context.Context) ([]manifest.Evidence, error) {
	var blocks gap
	var near likeness
	err := onBench(ctx, reference.Plane{}, s.lab, s.variant, s.dir, func(b *bench) error {
		for _, pos := range places(s.lab.dims) {
			got, other, err := b.bothWays(ctx, pos)
			if err != nil {
				return err
			}
			if other != nil {
				blocks.addRows(other.hidden, got.hidden)
				blocks.addCaches(other.caches, got.caches)
			}
			if err := near.add(ctx, s.lab, pos, got.hidden); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sound := near.hidden >= leastHidden && near.delta >= leastDelta[s.variant.stored] && (blocks.values == 0 || blocks.same())
	list := []manifest.Evidence{note("sound", yes(sound)), figure("cosine_hidden", near.hidden, "1"), figure("cosine_hidden_minus_x", near.delta, "1")}
	if blocks.values > 0 {
		list = append(list, blocks.figures("block_singles")...)
	}
	return list, nil
}

// bothWays runs a block's tokens as singles and as a block. Where the package
// has one function of one row there is no block; where it has one of more, the
// singles are blocks with one live row.
func (b *bench) bothWays(ctx context.Context, pos int) (singles outcome, block *outcome, err error) {
	few, most, err := b.ends(ctx)
	if err != nil {
		return outcome{}, nil, err
	}
	rows := tokens(b.dims, pos)[:blockRows]
	if singles, err = b.singles(ctx, few, pos, rows); err != nil || most.rows() == 1 {
		return singles, nil, err
	}
	o, err := b.block(ctx, most, pos, rows)
	return singles, &o, err
}

// parity holds a block against singles on the plane, and both against the
// reference plane, which executes the same bytes.
func (s *subject) parity(ctx context.Context) ([]manifest.Evidence, error) {
	var blocks, blockCaches, singlesRef, blocksRef gap
	var near likeness
	err := s.open(ctx, func(b *bench) error {
		return onBench(ctx, reference.Plane{}, s.lab, s.variant, s.dir, func(ref *bench) error {
			for _, pos := range places(s.lab.dims) {
				singles, block, err := b.bothWays(ctx, pos)
				if err != nil {
					return err
				}
				refSingles, refBlock, err := ref.bothWays(ctx, pos)
				if err != nil {
					return err
				}
				singlesRef.addRows(singles.hidden, refSingles.hidden)
				if err := near.add(ctx, s.lab, pos, singles.hidden); err != nil {
					return err
				}
				if block == nil {
					continue
				}
				blocks.addRows(block.hidden, singles.hidden)
				blockCaches.addCaches(block.caches, singles.caches)
				blocksRef.addRows(block.hidden, refBlock.hidden)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	list := slices.Concat(singlesRef.figures("singles_reference"), []manifest.Evidence{
		figure("cosine_hidden", near.hidden, "1"), figure("cosine_hidden_minus_x", near.delta, "1"),
	})
	if blocks.values == 0 {
		return append(list, note("block", "none: the package has t1 alone")), nil
	}
	return slices.Concat(list, blocks.figures("block_singles"), blockCaches.figures("block_singles_caches"), blocksRef.figures("block_reference")), nil
}

// shared has t1 write a slot, then a block follow over the same state.
func (s *subject) shared(ctx context.Context) ([]manifest.Evidence, error) {
	if len(s.variant.rows(s.lab.dims)) < 2 {
		return nil, notMeasured("the package has one function")
	}
	var list []manifest.Evidence
	err := s.open(ctx, func(b *bench) (err error) {
		list, err = b.oneState(ctx)
		return err
	})
	return list, err
}

// oneState runs the block over the state that t1 wrote to, and over one that
// the host copied: the same result means that the block saw what t1 wrote. A
// plane that refuses the state has answered, too.
func (b *bench) oneState(ctx context.Context) ([]manifest.Evidence, error) {
	few, most, err := b.ends(ctx)
	if err != nil {
		return nil, err
	}
	seed, pos := b.lab.caches(), b.dims.Slots/2
	rows := tokens(b.dims, pos)
	st, err := seed.state(b.pkg)
	if err != nil {
		return nil, err
	}
	if _, err := few.run(ctx, st, pos, rows[:1]); err != nil {
		return nil, err
	}
	written, err := seed.read(st)
	if err != nil {
		return nil, err
	}
	next := rows[1 : 1+most.rows()]
	got, err := b.blockOver(ctx, most, st, pos+1, next)
	if err != nil && !errors.Is(err, coreml.ErrBroken) && ctx.Err() == nil {
		return []manifest.Evidence{note("shared", "no"), note("refused", err.Error())}, nil
	}
	if err != nil {
		return nil, err
	}
	copied, err := written.state(b.pkg)
	if err != nil {
		return nil, err
	}
	want, err := b.blockOver(ctx, most, copied, pos+1, next)
	if err != nil {
		return nil, err
	}
	var seen, one gap
	seen.addCaches(written, seed)
	one.addRows(got.hidden, want.hidden)
	one.addCaches(got.caches, want.caches)
	list := []manifest.Evidence{note("shared", yes(one.same() && seen.differ > 0))}
	return slices.Concat(list, one.figures("shared_copied"), []manifest.Evidence{figure("written_by_t1", float64(seen.differ), "1")}), nil
}

// independence changes what stands beside a row: the rows after it, and its
// place in the block, the rows before it then being in the cache.
func (s *subject) independence(ctx context.Context) ([]manifest.Evidence, error) {
	if slices.Max(s.variant.rows(s.lab.dims)) == 1 {
		return nil, notMeasured("the package has t1 alone")
	}
	var later, place gap
	err := s.open(ctx, func(b *bench) error {
		_, block, err := b.ends(ctx)
		if err != nil {
			return err
		}
		n, pos := block.rows(), s.lab.dims.Slots/2
		all := tokens(s.lab.dims, pos)
		rows, others := all[:n], all[n:]
		want, err := b.block(ctx, block, pos, rows)
		if err != nil {
			return err
		}
		for cut := 1; cut < n; cut++ {
			got, err := b.block(ctx, block, pos, slices.Concat(rows[:cut], others[cut:]))
			if err != nil {
				return err
			}
			later.addRows(got.hidden[:cut], want.hidden[:cut])
			moved, err := b.moved(ctx, block, pos, cut, rows, others)
			if err != nil {
				return err
			}
			place.addRows(moved, want.hidden[cut:])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := []manifest.Evidence{note("independent", yes(later.same() && place.same()))}
	return slices.Concat(list, later.figures("later_rows"), place.figures("row_place")), nil
}

// moved are the rows from cut on as the first rows of a block, after a block
// that began with the rows before them. Both blocks are whole: other rows fill
// them.
func (b *bench) moved(ctx context.Context, block *driver, pos, cut int, rows, others [][]float16.Float16) ([][]float16.Float16, error) {
	n := block.rows()
	st, err := b.lab.caches().state(b.pkg)
	if err != nil {
		return nil, err
	}
	if _, err := block.run(ctx, st, pos, slices.Concat(rows[:cut], others[cut:])); err != nil {
		return nil, err
	}
	got, err := block.run(ctx, st, pos+cut, slices.Concat(rows[cut:], others[:cut]))
	if err != nil {
		return nil, err
	}
	return got[:n-cut], nil
}

// oneLine makes an error fit for a table: joined ones have a line each.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F || r >= 0x80 && r < 0xA0 }), "; ")
}
