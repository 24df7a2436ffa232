package terms

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// tensor is the terms of a value in row-major order. A weight's are made only
// where something other than a product with it looks at them: a projection has
// millions.
type tensor struct {
	shape []int
	data  []Term
	base  *Term // of a weight
}

// maxWeight bounds the weights whose elements are made one by one.
const maxWeight = 1 << 22

// terms are the tensor's elements.
func (t *tensor) terms(alg algebra) ([]Term, error) {
	if t.data != nil {
		return t.data, nil
	}
	n := elements(t.shape)
	if n > maxWeight {
		return nil, fmt.Errorf("%w: a weight of shape %v as an operand other than a product's", ErrUncovered, t.shape)
	}
	t.data = make([]Term, n)
	for i := range t.data {
		t.data[i] = alg.element(*t.base, i)
	}
	return t.data, nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// rowMajor are the strides of a dense tensor.
func rowMajor(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for d, size := range slices.Backward(shape) {
		strides[d] = n
		n *= size
	}
	return strides
}

// broadcast are the strides of a tensor of shape own where it stands for one of
// shape out, NumPy's way.
func broadcast(own, out []int) []int {
	strides := make([]int, len(out))
	for d, stride := range slices.Backward(rowMajor(own)) {
		if own[d] > 1 {
			strides[d+len(out)-len(own)] = stride
		}
	}
	return strides
}

// coordinates turn a row-major index into one per axis.
func coordinates(index int, shape []int) []int {
	at := make([]int, len(shape))
	for d, size := range slices.Backward(shape) {
		at[d] = index % size
		index /= size
	}
	return at
}

// offset is where coordinates lie under strides.
func offset(at, strides []int) int {
	n := 0
	for d, i := range at {
		n += i * strides[d]
	}
	return n
}

// lines cut the elements of a shape into runs along its innermost axis, as far
// as operands with strides of their own let axes be joined.
type lines struct {
	sizes   []int   // of the outer axes
	strides [][]int // of each operand over the outer axes
	n       int     // elements of a line
	step    []int   // of each operand along a line
}

func newLines(shape []int, operands ...[]int) lines {
	l := lines{n: 1, step: make([]int, len(operands)), strides: make([][]int, len(operands))}
	var sizes []int
	strides := make([][]int, len(operands))
	for d, size := range shape {
		if size == 1 {
			continue
		}
		joins := len(sizes) > 0
		for o, own := range operands {
			joins = joins && strides[o][len(sizes)-1] == size*own[d]
		}
		if joins {
			sizes[len(sizes)-1] *= size
		} else {
			sizes = append(sizes, size)
		}
		for o, own := range operands {
			strides[o] = append(strides[o][:len(sizes)-1], own[d])
		}
	}
	if last := len(sizes) - 1; last >= 0 {
		l.sizes, l.n = sizes[:last], sizes[last]
		for o := range operands {
			l.strides[o], l.step[o] = strides[o][:last], strides[o][last]
		}
	}
	return l
}

// count is the number of lines.
func (l lines) count() int { return elements(l.sizes) }

// at is where a line of an operand begins.
func (l lines) at(operand, line int) int {
	n := 0
	for d, size := range slices.Backward(l.sizes) {
		n += line % size * l.strides[operand][d]
		line /= size
	}
	return n
}

// grain is how many elements make a piece of work worth a goroutine.
const grain = 1 << 13

// parallel runs body over [0, n) in pieces; each unit is about cost elements.
func parallel(n, cost int, body func(lo, hi int)) {
	pieces := min(runtime.GOMAXPROCS(0), n*max(cost, 1)/grain, n)
	if pieces <= 1 {
		body(0, n)
		return
	}
	var running sync.WaitGroup
	for p := range pieces {
		running.Go(func() { body(p*n/pieces, (p+1)*n/pieces) })
	}
	running.Wait()
}
