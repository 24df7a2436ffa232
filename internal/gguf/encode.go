package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
)

// KeyValue is a key to encode. Value is a uint8, int8, uint16, int16, uint32,
// int32, uint64, int64, float32, float64, bool, string, or a slice of one of
// them ([]byte is an array of uint8).
type KeyValue struct {
	Key   string
	Value any
}

// EncodeHeader returns the bytes before the data of a version 3 file that
// holds the tensors in the order given; Name, Type and Dims are read, Begin
// and End are set from the alignment, which is the key general.alignment or
// 32. The data follows the returned bytes directly; each tensor is to be
// padded up to the next one's Begin.
func EncodeHeader(keys []KeyValue, tensors []Info) ([]byte, error) {
	var b bytes.Buffer
	alignment := int64(defaultAlignment)
	put(&b, []byte(magic), uint32(maxVersion), uint64(len(tensors)), uint64(len(keys)))
	for _, kv := range keys {
		putText(&b, kv.Key)
		if err := putValue(&b, kv.Value); err != nil {
			return nil, &FormatError{Key: kv.Key, Field: "value", Want: "a type of the format", Found: err.Error()}
		}
		if n, ok := kv.Value.(uint32); ok && kv.Key == alignmentKey {
			alignment = max(1, int64(n)) // Parse judges it
		}
	}
	var at int64
	for i := range tensors {
		t := &tensors[i]
		if len(t.Dims) == 0 {
			return nil, &FormatError{Tensor: t.Name, Field: "rank", Want: "at least one dimension", Found: "none"}
		}
		size, field, want, found := t.Type.size(t.Dims)
		if field != "" {
			return nil, &FormatError{Tensor: t.Name, Field: field, Want: want, Found: found}
		}
		at = align(at, alignment)
		t.Begin, t.End = at, at+size
		at += size
		putText(&b, t.Name)
		put(&b, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			put(&b, uint64(d))
		}
		put(&b, uint32(t.Type), uint64(t.Begin))
	}
	header := int64(b.Len())
	b.Write(make([]byte, align(header, alignment)-header))
	for i := range tensors {
		tensors[i].Begin += int64(b.Len())
		tensors[i].End += int64(b.Len())
	}
	// What Parse refuses (a key twice, a name too long) is not written: the
	// data alone is missing.
	if _, err := Parse(headerOnly{b.Bytes()}, end(tensors, int64(b.Len())), ""); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func end(tensors []Info, header int64) int64 {
	if len(tensors) == 0 {
		return header
	}
	return tensors[len(tensors)-1].End
}

// headerOnly reads as a file whose data is never asked for.
type headerOnly struct{ header []byte }

func (h headerOnly) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(h.header)) {
		n = copy(p, h.header[off:])
	}
	clear(p[n:])
	return len(p), nil
}

// put writes numbers and bools. A buffer does not fail, and the types are the
// format's.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		binary.Write(b, binary.LittleEndian, v)
	}
}

func putText(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// goTypes are the Go kinds of the format's values.
var goTypes = map[reflect.Kind]ValueType{
	reflect.Uint8: Uint8, reflect.Int8: Int8, reflect.Uint16: Uint16, reflect.Int16: Int16, reflect.Uint32: Uint32,
	reflect.Int32: Int32, reflect.Float32: Float32, reflect.Bool: Bool, reflect.String: String, reflect.Uint64: Uint64,
	reflect.Int64: Int64, reflect.Float64: Float64,
}

// putValue writes a value's type and the value.
func putValue(b *bytes.Buffer, value any) error {
	v := reflect.ValueOf(value)
	list := v.Kind() == reflect.Slice
	kind := v.Kind()
	if list {
		kind = v.Type().Elem().Kind()
	}
	t, ok := goTypes[kind]
	switch {
	case !ok:
		return fmt.Errorf("a %T", value)
	case !list:
		put(b, uint32(t))
		putElement(b, v)
	default:
		put(b, uint32(Array), uint32(t), uint64(v.Len()))
		for i := range v.Len() {
			putElement(b, v.Index(i))
		}
	}
	return nil
}

func putElement(b *bytes.Buffer, v reflect.Value) {
	if v.Kind() == reflect.String {
		putText(b, v.String())
		return
	}
	put(b, v.Interface())
}
