package gguf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// The least bytes that a key with its value and a tensor's entry take: bounds
// on the counts at a file's start.
const (
	leastKey    = 8 + 1 + 4 + 1
	leastTensor = 8 + 1 + 4 + 8 + 4 + 8
)

// Parse reads and checks the header of the size bytes behind r. The name
// stands in errors and in the result. It reads the header alone, in order, and
// the memory it takes is bounded by the bytes it has read.
func Parse(r io.ReaderAt, size int64, name string) (*File, error) {
	p := &parser{reader: newReader(r, size, name), file: &File{Name: name, Alignment: defaultAlignment, Keys: map[string]Value{}}}
	tensors, keys := p.preamble()
	for range keys {
		if p.err != nil {
			break
		}
		p.key()
	}
	p.alignment()
	seen := map[string]bool{}
	for range tensors {
		if p.err != nil {
			break
		}
		p.tensor(seen)
	}
	if p.err != nil {
		return nil, p.err
	}
	p.file.DataBegin = align(p.at, p.file.Alignment)
	if err := place(p.file, p.at, size); err != nil {
		return nil, err
	}
	return p.file, nil
}

type parser struct {
	*reader
	file *File
}

// preamble reads magic, version and the counts.
func (p *parser) preamble() (tensors, keys uint64) {
	start := p.number(4, "magic")
	if got := string(binary.LittleEndian.AppendUint32(nil, uint32(start))); p.err == nil && got != magic {
		p.fail("", "", "magic", fmt.Sprintf("%q at the start of the file", magic), excerpt(got))
	}
	version := uint32(p.number(4, "version"))
	switch swapped := bits.ReverseBytes32(version); {
	case p.err != nil:
	case swapped >= 1 && swapped <= maxVersion:
		p.fail("", "", "version", "a little-endian file", fmt.Sprintf("version %d in big-endian bytes", swapped))
	case version < minVersion || version > maxVersion:
		p.fail("", "", "version", fmt.Sprintf("%d or %d", minVersion, maxVersion), version)
	}
	p.file.Version = int(version)
	tensors, keys = p.number(8, "tensor count"), p.number(8, "key count")
	if limit := uint64(p.left / leastTensor); tensors > limit {
		p.fail("", "", "tensor count", fmt.Sprintf("at most %d, which the file has room for", limit), tensors)
	}
	if limit := uint64(p.left / leastKey); keys > limit {
		p.fail("", "", "key count", fmt.Sprintf("at most %d, which the file has room for", limit), keys)
	}
	return tensors, keys
}

// key reads one key and its value.
func (p *parser) key() {
	name := p.text("key")
	if p.err != nil {
		return
	}
	_, again := p.file.Keys[name]
	switch {
	case name == "" || len(name) > MaxKey || !utf8.ValidString(name):
		p.fail("", "", "key", fmt.Sprintf("1 to %d bytes of UTF-8", MaxKey), excerpt(name))
	case again:
		p.fail(name, "", "key", "each key once", "it twice")
	}
	p.file.Keys[name] = p.value(name)
}

// value reads a value's type and the value.
func (p *parser) value(key string) Value {
	v := Value{Type: p.valueType(key, "value type")}
	switch v.Type {
	case String:
		v.text = p.text("value of key " + excerpt(key))
	case Array:
		p.array(key, &v)
	default:
		v.bits = p.scalar(key, v.Type)
	}
	return v
}

func (p *parser) valueType(key, field string) ValueType {
	t := ValueType(p.number(4, field+" of key "+excerpt(key)))
	if !t.known() {
		p.fail(key, "", field, fmt.Sprintf("0 to %d", len(valueTypes)-1), uint32(t))
		return 0
	}
	return t
}

// scalar reads a number or a bool; one with a sign is extended to 64 bits.
func (p *parser) scalar(key string, t ValueType) uint64 {
	size := valueTypes[t].size
	v := p.number(size, "value of key "+excerpt(key))
	switch t {
	case Int8, Int16, Int32:
		shift := 64 - 8*size
		return uint64(int64(v<<shift) >> shift)
	case Bool:
		if v > 1 {
			p.fail(key, "", "value", "a bool of 0 or 1", v)
		}
	}
	return v
}

