package probe

import (
	"errors"
	"fmt"
	"slices"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// ErrRewrite means that a program does not have what a variant changes: the
// exporter writes it otherwise than the variant supposes.
var ErrRewrite = errors.New("the variant's change does not fit the program")

// change says how the functions of a program are rewritten. A change is made
// anew for each function and may keep what it has seen.
type change struct {
	// input gives an input another type; may be nil.
	input func(r *rewriter, v mil.Value) mil.Value
	// begin adds ops before all others; may be nil.
	begin func(r *rewriter)
	// op puts other ops in the place of one and reports that it did. Ops that it
	// leaves alone are copied.
	op func(r *rewriter, op *mil.Op) bool
	// sites is how many ops must be changed.
	sites func(r *rewriter) int
}

// rewriter copies a function op by op. A constant is copied when the first op
// that uses it is, so that what only served a dropped op goes with it.
type rewriter struct {
	*mil.Builder
	from   *mil.Function
	rows   int // T
	consts map[string]*mil.Op
	copied map[string]bool         // constants
	moved  map[string]*mil.Literal // constants that get another value
	stands map[string]string       // what a name of the old function is in the new one, where that differs
	sites  int
}

// rewrite changes every function of a one-layer model.
func rewrite(model *mlpackage.Model, rowsOf map[string]int, make func() change) (*mlpackage.Model, error) {
	out := *model
	out.Program = &mil.Program{}
	out.Description.Functions = slices.Clone(model.Description.Functions)
	for _, f := range model.Program.Functions {
		changed, err := rewriteFunction(f, rowsOf[f.Name], make())
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", f.Name, err)
		}
		out.Program.Functions = append(out.Program.Functions, changed)
		describe(out.Description.Function(f.Name), changed)
	}
	if err := out.Program.Check(); err != nil {
		return nil, err
	}
	return &out, out.CheckSignature()
}

func rewriteFunction(f *mil.Function, rows int, c change) (*mil.Function, error) {
	r := &rewriter{
		Builder: mil.NewBuilder(f.Name, f.Opset), from: f, rows: rows,
		consts: map[string]*mil.Op{}, copied: map[string]bool{}, moved: map[string]*mil.Literal{}, stands: map[string]string{},
	}
	for _, v := range f.Inputs {
		if c.input != nil {
			v = c.input(r, v)
		}
		if v.Type.State {
			r.State(v.Name, v.Type)
		} else {
			r.Input(v.Name, v.Type)
		}
	}
	if c.begin != nil {
		c.begin(r)
	}
	for _, op := range f.Ops {
		switch {
		case op.Type == "const":
			r.consts[op.Name] = op
		case c.op(r, op):
			r.sites++
		default:
			r.copy(op)
		}
	}
	if want := c.sites(r); r.Err() == nil && r.sites != want {
		return nil, fmt.Errorf("%w: want %d ops to change, found %d", ErrRewrite, want, r.sites)
	}
	var outputs []string
	for _, name := range f.Outputs {
		outputs = append(outputs, r.name(name))
	}
	return r.Finish(outputs...)
}

// name is what a value of the old function is called in the new one. A constant
// is copied if it was not yet.
func (r *rewriter) name(old string) string {
	if to, ok := r.stands[old]; ok {
		return to
	}
	if c, ok := r.consts[old]; ok && !r.copied[old] {
		r.copied[old] = true
		value := c.Val
		if m := r.moved[old]; m != nil {
			value = m
		}
		r.Const(old, *value)
	}
	return old
}

// copy adds op as it is.
func (r *rewriter) copy(op *mil.Op) { r.copyWith(op, "", mil.Operand{}) }

// copyWith adds op with another argument for one of its parameters.
func (r *rewriter) copyWith(op *mil.Op, param string, other mil.Operand) {
	if op.Type == "write_state" {
		r.Write(operand(op, "input"), r.name(operand(op, "data")))
		return
	}
	args := make([]mil.Operand, len(op.Args))
	for i, a := range op.Args {
		if a.Param == param {
			args[i] = other
		} else {
			args[i] = r.argument(a)
		}
	}
	outs := make([]string, len(op.Outputs))
	for i, o := range op.Outputs {
		outs[i] = o.Name
	}
	r.Ops(op.Type, outs, args...)
}

func (r *rewriter) argument(a mil.Argument) mil.Operand {
	if len(a.Bindings) == 1 && a.Bindings[0].Literal != nil {
		return mil.Inline(a.Param, *a.Bindings[0].Literal)
	}
	names := make([]string, len(a.Bindings))
	for i, b := range a.Bindings {
		names[i] = r.name(b.Name)
	}
	return mil.Arg(a.Param, names...)
}

// drop leaves an op out; its output is then the new function's value instead.
func (r *rewriter) drop(op *mil.Op, instead string) bool {
	r.stands[op.Outputs[0].Name] = instead
	return true
}

// literal is the constant that a parameter is bound to, nil if it is none.
func (r *rewriter) literal(op *mil.Op, param string) *mil.Literal {
	if c := r.consts[operand(op, param)]; c != nil {
		return c.Val
	}
	return nil
}

// operand is the name that a parameter of op is bound to, "" if there is none.
func operand(op *mil.Op, param string) string {
	for _, a := range op.Args {
		if a.Param == param && len(a.Bindings) == 1 {
			return a.Bindings[0].Name
		}
	}
	return ""
}

// inline is the literal that stands in the place of a parameter, nil if there
// is none.
func inline(op *mil.Op, param string) *mil.Literal {
	for _, a := range op.Args {
		if a.Param == param && len(a.Bindings) == 1 {
			return a.Bindings[0].Literal
		}
	}
	return nil
}

// describe gives the features of a description the shapes that they have in the
// function.
func describe(d *mlpackage.FunctionDescription, f *mil.Function) {
	shapes := map[string][]int{}
	for _, v := range f.Inputs {
		shapes[v.Name] = v.Type.Shape
	}
	for _, op := range f.Ops {
		for _, v := range op.Outputs {
			shapes[v.Name] = v.Type.Shape
		}
	}
	for _, features := range []*[]mlpackage.Feature{&d.Inputs, &d.Outputs} {
		*features = slices.Clone(*features)
		for i := range *features {
			(*features)[i].Shape = shapes[(*features)[i].Name]
		}
	}
}
