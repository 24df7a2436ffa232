package mil

import "slices"

// elementwiseOps work on each element alone, with NumPy broadcast where there
// are two operands.
var elementwiseOps = map[string]opRule{
	"add":           {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"sub":           {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"mul":           {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"real_div":      {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"maximum":       {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"minimum":       {[]param{value("x", numbers), value("y", numbers)}, inferBinary},
	"greater_equal": {[]param{value("x", numbers), value("y", numbers)}, inferCompare},
	"less":          {[]param{value("x", numbers), value("y", numbers)}, inferCompare},
	"equal":         {[]param{value("x", numbers), value("y", numbers)}, inferCompare},
	"select":        {[]param{value("cond", bools), value("a", anyValue), value("b", anyValue)}, inferSelect},
	"cast":          {[]param{value("x", anyValue), scalar("dtype", String)}, inferCast},
	"pow":           {[]param{value("x", floats), value("y", floats)}, inferBinary},
	"identity":      {[]param{value("x", anyValue)}, inferSame},
	"silu":          {[]param{value("x", floats)}, inferSame},
	"sigmoid":       {[]param{value("x", floats)}, inferSame},
	"relu":          {[]param{value("x", floats)}, inferSame},
	"tanh":          {[]param{value("x", floats)}, inferSame},
	"exp":           {[]param{value("x", floats)}, inferSame},
	"sqrt":          {[]param{value("x", floats)}, inferSame},
	"square":        {[]param{value("x", numbers)}, inferSame},
	"abs":           {[]param{value("x", numbers)}, inferSame},
	"rsqrt":         {[]param{value("x", floats), scalar("epsilon", Float16, Float32).opt()}, inferSame},
	"gelu":          {[]param{value("x", floats), scalar("mode", String).opt()}, inferGelu},
}

func inferSame(c *call) ([]Type, error) {
	return []Type{cloneType(c.Type("x"))}, nil
}

func inferBinary(c *call) ([]Type, error) {
	if err := c.sameDType("x", "y"); err != nil {
		return nil, err
	}
	shape, err := c.broadcastParams("x", "y")
	if err != nil {
		return nil, err
	}
	return one(c.Type("x").DType, shape)
}

func inferCompare(c *call) ([]Type, error) {
	types, err := inferBinary(c)
	if err != nil {
		return nil, err
	}
	types[0].DType = Bool
	return types, nil
}

func inferSelect(c *call) ([]Type, error) {
	if err := c.sameDType("a", "b"); err != nil {
		return nil, err
	}
	shape, err := c.broadcastParams("a", "b")
	if err != nil {
		return nil, err
	}
	out, ok := broadcast(shape, c.shape("cond"))
	if !ok {
		return nil, c.fail(ErrType, "cond", "a shape that broadcasts with "+formatShape(shape), formatShape(c.shape("cond")))
	}
	return one(c.Type("a").DType, out)
}

func inferCast(c *call) ([]Type, error) {
	for d := range dtypeNames {
		if d.String() == c.String("dtype", "") && castTargets.has(d) {
			return one(d, slices.Clone(c.shape("x")))
		}
	}
	return nil, c.fail(ErrParam, "dtype", castTargets.String(), quote(c.String("dtype", "")))
}

var castTargets = setOf(Float16, Float32, Int8, UInt8, Int16, UInt16, Int32, Bool)

// The modes of gelu; the first is the default.
const (
	GeluExact   = "EXACT"
	GeluTanh    = "TANH_APPROXIMATION"
	GeluSigmoid = "SIGMOID_APPROXIMATION"
)

func inferGelu(c *call) ([]Type, error) {
	switch mode := c.String("mode", GeluExact); mode {
	case GeluExact, GeluTanh, GeluSigmoid:
		return inferSame(c)
	default:
		return nil, c.fail(ErrParam, "mode", GeluExact+", "+GeluTanh+" or "+GeluSigmoid, quote(mode))
	}
}
