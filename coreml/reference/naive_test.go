package reference_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// naive evaluates a function by the ops' meanings, one value at a time, each
// in memory of its own: no liveness, no views, no threads. It panics on what
// the plane refuses.
type naive struct {
	files  *mlpackage.Package
	scope  *mil.Scope
	values map[string]array
	states map[string]array
	p      mil.Params
}

// evaluate runs f and returns what it left: every value, or nil if an index lies
// outside its axis; states is updated.
func evaluate(t testing.TB, files *mlpackage.Package, f *mil.Function, inputs, states map[string]array) *naive {
	t.Helper()
	scope, err := mil.NewScope(f)
	require.NoError(t, err)
	n := &naive{files: files, scope: scope, values: map[string]array{}, states: states}
	for name, in := range inputs {
		n.values[name] = in
	}
	if !n.pass(f) {
		return nil
	}
	return n
}

func (n *naive) outputs(f *mil.Function) map[string]array {
	out := map[string]array{}
	for _, name := range f.Outputs {
		v := n.value(mil.Binding{Name: name})
		out[name] = array{v.dtype, v.shape, slices.Clone(v.data)}
	}
	return out
}

// outside is the panic of an op whose indices lie outside their axis.
type outside struct{}

// pass runs the ops, and says whether all indices lay within their axis.
func (n *naive) pass(f *mil.Function) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(outside); !is {
				panic(r)
			}
			ok = false
		}
	}()
	for _, op := range f.Ops {
		n.p = n.scope.Params(op)
		n.run(op)
	}
	return true
}

func (n *naive) literal(lit *mil.Literal) array {
	out := newArray(lit.Type)
	if d := lit.Type.DType; d.Bits() < 8 || d == mil.Int8 || d == mil.UInt8 {
		copy(out.data, n.integers(lit))
		return out
	}
	raw, err := n.files.Bytes(lit)
	if err != nil {
		panic(err)
	}
	for i := range out.data {
		out.data[i] = element(lit.Type.DType, raw[i*lit.Type.DType.Bits()/8:])
	}
	return out
}

// element is the number that stored bytes begin with.
func element(d mil.DType, raw []byte) float64 {
	switch d {
	case mil.Bool:
		return float64(raw[0])
	case mil.Float16:
		return half.ToFloat64(float16.Float16(binary.LittleEndian.Uint16(raw)))
	case mil.Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
	case mil.Int16:
		return float64(int16(binary.LittleEndian.Uint16(raw)))
	case mil.UInt16:
		return float64(binary.LittleEndian.Uint16(raw))
	case mil.Int32:
		return float64(int32(binary.LittleEndian.Uint32(raw)))
	case mil.UInt32:
		return float64(binary.LittleEndian.Uint32(raw))
	}
	panic("no elements of " + d.String())
}

func (n *naive) value(b mil.Binding) array {
	if b.Literal != nil {
		return n.literal(b.Literal)
	}
	if v, ok := n.values[b.Name]; ok {
		return v
	}
	return n.literal(n.scope.Literal(b.Name))
}

func (n *naive) bindings(op *mil.Op, param string) []mil.Binding {
	for _, a := range op.Args {
		if a.Param == param {
			return a.Bindings
		}
	}
	return nil
}

func (n *naive) arg(op *mil.Op, param string) array { return n.value(n.bindings(op, param)[0]) }

