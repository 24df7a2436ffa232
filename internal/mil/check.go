package mil

import (
	"fmt"
	"slices"
	"strings"
)

// opset is the only one whose op table this package has.
const opset = "CoreML8"

// Check refuses a program that breaks a rule of MIL, with an *Error for the
// first fault found: function names unique, sorted and identifiers; every
// function as Function.Check has it; the same states, in the same order, in
// all functions. It takes any program, also one decoded from hostile bytes.
func (p *Program) Check() error {
	if p == nil || len(p.Functions) == 0 {
		return &Error{Kind: ErrFunction, Wanted: "at least one function", Found: "none"}
	}
	for i, f := range p.Functions {
		if err := f.Check(); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		previous := p.Functions[i-1]
		if f.Name == previous.Name {
			return &Error{Kind: ErrDuplicate, Function: f.Name, Wanted: "a name no other function has", Found: quote(f.Name)}
		}
		if f.Name < previous.Name {
			return &Error{Kind: ErrFunction, Function: f.Name, Wanted: "functions sorted by name", Found: quote(f.Name) + " after " + quote(previous.Name)}
		}
		if err := sameStates(p.Functions[0], f); err != nil {
			return err
		}
	}
	return nil
}

// Function finds a function by name, nil if there is none.
func (p *Program) Function(name string) *Function {
	for _, f := range p.Functions {
		if f != nil && f.Name == name {
			return f
		}
	}
	return nil
}

// Check refuses a function that breaks a rule of MIL: names are identifiers
// and unique (values among values, ops among ops); values are defined before
// they are used; every op is in the op table, with its parameters and no
// other; parameters that must be known at compile time are; the declared type
// of every output is the one the op table infers; states are only read and
// written; outputs are defined tensors. The error is an *Error.
func (f *Function) Check() error {
	_, err := NewScope(f)
	return err
}

// States are the inputs that are states, in declared order.
func (f *Function) States() []Value {
	var states []Value
	for _, in := range f.Inputs {
		if in.Type.State {
			states = append(states, in)
		}
	}
	return states
}

func checkHeader(name, fopset string) error {
	if !isIdentifier(name) {
		return &Error{Kind: ErrIdentifier, Function: name, Wanted: identifierRule, Found: quote(name)}
	}
	if fopset != opset {
		return &Error{Kind: ErrOpset, Function: name, Wanted: quote(opset), Found: quote(fopset)}
	}
	return nil
}

// sameStates compares the states of two functions of one package, which share
// one state object when the package runs.
func sameStates(first, f *Function) error {
	wanted, found := first.States(), f.States()
	for i := range max(len(wanted), len(found)) {
		w, g := stateAt(wanted, i), stateAt(found, i)
		if w != g {
			return &Error{
				Kind: ErrState, Function: f.Name, Param: fmt.Sprintf("state %d", i),
				Wanted: w + " as in function " + quote(first.Name), Found: g,
			}
		}
	}
	return nil
}

func stateAt(states []Value, i int) string {
	if i >= len(states) {
		return "none"
	}
	return quote(states[i].Name) + " " + states[i].Type.String()
}

// infer checks an op's parameters against the op table and gives the types of
// its outputs, of which it has the given number.
func (s *Scope) infer(op *Op, outputs int) ([]Type, error) {
	rule, ok := opTable[op.Type]
	if !ok {
		return nil, s.fail(op, ErrOp, "", "an op of the table", quote(op.Type))
	}
	if op.Val != nil && op.Type != "const" {
		return nil, s.fail(op, ErrOp, "val", "none (only const has one)", op.Val.Type.String())
	}
	if err := s.checkArgs(op, rule); err != nil {
		return nil, err
	}
	c := &call{Params: s.Params(op), outputs: outputs}
	types, err := rule.infer(c)
	if err != nil {
		return nil, err
	}
	if len(types) != outputs {
		return nil, s.fail(op, ErrType, "outputs", fmt.Sprint(len(types)), fmt.Sprint(outputs))
	}
	if op.Type == "const" { // the literal's own check has allowed for empty vectors
		return types, nil
	}
	for _, t := range types {
		if err := checkValueType(t); err != nil {
			return nil, s.locate(err, op, "output")
		}
	}
	return types, nil
}

