package mil

import (
	"slices"
	"strings"
)

// Params reads the arguments of one op. On an op of a checked function every
// method is safe, and a parameter that the op table calls compile-time has a
// value. A parameter that is absent takes its default.
type Params struct {
	scope *Scope
	op    *Op
}

func (p Params) bindings(param string) []Binding {
	i, ok := slices.BinarySearchFunc(p.op.Args, param, func(a Argument, name string) int {
		return strings.Compare(a.Param, name)
	})
	if !ok {
		return nil
	}
	return p.op.Args[i].Bindings
}

func (p Params) first(param string) Binding {
	if b := p.bindings(param); len(b) > 0 {
		return b[0]
	}
	return Binding{}
}

// Has reports whether the parameter is given.
func (p Params) Has(param string) bool { return len(p.bindings(param)) > 0 }

// Value is the name bound to the parameter; ok is false if it is absent or a
// literal written in place.
func (p Params) Value(param string) (name string, ok bool) {
	name = p.first(param).Name
	return name, name != ""
}

// Values is the names bound to a variadic parameter, in order; a literal
// written in place has the name "".
func (p Params) Values(param string) []string {
	var names []string
	for _, b := range p.bindings(param) {
		names = append(names, b.Name)
	}
	return names
}

// Type is the type of the value bound to the parameter, or of its literal; the
// zero Type if it is absent.
func (p Params) Type(param string) Type { return p.typeOf(p.first(param)) }

// Types is Type for each binding of a variadic parameter.
func (p Params) Types(param string) []Type {
	var types []Type
	for _, b := range p.bindings(param) {
		types = append(types, p.typeOf(b))
	}
	return types
}

func (p Params) typeOf(b Binding) Type {
	if b.Literal != nil {
		return b.Literal.Type
	}
	return p.scope.Type(b.Name)
}

// Literal is the compile-time value of the parameter, through a const op or
// written in place; nil if it is absent, run-time, or made by a constexpr op.
func (p Params) Literal(param string) *Literal {
	b := p.first(param)
	if b.Literal != nil {
		return b.Literal
	}
	return p.scope.Literal(b.Name)
}

// Ints is the elements of an integer immediate (int32, int16, uint16); nil if
// the parameter is absent or its data is elsewhere.
func (p Params) Ints(param string) []int {
	lit := p.Literal(param)
	if lit == nil || len(lit.Ints) == 0 {
		return nil
	}
	out := make([]int, len(lit.Ints))
	for i, v := range lit.Ints {
		out[i] = int(v)
	}
	return out
}

// Int is the one element of an integer immediate.
func (p Params) Int(param string, def int) int {
	if v := p.Ints(param); len(v) > 0 {
		return v[0]
	}
	return def
}

// BoolSlice is the elements of a bool immediate, nil if absent.
func (p Params) BoolSlice(param string) []bool {
	if lit := p.Literal(param); lit != nil {
		return lit.Bools
	}
	return nil
}

// Bool is the one element of a bool immediate.
func (p Params) Bool(param string, def bool) bool {
	if v := p.BoolSlice(param); len(v) > 0 {
		return v[0]
	}
	return def
}

// String is the one element of a string immediate.
func (p Params) String(param, def string) string {
	if lit := p.Literal(param); lit != nil && len(lit.Strings) > 0 {
		return lit.Strings[0]
	}
	return def
}

// Half is the one element of a float16 or float32 immediate, exactly.
func (p Params) Half(param string, def float32) float32 {
	lit := p.Literal(param)
	if lit == nil || (len(lit.Floats) == 0 && (lit.Type.DType != Float16 || len(lit.Bytes) < 2)) {
		return def
	}
	return lit.float32At(0)
}

// Axis is an axis parameter, normalized to 0..rank-1; the default may be
// negative too.
func (p Params) Axis(param string, def, rank int) int {
	axis := p.Int(param, def)
	if axis < 0 {
		axis += rank
	}
	return axis
}

// Axes is an axes parameter, normalized to 0..rank-1 and ascending; all axes
// if it is absent.
func (p Params) Axes(param string, rank int) []int {
	if !p.Has(param) {
		all := make([]int, rank)
		for i := range all {
			all[i] = i
		}
		return all
	}
	axes := p.Ints(param)
	for i := range axes {
		if axes[i] < 0 {
			axes[i] += rank
		}
	}
	slices.Sort(axes)
	return axes
}
