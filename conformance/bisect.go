package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockstep/conformance/cut"
	"lockstep/internal/contract"
)

// ErrBisect is wrapped by errors about a bisection that cannot be made: two
// sides that have nothing to compare, or a way of running them that one lacks.
var ErrBisect = errors.New("cannot bisect")

// BisectSide is one of the things compared: a shard of an export, or a package
// that lockstep did not write, on a plane.
type BisectSide struct {
	Options
	// Work is a directory for cut packages: copies of the program whose outputs
	// are the values to be shown. They are executed in place of tracing, which a
	// plane that is no coreml.Tracer cannot (ErrOutputsOnly); they stay there.
	Work string
}

// BisectOptions say what is cut down to its first difference.
type BisectOptions struct {
	// A is one side; its Layers and Golden count, and for the oracle its
	// Checkpoint.
	A BisectSide
	// B is the other: a package, or the same one on another plane. Without it
	// A's own package is meant, which only Singles and Oracle make a comparison.
	B *BisectSide
	// Oracle compares A with the checkpoint's layers in float64 in place of B.
	Oracle bool

	// Rows is T of A's function, and of B's; 0 stands for the most that A has.
	Rows int
	// Singles runs B's function of one row once per live row of A's block.
	Singles bool

	Position int     // of the first row's token; negative for the middle of the cache
	Live     int     // rows that carry a token; 0 stands for as many as fit
	Scale    float64 // of x, a power of two; 0 stands for 1

	// Tolerance is nil for the one that what is compared calls for; see
	// Bisection.Tolerance.
	Tolerance *Tolerance

	// Deep compares every value even where what leaves each layer agrees.
	Deep bool
}

// bisector is a bisection under way.
type bisector struct {
	opt  BisectOptions
	a, b *side // b is nil for the oracle
	geo  geometry

	passA, passB passes
	align        *alignment
	oracle       *oracleSide
	out          *Bisection
}

// Bisect compares two sides on the same inputs, seeded states included: first
// what leaves each layer, then, in the first layer where that parts, or with
// Deep in all of them, every value in program order. It ends at the first
// difference. Errors wrap ErrBisect where there is nothing to compare.
func Bisect(ctx context.Context, opt BisectOptions) (_ *Bisection, err error) {
	r := &bisector{opt: opt}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r.out, r.search(ctx)
}

