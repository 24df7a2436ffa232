package terms

import (
	"fmt"
	"slices"
)

// factor is a weight as products see it: by output channel.
type factor struct {
	alg  algebra
	base Term
	rows []Term // of a weight that is not a symbol, the hash of each row
}

// factor is the weight of a conv or linear op, whose first axis is the output
// channel.
func (o *operation) factor(seed Term) factor {
	w := o.in[o.operand("weight")]
	if w.base != nil {
		return factor{alg: o.alg, base: o.alg.mix(seed, *w.base)}
	}
	channels := w.shape[0]
	f := factor{alg: o.alg, base: seed, rows: make([]Term, channels)}
	n := len(w.data) / channels
	for i := range f.rows {
		f.rows[i] = fold(o.alg, seed, w.data[i*n:(i+1)*n], 1)
	}
	return f
}

// channel is the term of an output channel's row of the weight. A symbol's rows
// are told apart by their number, so a product needs no look at its elements.
func (f factor) channel(i int) Term {
	if f.rows != nil {
		return f.rows[i]
	}
	return f.alg.element(f.base, i)
}

// fold mixes terms that lie step apart into acc, in order.
func fold(alg algebra, acc Term, terms []Term, step int) Term {
	for i := 0; i < len(terms); i += step {
		acc = alg.mix(acc, terms[i])
	}
	return acc
}

// conv is a 1x1 convolution. Its element is H(weight, output channel, input
// column): the column is ordered by input channel, as the sum's order is part
// of the result.
func conv(o *operation) (rule, error) {
	x, w := o.shape("x"), o.shape("weight")
	if slices.ContainsFunc(w[2:], func(k int) bool { return k != 1 }) ||
		slices.ContainsFunc(o.Ints("strides"), func(s int) bool { return s != 1 }) ||
		slices.ContainsFunc(o.Ints("pad"), func(p int) bool { return p != 0 }) {
		return rule{}, fmt.Errorf("%w: a convolution other than 1x1", ErrUncovered)
	}
	groups := o.Int("groups", 1)
	return o.product2(geometry{
		batches: x[0] * groups, columns: elements(x[2:]), in: w[1], out: w[0] / groups,
		stepIn: elements(x[2:]), stepColumn: 1, stepOut: elements(x[2:]), stepOutColumn: 1, groups: groups,
	})
}

// linear is the product of each row of x with the weight.
func linear(o *operation) (rule, error) {
	w := o.shape("weight")
	return o.product2(geometry{
		batches: 1, columns: elements(o.shape("x")) / w[1], in: w[1], out: w[0],
		stepIn: 1, stepColumn: w[1], stepOut: 1, stepOutColumn: w[0], groups: 1,
	})
}

// geometry is how a product with a weight lies in memory: per batch, columns of
// in elements that become columns of out elements.
type geometry struct {
	batches, columns, in, out int
	stepIn, stepColumn        int
	stepOut, stepOutColumn    int
	groups                    int // batches b with the same b mod groups share channels
}

// product2 is the rule of conv and linear.
func (o *operation) product2(g geometry) (rule, error) {
	x, err := o.terms("x")
	if err != nil {
		return rule{}, err
	}
	var bias []Term
	if o.Has("bias") {
		if bias, err = o.terms("bias"); err != nil {
			return rule{}, err
		}
	}
	seed := o.seedOf()
	w := o.factor(seed)
	column := func(batch, c int) []Term {
		at := batch*g.in*g.columns + c*g.stepColumn
		return x[at : at+(g.in-1)*g.stepIn+1]
	}
	first := func(batch int) int { return batch % g.groups * g.out }
	return rule{
		run: func(_ int, dst []Term) error {
			for b := range g.batches {
				to := dst[b*g.out*g.columns:]
				for c := range g.columns {
					col := column(b, c)
					sum, empty := fold(o.alg, seed, col, g.stepIn), allZero(col, g.stepIn)
					for i := range g.out {
						t := zero
						if !empty {
							t = o.alg.mix(w.channel(first(b)+i), sum)
						}
						if bias != nil {
							t = o.alg.mix(o.alg.mix(seed, t), bias[first(b)+i])
						}
						to[i*g.stepOut+c*g.stepOutColumn] = t
					}
				}
			}
			return nil
		},
		reads: func(_, index int) []read {
			b, rest := index/(g.out*g.columns), index%(g.out*g.columns)
			c := rest / g.stepOutColumn % g.columns
			out := make([]read, g.in)
			for k := range out {
				out[k] = read{index: b*g.in*g.columns + c*g.stepColumn + k*g.stepIn}
			}
			return out
		},
	}, nil
}