func (n *naive) run(op *mil.Op) {
	var out array
	if len(op.Outputs) > 0 && op.Type != "const" {
		out = newArray(op.Outputs[0].Type)
	}
	switch op.Type {
	case "const":
		return
	case "constexpr_blockwise_shift_scale":
		n.dequantize(op, out)
	case "constexpr_lut_to_dense":
		n.lookUp(op, out)
	case "read_state":
		name, _ := n.p.Value("input")
		copy(out.data, n.states[name].data)
	case "write_state":
		name, _ := n.p.Value("input")
		copy(n.states[name].data, n.arg(op, "data").data)
		return
	case "reshape", "expand_dims", "squeeze", "identity":
		copy(out.data, n.arg(op, "x").data)
	case "transpose":
		n.transpose(op, out)
	case "split":
		n.split(op)
		return
	case "slice_by_index":
		n.slice(op, out)
	case "slice_by_size":
		n.sliceBySize(op, out)
	case "slice_update":
		n.sliceUpdate(op, out)
	case "tile":
		n.tile(op, out)
	case "linear":
		n.linear(op, out)
	case "cast":
		n.cast(op, out)
	case "select":
		cond, a, b := n.arg(op, "cond"), n.arg(op, "a"), n.arg(op, "b")
		forIndices(out.shape, func(i []int) {
			v := b.spread(i)
			if cond.spread(i) != 0 {
				v = a.spread(i)
			}
			out.set(i, v)
		})
	case "gather":
		n.gather(op, out)
	case "reduce_argmax":
		n.argmax(op, out)
	case "topk":
		n.topk(op)
		return
	case "scaled_dot_product_attention":
		n.attention(op, out)
	case "concat":
		n.concat(op, out)
	case "conv":
		n.conv(op, out)
	case "matmul":
		n.matmul(op, out)
	case "softmax":
		x := n.arg(op, "x")
		n.alongAxes(x, out, []int{n.axis("axis", -1, len(x.shape))}, softmax)
	case "layer_norm":
		n.layerNorm(op, out)
	case "reduce_sum", "reduce_mean", "reduce_max", "reduce_sum_square", "reduce_l2_norm":
		if out.dtype == mil.Int32 {
			n.reduceInts(op, out)
			break
		}
		n.reduce(op, out)
	default:
		if f := binaryMeaning(op.Type, n.p.Type("x").DType); f != nil {
			x, y := n.arg(op, "x"), n.arg(op, "y")
			forIndices(out.shape, func(i []int) { out.set(i, f(x.spread(i), y.spread(i))) })
			break
		}
		x, f := n.arg(op, "x"), n.unaryMeaning(op)
		for i, v := range x.data {
			out.put(i, f(v))
		}
	}
	n.values[op.Outputs[0].Name] = out
}

// sum adds the elements in 16 partial sums: element k to sum k mod 16.
func sum(v []float32) float32 {
	var s [16]float32
	for k, f := range v {
		s[k%16] += f
	}
	return total(s)
}

func total(s [16]float32) float32 {
	for h := 8; h >= 1; h /= 2 {
		for i := range h {
			s[i] += s[i+h]
		}
	}
	return s[0]
}

func dot(a, b []float32) float32 {
	var s [16]float32
	for k := range a {
		s[k%16] += float32(a[k] * b[k])
	}
	return total(s)
}

func largest(v []float32) float32 {
	best := float32(math.Inf(-1))
	for _, f := range v {
		best = larger(best, f)
	}
	return best
}

func larger[T float32 | float64](a, b T) T {
	switch {
	case a != a || b != b:
		return T(math.NaN())
	case a == b && math.Signbit(float64(a)): // -0 and 0
		return b
	case a >= b:
		return a
	}
	return b
}

// binaryMeaning is in float64, which rounds a sum, a difference, a product or a
// quotient of narrower floats so that rounding it again changes nothing
// (Figueroa), and is exact for what int32 can give but for products.
func binaryMeaning(op string, d mil.DType) func(a, b float64) float64 {
	switch op {
	case "add":
		return func(a, b float64) float64 { return a + b }
	case "sub":
		return func(a, b float64) float64 { return a - b }
	case "mul":
		if d == mil.Int32 {
			return func(a, b float64) float64 { return float64(int32(int64(a) * int64(b))) }
		}
		return func(a, b float64) float64 { return a * b }
	case "real_div":
		return func(a, b float64) float64 { return a / b }
	case "maximum":
		return larger[float64]
	case "minimum":
		return func(a, b float64) float64 { return -larger(-a, -b) }
	case "pow":
		return math.Pow
	case "greater_equal":
		return func(a, b float64) float64 { return truth(a >= b) }
	case "less":
		return func(a, b float64) float64 { return truth(a < b) }
	case "equal":
		return func(a, b float64) float64 { return truth(a == b) }
	}
	return nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (n *naive) unaryMeaning(op *mil.Op) func(float64) float64 {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	switch op.Type {
	case "silu":
		return func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	case "sigmoid":
		return sigmoid
	case "relu":
		return func(x float64) float64 {
			if x > 0 || x != x {
				return x
			}
			return 0
		}
	case "tanh":
		return math.Tanh
	case "exp":
		return math.Exp
	case "sqrt":
		return math.Sqrt
	case "square":
		if n.p.Type("x").DType == mil.Int32 {
			return func(x float64) float64 { return float64(int32(int64(x) * int64(x))) }
		}
		return func(x float64) float64 { return x * x }
	case "abs":
		return math.Abs
	case "rsqrt":
		eps := float64(n.p.Half("epsilon", 1e-12))
		return func(x float64) float64 { return 1 / math.Sqrt(x+eps) }
	case "gelu":
		switch n.p.String("mode", "EXACT") {
		case "EXACT":
			return func(x float64) float64 { return x * (math.Erfc(-x/math.Sqrt2) / 2) }
		case "TANH_APPROXIMATION":
			return func(x float64) float64 {
				u := math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x)
				return x / (1 + math.Exp(-2*u))
			}
		case "SIGMOID_APPROXIMATION":
			return func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) }
		}
	}
	panic("no meaning of " + op.Type)
}

