package mil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// opTable has the ops of opset CoreML8 that lockstep knows, by type: what
// parameters an op takes and what its outputs are. A new op is one entry in the
// file of its family. The table is never written to.
var opTable = tableOf(valueOps, elementwiseOps, reduceOps, layoutOps, sliceOps, linearOps, indexOps)

func tableOf(families ...map[string]opRule) map[string]opRule {
	table := map[string]opRule{}
	for _, family := range families {
		maps.Copy(table, family)
	}
	return table
}

// opRule is one row of the op table. infer may rely on params: every required
// parameter is present, dtypes are in their set, immediates have their rank and
// their data.
type opRule struct {
	params []param
	infer  func(c *call) ([]Type, error)
}

// param is one parameter of an op.
type param struct {
	name     string
	kind     paramKind
	dtypes   dtypeSet
	rank     int // of an immediate: 0 scalar, 1 vector
	optional bool
	variadic bool
}

type paramKind uint8

const (
	valueParam     paramKind = iota // run-time or compile-time
	constantParam                   // compile-time; the data may be in the weight file
	immediateParam                  // compile-time with the data in the program
	stateParam                      // a state
)

func value(name string, d dtypeSet) param { return param{name: name, dtypes: d} }

func constant(name string, d dtypeSet) param {
	return param{name: name, kind: constantParam, dtypes: d}
}

func scalar(name string, d ...DType) param {
	return param{name: name, kind: immediateParam, dtypes: setOf(d...)}
}

func vector(name string, d DType) param {
	return param{name: name, kind: immediateParam, dtypes: setOf(d), rank: 1}
}

func (p param) opt() param {
	p.optional = true
	return p
}

// dtypeSet is a set of element types, bit d for DType d.
type dtypeSet uint64

func setOf(types ...DType) dtypeSet {
	var s dtypeSet
	for _, d := range types {
		s |= 1 << d
	}
	return s
}

func (s dtypeSet) has(d DType) bool { return s&(1<<d) != 0 }

func (s dtypeSet) String() string {
	var names []string
	for d := DType(0); d < 64; d++ {
		if s.has(d) {
			names = append(names, d.String())
		}
	}
	return strings.Join(names, " or ")
}

var (
	floats   = setOf(Float16, Float32)
	numbers  = setOf(Float16, Float32, Int32)
	bools    = setOf(Bool)
	integers = setOf(Int8, Int16, Int32, UInt8, UInt16, UInt32)
	anyValue = floats | integers | bools
)

// call is one op whose output types are being inferred.
type call struct {
	Params
	outputs int // how many the op has
}

func (c *call) fail(kind error, param, wanted, found string) error {
	return c.scope.fail(c.op, kind, param, wanted, found)
}

// shape is the shape of a parameter's value. Callers must not change it.
func (c *call) shape(param string) []int { return c.Type(param).Shape }

// one is the result of an op with one output of a fresh shape.
func one(d DType, shape []int) ([]Type, error) {
	return []Type{{DType: d, Shape: shape}}, nil
}

// sameDType checks that two parameters have the same element type.
func (c *call) sameDType(a, b string) error {
	if want, got := c.Type(a).DType, c.Type(b).DType; want != got {
		return c.fail(ErrType, b, fmt.Sprintf("%s as %s has", want, a), got.String())
	}
	return nil
}

// axis reads an axis parameter and checks it against a rank.
func (c *call) axis(param string, def, rank int) (int, error) {
	axis := c.Int(param, def)
	if axis < -rank || axis >= rank {
		return 0, c.fail(ErrParam, param, fmt.Sprintf("an axis in %d..%d", -rank, rank-1), fmt.Sprint(axis))
	}
	return c.Axis(param, def, rank), nil
}

// axes reads an axes parameter, all axes if absent: normalized, ascending,
// distinct.
func (c *call) axes(param string, rank int) ([]int, error) {
	given := c.Ints(param)
	if c.Has(param) && len(given) == 0 {
		return nil, c.fail(ErrParam, param, "at least one axis", "none")
	}
	for _, axis := range given {
		if axis < -rank || axis >= rank {
			return nil, c.fail(ErrParam, param, fmt.Sprintf("axes in %d..%d", -rank, rank-1), fmt.Sprint(given))
		}
	}
	axes := c.Axes(param, rank)
	if len(slices.Compact(slices.Clone(axes))) != len(axes) {
		return nil, c.fail(ErrParam, param, "distinct axes", fmt.Sprint(given))
	}
	return axes, nil
}

// length checks that a vector parameter, if given, has n elements.
func (c *call) length(param string, n int) error {
	if shape := c.shape(param); c.Has(param) && (len(shape) != 1 || shape[0] != n) {
		return c.fail(ErrType, param, fmt.Sprintf("a vector of %d", n), c.Type(param).String())
	}
	return nil
}

// intsOr is an integer vector, or n copies of a default.
func (c *call) intsOr(param string, n, def int) []int {
	if v := c.Ints(param); v != nil {
		return v
	}
	return slices.Repeat([]int{def}, n)
}

// multiply is a product of two counts, or a failure if it leaves the range of
// a dimension.
func (c *call) multiply(param string, a, b int) (int, error) {
	if a < 0 || b < 0 || (a > 0 && b > maxElements/a) {
		return 0, c.fail(ErrShape, param, fmt.Sprintf("a dimension of at most %d", maxElements), fmt.Sprintf("%d * %d", a, b))
	}
	return a * b, nil
}

// broadcast is NumPy's rule: shapes are aligned at their last dimensions, and
// of two dimensions that differ one must be 1. ok is false if they do not fit.
func broadcast(a, b []int) (shape []int, ok bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	shape = slices.Clone(a)
	offset := len(a) - len(b)
	for i, d := range b {
		switch {
		case shape[offset+i] == d || d == 1:
		case shape[offset+i] == 1:
			shape[offset+i] = d
		default:
			return nil, false
		}
	}
	return shape, true
}

// broadcastParams is broadcast for two parameters of a call.
func (c *call) broadcastParams(a, b string) ([]int, error) {
	shape, ok := broadcast(c.shape(a), c.shape(b))
	if !ok {
		return nil, c.fail(ErrType, b, "a shape that broadcasts with "+formatShape(c.shape(a))+" of "+a, formatShape(c.shape(b)))
	}
	return shape, nil
}