func allZero(terms []Term, step int) bool {
	for i := 0; i < len(terms); i += step {
		if terms[i] != zero {
			return false
		}
	}
	return true
}

// multiplication is a batched matrix product: row r, a vector of k elements of
// x, times the n columns of the matrix of y that begins at rows[r].y.
type multiplication struct {
	alg          algebra
	arith        arithmetic
	seed         Term
	x, y         []Term
	k, n         int
	stepX        int // between elements of a row of x
	stepK, stepN int // in y, between elements of a column and between columns
	rows         []vectorPair
}

// vectorPair is where a row of x and the matrix of y that it meets begin.
type vectorPair struct{ x, y int }

// matmul multiplies the last two axes and broadcasts the others. An element is
// H(row, column), each ordered by k; pairs in which one factor is 0 add nothing
// and are left out of both, and k says which are in. A lone 1 takes its partner
// as it is, so that a one-hot row moves a row of y.
func matmul(o *operation) (rule, error) {
	m, err := o.multiplication()
	if err != nil {
		return rule{}, err
	}
	return rule{
		run: func(_ int, dst []Term) error {
			m.run(dst)
			return nil
		},
		reads: func(_, index int) []read {
			r, j := m.rows[index/m.n], index%m.n
			var out []read
			for k := range m.k {
				x, y := r.x+k*m.stepX, r.y+k*m.stepK+j*m.stepN
				dead := m.x[x] == zero || m.y[y] == zero
				out = append(out, read{operand: 0, index: x, dead: dead}, read{operand: 1, index: y, dead: dead})
			}
			return out
		},
	}, nil
}

func (o *operation) multiplication() (*multiplication, error) {
	x, err := o.terms("x")
	if err != nil {
		return nil, err
	}
	y, err := o.terms("y")
	if err != nil {
		return nil, err
	}
	m := o.newMultiplication(
		matrices{x, o.shape("x"), o.Bool("transpose_x", false)}, matrices{y, o.shape("y"), o.Bool("transpose_y", false)}, o.op.Outputs[0].Type.Shape)
	if m == nil {
		return nil, fmt.Errorf("%w: a vector as an operand", ErrUncovered)
	}
	m.seed, m.arith = o.seedOf(), o.product()
	return m, nil
}

// matrices is a tensor whose last two axes are matrices, transposed or not.
type matrices struct {
	terms      []Term
	shape      []int
	transposed bool
}

// newMultiplication multiplies matrices into a tensor of shape out; nil if one
// of them is none.
func (o *operation) newMultiplication(x, y matrices, out []int) *multiplication {
	sx, sy := x.shape, y.shape
	if len(sx) < 2 || len(sy) < 2 {
		return nil
	}
	rank := len(out)
	m := &multiplication{alg: o.alg, x: x.terms, y: y.terms, n: out[rank-1]}
	rows, stepRow := out[rank-2], sx[len(sx)-1]
	m.k, m.stepX = sx[len(sx)-1], 1
	if x.transposed {
		m.k, m.stepX, stepRow = sx[len(sx)-2], sx[len(sx)-1], 1
	}
	m.stepK, m.stepN = sy[len(sy)-1], 1
	if y.transposed {
		m.stepK, m.stepN = 1, sy[len(sy)-1]
	}
	batch := out[:rank-2]
	bx, by := batchStrides(sx, batch), batchStrides(sy, batch)
	for b := range elements(batch) {
		at := coordinates(b, batch)
		for r := range rows {
			m.rows = append(m.rows, vectorPair{offset(at, bx) + r*stepRow, offset(at, by)})
		}
	}
	return m
}

