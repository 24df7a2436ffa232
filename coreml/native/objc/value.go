package objc

import "unsafe"

// ID is an object, a class or a block; 0 is nil.
type ID uintptr

// Selector is a registered selector.
type Selector uintptr

// Kind is a type as the runtime encodes it, without qualifiers of methods and
// without offsets.
type Kind string

// The kinds that occur in the table.
const (
	Void        Kind = "v"
	Object      Kind = "@"
	Class       Kind = "#"
	SelectorArg Kind = ":"
	Block       Kind = "@?"
	Bool        Kind = "B"
	Int         Kind = "q" // NSInteger
	Uint        Kind = "Q" // NSUInteger
	Double      Kind = "d"
	Text        Kind = "r*"  // const char *, NUL-terminated UTF-8
	Pointer     Kind = "^v"  // void *
	ObjectOut   Kind = "^@"  // id *, which the callee fills: NSError **
	ObjectList  Kind = "r^@" // const id *, as many as another argument says
	RangePair   Kind = "{_NSRange=QQ}"
	Triple      Kind = "{?=qqq}" // NSOperatingSystemVersion
)

// Value is an argument or a result with its kind, which is compared with the
// table. Only the field that belongs to the kind is set.
type Value struct {
	Kind    Kind
	Word    uint64         // objects, classes, selectors, blocks, integers and booleans
	Float   float64        // Double
	Text    string         // Text
	Pointer unsafe.Pointer // Pointer, ObjectOut and ObjectList
	Words   [3]int64       // RangePair and Triple
}

// ID is the object, class or block of a value.
func (v Value) ID() ID { return ID(v.Word) }

// Int is the signed integer of a value.
func (v Value) Int() int { return int(int64(v.Word)) }

// Of makes an object argument.
func Of(id ID) Value { return Value{Kind: Object, Word: uint64(id)} }

// ClassOf makes a class argument.
func ClassOf(id ID) Value { return Value{Kind: Class, Word: uint64(id)} }

// Handler makes a block argument.
func Handler(block ID) Value { return Value{Kind: Block, Word: uint64(block)} }

// Integer makes an NSInteger argument.
func Integer(n int) Value { return Value{Kind: Int, Word: uint64(int64(n))} }

// Count makes an NSUInteger argument.
func Count(n int) Value { return Value{Kind: Uint, Word: uint64(n)} }

// String makes a C string argument. Text up to the first NUL arrives.
func String(text string) Value { return Value{Kind: Text, Text: text} }

// Memory makes a void * argument. The memory must not be Go's: the callee may
// keep the address.
func Memory(p unsafe.Pointer) Value { return Value{Kind: Pointer, Pointer: p} }

// Out makes an argument that the callee fills with an object.
func Out(id *ID) Value { return Value{Kind: ObjectOut, Pointer: unsafe.Pointer(id)} }

// List makes an argument of the addresses of objects; their number is another
// argument.
func List(ids []ID) Value {
	return Value{Kind: ObjectList, Pointer: unsafe.Pointer(unsafe.SliceData(ids))}
}
