package probe

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/manifest"
)

// driver runs one function with host inputs.
type driver struct {
	fn     coreml.Function
	pass   *hostinput.Pass
	rope   *hostinput.Rows
	inputs map[string]coreml.Tensor
	out    coreml.Tensor
}

// newDriver reads T off the function; x and hidden have T on either axis, with
// the same elements in the same order.
func newDriver(fn coreml.Function, d Dimensions, rows int) (*driver, error) {
	cfg := d.config()
	rope, err := hostinput.NewRope(hostinput.Rope{
		Theta: cfg.RopeTheta, Dim: cfg.RotaryDim(), Factors: cfg.Rope.ShortFactor, AttentionFactor: cfg.AttentionFactor(),
	})
	if err != nil {
		return nil, err
	}
	pass := hostinput.NewPass(hostinput.Shape{Hidden: cfg.HiddenSize, Rows: rows, Slots: d.Slots, RopeHalf: cfg.RotaryDim() / 2})
	dr := &driver{fn: fn, pass: pass, rope: rope, inputs: map[string]coreml.Tensor{}}
	sig := fn.Signature()
	for _, in := range sig.Inputs {
		t, ok := pass.Inputs()[in.Name]
		if !ok || elements(in.Shape) != len(t.Data) {
			return nil, fmt.Errorf("function %s: want the contract's inputs for T=%d, found %s %v", fn.Name(), rows, in.Name, in.Shape)
		}
		dr.inputs[in.Name] = coreml.Tensor{Shape: in.Shape, Data: t.Data}
	}
	if len(sig.Outputs) != 1 || sig.Outputs[0].Name != contract.Hidden || elements(sig.Outputs[0].Shape) != cfg.HiddenSize*rows {
		return nil, fmt.Errorf("function %s: want the output %s of %d elements, found %v", fn.Name(), contract.Hidden, cfg.HiddenSize*rows, sig.Outputs)
	}
	dr.out = coreml.Tensor{Shape: sig.Outputs[0].Shape, Data: make([]float16.Float16, cfg.HiddenSize*rows)}
	return dr, nil
}

// rows is T.
func (d *driver) rows() int { return d.pass.Shape().Rows }

// run executes one pass over the tokens at pos and returns each one's hidden
// states.
func (d *driver) run(ctx context.Context, st coreml.State, pos int, tokens [][]float16.Float16) ([][]float16.Float16, error) {
	if err := d.pass.Fill(d.rope, pos, len(tokens), tokens); err != nil {
		return nil, err
	}
	if err := d.again(ctx, st); err != nil {
		return nil, fmt.Errorf("%s at position %d: %w", d.fn.Name(), pos, err)
	}
	out := make([][]float16.Float16, len(tokens))
	for t := range out {
		for c := range d.pass.Shape().Hidden {
			out[t] = append(out[t], d.out.Data[c*d.rows()+t])
		}
	}
	return out, nil
}

// again executes a pass as it was filled in last.
func (d *driver) again(ctx context.Context, st coreml.State) error {
	return d.fn.Predict(ctx, d.inputs, st, map[string]coreml.Tensor{contract.Hidden: d.out})
}

// singles runs the tokens one at a time from pos on.
func (d *driver) singles(ctx context.Context, st coreml.State, pos int, tokens [][]float16.Float16) ([][]float16.Float16, error) {
	var out [][]float16.Float16
	for i := range tokens {
		h, err := d.run(ctx, st, pos+i, tokens[i:i+1])
		if err != nil {
			return nil, err
		}
		out = append(out, h[0])
	}
	return out, nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// caches is the content of all states by name.
type caches map[string][]float16.Float16

func (c caches) names() []string {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// state makes a state of the package with this content.
func (c caches) state(pkg coreml.Package) (coreml.State, error) {
	st, err := pkg.NewState()
	if err != nil {
		return nil, err
	}
	for _, name := range c.names() {
		if err := st.Write(name, c[name]); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// read copies a state's content.
func (c caches) read(st coreml.State) (caches, error) {
	out := caches{}
	for _, name := range c.names() {
		out[name] = make([]float16.Float16, len(c[name]))
		if err := st.Read(name, out[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// gap is how far apart two results are. The zero gap compared nothing.
type gap struct {
	values, differ, nonFinite int
	max                       float64
}

// add compares value by value, bit by bit.
func (g *gap) add(a, b []float16.Float16) {
	g.values += len(a)
	for i := range a {
		if !a[i].IsFinite() || !b[i].IsFinite() {
			g.nonFinite++
		}
		if a[i] == b[i] {
			continue
		}
		g.differ++
		d := math.Abs(half.ToFloat64(a[i]) - half.ToFloat64(b[i]))
		if math.IsNaN(d) || !(d <= g.max) && !math.IsNaN(g.max) {
			g.max = d
		}
	}
}

func (g *gap) addRows(a, b [][]float16.Float16) {
	for i := range a {
		g.add(a[i], b[i])
	}
}

func (g *gap) addCaches(a, b caches) {
	for _, name := range a.names() {
		g.add(a[name], b[name])
	}
}

// same reports that something was compared and that no bit differs.
func (g *gap) same() bool { return g.values > 0 && g.differ == 0 && g.nonFinite == 0 }

// figures are the gap's, each name with the prefix.
func (g *gap) figures(prefix string) []manifest.Evidence {
	return []manifest.Evidence{
		figure(prefix+"_values", float64(g.values), "1"),
		figure(prefix+"_differ", float64(g.differ), "1"),
		figure(prefix+"_non_finite", float64(g.nonFinite), "1"),
		figure(prefix+"_max_abs", g.max, "1"),
	}
}

func figure(name string, value float64, unit string) manifest.Evidence {
	return manifest.Evidence{Name: name, Value: manifest.NewFigure(value), Unit: unit}
}

// note is a text of one line.
func note(name, text string) manifest.Evidence {
	return manifest.Evidence{Name: name, Text: shorten(text)}
}

// yes is "yes" or "no".
func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
