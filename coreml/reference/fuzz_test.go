package reference_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// mutation turns fuzz bytes into changes of a function.
type mutation struct{ data []byte }

func (m *mutation) byte() int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b)
}

// below draws from 0 to n-1 of up to 65,536; 0 if n is 0.
func (m *mutation) below(n int) int {
	if n == 0 {
		return 0
	}
	return (m.byte() | m.byte()<<8) % n
}

// number is small, rarely any int32.
func (m *mutation) number() int {
	if m.byte()%8 > 0 {
		return m.byte()%24 - 4
	}
	var b [4]byte
	for i := range b {
		b[i] = byte(m.byte())
	}
	return int(int32(binary.LittleEndian.Uint32(b[:])))
}

// names lists the values of f.
func names(f *mil.Function) []string {
	var out []string
	for _, in := range f.Inputs {
		out = append(out, in.Name)
	}
	for _, op := range f.Ops {
		for _, v := range op.Outputs {
			out = append(out, v.Name)
		}
	}
	return out
}

// families are ops that often can stand for each other.
var families = [][]string{
	{"add", "sub", "mul", "real_div", "maximum", "minimum", "matmul", "pow", "less", "greater_equal", "equal"},
	{"silu", "sigmoid", "relu", "tanh", "exp", "sqrt", "square", "abs", "gelu", "rsqrt", "softmax", "layer_norm", "topk", "reduce_argmax"},
	{"reduce_sum", "reduce_mean", "reduce_max", "squeeze", "expand_dims"},
}

// apply makes one change.
func (m *mutation) apply(f *mil.Function) {
	at := m.below(len(f.Ops))
	op := f.Ops[at]
	switch m.byte() % 10 {
	case 0:
		op.Type = mil.OpTypes()[m.below(len(mil.OpTypes()))]
	case 1:
		for _, family := range families {
			if slices.Contains(family, op.Type) {
				op.Type = family[m.below(len(family))]
				break
			}
		}
	case 2, 3:
		if len(op.Args) > 0 {
			arg := &op.Args[m.below(len(op.Args))]
			if all := names(f); m.byte()%4 > 0 {
				arg.Bindings[m.below(len(arg.Bindings))] = mil.Binding{Name: all[m.below(len(all))]}
			} else { // one more, for concat
				arg.Bindings = append(arg.Bindings, mil.Binding{Name: all[m.below(len(all))]})
			}
		}
	case 4:
		m.literal(f)
	case 5:
		all := names(f)
		f.Outputs = append(f.Outputs, all[m.below(len(all))])
	case 6:
		f.Ops = slices.Delete(f.Ops, at, at+1)
	case 7: // the op again, later
		again := op.Clone()
		again.Name += "_again"
		for i := range again.Outputs {
			again.Outputs[i].Name += "_again"
		}
		f.Ops = slices.Insert(f.Ops, min(len(f.Ops), at+m.below(40)), again)
	case 8: // earlier or later
		f.Ops = slices.Delete(f.Ops, at, at+1)
		f.Ops = slices.Insert(f.Ops, m.below(len(f.Ops)+1), op)
	case 9:
		if shape := f.Inputs[m.below(len(f.Inputs))].Type.Shape; len(shape) > 0 {
			shape[m.below(len(shape))] = m.number()
		}
	}
}

// literal changes an element of a constant that lies in the program.
func (m *mutation) literal(f *mil.Function) {
	var all []*mil.Literal
	mil.WalkLiterals(f, func(_ *mil.Op, _ string, lit *mil.Literal) { all = append(all, lit) })
	if len(all) == 0 {
		return
	}
	switch lit := all[m.below(len(all))]; {
	case len(lit.Ints) > 0:
		lit.Ints[m.below(len(lit.Ints))] = int32(m.number())
	case len(lit.Bools) > 0:
		i := m.below(len(lit.Bools))
		lit.Bools[i] = !lit.Bools[i]
	case len(lit.Bytes) > 0:
		lit.Bytes[m.below(len(lit.Bytes))] = byte(m.byte())
	case lit.Blob != nil && len(lit.Type.Shape) > 0:
		i := m.below(len(lit.Type.Shape))
		lit.Type.Shape[i], lit.Type.Shape[0] = lit.Type.Shape[0], lit.Type.Shape[i]
	}
}

