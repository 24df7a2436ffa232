package terms

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/mil"
)

// TestMix: order counts, and neither half of a hash repeats over the kind of
// input that programs give: counters, and counters folded into columns.
func TestMix(t *testing.T) {
	h := hashing{}
	a, b := h.seed("a"), h.seed("b")
	assert.NotEqual(t, h.mix(h.mix(a, b), a), h.mix(h.mix(a, a), b))
	assert.NotEqual(t, h.mix(a, b), h.mix(b, a))
	const n = 1 << 18
	high, low := make(map[uint64]bool, 2*n), make(map[uint64]bool, 2*n)
	column := a
	for i := range n {
		column = h.mix(column, number(float64(i%3)))
		for _, term := range []Term{h.element(b, i), column} {
			require.True(t, term.isOpaque())
			high[term.hi], low[term.lo] = true, true
		}
	}
	assert.Len(t, high, 2*n)
	assert.Len(t, low, 2*n)
}

// TestJoin: only what changes no bit is simplified.
func TestJoin(t *testing.T) {
	h := hashing{}
	x, y := h.seed("x"), h.seed("y")
	join := func(op string, a, b Term) Term {
		return arithmetic{h, op, mil.Float16, h.seed(op)}.join(a, b)
	}
	for _, c := range []struct {
		name      string
		got, want Term
	}{
		{"x + 0", join("add", x, zero), x},
		{"0 + x", join("add", zero, x), x},
		{"x - 0", join("sub", x, zero), x},
		{"x * 1", join("mul", x, one), x},
		{"1 * x", join("mul", one, x), x},
		{"x * 0", join("mul", x, zero), zero},
		{"x / 1", join("real_div", x, one), x},
		{"0 / x", join("real_div", zero, x), zero},
		{"max(x, x)", join("maximum", x, x), x},
		{"x + y = y + x", join("add", x, y), join("add", y, x)},
		{"x * y = y * x", join("mul", x, y), join("mul", y, x)},
		{"1 - 1", join("sub", one, one), zero},
		{"1 / 3 in float16", join("real_div", one, number(3)), number(0.333251953125)},
		{"2 >= 1", join("greater_equal", number(2), one), one},
	} {
		assert.Equal(t, c.want, c.got, c.name)
	}
	for name, pair := range map[string][2]Term{
		"x - y and y - x":  {join("sub", x, y), join("sub", y, x)},
		"x / y and y / x":  {join("real_div", x, y), join("real_div", y, x)},
		"x + y and x * y":  {join("add", x, y), join("mul", x, y)},
		"0 - x and x":      {join("sub", zero, x), x},
		"1 / x and x":      {join("real_div", one, x), x},
		"x * -1 and x":     {join("mul", x, number(-1)), x},
		"x + 1 and x":      {join("add", x, one), x},
		"x - x and 0":      {join("sub", x, x), zero}, // true of finite numbers, but nothing needs it
		"1 / 0 and 0":      {join("real_div", one, zero), zero},
		"max(x, y), min":   {join("maximum", x, y), join("minimum", x, y)},
		"x < y and y < x":  {join("less", x, y), join("less", y, x)},
		"x + 2 and x + -2": {join("add", x, number(2)), join("add", x, number(-2))},
	} {
		assert.NotEqual(t, pair[0], pair[1], name)
	}
}

// TestMask: a score hides behind a mask from -1e4 down, and behind nothing else.
func TestMask(t *testing.T) {
	h := hashing{}
	x := h.seed("x")
	add := arithmetic{h, "add", mil.Float16, h.seed("add")}
	sub := arithmetic{h, "sub", mil.Float16, h.seed("sub")}
	assert.True(t, add.join(x, number(-1e4)).isVanishing())
	assert.True(t, add.join(number(-4e4), x).isVanishing())
	assert.True(t, sub.join(x, number(1e4)).isVanishing())
	assert.True(t, add.join(zero, number(-1e4)).isVanishing(), "a score that is 0")
	assert.False(t, add.join(x, number(-9992)).isVanishing())
	assert.False(t, add.join(x, number(1e4)).isVanishing())
	assert.False(t, sub.join(number(1e4), x).isVanishing())
	hidden := add.join(x, number(-1e4))
	assert.False(t, add.join(hidden, x).isVanishing(), "what is added to a hidden score may bring it back")
}

// TestUndefined: nothing makes an undefined value defined again.
func TestUndefined(t *testing.T) {
	h := hashing{}
	bad := h.seed("nothing")
	bad.hi |= undefined
	for _, op := range []string{"add", "sub", "mul", "real_div", "maximum"} {
		a := arithmetic{h, op, mil.Float16, h.seed(op)}
		for _, other := range []Term{zero, one, h.seed("x"), bad} {
			assert.True(t, a.join(bad, other).isUndefined(), "%s with %s", op, other)
			assert.True(t, a.join(other, bad).isUndefined(), "%s with %s", op, other)
		}
	}
}

func TestNumber(t *testing.T) {
	assert.Equal(t, zero, number(math.Copysign(0, -1)), "a sign that no comparison of values sees")
	v, ok := number(-1e4).value()
	assert.True(t, ok)
	assert.Equal(t, -1e4, v)
	_, ok = hashing{}.seed("x").value()
	assert.False(t, ok)
}

// TestDependenceSets: sources stay apart up to the last one.
func TestDependenceSets(t *testing.T) {
	d := dependence{}
	var all Term
	for i := range maxSources {
		one := d.source(Term{}, 0, i)
		all = d.mix(all, one)
		for k := range maxSources {
			assert.Equal(t, k == i, one.has(k), "source %d in the set of %d", k, i)
			assert.Equal(t, k <= i, all.has(k), "source %d in the set of the first %d", k, i+1)
		}
	}
	assert.True(t, all.isOpaque())
	assert.False(t, all.isVanishing() || all.isUndefined())
}