// batchStrides are the strides of a matmul operand over the output's batch.
func batchStrides(own, batch []int) []int {
	matrix := own[len(own)-2] * own[len(own)-1]
	strides := broadcast(own[:len(own)-2], batch)
	for d := range strides {
		strides[d] *= matrix
	}
	return strides
}

// run computes all rows. Rows that meet the same matrix of y over the same
// elements share the hashes of its columns.
func (m *multiplication) run(dst []Term) {
	type share struct {
		y       int
		support []int
		rows    []int
	}
	var shares []*share
	for r, row := range m.rows {
		to := dst[r*m.n : (r+1)*m.n]
		support := m.support(row.x)
		if len(support) == 0 {
			continue // dst is 0 already
		}
		if len(support) == 1 {
			m.alone(to, m.x[row.x+support[0]*m.stepX], row.y+support[0]*m.stepK)
			continue
		}
		i := slices.IndexFunc(shares, func(s *share) bool { return s.y == row.y && slices.Equal(s.support, support) })
		if i < 0 {
			i = len(shares)
			shares = append(shares, &share{y: row.y, support: support})
		}
		shares[i].rows = append(shares[i].rows, r)
	}
	for _, s := range shares {
		heads := make([]Term, len(s.rows))
		for i, r := range s.rows {
			heads[i] = m.rowHash(m.rows[r].x, s.support)
		}
		parallel(m.n, len(s.support), func(lo, hi int) {
			for j := lo; j < hi; j++ {
				column, sparse := m.column(s.y+j*m.stepN, s.support)
				for i, r := range s.rows {
					if sparse {
						dst[r*m.n+j] = m.sparse(m.rows[r].x, s.y+j*m.stepN, s.support)
					} else {
						dst[r*m.n+j] = m.alg.mix(heads[i], column)
					}
				}
			}
		})
	}
}

// support lists the elements of a row that are not 0.
func (m *multiplication) support(x int) []int {
	var out []int
	for k := range m.k {
		if m.x[x+k*m.stepX] != zero {
			out = append(out, k)
		}
	}
	return out
}

// alone multiplies the row of y at y by the one element of x.
func (m *multiplication) alone(dst []Term, x Term, y int) {
	for j := range dst {
		dst[j] = m.arith.join(x, m.y[y+j*m.stepN])
	}
}

// rowHash is the term of a row of x over support.
func (m *multiplication) rowHash(x int, support []int) Term {
	acc := m.seed
	for _, k := range support {
		acc = m.alg.mix(m.alg.mix(acc, number(float64(k))), m.x[x+k*m.stepX])
	}
	return acc
}

// column is the term of a column of y over support, and whether it has a 0.
func (m *multiplication) column(y int, support []int) (acc Term, sparse bool) {
	acc = m.seed
	for _, k := range support {
		t := m.y[y+k*m.stepK]
		sparse = sparse || t == zero
		acc = m.alg.mix(acc, t)
	}
	return acc, sparse
}

// sparse is the term of a row times a column in which some pairs have a 0.
func (m *multiplication) sparse(x, y int, support []int) Term {
	var in []int
	for _, k := range support {
		if m.y[y+k*m.stepK] != zero {
			in = append(in, k)
		}
	}
	switch len(in) {
	case 0:
		return zero
	case 1:
		return m.arith.join(m.x[x+in[0]*m.stepX], m.y[y+in[0]*m.stepK])
	}
	column, _ := m.column(y, in)
	return m.alg.mix(m.rowHash(x, in), column)
}
