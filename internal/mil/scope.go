package mil

import (
	"errors"
	"strings"
)

// Scope is the name table of one checked function: types, producers and
// compile-time literals by value name.
type Scope struct {
	function string
	values   map[string]scopeValue
	opNames  map[string]bool
}

type scopeValue struct {
	typ      Type
	producer *Op
	constant bool     // known at compile time: const and constexpr_*
	literal  *Literal // const only
}

// NewScope checks f (see Function.Check) and returns its name table. The scope
// refers to f's ops and literals; it is valid as long as f is unchanged.
func NewScope(f *Function) (*Scope, error) {
	if f == nil {
		return nil, &Error{Kind: ErrFunction, Wanted: "a function", Found: "nil"}
	}
	if err := checkHeader(f.Name, f.Opset); err != nil {
		return nil, err
	}
	s := newScope(f.Name)
	for _, in := range f.Inputs {
		if err := s.input(in); err != nil {
			return nil, err
		}
	}
	for _, op := range f.Ops {
		if err := s.add(op); err != nil {
			return nil, err
		}
	}
	if err := s.checkOutputs(f.Outputs); err != nil {
		return nil, err
	}
	return s, nil
}

func newScope(function string) *Scope {
	return &Scope{function: function, values: map[string]scopeValue{}, opNames: map[string]bool{}}
}

// Lookup gives the type of an input, a state or an op's output.
func (s *Scope) Lookup(name string) (Type, bool) {
	v, ok := s.values[name]
	return v.typ, ok
}

// Type is Lookup for a name that is known to exist; the zero Type otherwise.
func (s *Scope) Type(name string) Type { return s.values[name].typ }

// Literal is the value of a const op's output, nil for everything else.
func (s *Scope) Literal(name string) *Literal { return s.values[name].literal }

// Constant reports whether the value is known at compile time: the output of a
// const or of a constexpr_* op.
func (s *Scope) Constant(name string) bool { return s.values[name].constant }

// Producer is the op that defines the value, nil for inputs and states.
func (s *Scope) Producer(name string) *Op { return s.values[name].producer }

// Params reads the arguments of an op of the function.
func (s *Scope) Params(op *Op) Params { return Params{scope: s, op: op} }

// input defines a function input or a state.
func (s *Scope) input(v Value) error {
	if err := checkValueType(v.Type); err != nil {
		return s.locate(err, nil, "input "+quote(v.Name))
	}
	return s.define(nil, v.Name, scopeValue{typ: v.Type})
}

// add checks an op in full, its declared output types included, and defines
// its outputs.
func (s *Scope) add(op *Op) error {
	if op == nil {
		return &Error{Kind: ErrOp, Function: s.function, Wanted: "an op", Found: "nil"}
	}
	types, err := s.infer(op, len(op.Outputs))
	if err != nil {
		return err
	}
	for i, out := range op.Outputs {
		if !types[i].Equal(out.Type) {
			return s.fail(op, ErrType, "output "+quote(out.Name), types[i].String(), out.Type.String())
		}
	}
	return s.commit(op)
}

// commit records the names of an op whose types stand.
func (s *Scope) commit(op *Op) error {
	if !isIdentifier(op.Name) {
		return s.fail(op, ErrIdentifier, "name", identifierRule, quote(op.Name))
	}
	if s.opNames[op.Name] {
		return s.fail(op, ErrDuplicate, "name", "a name no other op has", quote(op.Name))
	}
	s.opNames[op.Name] = true
	constant := op.Type == "const" || strings.HasPrefix(op.Type, "constexpr_")
	for _, out := range op.Outputs {
		v := scopeValue{typ: out.Type, producer: op, constant: constant, literal: op.Val}
		if err := s.define(op, out.Name, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scope) define(op *Op, name string, v scopeValue) error {
	if !isIdentifier(name) {
		return s.fail(op, ErrIdentifier, "value", identifierRule, quote(name))
	}
	if _, taken := s.values[name]; taken {
		return s.fail(op, ErrDuplicate, "value", "a name no other value has", quote(name))
	}
	s.values[name] = v
	return nil
}

func (s *Scope) checkOutputs(outputs []string) error {
	if len(outputs) == 0 {
		return s.fail(nil, ErrFunction, "outputs", "at least one", "none")
	}
	seen := map[string]bool{}
	for _, name := range outputs {
		t, ok := s.Lookup(name)
		switch {
		case !ok:
			return s.fail(nil, ErrUndefined, "output", "the name of a value", quote(name))
		case t.State:
			return s.fail(nil, ErrState, "output", "a tensor", quote(name)+" of type "+t.String())
		case t.DType == String:
			return s.fail(nil, ErrType, "output", "a numeric or bool tensor", quote(name)+" of type "+t.String())
		case seen[name]:
			return s.fail(nil, ErrDuplicate, "output", "each value once", quote(name))
		}
		seen[name] = true
	}
	return nil
}

// fail builds an error located at op, which may be nil.
func (s *Scope) fail(op *Op, kind error, param, wanted, found string) error {
	e := &Error{Kind: kind, Function: s.function, Param: param, Wanted: wanted, Found: found}
	if op != nil {
		e.Op, e.OpType = op.Name, op.Type
	}
	return e
}

// locate adds the place to an *Error made by a check that did not know it.
func (s *Scope) locate(err error, op *Op, param string) error {
	e := &Error{Kind: err}
	errors.As(err, &e)
	return s.fail(op, e.Kind, param, e.Wanted, e.Found)
}

const identifierRule = "[A-Za-z_][A-Za-z0-9_@]*"

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '@') {
			return false
		}
	}
	return s != ""
}
