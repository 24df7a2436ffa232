package terms

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lockstep/internal/mil"
)

// Difference is the first element whose terms differ, and where they part.
type Difference struct {
	Where string // the element, in the contract's words
	// Op is the operation of the block's function that made the difference: its
	// operands keep step, its result does not.
	Op string
	// Path is how the difference came about, from the element down to where the
	// terms part, one value a line; Block and Single end it: what the element
	// is there, in the block and in the single that it is to equal.
	Path          []string
	Block, Single string
}

// Line is the difference in one line, without the path.
func (d Difference) Line() string {
	return fmt.Sprintf("%s: made by %s: it is %s in the block, and %s in the single", d.Where, d.Op, d.Block, d.Single)
}

// String is the difference in lines, indented by depth.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: made by %s\n", d.Where, d.Op)
	for depth, line := range d.Path {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth+1), line)
	}
	indent := strings.Repeat("  ", len(d.Path)+1)
	fmt.Fprintf(&b, "%sblock:  %s\n%ssingle: %s", indent, d.Block, indent, d.Single)
	return b.String()
}

// origin is an element of a value of one pass.
type origin struct {
	m     *machine
	value string
	index int
}

// explainer follows two elements down to where their terms part. It keeps the
// values of one stage at a time and runs the race anew for an earlier one.
type explainer struct {
	ctx     context.Context
	subject Subject
	spot    Spot
	race    *race
	stage   int // whose values are there
	steps   []pair
}

// pair is an element of the block and the one of a single that it is to equal.
type pair struct{ block, single origin }

// explain finds out how the elements at a place came to differ.
func explain(ctx context.Context, s Subject, spot Spot, at place) (*Difference, error) {
	e := &explainer{ctx: ctx, subject: s, spot: spot}
	first, err := e.begin(at)
	if err != nil {
		return nil, err
	}
	d := &Difference{Where: where(e.race, at)}
	block, single, err := e.descend(first)
	if err != nil {
		return nil, err
	}
	d.Op = e.culprit(block, single)
	for _, p := range e.steps {
		d.Path = append(d.Path, p.block.describe())
	}
	d.Block, d.Single = block[len(block)-1].describe(), single[len(single)-1].describe()
	return d, nil
}

// where names an element in the contract's words.
func where(r *race, at place) string {
	if at.state {
		c := coordinates(at.index, r.singles[0].states.read(at.value).shape)
		return fmt.Sprintf("state %s, head %d, slot %d, dim %d", at.value, c[1], c[2], c[3])
	}
	shape := r.block.values[at.value].shape
	return fmt.Sprintf("%s, row %d (position %d), channel %d", at.value, at.row, r.spot.Pos+at.row, coordinates(at.index, shape)[1])
}

// begin runs the race up to the stage of a place and keeps its values.
func (e *explainer) begin(at place) (pair, error) {
	r, err := newRace(e.subject, hashing{}, e.spot)
	if err != nil {
		return pair{}, err
	}
	last := len(r.block.stages)
	if at.state {
		last = max(0, slices.IndexFunc(r.block.stages, func(s stage) bool { return slices.Contains(s.states, at.value) }))
	}
	if err := e.load(last); err != nil {
		return pair{}, err
	}
	if !at.state {
		m := e.race.singles[at.row]
		k := slices.Index(e.race.block.fn.Outputs, at.value)
		return pair{origin{e.race.block, at.value, at.index}, origin{m, m.fn.Outputs[k], at.twin}}, nil
	}
	end := e.race.singles[len(e.race.singles)-1]
	return pair{
		e.race.block.written(at.value, len(e.race.block.fn.Ops), at.index),
		end.written(at.value, len(end.fn.Ops), at.twin),
	}, nil
}

// load runs a race up to the end of a stage, whose values are kept.
func (e *explainer) load(stage int) error {
	r, err := newRace(e.subject, hashing{}, e.spot)
	if err != nil {
		return err
	}
	for i := range stage + 1 {
		for _, m := range r.machines() {
			m.keep = i == stage
			end := len(m.fn.Ops)
			if i < len(m.stages) {
				end = m.stages[i].end
			}
			if err := m.runTo(e.ctx, end); err != nil {
				return err
			}
		}
	}
	e.race, e.stage = r, stage
	return nil
}

// written is the element that the last write before op index end put into a
// state, or the state's earlier content.
func (m *machine) written(state string, end, index int) origin {
	for _, op := range slices.Backward(m.fn.Ops[:end]) {
		p := m.scope.Params(op)
		if name, _ := p.Value("input"); op.Type == "write_state" && name == state {
			data, _ := p.Value("data")
			return origin{m, data, index}
		}
	}
	return origin{m, state, index}
}