func (n *naive) axis(param string, def, rank int) int {
	a := n.p.Int(param, def)
	if a < 0 {
		a += rank
	}
	return a
}

func (n *naive) transpose(op *mil.Op, out array) {
	x, perm := n.arg(op, "x"), n.p.Ints("perm")
	forIndices(out.shape, func(i []int) {
		from := make([]int, len(i))
		for d, axis := range perm {
			from[(axis+len(i))%len(i)] = i[d]
		}
		out.set(i, x.at(from))
	})
}

func (n *naive) split(op *mil.Op) {
	x := n.arg(op, "x")
	axis, begin := n.axis("axis", 0, len(x.shape)), 0
	for _, v := range op.Outputs {
		out := newArray(v.Type)
		forIndices(out.shape, func(i []int) {
			from := slices.Clone(i)
			from[axis] += begin
			out.set(i, x.at(from))
		})
		begin += out.shape[axis]
		n.values[v.Name] = out
	}
}

// chosen are the elements of each axis that a slice takes, as Python's
// x[begin:end:stride].
func (n *naive) chosen(op *mil.Op, shape []int) (chosen [][]int, squeezed []bool) {
	begin, end, stride := n.ints(op, "begin"), n.ints(op, "end"), n.p.Ints("stride")
	mask := func(param string, d int) bool {
		m := n.p.BoolSlice(param)
		return m != nil && m[d]
	}
	squeezed = make([]bool, len(shape))
	for d, size := range shape {
		step := 1
		if stride != nil {
			step = stride[d]
		}
		lo, hi := begin[d], end[d]
		if lo < 0 {
			lo += size
		}
		if hi < 0 {
			hi += size
		}
		if mask("begin_mask", d) {
			lo = 0
			if step < 0 {
				lo = size - 1
			}
		}
		if mask("end_mask", d) {
			hi = size
			if step < 0 {
				hi = -1
			}
		}
		var at []int
		if squeezed[d] = mask("squeeze_mask", d); squeezed[d] {
			at = []int{lo}
		} else {
			for i := lo; (step > 0 && i < hi) || (step < 0 && i > hi); i += step {
				at = append(at, i)
			}
		}
		chosen = append(chosen, at)
	}
	return chosen, squeezed
}

func (n *naive) slice(op *mil.Op, out array) {
	x := n.arg(op, "x")
	chosen, squeezed := n.chosen(op, x.shape)
	forIndices(out.shape, func(i []int) {
		from, k := make([]int, len(x.shape)), 0
		for d := range from {
			from[d] = chosen[d][0]
			if !squeezed[d] {
				from[d] = chosen[d][i[k]]
				k++
			}
		}
		out.set(i, x.at(from))
	})
}

func (n *naive) concat(op *mil.Op, out array) {
	var xs []array
	for _, b := range n.bindings(op, "values") {
		xs = append(xs, n.value(b))
	}
	axis := n.axis("axis", 0, len(out.shape))
	interleave := n.p.Bool("interleave", false)
	forIndices(out.shape, func(i []int) {
		from, which := slices.Clone(i), 0
		if interleave {
			which, from[axis] = i[axis]%len(xs), i[axis]/len(xs)
		} else {
			for from[axis] >= xs[which].shape[axis] {
				from[axis] -= xs[which].shape[axis]
				which++
			}
		}
		out.set(i, xs[which].at(from))
	})
}

