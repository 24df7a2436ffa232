package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// Bisection is what a bisection came to.
type Bisection struct {
	A       string `json:"a"`
	B       string `json:"b"`
	WayA    string `json:"way_a"` // traced or cut
	WayB    string `json:"way_b"` // traced, cut or computed
	Aligned string `json:"aligned"`

	Layers    string  `json:"layers"`
	Inputs    string  `json:"inputs"`
	Scale     float64 `json:"scale"` // of x
	Position  int     `json:"position"`
	Live      int     `json:"live"`
	Tolerance string  `json:"tolerance"`

	// Path is what leaves each layer, up to the first that parts; Values what
	// was compared inside layers, the last of them Cut, up to the first that
	// parts.
	Path   []LayerStep `json:"path"`
	Cut    string      `json:"cut,omitempty"`
	Values []ValueStep `json:"values,omitempty"`

	// Found is nil where nothing differs.
	Found *Found `json:"found,omitempty"`
}

// LayerStep is what leaves one layer: hidden states and caches.
type LayerStep struct {
	Name   string      `json:"name"`
	Agrees bool        `json:"agrees"`
	Values []ValueStep `json:"values"`
}

func (s *LayerStep) add(v ValueStep) {
	s.Values = append(s.Values, v)
	s.Agrees = s.Agrees && v.Agrees
}

// ValueStep is one value that was compared.
type ValueStep struct {
	Op   string `json:"op"`
	Name string `json:"name"` // A's
	B    string `json:"b"`    // B's name of it
	Type string `json:"type"`
	// State marks what a state holds after the passes.
	State bool `json:"state,omitempty"`

	Agrees bool `json:"agrees"`
	// NotCompared says why the value could not be.
	NotCompared string `json:"not_compared,omitempty"`
	// Shapes says that the sides' shapes differ, which is a difference.
	Shapes  string   `json:"shapes,omitempty"`
	Measure *Measure `json:"measure,omitempty"`
}

// Found is the first difference.
type Found struct {
	Layer string    `json:"layer"`
	Step  ValueStep `json:"step"`
	// OpName is the op's own name, LineA and LineB its lines in the programs;
	// LineB is empty where B is no program.
	OpName string `json:"op_name"`
	LineA  string `json:"line_a"`
	LineB  string `json:"line_b,omitempty"`

	Operands []Operand `json:"operands"`
	// Culprit says what the operands allow to conclude.
	Culprit string `json:"culprit"`
	// SuspectsA and SuspectsB are the lines of the ops between the values that
	// agree and this one, where there are any: their values have no counterpart.
	SuspectsA []string `json:"suspects_a,omitempty"`
	SuspectsB []string `json:"suspects_b,omitempty"`
	// Agreed are the values before this one that agree, the nearest last.
	Agreed []string `json:"agreed"`
}

// Operand is one thing that the op reads.
type Operand struct {
	Param  string `json:"param"`
	A      string `json:"a"`
	B      string `json:"b,omitempty"`
	Agrees bool   `json:"agrees"`
	What   string `json:"what"` // what was found of it
}

// notCompared begins what is said of an operand that neither agrees nor not.
const notCompared = "not compared"

// agreedShown bounds Found.Agreed.
const agreedShown = 5

// explain describes the step that parts; before are those that were compared
// before it.
func (r *bisector) explain(step ValueStep, before []ValueStep) (*Found, error) {
	f := &Found{Step: step, Layer: r.out.Cut}
	status := map[string]ValueStep{}
	for _, s := range before {
		if s.State || !s.Agrees {
			continue
		}
		status[s.Name] = s
		if s.NotCompared == "" {
			f.Agreed = append(f.Agreed, s.Name)
		}
	}
	f.Agreed = f.Agreed[max(0, len(f.Agreed)-agreedShown):]
	opA, opB := r.producers(step)
	if opA == nil {
		f.Culprit = "nothing that is in both programs differs before it"
		return f, nil
	}
	at := slices.Index(r.a.ops, opA)
	f.Layer = r.layerName(r.a.layer[at])
	f.OpName, f.LineA = opA.Name, mil.Line(opA)
	if opB != nil {
		f.LineB = mil.Line(opB)
	}
	if err := r.operands(f, opA, opB, status); err != nil {
		return nil, err
	}
	f.SuspectsA = suspects(r.a, opA, func(name string) bool { return status[name].Agrees && status[name].NotCompared == "" })
	if opB != nil {
		agreed := map[string]bool{}
		for _, s := range status {
			agreed[s.B] = s.Agrees && s.NotCompared == ""
		}
		f.SuspectsB = suspects(r.b, opB, func(name string) bool { return agreed[name] })
	}
	f.Culprit = f.conclude()
	return f, nil
}