func (r *bisector) close() error {
	var errs []error
	for _, d := range []*side{r.a, r.b} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// open reads both sides, checks that they can be compared, and makes the
// inputs.
func (r *bisector) open(ctx context.Context) (err error) {
	opt := r.opt
	if r.a, err = newSide(opt.A, opt.Rows); err != nil {
		return fmt.Errorf("side A: %w", err)
	}
	switch {
	case opt.Oracle && (opt.B != nil || opt.Singles):
		return fmt.Errorf("%w: the oracle stands in B's place; want neither B nor singles", ErrBisect)
	case opt.Oracle && opt.A.Checkpoint == nil:
		return fmt.Errorf("%w: the oracle computes from the checkpoint: want one, found none", ErrBisect)
	case !opt.Oracle && opt.B == nil && !opt.Singles:
		return fmt.Errorf("%w: want another package, the oracle, or a block against singles, found a package against itself", ErrBisect)
	}
	if !opt.Oracle {
		of, rows := opt.B, r.a.rows
		if of == nil {
			of = &opt.A
		}
		if opt.Singles {
			rows = 1
		}
		if r.b, err = newSide(*of, rows); err != nil {
			return fmt.Errorf("side B: %w", err)
		}
		if err := r.comparable(); err != nil {
			return err
		}
		if r.align, err = align(r.a, r.b, geometry{rows: r.a.rows, singles: opt.Singles}); err != nil {
			return err
		}
	}
	if err := r.inputs(); err != nil {
		return err
	}
	if opt.Oracle {
		if r.oracle, err = newOracleSide(ctx, r.a, r.passA); err != nil {
			return err
		}
	}
	r.describe()
	return nil
}

// comparable reports what keeps both sides from taking the same inputs.
func (r *bisector) comparable() error {
	a, b := r.a.suite, r.b.suite
	for _, d := range []struct {
		what string
		a, b int
	}{
		{"layers", a.opt.Layers.Len(), b.opt.Layers.Len()},
		{"hidden size", a.record.Model.Dims.Hidden, b.record.Model.Dims.Hidden},
		{"KV heads", a.record.Model.Dims.KVHeads, b.record.Model.Dims.KVHeads},
		{"head dimension", a.record.Model.Dims.HeadDim, b.record.Model.Dims.HeadDim},
		{"slots", a.recipe.Slots, b.recipe.Slots},
		{"turned dimensions", a.record.Model.Rope.Dim, b.record.Model.Rope.Dim},
	} {
		if d.a != d.b {
			return fmt.Errorf("%w: want sides that take the same inputs, found %s %d in A and %d in B", ErrBisect, d.what, d.a, d.b)
		}
	}
	if a.recipe.FoldRope != b.recipe.FoldRope {
		return fmt.Errorf("%w: want sides that take the same inputs, found RoPE's attention factor in the weights of one alone", ErrBisect)
	}
	return nil
}

// search goes from layers to ops.
func (r *bisector) search(ctx context.Context) error {
	first, err := r.byLayer(ctx)
	if err != nil {
		return err
	}
	for l := range r.a.ends {
		if r.a.ends[l] == "" || l != first && !r.opt.Deep {
			continue
		}
		found, err := r.byOp(ctx, l)
		if err != nil || found {
			return err
		}
	}
	if first >= 0 { // nothing inside was comparable: what leaves the layer it is
		return r.settle(r.out.Path[len(r.out.Path)-1].Values)
	}
	return nil
}

// layerName is a layer as the checkpoint counts it.
func (r *bisector) layerName(l int) string {
	if l == shared {
		return "shared by the layers"
	}
	return fmt.Sprintf("layer %d", r.opt.A.Layers.Start+l)
}

// byLayer compares what leaves each layer and returns the first that parts, or
// -1.
func (r *bisector) byLayer(ctx context.Context) (int, error) {
	var ends []string
	for _, end := range r.a.ends {
		if end != "" {
			ends = append(ends, end)
		}
	}
	a, b, err := r.captureBoth(ctx, ends)
	if err != nil {
		return -1, err
	}
	r.out.WayA, r.out.WayB = a.how, b.how
	for l, end := range r.a.ends {
		step := LayerStep{Name: r.layerName(l), Agrees: true}
		if end != "" {
			step.add(r.value(a, b, end))
		}
		for _, name := range []string{contract.KState(l), contract.VState(l)} {
			step.add(r.state(a, b, name))
		}
		r.out.Path = append(r.out.Path, step)
		if !step.Agrees {
			return r.known(l), nil
		}
	}
	return -1, nil
}

// known is the first layer from l on whose end is known.
func (r *bisector) known(l int) int {
	for r.a.ends[l] == "" {
		l++
	}
	return l
}

// byOp compares every value of a layer, and what all layers share, in program
// order, and describes the first difference.
func (r *bisector) byOp(ctx context.Context, l int) (bool, error) {
	var names []string
	first := len(r.out.Values) == 0
	for i, op := range r.a.ops {
		if r.a.layer[i] != l && !(first && r.a.layer[i] == shared) {
			continue
		}
		for _, v := range op.Outputs {
			if r.hasCounterpart(v.Name) && cut.Check(r.a.scope, v.Name) == nil {
				names = append(names, v.Name)
			}
		}
	}
	r.out.Cut = r.layerName(l)
	if len(names) == 0 {
		return false, nil
	}
	a, b, err := r.captureBoth(ctx, names)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		step := r.value(a, b, name)
		r.out.Values = append(r.out.Values, step)
		if !step.Agrees {
			return true, r.settle(r.out.Values)
		}
	}
	return false, nil
}

// hasCounterpart reports whether B has something to hold A's value against.
func (r *bisector) hasCounterpart(name string) bool {
	if r.oracle != nil {
		return r.oracle.knows(name)
	}
	_, ok := r.align.toB[name]
	return ok && cut.Check(r.b.scope, r.align.toB[name]) == nil
}