// descend goes down while there is a pair of operands to blame. It returns the
// elements from which the two terms are taken unchanged, the last ones being
// where they part.
func (e *explainer) descend(p pair) (block, single []origin, err error) {
	for {
		block, single = append(block, p.block), append(single, p.single)
		if block, err = e.resolve(block); err != nil {
			return nil, nil, err
		}
		if single, err = e.resolve(single); err != nil {
			return nil, nil, err
		}
		ends := pair{block[len(block)-1], single[len(single)-1]}
		stage := e.stageOf(ends.block)
		if stage != e.stageOf(ends.single) {
			// One is handed on from another layer than the other is made in.
			e.steps = append(e.steps, pair{block[0], single[0]})
			return block, single, nil
		}
		if stage < e.stage {
			if err := e.load(stage); err != nil {
				return nil, nil, err
			}
			p = e.again(ends)
			block, single = block[:len(block)-1], single[:len(single)-1]
			continue
		}
		e.steps = append(e.steps, pair{block[0], single[0]})
		row := slices.Index(e.race.singles, ends.single.m)
		if i := slices.IndexFunc(block, func(o origin) bool { return e.rewired(o) || e.makes(o, row) }); i >= 0 {
			return block[:i+1], single, nil
		}
		next, ok, err := e.blame(ends)
		if err != nil || !ok {
			return block, single, err
		}
		p, block, single = next, nil, nil
	}
}

// again is a pair in the race that was run anew.
func (e *explainer) again(p pair) pair {
	p.block.m = e.race.block
	for _, m := range e.race.singles {
		if m.position == p.single.m.position {
			p.single.m = m
		}
	}
	return p
}

// resolve follows the last element of a path through operations that hand it on
// as it is, as far as the values of the stage go.
func (e *explainer) resolve(path []origin) ([]origin, error) {
	for {
		o := path[len(path)-1]
		op := o.producer()
		if op == nil || e.stageOf(o) != e.stage {
			return path, nil
		}
		next, ok, err := e.handedOn(o, op)
		if err != nil || !ok {
			return path, err
		}
		path = append(path, next)
	}
}

// stageOf is the stage in which a value is made; inputs and constants are there
// in each.
func (e *explainer) stageOf(o origin) int {
	at := slices.Index(o.m.fn.Ops, o.m.scope.Producer(o.value))
	if at < 0 || o.m.scope.Constant(o.value) {
		return e.stage
	}
	for i, s := range o.m.stages {
		if at < s.end {
			return i
		}
	}
	return len(o.m.stages)
}

// handedOn is the operand's element that o is equal to.
func (e *explainer) handedOn(o origin, op *mil.Op) (origin, bool, error) {
	if op.Type == "read_state" {
		state, _ := o.m.scope.Params(op).Value("input")
		at := slices.Index(o.m.fn.Ops, op)
		from := o.m.written(state, at, o.index)
		for k := slices.Index(e.race.singles, o.m) - 1; from.value == state && k >= 0; k-- {
			from = e.race.singles[k].written(state, len(o.m.fn.Ops), o.index)
		}
		return from, from.value != state, nil
	}
	reads, err := e.reads(o, op)
	if err != nil {
		return origin{}, false, err
	}
	for _, r := range reads {
		if t := r.term(); !r.dead && r.value != "" && t == o.term() && t.isOpaque() {
			return r.origin, true, nil
		}
	}
	return origin{}, false, nil
}

// operandRead is an element that an operation reads.
type operandRead struct {
	origin
	data []Term
	dead bool
}

func (r operandRead) term() Term { return r.data[r.index] }

// reads lists the elements that o is made of.
func (e *explainer) reads(o origin, op *mil.Op) ([]operandRead, error) {
	bound, err := o.m.bind(op)
	if err != nil {
		return nil, err
	}
	r, err := kinds[op.Type](bound)
	if err != nil {
		return nil, err
	}
	output := slices.IndexFunc(op.Outputs, func(v mil.Value) bool { return v.Name == o.value })
	var out []operandRead
	for _, read := range r.reads(output, o.index) {
		data, err := bound.in[read.operand].terms(o.m.alg)
		if err != nil {
			return nil, err
		}
		out = append(out, operandRead{origin{o.m, bound.names[read.operand], read.index}, data, read.dead})
	}
	return out, nil
}

func (o origin) term() Term { return o.m.values[o.value].data[o.index] }