// producers are the ops that give a value, or write a state.
func (r *bisector) producers(step ValueStep) (a, b *mil.Op) {
	of := func(d *side, name string) *mil.Op {
		if !step.State {
			return d.scope.Producer(name)
		}
		for _, op := range d.ops {
			if op.Type == "write_state" && bound(op, "input") == name {
				return op
			}
		}
		return nil
	}
	a = of(r.a, step.Name)
	if r.b != nil {
		b = of(r.b, step.B)
	}
	return a, b
}

// operands says of everything that the op reads whether it is the same.
func (r *bisector) operands(f *Found, opA, opB *mil.Op, status map[string]ValueStep) (err error) {
	theirs := map[string]string{}
	if opB != nil {
		inputsOf(opB, func(param string, at int, b mil.Binding) { theirs[fmt.Sprint(param, at)] = b.Name })
	}
	inputsOf(opA, func(param string, at int, b mil.Binding) {
		if err != nil || b.Literal != nil {
			return
		}
		o := Operand{Param: param, A: b.Name, B: theirs[fmt.Sprint(param, at)]}
		err = r.operand(&o, opB != nil, status)
		f.Operands = append(f.Operands, o)
	})
	return err
}

func (r *bisector) operand(o *Operand, paired bool, status map[string]ValueStep) error {
	s, compared := status[o.A]
	counterpart := s.B
	switch {
	case r.a.scope.Producer(o.A) == nil && r.a.scope.Type(o.A).State:
		o.Agrees, o.What = true, "a state"
	case r.a.scope.Producer(o.A) == nil:
		o.Agrees, o.What = true, "an input, the same on both sides"
		if counterpart = o.B; paired {
			counterpart = r.b.names.of(r.a.names.contractName(o.A))
		}
	case r.a.scope.Constant(o.A) && !paired:
		o.What = notCompared + ": a constant"
		return nil
	case r.a.scope.Constant(o.A):
		if !r.b.scope.Constant(o.B) {
			o.What = "a constant, and none in B"
			return nil
		}
		what, err := r.constants(o.A, o.B)
		o.Agrees, o.What = what == "", what
		if o.Agrees {
			o.What = "a constant, the same on both sides"
		}
		return err
	case !compared || s.NotCompared != "":
		o.What = notCompared + ": it has no counterpart"
		return nil
	default:
		o.Agrees, o.What = true, "agrees"
	}
	if paired && !r.a.scope.Type(o.A).State && o.B != counterpart {
		o.Agrees, o.What = false, fmt.Sprintf("B reads %s in its place", o.B)
	}
	return nil
}

// constants describes how two compile-time operands differ, "" if not, or only
// in the rows of a block and of a single.
func (r *bisector) constants(a, b string) (string, error) {
	la, lb := r.a.constants(a), r.b.constants(b)
	for _, param := range sortedKeys(la) {
		x, y := la[param], lb[param]
		if y != nil && r.geo.singles && rowsApart(x.Ints, y.Ints, r.geo.rows) {
			continue
		}
		if y == nil || !x.Type.Equal(y.Type) {
			return fmt.Sprintf("a constant: %s %s in A, another type in B", param, x.Type), nil
		}
		if x.Type.DType == mil.String {
			if !slices.Equal(x.Strings, y.Strings) {
				return fmt.Sprintf("a constant: %q in A, %q in B", x.Strings, y.Strings), nil
			}
			continue
		}
		dx, err := r.a.files.Bytes(x)
		if err != nil {
			return "", err
		}
		dy, err := r.b.files.Bytes(y)
		if err != nil {
			return "", err
		}
		switch {
		case bytes.Equal(dx, dy):
		case param == "val" && x.Blob == nil && y.Blob == nil:
			return fmt.Sprintf("a constant: %s in A, %s in B", r.a.literal(a), r.b.literal(b)), nil
		default:
			return fmt.Sprintf("a weight: %s", differingBytes(param, x.Type, dx, dy)), nil
		}
	}
	return "", nil
}

