package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/coreml"
)

// bench is a variant's package, opened on one plane.
type bench struct {
	lab     *lab
	dims    Dimensions // the lab's
	variant Variant
	pkg     coreml.Package
	drivers map[int]*driver // by T
}

// openBench opens the package dir on a plane. The functions are loaded when
// they are first asked for.
func openBench(ctx context.Context, plane coreml.Plane, l *lab, v Variant, dir string) (*bench, error) {
	pkg, err := plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &bench{lab: l, dims: l.dims, variant: v, pkg: pkg, drivers: map[int]*driver{}}, nil
}

// onBench opens the package, uses it and closes it.
func onBench(ctx context.Context, plane coreml.Plane, l *lab, v Variant, dir string, use func(*bench) error) error {
	b, err := openBench(ctx, plane, l, v, dir)
	if err != nil {
		return err
	}
	return errors.Join(use(b), b.pkg.Close())
}

// driver loads the function of that many rows.
func (b *bench) driver(ctx context.Context, rows int) (*driver, error) {
	if d := b.drivers[rows]; d != nil {
		return d, nil
	}
	name := b.variant.recipeOf(b.dims).FunctionName(rows)
	fn, err := b.pkg.Function(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("load t%d: %w", rows, err)
	}
	b.drivers[rows], err = newDriver(fn, b.dims, rows)
	return b.drivers[rows], err
}

// ends are the drivers of the fewest and the most rows; one and the same where
// the package has one function.
func (b *bench) ends(ctx context.Context) (few, most *driver, err error) {
	rows := b.variant.rows(b.dims)
	if few, err = b.driver(ctx, rows[0]); err != nil {
		return nil, nil, err
	}
	most, err = b.driver(ctx, rows[len(rows)-1])
	return few, most, err
}

// places are where blocks begin: at the second slot, in the middle, and where
// they end with the last slot.
func places(d Dimensions) []int { return []int{1, d.Slots / 2, d.Slots - blockRows} }

// tokens are the hidden states of a block's rows, with as many others in
// reserve.
func tokens(d Dimensions, pos int) [][]float16.Float16 {
	return conformance.HiddenRows(fmt.Sprintf("probe x pos=%d", pos), 2*blockRows, d.config().HiddenSize)
}

// outcome is what passes over a block's tokens gave.
type outcome struct {
	hidden [][]float16.Float16
	caches caches
}

// singles runs the tokens one at a time from seeded caches.
func (b *bench) singles(ctx context.Context, d *driver, pos int, rows [][]float16.Float16) (outcome, error) {
	return b.trial(func(st coreml.State) ([][]float16.Float16, error) { return d.singles(ctx, st, pos, rows) })
}

// block runs the tokens in one pass from seeded caches.
func (b *bench) block(ctx context.Context, d *driver, pos int, rows [][]float16.Float16) (outcome, error) {
	return b.trial(func(st coreml.State) ([][]float16.Float16, error) { return d.run(ctx, st, pos, rows) })
}

func (b *bench) trial(run func(coreml.State) ([][]float16.Float16, error)) (outcome, error) {
	st, err := b.lab.caches().state(b.pkg)
	if err != nil {
		return outcome{}, err
	}
	return b.over(st, run)
}

// blockOver runs the tokens in one pass over a given state.
func (b *bench) blockOver(ctx context.Context, d *driver, st coreml.State, pos int, rows [][]float16.Float16) (outcome, error) {
	return b.over(st, func(st coreml.State) ([][]float16.Float16, error) { return d.run(ctx, st, pos, rows) })
}

func (b *bench) over(st coreml.State, run func(coreml.State) ([][]float16.Float16, error)) (outcome, error) {
	var o outcome
	var err error
	if o.hidden, err = run(st); err != nil {
		return outcome{}, err
	}
	o.caches, err = b.lab.caches().read(st)
	return o, err
}