func (n *naive) matmul(op *mil.Op, out array) {
	x, y := n.arg(op, "x"), n.arg(op, "y")
	tx, ty := n.p.Bool("transpose_x", false), n.p.Bool("transpose_y", false)
	inner := x.shape[len(x.shape)-1]
	if tx {
		inner = x.shape[len(x.shape)-2]
	}
	at := make([]int, len(out.shape))
	element := func(a array, row, column int, transposed bool) float64 {
		if transposed {
			row, column = column, row
		}
		at[len(at)-2], at[len(at)-1] = row, column
		return a.spread(at)
	}
	a, b := make([]float64, inner), make([]float64, inner)
	forIndices(out.shape, func(i []int) {
		copy(at, i)
		r, c := i[len(i)-2], i[len(i)-1]
		for k := range inner {
			a[k], b[k] = element(x, r, k, tx), element(y, k, c, ty)
		}
		out.set(i, dotOf(out.dtype, a, b))
	})
}

// alongAxes applies f to each vector of floats over the axes, in row-major order.
func (n *naive) alongAxes(x, out array, axes []int, f func(v []float32) []float32) {
	n.along(x, out, axes, func(v []float64) []float64 { return wide(f(narrow(v))) })
}

// along applies f to each vector over the axes, in row-major order.
func (n *naive) along(x, out array, axes []int, f func(v []float64) []float64) {
	outer, inner := slices.Clone(x.shape), make([]int, len(x.shape))
	for d := range inner {
		inner[d] = 1
	}
	for _, a := range axes {
		outer[a], inner[a] = 1, x.shape[a]
	}
	forIndices(outer, func(o []int) {
		place := func(i []int) []int {
			at := slices.Clone(o)
			for d := range at {
				at[d] += i[d]
			}
			return at
		}
		var v []float64
		forIndices(inner, func(i []int) { v = append(v, x.at(place(i))) })
		result, k := f(v), 0
		forIndices(inner, func(i []int) {
			out.set(place(i), result[k])
			k++
		})
	})
}

// softmax takes e^x from the kernel, whose own tests hold it against the
// definition: section 4 leaves its last bits open.
func softmax(v []float32) []float32 {
	out, top := make([]float32, len(v)), largest(v)
	for i, f := range v {
		out[i] = kernel.Exp32(f - top)
	}
	total := sum(out)
	for i := range out {
		out[i] /= total
	}
	return out
}

func (n *naive) axes(rank int) []int {
	if !n.p.Has("axes") {
		all := make([]int, rank)
		for i := range all {
			all[i] = i
		}
		return all
	}
	axes := n.p.Ints("axes")
	for i := range axes {
		axes[i] = (axes[i] + rank) % rank
	}
	return axes
}

func (n *naive) layerNorm(op *mil.Op, out array) {
	x, eps := n.arg(op, "x"), n.p.Half("epsilon", 1e-5)
	var gamma, beta array
	if b := n.bindings(op, "gamma"); b != nil {
		gamma = n.value(b[0])
	}
	if b := n.bindings(op, "beta"); b != nil {
		beta = n.value(b[0])
	}
	n.alongAxes(x, out, n.axes(len(x.shape)), func(v []float32) []float32 {
		mean := sum(v) / float32(len(v))
		c, squares := make([]float32, len(v)), make([]float32, len(v))
		for i := range v {
			c[i] = v[i] - mean
			squares[i] = float32(c[i] * c[i])
		}
		deviation := float32(math.Sqrt(float64(sum(squares)/float32(len(v)) + eps)))
		for i := range c {
			c[i] /= deviation
			if gamma.data != nil {
				c[i] = float32(c[i] * float32(gamma.data[i]))
			}
			if beta.data != nil {
				c[i] += float32(beta.data[i])
			}
		}
		return c
	})
}

func (n *naive) reduce(op *mil.Op, out array) {
	x := n.arg(op, "x")
	axes := n.axes(len(x.shape))
	var results []float64
	n.alongAxes(x, newArray(mil.Tensor(mil.Float16, x.shape...)), axes, func(v []float32) []float32 {
		switch op.Type {
		case "reduce_sum":
			results = append(results, float64(sum(v)))
		case "reduce_mean":
			results = append(results, float64(sum(v)/float32(len(v))))
		case "reduce_sum_square":
			results = append(results, float64(dot(v, v)))
		case "reduce_l2_norm":
			results = append(results, math.Sqrt(float64(dot(v, v))))
		default:
			results = append(results, float64(largest(v)))
		}
		return v
	})
	for i, r := range results { // vectors and results come in the same order
		out.put(i, r)
	}
}
