package cut

import (
	"errors"
	"fmt"
	"slices"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// ErrValue is wrapped by errors about a function or a value that cannot be
// shown.
var ErrValue = errors.New("cannot be shown")

// maxRank is what Core ML takes of an output.
const maxRank = 4

// Check says, by an error that wraps ErrValue, why a value of a function cannot
// be an output, nor a copy of it: there is none of that name, it is a state or
// known at compile time, it is not float16, or its rank is not 1 to 4.
func Check(scope *mil.Scope, value string) error {
	t, ok := scope.Lookup(value)
	refuse := func(want, found string) error {
		return fmt.Errorf("value %q %w: want %s, found %s", value, ErrValue, want, found)
	}
	switch {
	case !ok:
		return refuse("a value of the function", "none of that name")
	case t.State:
		return refuse("a tensor", t.String())
	case scope.Constant(value):
		return refuse("a run-time value", "a constant")
	case t.DType != mil.Float16:
		return refuse("float16", t.String())
	case len(t.Shape) < 1 || len(t.Shape) > maxRank:
		return refuse(fmt.Sprintf("rank 1 to %d", maxRank), t.String())
	}
	return nil
}

// Expose copies model so that the outputs of the named function are the given
// values and no other. What they do not need is left out, but every state stays
// declared, since the functions of a package declare the same ones, and a state
// that is still read is still written. The map has the output that shows each
// value: itself; where a state stores it, which keeps it from being an output,
// what is read again from the state, or else an identity of it; and an identity
// of an input. Errors wrap ErrValue.
func Expose(model *mlpackage.Model, function string, values []string) (*mlpackage.Model, map[string]string, error) {
	out := *model
	out.Program = model.Program.Clone()
	f := out.Program.Function(function)
	if f == nil {
		return nil, nil, fmt.Errorf("function %q %w: the program has none of that name", function, ErrValue)
	}
	scope, err := mil.NewScope(f)
	if err != nil {
		return nil, nil, err
	}
	if len(values) == 0 {
		return nil, nil, fmt.Errorf("function %s %w: no value was asked for", function, ErrValue)
	}
	shown := map[string]string{}
	f.Outputs = nil
	for _, v := range values {
		if err := Check(scope, v); err != nil {
			return nil, nil, fmt.Errorf("function %s: %w", function, err)
		}
		shown[v] = show(f, scope, v)
		if !slices.Contains(f.Outputs, shown[v]) {
			f.Outputs = append(f.Outputs, shown[v])
		}
	}
	prune(f)
	out.Description.Functions = slices.Clone(model.Description.Functions)
	if err := describe(out.Description.Function(function), f); err != nil {
		return nil, nil, err
	}
	if err := out.Program.Check(); err != nil {
		return nil, nil, err
	}
	return &out, shown, out.CheckSignature()
}

// show names a value of f that may be an output and is equal to v; it adds one
// if there is none.
func show(f *mil.Function, scope *mil.Scope, v string) string {
	at := -1 // of the op that gives v
	for i, op := range f.Ops {
		if slices.ContainsFunc(op.Outputs, func(o mil.Value) bool { return o.Name == v }) {
			at = i
		}
		if op.Type != "write_state" || operand(op, "data") != v {
			continue
		}
		if again := readAgain(f.Ops[i+1:], operand(op, "input")); again != "" {
			return again
		}
		return identity(f, scope, v, at+1)
	}
	if at < 0 {
		return identity(f, scope, v, 0)
	}
	return v
}

// readAgain is what the first of ops that touches the state reads from it, ""
// if that is a write.
func readAgain(ops []*mil.Op, state string) string {
	for _, op := range ops {
		if operand(op, "input") != state {
			continue
		}
		switch op.Type {
		case "read_state":
			return op.Outputs[0].Name
		case "write_state":
			return ""
		}
	}
	return ""
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

// identity puts a copy of v before the op at that place and returns its name.
func identity(f *mil.Function, scope *mil.Scope, v string, at int) string {
	taken := func(name string) bool {
		_, defined := scope.Lookup(name)
		return defined || slices.ContainsFunc(f.Ops, func(op *mil.Op) bool { return op.Name == name })
	}
	name := v + "_shown"
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%s_shown%d", v, n)
	}
	f.Ops = slices.Insert(f.Ops, at, &mil.Op{
		Type: "identity", Name: name,
		Args:    []mil.Argument{{Param: "x", Bindings: []mil.Binding{{Name: v}}}},
		Outputs: []mil.Value{{Name: name, Type: scope.Type(v)}},
	})
	return name
}

// prune drops the ops that no output needs. A write is needed by every read of
// its state, the earlier ones included: they see it in the next pass.
func prune(f *mil.Function) {
	needed := map[string]bool{}
	for _, name := range f.Outputs {
		needed[name] = true
	}
	keep := make([]bool, len(f.Ops))
	for grown := true; grown; {
		grown = false
		for i := len(f.Ops) - 1; i >= 0; i-- {
			op := f.Ops[i]
			live := op.Type == "write_state" && needed[operand(op, "input")] ||
				slices.ContainsFunc(op.Outputs, func(v mil.Value) bool { return needed[v.Name] })
			if keep[i] || !live {
				continue
			}
			keep[i], grown = true, true
			for _, a := range op.Args {
				for _, b := range a.Bindings {
					needed[b.Name] = true
				}
			}
		}
	}
	var ops []*mil.Op
	for i, op := range f.Ops {
		if keep[i] {
			ops = append(ops, op)
		}
	}
	f.Ops = ops
}

// describe declares the outputs of f.
func describe(d *mlpackage.FunctionDescription, f *mil.Function) error {
	if d == nil {
		return fmt.Errorf("function %q %w: the description has none of that name", f.Name, ErrValue)
	}
	scope, err := mil.NewScope(f)
	if err != nil {
		return err
	}
	d.Outputs = nil
	for _, name := range f.Outputs {
		t := scope.Type(name)
		d.Outputs = append(d.Outputs, mlpackage.Feature{Name: name, DType: t.DType, Shape: t.Shape})
	}
	return nil
}
