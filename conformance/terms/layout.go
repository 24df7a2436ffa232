package terms

import (
	"fmt"

	"lockstep/internal/mil"
)

// same is reshape and its kin: the elements in the same order.
func same(*operation) (rule, error) {
	return rule{alias: true, reads: func(_, i int) []read { return []read{{index: i}} }}, nil
}

// box is a strided box of the first operand: output element at coordinates c
// is element base + c.strides.
type box struct {
	base    int
	strides []int
}

// boxes is the rule of ops whose outputs are boxes of x.
func (o *operation) boxes(boxes ...box) (rule, error) {
	x, err := o.in[0].terms(o.alg)
	if err != nil {
		return rule{}, err
	}
	shape := func(i int) []int { return o.op.Outputs[i].Type.Shape }
	return rule{
		run: func(i int, dst []Term) error {
			b := boxes[i]
			l := newLines(shape(i), b.strides)
			parallel(l.count(), l.n, func(lo, hi int) {
				for r := lo; r < hi; r++ {
					from, to := x[b.base+l.at(0, r):], dst[r*l.n:(r+1)*l.n]
					if l.step[0] == 1 {
						copy(to, from)
						continue
					}
					for k := range to {
						to[k] = from[k*l.step[0]]
					}
				}
			})
			return nil
		},
		reads: func(i, index int) []read {
			return []read{{index: boxes[i].base + offset(coordinates(index, shape(i)), boxes[i].strides)}}
		},
	}, nil
}

func transpose(o *operation) (rule, error) {
	strides := rowMajor(o.shape("x"))
	b := box{strides: make([]int, len(strides))}
	for d, axis := range o.Ints("perm") {
		if axis < 0 {
			axis += len(strides)
		}
		b.strides[d] = strides[axis]
	}
	return o.boxes(b)
}

func split(o *operation) (rule, error) {
	strides := rowMajor(o.shape("x"))
	axis := o.Axis("axis", 0, len(strides))
	var parts []box
	base := 0
	for _, out := range o.op.Outputs {
		parts = append(parts, box{base, strides})
		base += out.Type.Shape[axis] * strides[axis]
	}
	return o.boxes(parts...)
}

func slice(o *operation) (rule, error) {
	axes, err := o.Slice(o.shape("x"))
	if err != nil {
		return rule{}, err
	}
	return o.boxes(sliceBox(axes, o.shape("x")))
}

func sliceBox(axes []mil.SliceAxis, x []int) box {
	var b box
	for d, stride := range rowMajor(x) {
		b.base += axes[d].Begin * stride
		if !axes[d].Squeeze {
			b.strides = append(b.strides, axes[d].Stride*stride)
		}
	}
	return b
}

func sliceBySize(o *operation) (rule, error) {
	begin := o.Ints("begin")
	if begin == nil {
		return rule{}, fmt.Errorf("%w: a run-time begin", ErrUncovered)
	}
	strides := rowMajor(o.shape("x"))
	return o.boxes(box{offset(begin, strides), strides})
}

// picks is the rule of ops each of whose elements is one of an operand's.
func (o *operation) picks(from func(index int) read) (rule, error) {
	var data [][]Term
	for _, t := range o.in {
		terms, err := t.terms(o.alg)
		if err != nil {
			return rule{}, err
		}
		data = append(data, terms)
	}
	return rule{
		run: func(_ int, dst []Term) error {
			parallel(len(dst), 1, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					r := from(i)
					dst[i] = data[r.operand][r.index]
				}
			})
			return nil
		},
		reads: func(_, i int) []read { return []read{from(i)} },
	}, nil
}

func concat(o *operation) (rule, error) {
	out := o.op.Outputs[0].Type.Shape
	axis := o.Axis("axis", 0, len(out))
	inner := elements(out[axis+1:])
	types := o.Types("values")
	if o.Bool("interleave", false) {
		return o.picks(func(i int) read {
			block, k := i/inner/len(types), i/inner%len(types)
			return read{operand: k, index: block*inner + i%inner}
		})
	}
	whole := out[axis] * inner
	return o.picks(func(i int) read {
		row, at := i/whole, i%whole
		for k, t := range types {
			part := t.Shape[axis] * inner
			if at < part {
				return read{operand: k, index: row*part + at}
			}
			at -= part
		}
		panic("terms: concat's parts do not make up its output") // the shapes were checked
	})
}

func tile(o *operation) (rule, error) {
	x, out := o.shape("x"), o.op.Outputs[0].Type.Shape
	strides := rowMajor(x)
	return o.picks(func(i int) read {
		at := coordinates(i, out)
		for d := range at {
			at[d] %= x[d]
		}
		return read{index: offset(at, strides)}
	})
}

func sliceUpdate(o *operation) (rule, error) {
	x := o.shape("x")
	if o.Ints("begin") == nil || o.Ints("end") == nil {
		return rule{}, fmt.Errorf("%w: a run-time begin or end", ErrUncovered)
	}
	axes, err := o.Slice(x)
	if err != nil {
		return rule{}, err
	}
	update := rowMajor(o.shape("update"))
	return o.picks(func(i int) read {
		index, d := 0, 0
		for axis, c := range coordinates(i, x) {
			a := axes[axis]
			k := c - a.Begin
			if k%a.Stride != 0 || k/a.Stride < 0 || k/a.Stride >= a.Count {
				return read{index: i}
			}
			if !a.Squeeze {
				index += k / a.Stride * update[d]
				d++
			}
		}
		return read{operand: 1, index: index}
	})
}
