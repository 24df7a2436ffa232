package terms

import (
	"fmt"
	"math"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// pairwise ops. The operands of add, mul, maximum, minimum and equal are not
// ordered, because IEEE arithmetic commutes; those of the others are.
func pairwise(o *operation) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	y, err := o.terms("y")
	if err != nil {
		return rule{}, err
	}
	out := o.op.Outputs[0].Type
	sx, sy := broadcast(o.shape("x"), out.Shape), broadcast(o.shape("y"), out.Shape)
	join := o.arithmetic().join
	return rule{
		run: func(_ int, dst []Term) error {
			l := newLines(out.Shape, sx, sy)
			parallel(l.count(), l.n, func(lo, hi int) {
				for r := lo; r < hi; r++ {
					a, b, to := x[l.at(0, r):], y[l.at(1, r):], dst[r*l.n:(r+1)*l.n]
					for k := range to {
						to[k] = join(a[k*l.step[0]], b[k*l.step[1]])
					}
				}
			})
			return nil
		},
		reads: func(_, i int) []read {
			at := coordinates(i, out.Shape)
			return []read{{operand: 0, index: offset(at, sx)}, {operand: 1, index: offset(at, sy)}}
		},
	}, nil
}

// arithmetic joins two terms.
type arithmetic struct {
	alg   algebra
	op    string
	dtype mil.DType
	seed  Term
}

func (o *operation) arithmetic() arithmetic {
	return arithmetic{o.alg, o.op.Type, o.Type("x").DType, o.seedOf()}
}

// product is the arithmetic of mul, for the products inside of other ops.
func (o *operation) product() arithmetic {
	return arithmetic{o.alg, "mul", o.Type("x").DType, o.alg.seed("mul")}
}

// join is the term of a op b. Only what changes no bit is simplified: x+0,
// x-0, x*1, x/1, x*0 for a finite x, and what is known on both sides.
func (c arithmetic) join(a, b Term) Term {
	if (a.hi|b.hi)&undefined == 0 {
		va, knownA := a.value()
		vb, knownB := b.value()
		if knownA && knownB {
			if v, ok := c.fold(va, vb); ok {
				return number(v)
			}
		}
		switch c.op {
		case "add":
			switch {
			case a == zero:
				return b
			case b == zero:
				return a
			case knownA && va <= maskedBelow, knownB && vb <= maskedBelow:
				return c.hide(c.unordered(a, b))
			}
		case "sub":
			switch {
			case b == zero:
				return a
			case knownB && vb >= -maskedBelow:
				return c.hide(c.ordered(a, b))
			}
		case "mul":
			switch {
			case a == zero || b == zero:
				return zero
			case a == one:
				return b
			case b == one:
				return a
			}
		case "real_div":
			switch {
			case b == one:
				return a
			case a == zero:
				return zero
			}
		case "maximum", "minimum":
			if a == b {
				return a
			}
		}
	}
	switch c.op {
	case "add", "mul", "maximum", "minimum", "equal":
		return c.unordered(a, b)
	}
	return c.ordered(a, b)
}

func (c arithmetic) ordered(a, b Term) Term { return c.alg.mix(c.alg.mix(c.seed, a), b) }

func (c arithmetic) unordered(a, b Term) Term {
	if a.hi > b.hi || a.hi == b.hi && a.lo > b.lo {
		a, b = b, a
	}
	return c.ordered(a, b)
}

// hide marks a score that a mask hides.
func (c arithmetic) hide(t Term) Term {
	t.hi |= vanishing
	return t
}

// fold computes with numbers as the reference plane does: in float32, rounded
// once more to float16 where that is the type.
func (c arithmetic) fold(a, b float64) (float64, bool) {
	x, y := float32(a), float32(b)
	if c.dtype == mil.Int32 {
		return 0, false // no host input is an integer, and bounds are read off the program
	}
	truth := func(v bool) (float64, bool) {
		if v {
			return 1, true
		}
		return 0, true
	}
	var v float32
	switch c.op {
	case "add":
		v = x + y
	case "sub":
		v = x - y
	case "mul":
		v = x * y
	case "real_div":
		v = x / y
	case "maximum":
		v = max(x, y)
	case "minimum":
		v = min(x, y)
	case "greater_equal":
		return truth(a >= b)
	case "less":
		return truth(a < b)
	case "equal":
		return truth(a == b)
	default:
		return 0, false
	}
	if c.dtype == mil.Float16 {
		v = half.ToFloat32(half.FromFloat32(v))
	}
	if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
		return 0, false
	}
	return float64(v), true
}

// choose is select: one of two where the condition is known.
func choose(o *operation) (rule, error) {
	var data [3][]Term
	var strides [3][]int
	out := o.op.Outputs[0].Type.Shape
	params := []string{"cond", "a", "b"}
	for i, param := range params {
		terms, err := o.terms(param)
		if err != nil {
			return rule{}, err
		}
		data[i], strides[i] = terms, broadcast(o.shape(param), out)
	}
	seed := o.seedOf()
	at := func(i int) (cond, a, b int) {
		c := coordinates(i, out)
		return offset(c, strides[0]), offset(c, strides[1]), offset(c, strides[2])
	}
	return rule{
		run: func(_ int, dst []Term) error {
			for i := range dst {
				c, a, b := at(i)
				switch v, known := data[0][c].value(); {
				case known && v != 0:
					dst[i] = data[1][a]
				case known:
					dst[i] = data[2][b]
				default:
					dst[i] = o.alg.mix(o.alg.mix(o.alg.mix(seed, data[0][c]), data[1][a]), data[2][b])
				}
			}
			return nil
		},
		reads: func(_, i int) []read {
			c, a, b := at(i)
			v, known := data[0][c].value()
			return []read{
				{operand: o.operand("cond"), index: c},
				{operand: o.operand("a"), index: a, dead: known && v == 0},
				{operand: o.operand("b"), index: b, dead: known && v != 0},
			}
		},
	}, nil
}

// cast to a type that holds every value of x changes nothing; another rounds.
func cast(o *operation) (rule, error) {
	from, to := o.Type("x").DType, o.op.Outputs[0].Type.DType
	if from == to || from == mil.Float16 && to == mil.Float32 {
		return same(o)
	}
	return o.each(o.seedOf(to), nil)
}

// unary ops.
func unary(o *operation) (rule, error) {
	var fixed func(Term) bool
	switch o.op.Type {
	case "silu", "relu", "tanh", "sqrt", "square", "abs", "gelu":
		fixed = func(t Term) bool { return t == zero } // f(0) = 0
	}
	return o.each(o.seedOf(" ", o.attributes()), fixed)
}

// attributes are the compile-time parameters of an op as a text.
func (o *operation) attributes() string {
	text := ""
	for _, arg := range o.op.Args {
		if l := o.Literal(arg.Param); l != nil && arg.Param != "x" {
			text += fmt.Sprintf("%s=%s;", arg.Param, literalText(l))
		}
	}
	return text
}

// each is the rule of ops that make an element of one of x's; fixed ones stay.
func (o *operation) each(seed Term, fixed func(Term) bool) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	return rule{
		run: func(_ int, dst []Term) error {
			parallel(len(dst), 1, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					if dst[i] = x[i]; fixed == nil || !fixed(x[i]) {
						dst[i] = o.alg.mix(seed, x[i])
					}
				}
			})
			return nil
		},
		reads: func(_, i int) []read { return []read{{index: i}} },
	}, nil
}