// blame is the first pair of operands whose terms differ, if both elements are
// made by the same kind of operation.
func (e *explainer) blame(p pair) (next pair, ok bool, err error) {
	b, s := p.block.producer(), p.single.producer()
	if b == nil || s == nil || b.Type != s.Type || b.Type == "read_state" {
		return pair{}, false, nil
	}
	ofBlock, err := e.reads(p.block, b)
	if err != nil {
		return pair{}, false, err
	}
	ofSingle, err := e.reads(p.single, s)
	if err != nil || len(ofBlock) != len(ofSingle) {
		return pair{}, false, err
	}
	for i, r := range ofBlock {
		q := ofSingle[i]
		if r.dead && q.dead || r.term() == q.term() {
			continue
		}
		return pair{r.origin, q.origin}, r.value != "" && q.value != "", nil
	}
	return pair{}, false, nil
}

// producer is the run-time operation that makes an element, nil if none does.
func (o origin) producer() *mil.Op {
	if o.m.scope.Constant(o.value) {
		return nil
	}
	return o.m.scope.Producer(o.value)
}

// rewired reports whether the single has an operation of this name that is
// another, or reads other values.
func (e *explainer) rewired(o origin) bool {
	op := o.producer()
	if op == nil {
		return false
	}
	single := e.race.singles[0]
	i := slices.IndexFunc(single.fn.Ops, func(twin *mil.Op) bool { return twin.Name == op.Name })
	if i < 0 {
		return false
	}
	twin := single.fn.Ops[i]
	return op.Type != twin.Type || !slices.Equal(o.m.reading(op), single.reading(twin))
}

// reading lists what an operation reads at run time, by parameter.
func (m *machine) reading(op *mil.Op) []string {
	var out []string
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Name != "" && m.scope.Literal(b.Name) == nil {
				out = append(out, arg.Param+"="+b.Name)
			}
		}
	}
	return out
}

// makes reports whether an operation's result differs from the single's in a
// row while its operands agree, as far as that can be told.
func (e *explainer) makes(o origin, row int) bool {
	op := o.producer()
	if op == nil {
		return false
	}
	if differs, told := e.parts(o.value, row); !told || !differs {
		return false
	}
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Name == "" || o.m.scope.Constant(b.Name) {
				continue
			}
			if differs, told := e.parts(b.Name, row); !told || differs {
				return false
			}
		}
	}
	return true
}

// culprit names the block's operation that made the difference: one that is
// wired otherwise than the single's, or whose result differs while its operands
// agree, with which a descent ends; else the last one through which both
// elements came.
func (e *explainer) culprit(block, single []origin) string {
	last := block[len(block)-1]
	row := slices.Index(e.race.singles, single[len(single)-1].m)
	if !e.rewired(last) && !e.makes(last, row) {
		last = block[0]
		for i := range min(len(block), len(single)) {
			if block[i].value != single[i].value {
				break
			}
			last = block[i]
		}
	}
	if op := last.m.scope.Producer(last.value); op != nil {
		return opName(op)
	}
	return "input " + last.value
}

func opName(op *mil.Op) string { return fmt.Sprintf("%s %q", op.Type, op.Name) }

// parts reports whether a value with one axis of rows differs, in a row, from
// the single's value of the same name. It is told only of such values.
func (e *explainer) parts(value string, row int) (differs, told bool) {
	a, b := e.race.block.values[value], e.race.singles[row].values[value]
	if a == nil || b == nil || a.data == nil || b.data == nil || len(a.shape) != len(b.shape) {
		return false, false
	}
	axis := -1
	for d := range a.shape {
		if a.shape[d] != b.shape[d] {
			if axis >= 0 || b.shape[d] != 1 {
				return false, false
			}
			axis = d
		}
	}
	if axis < 0 || row >= a.shape[axis] {
		return false, false
	}
	inner := elements(a.shape[axis+1:])
	for i, t := range b.data {
		if a.data[(i/inner*a.shape[axis]+row)*inner+i%inner] != t {
			return true, true
		}
	}
	return false, true
}

// describe is an element and the operation that makes it.
func (o origin) describe() string {
	shape := o.m.scope.Type(o.value).Shape
	text := o.value + strings.ReplaceAll(fmt.Sprint(coordinates(o.index, shape)), " ", ",")
	op := o.m.scope.Producer(o.value)
	if op == nil {
		if o.m.scope.Type(o.value).State {
			return text + ", as it was before the block"
		}
		return text + ", an input"
	}
	var names []string
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Name != "" && (o.m.scope.Literal(b.Name) == nil || o.m.scope.Literal(b.Name).Blob != nil) {
				names = append(names, b.Name)
			}
		}
	}
	return fmt.Sprintf("%s = %s(%s)", text, op.Type, strings.Join(names, ", "))
}
