package native

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/coreml/native/objc"
)

// bytesPerElement of a float16.
const bytesPerElement = 2

// contiguous are the row-major strides of a shape, in elements.
func contiguous(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		strides[d] = n
		n *= shape[d]
	}
	return strides
}

// wrap makes an MLMultiArray over a buffer, without a copy. The buffer must
// outlive everything that Core ML does with the array.
func (s *scope) wrap(m *buffer, shape []int) objc.ID {
	return s.own(s.checked("make an array", s.alloc("MLMultiArray"), "MLMultiArray initWithDataPointer:shape:dataType:strides:deallocator:error:",
		objc.Memory(m.pointer()), objc.Of(s.numbers(shape)), objc.Integer(dataTypeFloat16),
		objc.Of(s.numbers(contiguous(shape))), objc.Handler(0)))
}

// layout is how an MLMultiArray's values lie in its memory.
type layout struct {
	shape   []int
	strides []int // in elements; rows are often padded
}

// layout reads and checks an MLMultiArray's layout against the shape wanted.
func (s *scope) layout(array objc.ID, shape []int) layout {
	l := layout{
		shape:   s.goNumbers(s.object(array, "MLMultiArray shape")),
		strides: s.goNumbers(s.object(array, "MLMultiArray strides")),
	}
	dataType := s.integer(array, "MLMultiArray dataType")
	switch {
	case s.err != nil:
	case dataType != dataTypeFloat16:
		s.fail(fmt.Errorf("%w: want float16 (%#x), found data type %#x", ErrTensor, dataTypeFloat16, dataType))
	default:
		if err := l.check(shape); err != nil {
			s.fail(err)
		}
	}
	return l
}

// check compares the layout with the shape wanted.
func (l layout) check(shape []int) error {
	if !slices.Equal(l.shape, shape) {
		return fmt.Errorf("%w: want shape %v, found %v", ErrTensor, shape, l.shape)
	}
	if len(l.strides) != len(shape) || slices.ContainsFunc(l.strides, func(n int) bool { return n < 0 }) {
		return fmt.Errorf("%w: want %d strides of at least 0, found %v", ErrTensor, len(shape), l.strides)
	}
	return nil
}

// span is how many elements the layout reaches over.
func (l layout) span() int {
	last := 0
	for d, n := range l.shape {
		last += (n - 1) * l.strides[d]
	}
	return last + 1
}

// runs calls each with the place of every row of contiguous elements: at, in
// the dense tensor, and from, in the memory.
func (l layout) runs(each func(at, from, n int)) {
	row, outer := 1, len(l.shape)
	for outer > 0 && l.strides[outer-1] == row {
		row *= l.shape[outer-1]
		outer--
	}
	at := 0
	var walk func(d, from int)
	walk = func(d, from int) {
		if d == outer {
			each(at, from, row)
			at += row
			return
		}
		for i := range l.shape[d] {
			walk(d+1, from+i*l.strides[d])
		}
	}
	walk(0, 0)
}

// read copies an MLMultiArray's values, row-major, into dst.
func (s *scope) read(array objc.ID, shape []int, dst []float16.Float16) {
	l := s.layout(array, shape)
	s.within("read an array", array, "MLMultiArray getBytesWithHandler:", nil, func(args []objc.Value) error {
		memory, err := view(args, l)
		if err == nil {
			l.runs(func(at, from, n int) { copy(dst[at:at+n], memory[from:from+n]) })
		}
		return err
	})
}

// write replaces an MLMultiArray's values by src.
func (s *scope) write(array objc.ID, shape []int, src []float16.Float16) {
	l := s.layout(array, shape)
	s.within("write an array", array, "MLMultiArray getMutableBytesWithHandler:", nil, func(args []objc.Value) error {
		if len(args) != 3 {
			return fmt.Errorf("%w: want memory, size and strides, found %d arguments", ErrTensor, len(args))
		}
		err := s.b.pool(func(inner *scope) error { // the memory may lie otherwise than before
			l.strides = inner.goNumbers(args[2].ID())
			return l.check(shape)
		})
		if err != nil {
			return err
		}
		memory, err := view(args, l)
		if err == nil {
			l.runs(func(at, from, n int) { copy(memory[from:from+n], src[at:at+n]) })
		}
		return err
	})
}

// view is the memory that a block was given, if the layout fits in it.
func view(args []objc.Value, l layout) ([]float16.Float16, error) {
	if len(args) < 2 || args[0].Pointer == nil {
		return nil, fmt.Errorf("%w: Core ML gave no memory", ErrTensor)
	}
	if need, found := l.span()*bytesPerElement, args[1].Int(); need > found {
		return nil, fmt.Errorf("%w: shape %v with strides %v: want at least %d bytes, found %d", ErrTensor, l.shape, l.strides, need, found)
	}
	return unsafe.Slice((*float16.Float16)(args[0].Pointer), l.span()), nil
}
