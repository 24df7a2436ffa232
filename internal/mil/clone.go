package mil

import "slices"

// Clone is a deep copy: no change of it is seen in p. Nil stays nil.
func (p *Program) Clone() *Program {
	if p == nil {
		return nil
	}
	out := &Program{Functions: slices.Clone(p.Functions)}
	for i, f := range p.Functions {
		out.Functions[i] = f.Clone()
	}
	return out
}

// Clone is a deep copy.
func (f *Function) Clone() *Function {
	if f == nil {
		return nil
	}
	out := *f
	out.Inputs = cloneValues(f.Inputs)
	out.Outputs = slices.Clone(f.Outputs)
	out.Ops = slices.Clone(f.Ops)
	for i, op := range f.Ops {
		out.Ops[i] = op.Clone()
	}
	return &out
}

// Clone is a deep copy.
func (o *Op) Clone() *Op {
	if o == nil {
		return nil
	}
	out := *o
	out.Outputs = cloneValues(o.Outputs)
	out.Val = o.Val.Clone()
	out.Args = slices.Clone(o.Args)
	for i := range out.Args {
		out.Args[i].Bindings = slices.Clone(out.Args[i].Bindings)
		for j, b := range out.Args[i].Bindings {
			out.Args[i].Bindings[j].Literal = b.Literal.Clone()
		}
	}
	return &out
}

// Clone is a deep copy.
func (l *Literal) Clone() *Literal {
	if l == nil {
		return nil
	}
	out := cloneLiteral(*l)
	return &out
}

func cloneLiteral(l Literal) Literal {
	l.Type = cloneType(l.Type)
	if l.Blob != nil {
		blob := *l.Blob
		l.Blob = &blob
	}
	l.Ints = slices.Clone(l.Ints)
	l.Floats = slices.Clone(l.Floats)
	l.Bools = slices.Clone(l.Bools)
	l.Strings = slices.Clone(l.Strings)
	l.Bytes = slices.Clone(l.Bytes)
	return l
}

func cloneValues(values []Value) []Value {
	out := slices.Clone(values)
	for i := range out {
		out[i].Type = cloneType(out[i].Type)
	}
	return out
}

func cloneType(t Type) Type {
	t.Shape = slices.Clone(t.Shape)
	return t
}

// WalkLiterals calls visit for every literal of f in program order: a const's
// value with param "val", and each literal written in place.
func WalkLiterals(f *Function, visit func(op *Op, param string, lit *Literal)) {
	for _, op := range f.Ops {
		if op == nil {
			continue
		}
		if op.Val != nil {
			visit(op, "val", op.Val)
		}
		for _, a := range op.Args {
			for _, b := range a.Bindings {
				if b.Literal != nil {
					visit(op, a.Param, b.Literal)
				}
			}
		}
	}
}
