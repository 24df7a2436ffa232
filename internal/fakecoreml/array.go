package fakecoreml

import (
	"os"
	"unsafe"

	"github.com/x448/float16"

	"lockstep/coreml/native/objc"
)

// float16Type is Core ML's number for float16.
const float16Type = 0x10010

// rowElements is what padded rows are a multiple of: 64 bytes.
const rowElements = 32

// multiArray is the payload of an MLMultiArray.
type multiArray struct {
	shape, strides []int
	memory         []float16.Float16 // as far as the strides reach
}

// arrays answers the messages to MLMultiArray.
func arrays() map[string]method {
	return map[string]method{
		"MLMultiArray initWithDataPointer:shape:dataType:strides:deallocator:error:": initArray,
		"MLMultiArray shape":    func(c *call) objc.Value { return c.answer(c.numbers(c.multiArray().shape)) },
		"MLMultiArray strides":  func(c *call) objc.Value { return c.answer(c.numbers(c.multiArray().strides)) },
		"MLMultiArray dataType": func(*call) objc.Value { return number(float16Type) },
		"MLMultiArray getBytesWithHandler:": func(c *call) objc.Value {
			a := c.multiArray()
			c.invokeInside(c.args[0].ID(), objc.Memory(a.pointer()), objc.Integer(a.bytes()))
			return objc.Value{}
		},
		"MLMultiArray getMutableBytesWithHandler:": func(c *call) objc.Value {
			a := c.multiArray()
			strides := c.numbers(a.strides)
			c.invokeInside(c.args[0].ID(), objc.Memory(a.pointer()), objc.Integer(a.bytes()), objc.Of(strides))
			c.releaseID(strides)
			return objc.Value{}
		},
	}
}

// initArray makes an array over the caller's memory.
func initArray(c *call) objc.Value {
	if b := c.behaviour(); b.Failure != nil || b.Empty {
		c.releaseID(c.self.id) // an init that fails takes its receiver along
		if b.Failure != nil {
			*(*objc.ID)(c.args[5].Pointer) = c.autoreleased(c.nsError(b.Failure))
		}
		return objc.Of(0)
	}
	a := &multiArray{shape: c.goNumbers(c.args[1].ID()), strides: c.goNumbers(c.args[3].ID())}
	if p := c.args[0].Pointer; p == nil || uintptr(p)%uintptr(os.Getpagesize()) != 0 {
		c.fault("%s: want memory on a page boundary, found %p", c.row.Name(), p)
		return objc.Of(0)
	}
	if t := c.args[2].Int(); t != float16Type || len(a.shape) != len(a.strides) {
		c.fault("%s: data type %#x, shape %v, strides %v", c.row.Name(), t, a.shape, a.strides)
		return objc.Of(0)
	}
	a.memory = unsafe.Slice((*float16.Float16)(c.args[0].Pointer), a.span())
	c.self.payload = a
	return objc.Of(c.self.id)
}

// multiArray is the receiver's payload; one that was never initialised is a
// fault.
func (c *call) multiArray() *multiArray {
	a, ok := c.self.payload.(*multiArray)
	if !ok {
		c.fault("%s: %s was not initialised", c.row.Name(), c.self.class)
		return &multiArray{}
	}
	return a
}

// makeArray makes an MLMultiArray with padded rows and the values given. Its
// memory is spoilt when the array ends.
func (r *Runtime) makeArray(shape []int, values []float16.Float16) objc.ID {
	a := &multiArray{shape: shape, strides: r.strides(shape)}
	a.memory = make([]float16.Float16, a.span())
	spoil(a.memory)
	a.each(func(at, from int) { a.memory[from] = values[at] })
	id := r.make("MLMultiArray", a)
	o := r.object(id, "make an array")
	o.freeing = func() { spoil(a.memory) }
	return id
}

// spoil fills memory with NaN.
func spoil(memory []float16.Float16) {
	for i := range memory {
		memory[i] = 0x7E00
	}
}

// strides are those of padded rows.
func (r *Runtime) strides(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		strides[d] = n
		n *= shape[d]
		if d == len(shape)-1 && !r.opt.Dense {
			n = (n + rowElements - 1) / rowElements * rowElements
		}
	}
	return strides
}

func (a *multiArray) pointer() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(a.memory)) }

func (a *multiArray) bytes() int { return 2 * len(a.memory) }

// span is how many elements the array reaches over.
func (a *multiArray) span() int {
	last := 0
	for d, n := range a.shape {
		last += (n - 1) * a.strides[d]
	}
	return last + 1
}

// each calls visit with the row-major index and the place of every element.
func (a *multiArray) each(visit func(at, from int)) {
	index := make([]int, len(a.shape))
	total := 1
	for _, n := range a.shape {
		total *= n
	}
	for at := range total {
		from := 0
		for d, i := range index {
			from += i * a.strides[d]
		}
		visit(at, from)
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < a.shape[d] {
				break
			}
			index[d] = 0
		}
	}
}

// values reads the array row-major.
func (a *multiArray) values() []float16.Float16 {
	var out []float16.Float16
	a.each(func(_, from int) { out = append(out, a.memory[from]) })
	return out
}

// elements of a shape.
func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
