package terms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/x448/float16"

	"lockstep/coreml/hostinput"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// ErrSubject means that a program is not one whose block can be compared with
// singles: a function, input or state that the graph contract does not know.
var ErrSubject = errors.New("not a program of the graph contract")

// Subject is a program whose block is to keep step with its singles.
type Subject struct {
	Program *mil.Program
	Block   string // function of T rows
	Single  string // function of one row; Block again where there is no other
	// Own says how the program calls what the contract names, by the contract's
	// name, where the two differ.
	Own map[string]string
}

// Spot is where a block is compared: its first position, and how many of its
// rows are live.
type Spot struct{ Pos, Live int }

// String is the spot as cases name it.
func (p Spot) String() string { return fmt.Sprintf("pos=%d/live=%d", p.Pos, p.Live) }

// Proof is what comparing a block with singles came to.
type Proof struct {
	Spot       Spot
	Outputs    int // elements of the outputs' live rows that were compared
	Slots      int // elements of states that were compared
	Operations int // run-time operations executed, in block and singles
	// Difference is the first element whose terms differ, nil if none does.
	Difference *Difference
}

// Prove compares a block at a spot with as many singles, over any weights, any
// inputs and any earlier states. An error that wraps ErrUncovered says that
// terms cannot tell.
func Prove(ctx context.Context, s Subject, spot Spot) (*Proof, error) {
	r, err := newRace(s, hashing{}, spot)
	if err != nil {
		return nil, err
	}
	p := &Proof{Spot: spot}
	at, err := r.run(ctx, p)
	if err != nil || at == nil {
		return p, err
	}
	p.Difference, err = explain(ctx, s, spot, *at)
	return p, err
}

// race is a block and the singles that it is to equal, run side by side.
type race struct {
	subject Subject
	spot    Spot
	block   *machine
	singles []*machine
	initial map[string]*tensor // the states' earlier content, while it is needed
}

// place is an element at which block and singles differ.
type place struct {
	value string // an output of the program, or a state
	state bool
	row   int // of the block, for outputs
	index int // in the block's value
	twin  int // in the single's
}

func newRace(s Subject, alg algebra, spot Spot) (*race, error) {
	block, err := newSide(s, s.Block)
	if err != nil {
		return nil, err
	}
	single, err := newSide(s, s.Single)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(block.states(), single.states(), func(a, b mil.Value) bool { return a.Name == b.Name && a.Type.Equal(b.Type) }) {
		return nil, fmt.Errorf("%w: functions %s and %s declare other states", ErrSubject, s.Block, s.Single)
	}
	r := &race{subject: s, spot: spot, initial: map[string]*tensor{}}
	from := newSources(spot, block.shape.Slots)
	earlier := func(name string) *tensor { // the same for both sides
		if r.initial[name] == nil {
			r.initial[name] = block.earlier(alg, from, name)
		}
		return r.initial[name]
	}
	if r.block, err = block.machine(alg, from, spot, &memory{earlier, map[string]*tensor{}}); err != nil {
		return nil, err
	}
	session := &memory{earlier, map[string]*tensor{}}
	for i := range spot.Live {
		m, err := single.machine(alg, from, Spot{spot.Pos + i, 1}, session)
		if err != nil {
			return nil, err
		}
		r.singles = append(r.singles, m)
	}
	if !slices.EqualFunc(r.block.stages, r.singles[0].stages, func(a, b stage) bool { return slices.Equal(a.states, b.states) }) {
		for _, m := range r.machines() { // states are not used in the same order
			m.stages = nil
		}
	}
	return r, nil
}

func (r *race) machines() []*machine { return append([]*machine{r.block}, r.singles...) }

// run goes through the stages and returns the first place at which the two
// sides differ, or nil.
func (r *race) run(ctx context.Context, p *Proof) (*place, error) {
	defer func() {
		for _, m := range r.machines() {
			p.Operations += m.executed
		}
	}()
	for i, s := range r.block.stages {
		for _, m := range r.machines() {
			if err := m.runTo(ctx, m.stages[i].end); err != nil {
				return nil, err
			}
		}
		if at := r.compareStates(s.states, p); at != nil {
			return at, nil
		}
		for _, name := range s.states {
			delete(r.initial, name)
			delete(r.block.states.now, name)
			delete(r.singles[0].states.now, name)
		}
	}
	for _, m := range r.machines() {
		if err := m.runTo(ctx, len(m.fn.Ops)); err != nil {
			return nil, err
		}
	}
	if len(r.block.stages) == 0 {
		if at := r.compareStates(slices.Sorted(maps.Keys(r.block.states.now)), p); at != nil {
			return at, nil
		}
	}
	return r.compareOutputs(p)
}

func (r *race) compareStates(names []string, p *Proof) *place {
	for _, name := range names {
		a, b := r.block.states.read(name), r.singles[0].states.read(name)
		p.Slots += len(a.data)
		if i := firstDifference(a.data, b.data); i >= 0 {
			return &place{value: name, state: true, index: i, twin: i}
		}
	}
	return nil
}

// firstDifference is the first index at which terms differ or are undefined, or
// -1.
func firstDifference(a, b []Term) int {
	for i := range a {
		if a[i] != b[i] || a[i].isUndefined() {
			return i
		}
	}
	return -1
}

// compareOutputs compares the live rows, which lie along axis 2.
func (r *race) compareOutputs(p *Proof) (*place, error) {
	for k, name := range r.block.fn.Outputs {
		a := r.block.values[name]
		for i, m := range r.singles {
			b := m.values[m.fn.Outputs[k]]
			if !matches(a.shape, b.shape) {
				return nil, fmt.Errorf("%w: output %s: want [1, channels, rows, ...], found %v in the block and %v in the single", ErrSubject, name, a.shape, b.shape)
			}
			inner := elements(a.shape[3:])
			for c := range a.shape[1] {
				for j := range inner {
					x, y := (c*a.shape[2]+i)*inner+j, c*b.shape[2]*inner+j
					p.Outputs++
					if a.data[x] != b.data[y] || a.data[x].isUndefined() {
						return &place{value: name, row: i, index: x, twin: y}, nil
					}
				}
			}
		}
	}
	return nil, nil
}