// checkArgs checks that the arguments are those the rule names, and that each
// is bound as the rule asks.
func (s *Scope) checkArgs(op *Op, rule opRule) error {
	for i, a := range op.Args {
		if i > 0 && a.Param <= op.Args[i-1].Param {
			return s.fail(op, ErrParam, a.Param, "parameters sorted by name, each once", quote(a.Param)+" after "+quote(op.Args[i-1].Param))
		}
		if !slices.ContainsFunc(rule.params, func(p param) bool { return p.name == a.Param }) {
			return s.fail(op, ErrParam, a.Param, "one of "+rule.paramNames(), quote(a.Param))
		}
	}
	params := s.Params(op)
	for _, p := range rule.params {
		if err := s.checkArg(op, p, params.bindings(p.name)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scope) checkArg(op *Op, p param, bindings []Binding) error {
	given := hasParam(op, p.name)
	switch {
	case !given && p.optional:
		return nil
	case !given:
		return s.fail(op, ErrParam, p.name, "a value", "none")
	case len(bindings) == 0 || (len(bindings) > 1 && !p.variadic):
		return s.fail(op, ErrParam, p.name, "one binding", fmt.Sprint(len(bindings)))
	}
	for _, b := range bindings {
		if err := s.checkBinding(op, p, b); err != nil {
			return err
		}
	}
	return nil
}

func hasParam(op *Op, name string) bool {
	return slices.ContainsFunc(op.Args, func(a Argument) bool { return a.Param == name })
}

// checkBinding checks one binding's existence, type and compile-time nature.
func (s *Scope) checkBinding(op *Op, p param, b Binding) error {
	if (b.Name == "") == (b.Literal == nil) {
		return s.fail(op, ErrParam, p.name, "either a name or a literal", "both or neither")
	}
	v, what := scopeValue{constant: true, literal: b.Literal}, "literal"
	if b.Literal != nil {
		if err := b.Literal.Check(); err != nil {
			return s.locate(err, op, p.name)
		}
		v.typ = b.Literal.Type
	} else {
		var ok bool
		if v, ok = s.values[b.Name]; !ok {
			return s.fail(op, ErrUndefined, p.name, "a value defined before this op", quote(b.Name))
		}
		what = quote(b.Name)
	}
	found := what + " of type " + v.typ.String()
	if v.typ.State != (p.kind == stateParam) {
		wanted := "a tensor"
		if p.kind == stateParam {
			wanted = "a state"
		}
		return s.fail(op, ErrState, p.name, wanted, found)
	}
	if !p.dtypes.has(v.typ.DType) {
		return s.fail(op, ErrType, p.name, p.dtypes.String(), found)
	}
	return s.checkConstness(op, p, v, found)
}

func (s *Scope) checkConstness(op *Op, p param, v scopeValue, found string) error {
	if p.kind != constantParam && p.kind != immediateParam {
		return nil
	}
	if !v.constant {
		return s.fail(op, ErrParam, p.name, "a compile-time value", found+", known at run time only")
	}
	if p.kind == constantParam {
		return nil
	}
	if v.literal == nil || v.literal.Blob != nil {
		return s.fail(op, ErrParam, p.name, "an immediate value", found+", kept in the weight file or computed")
	}
	if len(v.typ.Shape) != p.rank {
		return s.fail(op, ErrType, p.name, fmt.Sprintf("rank %d", p.rank), found)
	}
	return nil
}

// OpTypes is the names of the op table, sorted.
func OpTypes() []string {
	var names []string
	for name := range opTable {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r opRule) paramNames() string {
	names := make([]string, len(r.params))
	for i, p := range r.params {
		names[i] = p.name
	}
	if len(names) == 0 {
		return "no parameters"
	}
	return strings.Join(names, ", ")
}