// rowsApart reports whether two lists of integers differ, but only where a holds
// rows times what b holds: shapes and bounds of a block and of a single.
func rowsApart(a, b []int32, rows int) bool {
	return len(a) > 0 && slices.EqualFunc(a, b, func(x, y int32) bool { return x == y || int64(x) == int64(rows)*int64(y) })
}

// literal is a constant as the program's print has it, without its name.
func (d *side) literal(name string) string {
	_, text, _ := strings.Cut(mil.Line(d.scope.Producer(name)), " = ")
	return text
}

// differingBytes counts the elements that differ and shows the first.
func differingBytes(param string, t mil.Type, a, b []byte) string {
	size, unit := max(1, t.DType.Bits()/8), "elements"
	if t.DType.Bits()%8 != 0 {
		unit = "packed bytes"
	}
	count, first := 0, -1
	for i := 0; i+size <= min(len(a), len(b)); i += size {
		if !bytes.Equal(a[i:i+size], b[i:i+size]) {
			count++
			if first < 0 {
				first = i / size
			}
		}
	}
	show := func(data []byte) string {
		data = data[first*size : (first+1)*size]
		switch t.DType {
		case mil.Float16:
			h := make([]float16.Float16, 1)
			half.FromBytes(h, data)
			return fmt.Sprintf("%.6g", half.ToFloat64(h[0]))
		case mil.Int8:
			return fmt.Sprint(int8(data[0]))
		}
		return fmt.Sprintf("%#x", data)
	}
	return fmt.Sprintf("%s %s: %d of %d %s differ, the first is %d: %s in A, %s in B", param, t, count, len(a)/size, unit, first, show(a), show(b))
}

// suspects are the ops whose values were not compared on the way from those that
// agree to op, in program order.
func suspects(d *side, op *mil.Op, agreed func(string) bool) []string {
	at := map[*mil.Op]int{}
	for i, o := range d.ops {
		at[o] = i
	}
	seen := map[int]bool{}
	var walk func(op *mil.Op)
	walk = func(op *mil.Op) {
		inputsOf(op, func(_ string, _ int, b mil.Binding) {
			next := d.scope.Producer(b.Name)
			if op.Type == "read_state" {
				next = writeBefore(d.ops[:at[op]], b.Name)
			}
			if next == nil || d.scope.Constant(b.Name) || agreed(b.Name) || seen[at[next]] {
				return
			}
			seen[at[next]] = true
			walk(next)
		})
	}
	walk(op)
	var lines []string
	for i, o := range d.ops {
		if seen[i] && o != op {
			lines = append(lines, mil.Line(o))
		}
	}
	return lines
}

// writeBefore is the last of ops that writes the state.
func writeBefore(ops []*mil.Op, state string) *mil.Op {
	for _, op := range slices.Backward(ops) {
		if op.Type == "write_state" && bound(op, "input") == state {
			return op
		}
	}
	return nil
}

// conclude says what can be said of the op from its operands.
func (f *Found) conclude() string {
	var differ []string
	for _, o := range f.Operands {
		if !o.Agrees && !strings.HasPrefix(o.What, notCompared) {
			differ = append(differ, o.Param+" "+o.A)
		}
	}
	switch suspects := max(len(f.SuspectsA), len(f.SuspectsB)); {
	case len(differ) > 0 && f.LineB != "" && suspects == 0:
		return fmt.Sprintf("this op: what it computes on agrees, but for %s", strings.Join(differ, ", "))
	case suspects == 0 && f.LineB == "":
		return "this op, or a constant that it reads: the values that it computes on agree"
	case suspects == 0:
		return "this op: everything that it computes on agrees"
	case suspects == 1:
		return "this op, or the one before it whose value has no counterpart"
	default:
		return fmt.Sprintf("this op, or one of the %d before it whose values have no counterpart", suspects)
	}
}