// matches reports whether two outputs differ in their rows alone.
func matches(a, b []int) bool {
	return len(a) >= 3 && len(b) == len(a) && a[0] == 1 && b[0] == 1 && a[1] == b[1] && slices.Equal(a[3:], b[3:])
}

// side is a function as the contract sees it.
type side struct {
	fn    *mil.Function
	names map[string]string // contract's name by the function's own
	shape hostinput.Shape
}

func newSide(s Subject, function string) (*side, error) {
	f := s.Program.Function(function)
	if f == nil {
		return nil, fmt.Errorf("%w: no function %q", ErrSubject, function)
	}
	out := &side{fn: f, names: map[string]string{}}
	for name, own := range s.Own {
		out.names[own] = name
	}
	for _, in := range f.Inputs {
		if err := out.learn(in); err != nil {
			return nil, err
		}
	}
	if out.shape.Rows == 0 {
		return nil, fmt.Errorf("%w: function %s has no hidden states as an input", ErrSubject, function)
	}
	return out, nil
}

// name is what the contract calls an input.
func (s *side) name(own string) string {
	if name, ok := s.names[own]; ok {
		return name
	}
	return own
}

// learn reads the pass's shape off an input.
func (s *side) learn(in mil.Value) error {
	shape := in.Type.Shape
	ok := true
	switch name := s.name(in.Name); {
	case in.Type.State:
		ok = len(shape) == 4
	case name == contract.X || name == contract.Hidden:
		if ok = len(shape) == 4 && shape[0] == 1 && shape[3] == 1; ok {
			s.shape.Hidden, s.shape.Rows = shape[1], shape[2]
		}
	case name == contract.RopeCos || name == contract.RopeSin:
		if ok = len(shape) == 2; ok {
			s.shape.RopeHalf = shape[1]
		}
	case name == contract.AttnMask:
		if ok = len(shape) == 4; ok {
			s.shape.Slots = shape[3]
		}
	case name == contract.WriteMask:
		ok = len(shape) == 4
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("%w: function %s: input %s of type %s", ErrSubject, s.fn.Name, in.Name, in.Type)
	}
	return nil
}

func (s *side) states() []mil.Value {
	var out []mil.Value
	for _, in := range s.fn.Inputs {
		if in.Type.State {
			out = append(out, in)
		}
	}
	return out
}

// earlier is any earlier content of a state: one symbol per element.
func (s *side) earlier(alg algebra, from sources, name string) *tensor {
	i := slices.IndexFunc(s.fn.Inputs, func(v mil.Value) bool { return v.Name == name })
	shape := s.fn.Inputs[i].Type.Shape
	t := &tensor{shape: shape, data: make([]Term, elements(shape))}
	base := alg.seed("state " + name)
	parallel(len(t.data), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			t.data[i] = alg.source(base, i, from.slot(i/shape[3]%shape[2]))
		}
	})
	return t
}

// machine prepares a pass at a spot. Masks are the host's own, as numbers;
// hidden states and RoPE rows are symbols, named by position.
func (s *side) machine(alg algebra, from sources, spot Spot, states *memory) (*machine, error) {
	pass, err := s.fill(spot)
	if err != nil {
		return nil, err
	}
	inputs := map[string]*tensor{}
	for _, in := range s.fn.Inputs {
		if in.Type.State {
			continue
		}
		name := s.name(in.Name)
		t := &tensor{shape: in.Type.Shape, data: make([]Term, elements(in.Type.Shape))}
		inputs[in.Name] = t
		switch name {
		case contract.X, contract.Hidden:
			s.symbols(alg, from, spot, name, t, func(row, c int) int { return c*s.shape.Rows + row }, s.shape.Hidden)
		case contract.RopeCos, contract.RopeSin:
			s.symbols(alg, from, spot, name, t, func(row, i int) int { return row*s.shape.RopeHalf + i }, s.shape.RopeHalf)
		default:
			for i, h := range pass.Inputs()[name].Data {
				t.data[i] = number(half.ToFloat64(h))
			}
		}
	}
	m, err := newMachine(alg, s.fn, inputs, states)
	if err == nil {
		m.position = spot.Pos
	}
	return m, err
}

// fill lets the host fill in a pass.
func (s *side) fill(spot Spot) (*hostinput.Pass, error) {
	shape := s.shape
	shape.Hidden, shape.RopeHalf = 1, 1 // only the masks are looked at
	shape.Slots = max(shape.Slots, spot.Pos+spot.Live)
	rope, err := hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 2, AttentionFactor: 1})
	if err != nil {
		return nil, err
	}
	rows := make([][]float16.Float16, spot.Live)
	for i := range rows {
		rows[i] = make([]float16.Float16, 1)
	}
	pass := hostinput.NewPass(shape)
	return pass, pass.Fill(rope, spot.Pos, spot.Live, rows)
}

// symbols names the n elements of each row's input by the position of the
// row's token. A dead row is a copy of the last live one.
func (s *side) symbols(alg algebra, from sources, spot Spot, name string, t *tensor, at func(row, i int) int, n int) {
	for row := range s.shape.Rows {
		pos := spot.Pos + min(row, spot.Live-1)
		base := alg.seed(fmt.Sprintf("%s of position %d", name, pos))
		for i := range n {
			t.data[at(row, i)] = alg.source(base, i, from.token(pos))
		}
	}
}
