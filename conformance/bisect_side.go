package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/conformance/cut"
	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/internal/contract"
	"lockstep/internal/durable"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// side is one of two packages under comparison: a function of it, its values in
// program order, and how they fall into layers.
type side struct {
	suite *Suite
	files *mlpackage.Package
	names names // of the features, by the contract's
	rows  int   // T of the function
	work  string

	fn    *mil.Function
	scope *mil.Scope
	ops   []*mil.Op // at run time, in program order; writes included
	layer []int     // by op: counted in the shard, or shared
	ends  []string  // by layer: the value that leaves it, "" if it cannot be told
}

// shared is the layer of what depends on neither x nor a state.
const shared = -1

// newSide reads a package; a package that is no package has no side.
func newSide(opt BisectSide, rows int) (*side, error) {
	s, err := NewSuite(opt.Options)
	if err != nil {
		return nil, err
	}
	d := &side{suite: s, rows: rows, work: opt.Work}
	if err := d.read(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(s.packageDir()), errors.Join(err, s.Close()))
	}
	return d, nil
}

func (d *side) read() (err error) {
	s := d.suite
	if s.foreignErr != nil {
		return s.foreignErr
	}
	if s.foreign != nil {
		d.names = s.foreign.names
	}
	if s.files == nil {
		if s.files, err = mlpackage.Open(s.packageDir()); err != nil {
			return err
		}
	}
	d.files = s.files
	if d.rows == 0 {
		d.rows = s.recipe.Rows[len(s.recipe.Rows)-1]
	}
	if !slices.Contains(s.recipe.Rows, d.rows) {
		return fmt.Errorf("%w: want a function of %d rows, found functions of %v", ErrBisect, d.rows, s.recipe.Rows)
	}
	name := s.functionName(d.rows)
	if d.fn = d.files.Model.Program.Function(name); d.fn == nil {
		return fmt.Errorf("%w: the program has no function %s", ErrBisect, name)
	}
	if d.scope, err = mil.NewScope(d.fn); err != nil {
		return err
	}
	for _, op := range d.fn.Ops {
		if op.Type != "const" && !strings.HasPrefix(op.Type, "constexpr_") {
			d.ops = append(d.ops, op)
		}
	}
	d.cutIntoLayers()
	return nil
}

// Close releases the package.
func (d *side) Close() error { return d.suite.Close() }

// inputsOf calls visit for everything that op reads.
func inputsOf(op *mil.Op, visit func(param string, at int, b mil.Binding)) {
	for _, a := range op.Args {
		for i, b := range a.Bindings {
			visit(a.Param, i, b)
		}
	}
}

// cutIntoLayers finds what leaves each layer without a name to go by: the
// residual stream is the first value of x's size that is made from x after one
// layer has written its states, and read after the next one has.
func (d *side) cutIntoLayers() {
	layers := d.suite.opt.Layers.Len()
	written, lastUse := d.lastUses(layers)
	size, own := d.rows*d.suite.record.Model.Dims.Hidden, d.ownOps()
	d.ends = make([]string, layers)
	places := make([]int, layers)
	for l := range layers {
		places[l] = len(d.ops)
		if l == layers-1 {
			d.ends[l] = d.names.of(contract.Hidden)
			continue
		}
		for i := written[l] + 1; i < written[l+1] && d.ends[l] == ""; i++ {
			for _, v := range d.ops[i].Outputs {
				if own[i] && elements(v.Type.Shape) == size && lastUse[v.Name] > written[l+1] {
					d.ends[l], places[l] = v.Name, i
					break
				}
			}
		}
	}
	d.layer = make([]int, len(d.ops))
	for i := range d.ops {
		d.layer[i] = shared
		for l := layers - 1; own[i] && l >= 0; l-- {
			// Where a layer's end is unknown, its ops count to the next.
			if i <= places[l] && d.ends[l] != "" {
				d.layer[i] = l
			}
		}
	}
}

// lastUses are the place of each layer's last write to a state, and that of the
// last op that reads a value.
func (d *side) lastUses(layers int) (written []int, lastUse map[string]int) {
	written, lastUse = make([]int, layers), map[string]int{}
	for i, op := range d.ops {
		inputsOf(op, func(_ string, _ int, b mil.Binding) { lastUse[b.Name] = i })
		if op.Type != "write_state" {
			continue
		}
		for l := range layers {
			state := bound(op, "input")
			if state == d.names.of(contract.KState(l)) || state == d.names.of(contract.VState(l)) {
				written[l] = i
			}
		}
	}
	return written, lastUse
}

// ownOps marks the ops that depend on x or on a state.
func (d *side) ownOps() []bool {
	depends := map[string]bool{d.names.of(contract.X): true}
	for _, st := range d.fn.States() {
		depends[st.Name] = true
	}
	own := make([]bool, len(d.ops))
	for i, op := range d.ops {
		inputsOf(op, func(_ string, _ int, b mil.Binding) { own[i] = own[i] || depends[b.Name] })
		for _, v := range op.Outputs {
			depends[v.Name] = own[i]
		}
	}
	return own
}

// passes are what a side executes one after another on one state.
type passes struct {
	pos, live int
	singles   bool // one pass per live row
	rows      [][]float16.Float16
	rope      hostinput.Rope
	seed      snapshot // by contract names
}

// captured is what passes have shown.
type captured struct {
	values []map[string][]float16.Float16 // of each pass, by the package's names
	states snapshot                       // after the last, by the contract's
	how    string                         // "traced" or "cut"
}

