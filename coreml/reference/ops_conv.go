package reference

import (
	"fmt"

	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// window is the geometry of a convolution over three spatial axes, of which one
// or two may be there for the form only.
type window struct {
	channels, groups   int
	in, out, kernel    [3]int // sizes
	stride, step, skip [3]int // of windows, of their elements (dilation), and what lies before the input (padding)
}

// windowed is a convolution of any form: for each place of the kernel the
// elements under it are laid out as the weight's rows are, channel by channel,
// zeros where they lie outside x, and multiplied with them. Work is split over
// the places of all batches and groups.
func (c *compiler) windowed() error {
	g, err := c.window()
	if err != nil {
		return err
	}
	x, err := c.operand("x")
	if err != nil {
		return err
	}
	w, err := c.operand("weight")
	if err != nil {
		return err
	}
	bias, err := c.optional("bias")
	if err != nil {
		return err
	}
	dst := c.result(0)
	f, toHalf := c.fn, c.values[dst].typ.DType == mil.Float16
	places, k := product3(g.out), g.channels/g.groups*product3(g.kernel)
	outputs := c.values[w].typ.Shape[0]
	rows := outputs / g.groups
	c.needScratch(k + rows)
	run := func(worker, lo, hi int) {
		under, sums := f.scratch[worker][:k], f.scratch[worker][k:k+rows]
		for r := lo; r < hi; r++ {
			batch, group, place := r/places/g.groups, r/places%g.groups, r%places
			at := (batch*g.groups + group) * (g.channels / g.groups) * product3(g.in)
			g.load(under, f.values[x][at:], place)
			weight := f.values[w][group*rows*k : (group+1)*rows*k]
			kernel.MatMulTransposedFloat32(sums, under, weight, 1, rows, k)
			for o := range sums {
				if bias != nil {
					sums[o] += bias[group*rows+o]
				}
			}
			if toHalf {
				half.Round(sums)
			} else {
				kernel.Canonicalize(sums)
			}
			for o, v := range sums {
				f.values[dst][(batch*outputs+group*rows+o)*places+place] = v
			}
		}
	}
	n := c.values[x].typ.Shape[0] * g.groups * places
	c.add([]int{x, w}, []int{dst}, func() { f.each(n, 1+productGrain/k/rows, run) })
	return nil
}

// window reads the conv at hand.
func (c *compiler) window() (window, error) {
	p := c.params
	x, w, out := p.Type("x").Shape, p.Type("weight").Shape, c.op.Outputs[0].Type.Shape
	g := window{channels: x[1], groups: p.Int("groups", 1)}
	g.in, g.out, g.kernel = spatial(x[2:], 1), spatial(out[2:], 1), spatial(w[2:], 1)
	g.stride, g.step = spatial(p.Ints("strides"), 1), spatial(p.Ints("dilations"), 1)
	switch p.PadType() {
	case mil.PadCustom:
		var before []int
		for i := 0; i < len(p.Ints("pad")); i += 2 {
			before = append(before, p.Ints("pad")[i])
		}
		g.skip = spatial(before, 0)
	case mil.PadSame, mil.PadSameLower:
		return g, g.same(p.PadType())
	}
	return g, nil
}

// same pads so that each axis has size/stride windows. The definitions in use
// differ in which side gets more where the padding is odd, and in whether the
// stride lessens it; the forms in which they agree are executed.
func (g *window) same(padType string) error {
	for d := range g.in {
		reach := (g.kernel[d] - 1) * g.step[d]
		if total := (g.out[d]-1)*g.stride[d] + reach + 1 - g.in[d]; max(total, 0) != reach || reach%2 != 0 {
			return fmt.Errorf("%w: parameter pad_type: want custom or valid where the padding of both ends is not the same whatever the stride, found %s",
				ErrProgram, padType)
		}
		g.skip[d] = reach / 2
	}
	return nil
}

// spatial puts the parameters of the spatial axes last among three.
func spatial(given []int, rest int) [3]int {
	out := [3]int{rest, rest, rest}
	copy(out[3-len(given):], given)
	return out
}

func product3(n [3]int) int { return n[0] * n[1] * n[2] }

// load lays out what lies under the kernel at a place of the result, channel by
// channel of the group that x begins with.
func (g *window) load(under, x []float32, place int) {
	var first [3]int // in x, before or after it where that is padding
	for d := 2; d >= 0; d-- {
		first[d] = place%g.out[d]*g.stride[d] - g.skip[d]
		place /= g.out[d]
	}
	clear(under)
	size := product3(g.in)
	for ; len(under) > 0; x = x[min(size, len(x)):] {
		g.loadChannel(under, x, first)
		under = under[product3(g.kernel):]
	}
}

func (g *window) loadChannel(under, x []float32, first [3]int) {
	at := 0
	for a := range g.kernel[0] {
		for b := range g.kernel[1] {
			for e := range g.kernel[2] {
				i, j, k := first[0]+a*g.step[0], first[1]+b*g.step[1], first[2]+e*g.step[2]
				if i >= 0 && i < g.in[0] && j >= 0 && j < g.in[1] && k >= 0 && k < g.in[2] {
					under[at] = x[(i*g.in[1]+j)*g.in[2]+k]
				}
				at++
			}
		}
	}
}