// array passes over an array's elements.
func (p *parser) array(key string, v *Value) {
	field := "array of key " + excerpt(key)
	v.Elem = p.valueType(key, "array type")
	n := p.number(8, field)
	v.Begin = p.at
	least := uint64(max(1, valueTypes[v.Elem].size))
	switch {
	case p.err != nil:
		return
	case v.Elem == Array:
		p.fail(key, "", "array type", "an array of plain values", "an array of arrays")
	case n > uint64(p.left)/least:
		p.fail(key, "", "array length", fmt.Sprintf("at most %d, which fit before %s", uint64(p.left)/least, p.bound), n)
	case v.Elem == String:
		for i := uint64(0); i < n && p.err == nil; i++ {
			p.skip(p.number(8, field), field)
		}
	case v.Elem == Bool:
		for i := uint64(0); i < n && p.err == nil; i++ {
			p.scalar(key, Bool)
		}
	default:
		p.skip(n*least, field)
	}
	v.Len, v.End = int(n), p.at
}

// alignment reads the key that the format itself gives a meaning.
func (p *parser) alignment() {
	v, ok := p.file.Keys[alignmentKey]
	if !ok || p.err != nil {
		return
	}
	n, _ := v.Int()
	if v.Type != Uint32 || n < 8 || n&(n-1) != 0 {
		found := fmt.Sprintf("%s %d", v.Type, n)
		p.fail(alignmentKey, "", "value", "a uint32 that is a power of two and at least 8", found)
		return
	}
	p.file.Alignment = n
}

// tensor reads one tensor's entry. Begin is relative to the data until place.
func (p *parser) tensor(seen map[string]bool) {
	name := p.text("tensor name")
	if p.err != nil {
		return
	}
	t := Info{Name: name}
	rank := uint32(p.number(4, "rank of tensor "+excerpt(name)))
	switch {
	case p.err != nil:
		return
	case name == "" || len(name) > MaxName || !utf8.ValidString(name):
		p.fail("", "", "tensor name", fmt.Sprintf("1 to %d bytes of UTF-8", MaxName), excerpt(name))
		return
	case seen[name]:
		p.fail("", name, "name", "each name once", "it twice")
		return
	case rank < 1 || rank > MaxRank:
		p.fail("", name, "rank", fmt.Sprintf("1 to %d dimensions", MaxRank), rank)
		return
	}
	seen[name] = true
	for range rank {
		t.Dims = append(t.Dims, p.dimension(name))
	}
	t.Type = Type(p.number(4, "type of tensor "+excerpt(name)))
	offset := p.number(8, "offset of tensor "+excerpt(name))
	if p.err != nil {
		return
	}
	size, field, want, found := t.Type.size(t.Dims)
	switch {
	case field != "":
		p.fail("", name, field, want, found)
	case offset > math.MaxInt64/2:
		p.fail("", name, "offset", "one within the file", offset)
	case int64(offset)%p.file.Alignment != 0:
		p.fail("", name, "offset", fmt.Sprintf("a multiple of the alignment %d", p.file.Alignment), offset)
	}
	t.Begin, t.End = int64(offset), int64(offset)+size
	p.file.Tensors = append(p.file.Tensors, t)
}

func (p *parser) dimension(name string) int {
	d := p.number(8, "dimensions of tensor "+excerpt(name))
	if d > math.MaxInt64/2 {
		p.fail("", name, "dimensions", "at most 2^62", d)
		return 0
	}
	return int(d)
}

// place makes the tensors' ranges absolute and wants them to cover the data,
// each beginning where the one before it ends, up to the alignment's padding.
// The last may be padded or not: writers differ.
func place(f *File, header, size int64) error {
	order := make([]*Info, len(f.Tensors))
	for i := range f.Tensors {
		order[i] = &f.Tensors[i]
	}
	slices.SortStableFunc(order, func(a, b *Info) int { return cmp.Compare(a.Begin, b.Begin) })
	end := header // of everything so far
	for _, t := range order {
		t.Begin += f.DataBegin
		t.End += f.DataBegin
		if at := align(end, f.Alignment); t.Begin != at {
			why := "a hole before it"
			if t.Begin < at {
				why = "an overlap"
			}
			return &FormatError{
				File: f.Name, Tensor: t.Name, Field: "offset",
				Want:  fmt.Sprintf("%d, where the tensor before it ends", at-f.DataBegin),
				Found: fmt.Sprintf("%d: %s", t.Begin-f.DataBegin, why),
			}
		}
		if end = t.End; end > size {
			return &FormatError{
				File: f.Name, Tensor: t.Name, Field: "offset",
				Want:  fmt.Sprintf("an end within the %d bytes of the file", size),
				Found: fmt.Sprintf("end %d: the file is truncated", end),
			}
		}
	}
	if padded := align(end, f.Alignment); size != end && size != padded {
		return &FormatError{
			File: f.Name, Field: "data",
			Want:  fmt.Sprintf("an end at byte %d, or %d with padding", end, padded),
			Found: fmt.Sprint(size),
		}
	}
	return nil
}
