package mil

import (
	"slices"
	"strings"
)

// Builder makes a function op by op and infers each op's output types from the
// op table. The first error sticks: later calls do nothing but return the names
// they would have defined, and Finish reports it.
type Builder struct {
	f     *Function
	scope *Scope
	err   error
}

// NewBuilder starts a function.
func NewBuilder(function, opset string) *Builder {
	return &Builder{
		f:     &Function{Name: function, Opset: opset},
		scope: newScope(function),
		err:   checkHeader(function, opset),
	}
}

// Input declares a tensor input and returns its name.
func (b *Builder) Input(name string, t Type) string {
	return b.input(Value{Name: name, Type: cloneType(t)})
}

// State declares a state that wraps the tensor type t and returns its name.
func (b *Builder) State(name string, t Type) string {
	t = cloneType(t)
	t.State = true
	return b.input(Value{Name: name, Type: t})
}

func (b *Builder) input(v Value) string {
	if b.err == nil {
		if b.err = b.scope.input(v); b.err == nil {
			b.f.Inputs = append(b.f.Inputs, v)
		}
	}
	return v.Name
}

// Const defines a const op and returns its output's name.
func (b *Builder) Const(name string, lit Literal) string {
	l := cloneLiteral(lit)
	b.append(&Op{Type: "const", Name: name, Val: &l}, []string{name})
	return name
}

// Operand is an argument of an op under construction.
type Operand struct {
	param   string
	names   []string
	literal *Literal
	inline  bool
}

// Arg binds a parameter to values by name; several for a variadic one.
func Arg(param string, names ...string) Operand { return Operand{param: param, names: names} }

// Lit binds a parameter to a const op that the builder puts before the op,
// named <first output>_<param>: the form that Core ML has seen most.
func Lit(param string, lit Literal) Operand { return Operand{param: param, literal: &lit} }

// Inline binds a parameter to a literal written in place, as constexpr_* ops
// have it.
func Inline(param string, lit Literal) Operand {
	return Operand{param: param, literal: &lit, inline: true}
}

// Op appends an op with one output. Op and output share the name, which is
// returned.
func (b *Builder) Op(typ, out string, args ...Operand) string {
	b.op(typ, out, []string{out}, args)
	return out
}

// Ops appends an op with several outputs (split, topk). The op is named after
// its first output; the outputs' names are returned.
func (b *Builder) Ops(typ string, outs []string, args ...Operand) []string {
	name := ""
	if len(outs) > 0 {
		name = outs[0]
	}
	b.op(typ, name, outs, args)
	return outs
}

// Write appends a write_state op, named <state>_write_<data>. It has no
// output: read the state again to use what was written.
func (b *Builder) Write(state, data string) {
	b.op("write_state", state+"_write_"+data, nil, []Operand{Arg("input", state), Arg("data", data)})
}

func (b *Builder) op(typ, name string, outs []string, args []Operand) {
	if b.err != nil {
		return
	}
	op := &Op{Type: typ, Name: name}
	for _, a := range args {
		op.Args = append(op.Args, b.bind(name, a))
	}
	slices.SortStableFunc(op.Args, func(x, y Argument) int { return strings.Compare(x.Param, y.Param) })
	b.append(op, outs)
}

// bind turns an operand into an argument, through a const op for Lit.
func (b *Builder) bind(op string, a Operand) Argument {
	switch {
	case a.literal == nil:
		bindings := make([]Binding, len(a.names))
		for i, name := range a.names {
			bindings[i].Name = name
		}
		return Argument{Param: a.param, Bindings: bindings}
	case a.inline:
		l := cloneLiteral(*a.literal)
		return Argument{Param: a.param, Bindings: []Binding{{Literal: &l}}}
	}
	name := b.Const(op+"_"+a.param, *a.literal)
	return Argument{Param: a.param, Bindings: []Binding{{Name: name}}}
}

// append infers the op's output types, then adds it to the function.
func (b *Builder) append(op *Op, outs []string) {
	if b.err != nil {
		return
	}
	types, err := b.scope.infer(op, len(outs))
	if err != nil {
		b.err = err
		return
	}
	for i, name := range outs {
		op.Outputs = append(op.Outputs, Value{Name: name, Type: types[i]})
	}
	if b.err = b.scope.commit(op); b.err == nil {
		b.f.Ops = append(b.f.Ops, op)
	}
}

// Type is the type of a value defined so far, the zero Type if there is none.
func (b *Builder) Type(name string) Type { return b.scope.Type(name) }

// Err is the error that Finish will report, if it is known already.
func (b *Builder) Err() error { return b.err }

// Finish closes the function with its outputs and returns it, or the first
// error. The builder must not be used afterwards.
func (b *Builder) Finish(outputs ...string) (*Function, error) {
	if b.err != nil {
		return nil, b.err
	}
	if err := b.scope.checkOutputs(outputs); err != nil {
		return nil, err
	}
	b.f.Outputs = slices.Clone(outputs)
	return b.f, nil
}