// capture executes the passes and keeps the wanted values.
func (d *side) capture(ctx context.Context, p passes, want []string) (*captured, error) {
	want = slices.DeleteFunc(slices.Clone(want), func(name string) bool { return cut.Check(d.scope, name) != nil })
	dir, shown := d.suite.packageDir(), map[string]string(nil)
	var err error
	if d.work != "" {
		if dir, shown, err = d.cut(ctx, want); err != nil {
			return nil, err
		}
	}
	pkg, err := d.suite.opt.Plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	out, err := d.run(ctx, pkg, p, want, shown)
	return out, errors.Join(err, pkg.Close())
}

// cut writes the copy of the package whose outputs are the wanted values.
func (d *side) cut(ctx context.Context, want []string) (string, map[string]string, error) {
	model, shown, err := cut.Expose(d.files.Model, d.fn.Name, want)
	if err != nil {
		return "", nil, err
	}
	dir, err := cut.Write(ctx, durable.OS{}, d.suite.packageDir(), model, d.work, exporter.DefaultReserve)
	return dir, shown, err
}

// run executes the passes on an opened package. shown has the outputs by which
// a cut shows the wanted values; without it the function must trace.
func (d *side) run(ctx context.Context, pkg coreml.Package, p passes, want []string, shown map[string]string) (*captured, error) {
	fn, err := pkg.Function(ctx, d.fn.Name)
	if err != nil {
		return nil, err
	}
	st, err := pkg.NewState()
	if err != nil {
		return nil, err
	}
	for _, name := range p.seed.names() {
		if err := st.Write(d.names.of(name), p.seed[name]); err != nil {
			return nil, err
		}
	}
	out := &captured{states: snapshot{}, how: "traced"}
	if shown != nil {
		out.how = "cut"
	}
	for i, rows := range p.split() {
		values, err := d.pass(ctx, fn, st, p, p.pos+i, rows, want, shown)
		if err != nil {
			return nil, fmt.Errorf("pass at position %d: %w", p.pos+i, err)
		}
		out.values = append(out.values, values)
	}
	for name, data := range p.seed {
		out.states[name] = make([]float16.Float16, len(data))
		if err := st.Read(d.names.of(name), out.states[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// split is the rows of each pass.
func (p passes) split() [][][]float16.Float16 {
	if !p.singles {
		return [][][]float16.Float16{p.rows}
	}
	return slices.Collect(slices.Chunk(p.rows, 1))
}

// notComputed fills outputs before a pass; no plane computes this NaN.
const notComputed = float16.Float16(0xFDED)

// pass executes one pass. What is not finite is what a bisection may look for,
// so that alone is no error, if the pass has shown its values.
func (d *side) pass(ctx context.Context, fn coreml.Function, st coreml.State, p passes, pos int, rows [][]float16.Float16, want []string, shown map[string]string) (map[string][]float16.Float16, error) {
	rope, err := hostinput.NewRope(p.rope)
	if err != nil {
		return nil, err
	}
	in := hostinput.NewPass(d.suite.shape(d.rows))
	if err := in.Fill(rope, pos, len(rows), rows); err != nil {
		return nil, err
	}
	inputs := d.names.tensors(in.Inputs())
	outputs := map[string]coreml.Tensor{}
	for _, f := range fn.Signature().Outputs {
		outputs[f.Name] = coreml.Tensor{Shape: f.Shape, Data: slices.Repeat([]float16.Float16{notComputed}, elements(f.Shape))}
	}
	values := map[string][]float16.Float16{}
	if shown != nil {
		err = fn.Predict(ctx, inputs, st, outputs)
		for v, name := range shown {
			if data := outputs[name].Data; data[0] != notComputed {
				values[v] = data
			}
		}
	} else {
		tracer, ok := fn.(coreml.Tracer)
		if !ok {
			return nil, fmt.Errorf("plane %s: %w; a bisection needs a directory for cut packages", d.suite.opt.Plane.Name(), ErrOutputsOnly)
		}
		wanted := map[string]bool{}
		for _, name := range want {
			wanted[name] = true
		}
		err = tracer.Trace(ctx, inputs, st, outputs, func(o coreml.Observed) error {
			if wanted[o.Name] {
				values[o.Name] = slices.Clone(o.Tensor.Data)
			}
			return nil
		})
	}
	if err != nil && (!errors.Is(err, coreml.ErrNonFinite) || len(values) < len(want)) {
		return nil, err
	}
	for _, name := range want {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("%w: function %s: plane %s has not shown value %s", ErrBisect, d.fn.Name, d.suite.opt.Plane.Name(), name)
		}
	}
	return values, nil
}

// constants are the literals that a compile-time operand is made of, by
// parameter; a parameter that is made in turn has its own after a dot.
func (d *side) constants(name string) map[string]*mil.Literal {
	out := map[string]*mil.Literal{}
	d.collect(out, "", d.scope.Producer(name))
	return out
}

func (d *side) collect(out map[string]*mil.Literal, prefix string, op *mil.Op) {
	if op.Val != nil {
		out[prefix+"val"] = op.Val
	}
	inputsOf(op, func(param string, _ int, b mil.Binding) {
		next := d.scope.Producer(b.Name)
		switch {
		case b.Literal != nil:
			out[prefix+param] = b.Literal
		case next != nil && next.Val != nil:
			out[prefix+param] = next.Val
		case next != nil:
			d.collect(out, prefix+param+".", next)
		}
	})
}

// describe names a side for people: package, function, plane.
func (d *side) describe(calls string) string {
	return fmt.Sprintf("%s, function %s%s, plane %s", d.suite.packageDir(), d.fn.Name, calls, d.suite.opt.Plane.Name())
}

// sameNorm reports whether both sides write RMSNorm in one form, as far as
// their records tell.
func sameNorm(a, b *side) bool { return a.suite.recipe.Norm == b.suite.recipe.Norm }

// sortedKeys is for output that does not depend on a map's order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