// rebuild makes a sound function of a changed one: operands that are not
// defined are replaced by values that are, the types of results are inferred
// again, and ops that stay unsound are left out.
func rebuild(m *mutation, f *mil.Function) *mil.Function {
	out := &mil.Function{Name: f.Name, Opset: f.Opset}
	defined, producers := map[string]mil.Type{}, map[string]*mil.Op{}
	var order []string
	define := func(v mil.Value, op *mil.Op) {
		defined[v.Name], producers[v.Name] = v.Type, op
		order = append(order, v.Name)
	}
	for _, in := range f.Inputs {
		if mil.CheckShape(in.Type.Shape) == nil && !slices.Contains(in.Type.Shape, 0) {
			out.Inputs = append(out.Inputs, in)
			define(in, nil)
		}
	}
	for _, op := range f.Ops {
		for i, arg := range op.Args {
			for j, b := range arg.Bindings {
				if _, ok := defined[b.Name]; b.Literal == nil && !ok && len(order) > 0 {
					op.Args[i].Bindings[j].Name = order[m.below(len(order))]
				}
			}
		}
		if made := infer(op, defined, producers); made != nil && !slices.ContainsFunc(made.Outputs, func(v mil.Value) bool {
			_, taken := defined[v.Name]
			return taken
		}) {
			out.Ops = append(out.Ops, made)
			for _, v := range made.Outputs {
				define(v, made)
			}
		}
	}
	for _, name := range f.Outputs {
		if _, ok := defined[name]; ok && !slices.Contains(out.Outputs, name) {
			out.Outputs = append(out.Outputs, name)
		}
	}
	if len(out.Outputs) == 0 && len(order) > 0 {
		out.Outputs = order[len(order)-1:]
	}
	return out
}

// infer returns the op with the types that its results have over these
// operands, nil if it is unsound.
func infer(op *mil.Op, defined map[string]mil.Type, producers map[string]*mil.Op) *mil.Op {
	b := mil.NewBuilder("f", "CoreML8")
	var declare func(name string)
	declare = func(name string) {
		typ, ok := defined[name]
		if _, done := b.Type(name), b.Type(name).DType != 0; done || !ok {
			return
		}
		producer := producers[name]
		switch {
		case typ.State:
			b.State(name, mil.Tensor(typ.DType, typ.Shape...))
		case producer == nil || producer.Val == nil && !strings.HasPrefix(producer.Type, "constexpr_"):
			b.Input(name, typ)
		case producer.Val != nil:
			b.Const(name, *producer.Val)
		default:
			b.Op(producer.Type, name, operands(producer, declare)...)
		}
	}
	var outs []string
	for _, v := range op.Outputs {
		outs = append(outs, v.Name)
	}
	made := op.Clone()
	switch {
	case op.Type == "const" && op.Val != nil && len(outs) == 1 && len(op.Args) == 0:
		b.Const(outs[0], *op.Val)
	case op.Type == "const" || op.Val != nil:
		return nil
	case op.Type == "write_state":
		if args := operands(op, declare); len(args) != 2 || len(op.Args[0].Bindings) != 1 || len(op.Args[1].Bindings) != 1 {
			return nil
		}
		b.Write(op.Args[1].Bindings[0].Name, op.Args[0].Bindings[0].Name)
	default:
		b.Ops(op.Type, outs, operands(op, declare)...)
	}
	if b.Err() != nil {
		return nil
	}
	for i, name := range outs {
		made.Outputs[i].Type = b.Type(name)
	}
	return made
}

// operands declares an op's operands and gives them in the builder's form.
func operands(op *mil.Op, declare func(name string)) []mil.Operand {
	var out []mil.Operand
	for _, arg := range op.Args {
		var given []string
		for _, b := range arg.Bindings {
			if b.Literal != nil {
				out = append(out, mil.Inline(arg.Param, *b.Literal))
				continue
			}
			declare(b.Name)
			given = append(given, b.Name)
		}
		if len(given) > 0 {
			out = append(out, mil.Arg(arg.Param, given...))
		}
	}
	return out
}

// work is about how many products a function computes.
func work(f *mil.Function) float64 {
	types := map[string]mil.Type{}
	total := 0.0
	for _, in := range f.Inputs {
		types[in.Name] = in.Type
	}
	for _, op := range f.Ops {
		for _, v := range op.Outputs {
			types[v.Name] = v.Type
		}
		n := 1.0
		for _, arg := range op.Args {
			for _, b := range arg.Bindings {
				switch shape := types[b.Name].Shape; op.Type + " " + arg.Param {
				case "matmul x":
					n = float64(max(shape[len(shape)-1], shape[len(shape)-2]))
				case "conv x":
					n = max(n, float64(shape[1]))
				case "conv weight":
					n = max(n, float64(mil.NumElements(shape[1:])))
				case "linear x":
					n = float64(shape[len(shape)-1])
				case "scaled_dot_product_attention key": // the naive evaluator does it again for each of value's columns
					n = float64(mil.NumElements(shape[len(shape)-2:]))
				case "topk x", "reduce_argmax x":
					n = float64(mil.NumElements(shape))
				}
			}
		}
		for _, v := range op.Outputs {
			total += n * float64(mil.NumElements(v.Type.Shape))
		}
	}
	return total
}

// nanoBase is nano's tail or another program, to be mutated.
type nanoBase struct {
	files     *mlpackage.Package
	functions []*mil.Function
}

