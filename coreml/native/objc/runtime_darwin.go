package objc

import (
	"fmt"
	"slices"
	"structs"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/ebitengine/purego/objc"
	"golang.org/x/sys/unix"
)

// The frameworks live in the system's shared cache, not as files: only dlopen
// finds them.
const (
	foundationPath = "/System/Library/Frameworks/Foundation.framework/Foundation"
	coreMLPath     = "/System/Library/Frameworks/CoreML.framework/CoreML"
	runtimePath    = "/usr/lib/libobjc.A.dylib"
)

// Open loads Foundation and Core ML.
func Open() (Runtime, error) {
	if _, err := purego.Dlopen(foundationPath, purego.RTLD_GLOBAL|purego.RTLD_NOW); err != nil {
		return nil, fmt.Errorf("%w: Foundation: %w", ErrNotHere, err)
	}
	framework, err := purego.Dlopen(coreMLPath, purego.RTLD_GLOBAL|purego.RTLD_NOW)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	library, err := purego.Dlopen(runtimePath, purego.RTLD_GLOBAL|purego.RTLD_NOW)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	r := &system{framework: framework}
	for name, fn := range map[string]any{"objc_autoreleasePoolPush": &r.push, "objc_autoreleasePoolPop": &r.pop} {
		address, err := purego.Dlsym(library, name)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrNotHere, name, err)
		}
		purego.RegisterFunc(fn, address)
	}
	return r, nil
}

// system is the runtime of macOS.
type system struct {
	framework uintptr // Core ML's handle
	push      func() uintptr
	pop       func(uintptr)
}

// Plane implements Runtime.
func (*system) Plane() string { return "coreml" }

// Class implements Runtime.
func (*system) Class(name string) ID { return ID(objc.GetClass(name)) }

// Selector implements Runtime.
func (*system) Selector(name string) Selector { return Selector(objc.RegisterName(name)) }

// Send implements Runtime.
func (*system) Send(self ID, sel Selector, result Kind, args ...Value) Value {
	native := make([]any, len(args))
	for i, arg := range args {
		native[i] = arg.native()
	}
	to, s := objc.ID(self), objc.SEL(sel)
	out := Value{Kind: result}
	switch result {
	case Double:
		out.Float = objc.Send[float64](to, s, native...)
	case Text: // copied at once
		out.Text = objc.Send[string](to, s, native...)
	case Pointer:
		out.Pointer = objc.Send[unsafe.Pointer](to, s, native...)
	case RangePair:
		pair := objc.Send[pair](to, s, native...)
		out.Words = [3]int64{int64(pair.A), int64(pair.B)}
	case Triple:
		t := objc.Send[triple](to, s, native...)
		out.Words = [3]int64{t.A, t.B, t.C}
	case Bool: // the upper bits of the register are not defined
		out.Word = uint64(to.Send(s, native...)) & 0xFF
	default:
		out.Word = uint64(to.Send(s, native...))
	}
	return out
}

// pair has the layout of NSRange, triple that of NSOperatingSystemVersion.
type (
	pair struct {
		_    structs.HostLayout
		A, B uint64
	}
	triple struct {
		_       structs.HostLayout
		A, B, C int64
	}
)

// Call implements Runtime.
func (r *system) Call(function string) (ID, error) {
	address, err := purego.Dlsym(r.framework, function)
	if err != nil {
		return 0, fmt.Errorf("function %s of Core ML: %w", function, err)
	}
	var call func() uintptr
	purego.RegisterFunc(&call, address)
	return ID(call()), nil
}

// NewBlock implements Runtime. purego makes one callback for each Go type of
// function below, however many blocks there are.
func (*system) NewBlock(params []Kind, body func(args []Value)) (ID, error) {
	object := func(id objc.ID) Value { return Of(ID(id)) }
	integer := func(n int64) Value { return Integer(int(n)) }
	var fn any
	switch {
	case slices.Equal(params, []Kind{Object}):
		fn = func(_ objc.Block, a objc.ID) { body([]Value{object(a)}) }
	case slices.Equal(params, []Kind{Object, Object}):
		fn = func(_ objc.Block, a, b objc.ID) { body([]Value{object(a), object(b)}) }
	case slices.Equal(params, []Kind{Pointer, Int}):
		fn = func(_ objc.Block, p unsafe.Pointer, n int64) { body([]Value{Memory(p), integer(n)}) }
	case slices.Equal(params, []Kind{Pointer, Int, Object}):
		fn = func(_ objc.Block, p unsafe.Pointer, n int64, a objc.ID) {
			body([]Value{Memory(p), integer(n), object(a)})
		}
	default:
		return 0, fmt.Errorf("%w: a block that is given %q", ErrTable, params)
	}
	return ID(objc.NewBlock(fn)), nil
}

// ReleaseBlock implements Runtime.
func (*system) ReleaseBlock(block ID) { objc.Block(block).Release() }

// PushPool implements Runtime.
func (r *system) PushPool() Pool { return Pool(r.push()) }

// PopPool implements Runtime.
func (r *system) PopPool(p Pool) { r.pop(uintptr(p)) }

// VirtualMachine implements Runtime.
func (*system) VirtualMachine() (bool, error) {
	present, err := unix.SysctlUint32("kern.hv_vmm_present")
	if err != nil {
		return false, fmt.Errorf("sysctl kern.hv_vmm_present: %w", err)
	}
	return present != 0, nil
}

// native is an argument as purego takes it.
func (v Value) native() any {
	switch v.Kind {
	case Bool:
		return v.Word != 0
	case Int:
		return int64(v.Word)
	case Uint:
		return v.Word
	case Double:
		return v.Float
	case Text:
		text := append([]byte(v.Text), 0)
		return unsafe.Pointer(unsafe.SliceData(text))
	case Pointer, ObjectOut, ObjectList:
		return v.Pointer
	}
	return uintptr(v.Word)
}
