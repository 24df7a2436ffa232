package conformance

import (
	"context"
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/internal/contract"
	"lockstep/internal/half"
)

// driver runs one function of a package with host inputs, pass by pass.
type driver struct {
	fn   coreml.Function
	pkg  coreml.Package
	pass *hostinput.Pass
	rope *hostinput.Rows
	rows int
	out  coreml.Tensor
}

func newDriver(fn coreml.Function, pkg coreml.Package, shape hostinput.Shape, rope hostinput.Rope) (*driver, error) {
	table, err := hostinput.NewRope(rope)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHarness, err)
	}
	n := shape.Hidden * shape.Rows
	return &driver{
		fn: fn, pkg: pkg, pass: hostinput.NewPass(shape), rope: table, rows: shape.Rows,
		out: coreml.Tensor{Shape: []int{1, shape.Hidden, shape.Rows, 1}, Data: make([]float16.Float16, n)},
	}, nil
}

// run executes one pass over len(rows) live tokens at pos. Each result is the
// hidden states of one live token.
func (d *driver) run(ctx context.Context, st coreml.State, pos int, rows [][]float16.Float16) ([][]float16.Float16, error) {
	if err := d.pass.Fill(d.rope, pos, len(rows), rows); err != nil {
		return nil, fmt.Errorf("%w: %w", errHarness, err)
	}
	return d.execute(ctx, st, len(rows))
}

// execute runs the pass as it has been filled in.
func (d *driver) execute(ctx context.Context, st coreml.State, live int) ([][]float16.Float16, error) {
	if err := d.predict(ctx, st); err != nil {
		return nil, err
	}
	return columns(d.out.Data, d.rows, live), nil
}

// predict is the plane's part of execute.
func (d *driver) predict(ctx context.Context, st coreml.State) error {
	return d.fn.Predict(ctx, d.pass.Inputs(), st, map[string]coreml.Tensor{contract.Hidden: d.out})
}

// trace executes a pass over one live token at pos and shows every value of it;
// tracer is the driver's function.
func (d *driver) trace(ctx context.Context, tracer coreml.Tracer, st coreml.State, pos int, row []float16.Float16, observe func(coreml.Observed) error) error {
	if err := d.pass.Fill(d.rope, pos, 1, [][]float16.Float16{row}); err != nil {
		return fmt.Errorf("%w: %w", errHarness, err)
	}
	return tracer.Trace(ctx, d.pass.Inputs(), st, map[string]coreml.Tensor{contract.Hidden: d.out}, observe)
}

// columns reads the first live rows of hidden [1, C, T, 1], one slice a token.
func columns(data []float16.Float16, rows, live int) [][]float16.Float16 {
	out := make([][]float16.Float16, live)
	for t := range out {
		out[t] = make([]float16.Float16, len(data)/rows)
		for c := range out[t] {
			out[t][c] = data[c*rows+t]
		}
	}
	return out
}

// snapshot is the content of all states by name.
type snapshot map[string][]float16.Float16

// seedStates is a content in which every slot of every state is finite and not
// zero, so that a slot wrongly shown or overwritten is noticed.
func seedStates(name string, sig coreml.Signature) snapshot {
	snap := snapshot{}
	for _, st := range sig.States {
		snap[st.Name] = Normals(name+" "+st.Name, elements(st.Shape), 1)
	}
	return snap
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// newState makes a state with the content of snap.
func (d *driver) newState(snap snapshot) (coreml.State, error) {
	st, err := d.pkg.NewState()
	if err != nil {
		return nil, err
	}
	for _, name := range snap.names() {
		if err := st.Write(name, snap[name]); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (s snapshot) names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// read copies the content of st for every name of s.
func (s snapshot) read(st coreml.State) (snapshot, error) {
	out := snapshot{}
	for name, data := range s {
		out[name] = make([]float16.Float16, len(data))
		if err := st.Read(name, out[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// difference is the first place at which two float16 tensors differ.
type difference struct {
	index  int
	a, b   float32
	ulps   int
	count  int // how many places differ
	maxAbs float64
}

// compare finds the first difference of a and b, bit by bit, or nil. +0 and -0
// differ, as they do in a file.
func compare(a, b []float16.Float16) *difference {
	var d *difference
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		fa, fb := half.ToFloat32(a[i]), half.ToFloat32(b[i])
		if d == nil {
			d = &difference{index: i, a: fa, b: fb, ulps: ulps(a[i], b[i])}
		}
		d.count++
		d.maxAbs = max(d.maxAbs, abs(float64(fa)-float64(fb)))
	}
	return d
}

// ulps is how many float16 values lie between a and b.
func ulps(a, b float16.Float16) int {
	line := func(h float16.Float16) int {
		if h&0x8000 != 0 {
			return -int(h & 0x7FFF)
		}
		return int(h)
	}
	n := line(a) - line(b)
	return max(n, -n)
}

func abs(v float64) float64 { return max(v, -v) }