// captureBoth runs both sides and keeps A's values of these names, and B's
// counterparts.
func (r *bisector) captureBoth(ctx context.Context, names []string) (a, b *captured, err error) {
	if a, err = r.a.capture(ctx, r.passA, names); err != nil {
		return nil, nil, fmt.Errorf("side A: %w", err)
	}
	if r.oracle != nil {
		return a, &captured{how: "computed"}, nil
	}
	var theirs []string
	for _, name := range names {
		if own, ok := r.align.toB[name]; ok && !slices.Contains(theirs, own) {
			theirs = append(theirs, own)
		}
	}
	if b, err = r.b.capture(ctx, r.passB, theirs); err != nil {
		return nil, nil, fmt.Errorf("side B: %w", err)
	}
	return a, b, nil
}

// value compares one value.
func (r *bisector) value(a, b *captured, name string) ValueStep {
	op := r.a.scope.Producer(name)
	step := ValueStep{Name: name, Type: r.a.scope.Type(name).String()}
	if op != nil {
		step.Op = op.Type
	}
	shapeA := r.a.scope.Type(name).Shape
	mine := tensorData{half: a.values[0][name]}
	shapeB, theirs := shapeA, []tensorData(nil)
	if r.oracle != nil {
		shapeB, theirs = r.oracle.tensors(name, shapeA)
		step.B = r.oracle.stepName(name)
	} else {
		step.B = r.align.toB[name]
		shapeB = r.b.scope.Type(step.B).Shape
		for _, values := range b.values {
			theirs = append(theirs, tensorData{half: values[step.B]})
		}
	}
	if theirs == nil || mine.half == nil {
		step.Agrees, step.NotCompared = true, "no counterpart"
		return step
	}
	m, err := r.geo.compare(shapeA, mine, shapeB, theirs, step.Op == "softmax")
	switch {
	case err != nil && r.geo.singles:
		step.Agrees, step.NotCompared = true, fmt.Sprintf("its rows cannot be told: %v in the block, %v in a single", shapeA, shapeB)
	case err != nil:
		step.Shapes = fmt.Sprintf("%v in A, %v in B", shapeA, shapeB)
	default:
		step.Measure, step.Agrees = &m, m.First == nil
	}
	return step
}

// state compares what a state holds after the passes.
func (r *bisector) state(a, b *captured, name string) ValueStep {
	dims := r.a.suite.record.Model.Dims
	shape := []int{1, dims.KVHeads, r.a.suite.recipe.Slots, dims.HeadDim}
	step := ValueStep{Name: r.a.names.of(name), Op: "write_state", State: true, Type: "state"}
	var theirs tensorData
	if r.oracle != nil {
		theirs = r.oracle.state(name)
	} else {
		step.B = r.b.names.of(name)
		theirs = tensorData{half: b.states[name]}
	}
	whole := r.geo
	whole.rows, whole.singles = 1, false // after the passes, both have written every row
	m, err := whole.compare(shape, tensorData{half: a.states[name]}, shape, []tensorData{theirs}, false)
	if err != nil {
		step.Shapes = err.Error()
		return step
	}
	if m.First != nil {
		m.First.Row = m.First.At[2] - r.geo.pos
		m.First.Position = m.First.At[2]
		if m.First.Row < 0 || m.First.Row >= r.geo.live {
			m.First.Row = -1 // a slot that no row writes
		}
	}
	step.Measure, step.Agrees = &m, m.First == nil
	return step
}

// settle describes the first step that parts.
func (r *bisector) settle(steps []ValueStep) error {
	i := slices.IndexFunc(steps, func(s ValueStep) bool { return !s.Agrees })
	if i < 0 {
		return nil
	}
	var before []ValueStep
	for _, l := range r.out.Path {
		before = append(before, l.Values...) // what the layer that parts starts from
	}
	found, err := r.explain(steps[i], append(before, steps[:i]...))
	r.out.Found = found
	return err
}