// newNanoBase has lockstep's own graph, with few slots.
func newNanoBase(t testing.TB) *nanoBase {
	t.Helper()
	return openBase(t, exportTail(t, fixtures.Nano(), 32, exporter.Int8, exporter.LayerNormConcat).dir)
}

func openBase(t testing.TB, dir string) *nanoBase {
	t.Helper()
	base := new(nanoBase)
	var err error
	base.files, err = mlpackage.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, base.files.Close()) })
	base.functions = base.files.Model.Program.Functions
	return base
}

// outcome of one mutated program.
type outcome string

const (
	unsound  outcome = "unsound"  // refused by Check
	refused  outcome = "refused"  // by the plane
	compared outcome = "compared" // executed and equal to the naive evaluator
	tooLarge outcome = "too large to execute here"
)

// try prepares and executes a mutated function. It must be refused in words or
// agree with the naive evaluator on every bit.
func (base *nanoBase) try(t testing.TB, which int, data []byte) outcome {
	f := base.functions[which%len(base.functions)].Clone()
	f.Name = mlpackage.MainFunction
	m := &mutation{data: data}
	for len(m.data) > 0 && len(f.Ops) > 0 {
		m.apply(f)
	}
	f = rebuild(m, f)
	prog := &mil.Program{Functions: []*mil.Function{f}}
	if prog.Check() != nil {
		return unsound
	}
	files := &mlpackage.Package{
		Model:   &mlpackage.Model{SpecVersion: 9, Description: describe(prog), Program: prog},
		Weights: base.files.Weights, WeightBytes: base.files.WeightBytes,
	}
	const limit = 4 << 20
	pkg, err := reference.Plane{MaxBytes: limit}.NewPackage(files)
	if err != nil {
		require.ErrorIs(t, err, mlpackage.ErrReference)
		return unsound
	}
	defer pkg.Close() // nothing is mapped
	_, stateErr := pkg.NewState()
	if _, err := pkg.Function(context.Background(), f.Name); err != nil || stateErr != nil {
		for _, e := range []error{err, stateErr} {
			if e != nil && !errors.Is(e, reference.ErrProgram) && !errors.Is(e, reference.ErrMemory) {
				require.NoError(t, e)
			}
		}
		if err != nil {
			require.ErrorContains(t, err, "function main")
		}
		return refused
	}
	if work(f) > 5e6 {
		return tooLarge
	}
	comparePasses(t, pkg, files, f, newDraw("mutated"), 1)
	return compared
}

// FuzzCompile: no program that Check takes makes the plane panic or allocate
// beyond its bound, and what it executes it executes right.
func FuzzCompile(f *testing.F) {
	nano := newNanoBase(f)
	bases := []*nanoBase{nano, nano}
	for _, name := range slices.Sorted(maps.Keys(convertedPackages(f))) {
		bases = append(bases, openBase(f, convertedDir(name)))
	}
	f.Add(0, []byte{})
	f.Add(2, []byte{})
	f.Add(3, []byte{0, 0, 0, 40, 0, 7, 0, 2, 1, 0, 3, 0, 1})
	f.Add(1, []byte{})
	f.Add(0, []byte{10, 0, 8, 1, 0, 30, 0, 5, 9, 0, 77, 0, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(1, []byte{3, 0, 9, 0, 0, 1, 0, 0, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		if len(data) > 200 {
			t.Skip("more than 200 bytes change everything")
		}
		bases[uint(which)%uint(len(bases))].try(t, int(uint(which)%2), data)
	})
}

// TestMutatedNano is FuzzCompile on drawn bytes; it also shows that the
// mutations do not all miss.
func TestMutatedNano(t *testing.T) {
	seen := newNanoBase(t).mutate(t, "mutation", 60)
	assert.Greater(t, seen[compared], 20)
	assert.Greater(t, seen[refused], 5)
}

// TestMutatedForeign does the same to what coremltools built.
func TestMutatedForeign(t *testing.T) {
	for _, name := range []string{"traced", "traced_lut6_int8", "traced_uint8_channel"} { // those of 64 slots: little work
		t.Run(name, func(t *testing.T) {
			seen := openBase(t, provenance{Name: name}.dir()).mutate(t, name, 32)
			assert.Greater(t, seen[compared], 5)
		})
	}
}

// mutate tries n drawn mutations and counts what came of them.
func (base *nanoBase) mutate(t *testing.T, kind string, n int) map[outcome]int {
	t.Helper()
	seen := map[outcome]int{}
	for i := range n {
		name := fmt.Sprintf("%s %d", kind, i)
		d := newDraw(name)
		data := make([]byte, d.between(5, 60))
		for j := range data {
			data[j] = byte(d.IntN(math.MaxUint8 + 1))
		}
		ok := t.Run(fmt.Sprint(i), func(t *testing.T) { seen[base.try(t, i, data)]++ })
		require.True(t, ok, name)
	}
	t.Log(seen)
	return seen
}
