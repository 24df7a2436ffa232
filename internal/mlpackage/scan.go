package mlpackage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// step is a way from the model to a message in it, kept as a chain since only
// an error makes text of it.
type step struct {
	up    *step
	field protoreflect.FieldDescriptor
	index int    // of a list
	key   string // of a map
}

// path writes steps as "mlProgram.functions["t1"].inputs[0]".
func (s *step) path(where string) string {
	var parts []string
	for ; s != nil; s = s.up {
		if s.field.ContainingMessage().IsMapEntry() {
			continue // the key says it
		}
		part := "." + string(s.field.Name())
		switch {
		case s.field.IsMap():
			part += "[" + strconv.Quote(clip(s.key)) + "]"
		case s.field.IsList():
			part += "[" + strconv.Itoa(s.index) + "]"
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	if text := strings.TrimPrefix(where+strings.Join(parts, ""), "."); text != "" {
		return text
	}
	return "model"
}

// scanner refuses what a protobuf parser takes without a word: unknown fields,
// of which it keeps the bytes, and fields or map keys given more than once, of
// which it keeps the last.
type scanner struct {
	where string // what the scanned bytes are the value of; "" for the model
}

func (c scanner) fail(at *step, wanted, format string, args ...any) error {
	return modelError(ErrWire, at.path(c.where), wanted, format, args...)
}

// scan verifies the bytes of a message of type md. They have been parsed
// before, so that their nesting is bounded.
func (c scanner) scan(data []byte, md protoreflect.MessageDescriptor, at *step) error {
	var seen occurrences
	for len(data) > 0 {
		number, typ, tag := protowire.ConsumeTag(data)
		if tag < 0 {
			return c.fail(at, "a protobuf message", "%v", protowire.ParseError(tag))
		}
		size := protowire.ConsumeFieldValue(number, typ, data[tag:])
		if size < 0 {
			return c.fail(at, "a protobuf message", "%v", protowire.ParseError(size))
		}
		field := md.Fields().ByNumber(number)
		if field == nil || !hasWireType(field, typ) {
			return c.fail(at, fmt.Sprintf("the fields of %s that lockstep knows", md.Name()),
				"unknown field %d of wire type %d", number, typ)
		}
		if err := c.scanField(data[tag:tag+size], field, at, &seen); err != nil {
			return err
		}
		data = data[tag+size:]
	}
	return nil
}

// scanField verifies one occurrence of field, whose value's bytes are given
// with their length, and counts it in seen.
func (c scanner) scanField(value []byte, field protoreflect.FieldDescriptor, at *step, seen *occurrences) error {
	if single := singular(field); single != nil {
		if !add(&seen.once, single) {
			return c.fail(at, "each field once", "another %s", field.Name())
		}
	}
	if field.Message() == nil {
		return nil
	}
	next := &step{up: at, field: field}
	message, _ := protowire.ConsumeBytes(value)
	switch {
	case field.IsMap():
		next.key = mapKey(message)
		if !add(&seen.keys, entryKey{field.Number(), next.key}) {
			return c.fail(at, "each key once", "another %s %q", field.Name(), clip(next.key))
		}
	case field.IsList():
		if seen.count == nil {
			seen.count = map[protowire.Number]int{}
		}
		next.index = seen.count[field.Number()]
		seen.count[field.Number()]++
	}
	return c.scan(message, field.Message(), next)
}

// occurrences are the fields that one message has had so far.
type occurrences struct {
	once  map[protoreflect.Descriptor]bool // singular fields and oneofs
	keys  map[entryKey]bool
	count map[protowire.Number]int // elements of lists
}

// entryKey is a key of a map field.
type entryKey struct {
	field protowire.Number
	key   string
}

// add adds key to a set, and tells whether it is new.
func add[K comparable](set *map[K]bool, key K) bool {
	if (*set)[key] {
		return false
	}
	if *set == nil {
		*set = map[K]bool{}
	}
	(*set)[key] = true
	return true
}

// singular is what field may occupy once: its oneof, itself, or nil for lists
// and maps.
func singular(field protoreflect.FieldDescriptor) protoreflect.Descriptor {
	switch {
	case field.IsList() || field.IsMap():
		return nil
	case field.ContainingOneof() != nil:
		return field.ContainingOneof()
	}
	return field
}

// mapKey is the key of a map entry; all keys of the schema are strings. An
// absent one is the empty string.
func mapKey(entry []byte) string {
	for len(entry) > 0 {
		number, typ, tag := protowire.ConsumeTag(entry)
		size := protowire.ConsumeFieldValue(number, typ, entry[max(tag, 0):])
		if tag < 0 || size < 0 {
			return "" // scan reports it
		}
		if number == 1 && typ == protowire.BytesType {
			key, _ := protowire.ConsumeBytes(entry[tag:])
			return string(key)
		}
		entry = entry[tag+size:]
	}
	return ""
}

// hasWireType tells whether a parser takes a value of type typ as field's; it
// keeps others as unknown fields. Lists of numbers may be packed.
func hasWireType(field protoreflect.FieldDescriptor, typ protowire.Type) bool {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.BytesKind:
		return typ == protowire.BytesType
	case protoreflect.FloatKind:
		return typ == protowire.Fixed32Type || field.IsList() && typ == protowire.BytesType
	case protoreflect.DoubleKind:
		return typ == protowire.Fixed64Type || field.IsList() && typ == protowire.BytesType
	}
	return typ == protowire.VarintType || field.IsList() && typ == protowire.BytesType
}
