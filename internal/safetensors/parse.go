package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads and checks the header of the size bytes behind r. The name
// stands in errors and in the result. It reads the header alone, and the
// memory it takes is bounded by the header's length, which is checked against
// size before it is believed.
func Parse(r io.ReaderAt, size int64, name string) (*File, error) {
	header, err := readHeader(r, size, name)
	if err != nil {
		return nil, err
	}
	p := &parser{file: &File{Name: name}, dec: json.NewDecoder(bytes.NewReader(header))}
	p.dec.UseNumber()
	if err := p.header(); err != nil {
		return nil, err
	}
	begin := int64(lengthBytes + len(header))
	if err := checkRanges(p.file, size-begin); err != nil {
		return nil, err
	}
	for i := range p.file.Tensors {
		p.file.Tensors[i].Begin += begin
		p.file.Tensors[i].End += begin
	}
	slices.SortFunc(p.file.Tensors, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return p.file, nil
}

// readHeader returns the header's JSON text: bounded, complete, valid.
func readHeader(r io.ReaderAt, size int64, name string) ([]byte, error) {
	fail := func(field, want, found string) error {
		return &FormatError{File: name, Field: field, Want: want, Found: found}
	}
	if size < lengthBytes {
		return nil, fail("file size", fmt.Sprintf("at least %d bytes", lengthBytes), fmt.Sprint(size))
	}
	var prefix [lengthBytes]byte
	if err := readFull(r, prefix[:], 0); err != nil {
		return nil, fmt.Errorf("%s: header length: %w", name, err)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case length > MaxHeader:
		return nil, fail("header length", fmt.Sprintf("at most %d", MaxHeader), fmt.Sprint(length))
	case int64(length) > size-lengthBytes:
		return nil, fail("header length", fmt.Sprintf("at most the %d bytes that follow it", size-lengthBytes), fmt.Sprint(length))
	}
	header := make([]byte, length)
	if err := readFull(r, header, lengthBytes); err != nil {
		return nil, fmt.Errorf("%s: header: %w", name, err)
	}
	switch {
	case !bytes.HasPrefix(header, []byte("{")):
		return nil, fail("header", "a JSON object that starts with {", excerpt(string(header[:min(8, len(header))])))
	case !utf8.Valid(header):
		return nil, fail("header", "UTF-8", "other bytes")
	case !json.Valid(header):
		return nil, fail("header", "valid JSON", "a syntax error")
	}
	return header, nil
}

// readFull reads len(dst) bytes at off. Only a file that has shrunk since its
// size was taken ends early.
func readFull(r io.ReaderAt, dst []byte, off int64) error {
	n, err := r.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d of %d bytes: %w", n, len(dst), err)
}

// parser walks the tokens of a header whose JSON is known to be valid, so that
// repeated keys are seen and nothing is kept that the format does not name.
type parser struct {
	file *File
	dec  *json.Decoder
}

func (p *parser) fail(tensor, field, want string, found any) error {
	text := ""
	switch v := found.(type) {
	case json.Delim:
		text = fmt.Sprintf("a value that starts with %s", v)
	case json.Number:
		text = cut(string(v))
	case string:
		text = excerpt(v)
	default:
		text = fmt.Sprint(v) // true, false or <nil>
	}
	return &FormatError{File: p.file.Name, Tensor: tensor, Field: field, Want: want, Found: text}
}

func cut(text string) string {
	if len(text) > 64 {
		return text[:64] + "..."
	}
	return text
}

// delim takes the next token, which must be d.
func (p *parser) delim(tensor, field string, d json.Delim, want string) error {
	tok, err := p.dec.Token()
	if err != nil {
		return fmt.Errorf("%s: header: %w: %w", p.file.Name, ErrFormat, err)
	}
	if tok != d {
		return p.fail(tensor, field, want, tok)
	}
	return nil
}

// object calls each for every key of the object that comes next and refuses a
// repeated key.
func (p *parser) object(tensor, field string, each func(key string) error) error {
	if err := p.delim(tensor, field, '{', "a JSON object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return fmt.Errorf("%s: header: %w: %w", p.file.Name, ErrFormat, err)
		}
		key := tok.(string) // valid JSON has no other key
		if seen[key] {
			return &FormatError{File: p.file.Name, Tensor: tensor, Field: field, Want: "each key once", Found: fmt.Sprintf("key %s twice", excerpt(key))}
		}
		seen[key] = true
		if err := each(key); err != nil {
			return err
		}
	}
	return p.delim(tensor, field, '}', "}")
}

func (p *parser) header() error {
	return p.object("", "header", func(key string) error {
		if key == metadataKey {
			return p.metadata()
		}
		info, err := p.tensor(key)
		if err != nil {
			return err
		}
		p.file.Tensors = append(p.file.Tensors, info)
		return nil
	})
}

func (p *parser) metadata() error {
	p.file.Metadata = map[string]string{}
	return p.object("", metadataKey, func(key string) error {
		value, err := p.text("", fmt.Sprintf("%s[%s]", metadataKey, excerpt(key)))
		p.file.Metadata[key] = value
		return err
	})
}

func (p *parser) tensor(name string) (Info, error) {
	info := Info{Name: name}
	var offsets []int64
	have := map[string]bool{}
	err := p.object(name, "entry", func(key string) (err error) {
		have[key] = true
		switch key {
		case "dtype":
			info.DType, err = p.text(name, key)
		case "shape":
			var dims []int64
			dims, err = p.integers(name, key, MaxRank)
			info.Shape = toInts(dims)
		case "data_offsets":
			offsets, err = p.integers(name, key, 2)
		default:
			err = p.fail(name, "entry", "dtype, shape and data_offsets only", key)
		}
		return err
	})
	if err != nil {
		return info, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !have[key] {
			return info, &FormatError{File: p.file.Name, Tensor: name, Field: key, Want: "a value", Found: "no such key"}
		}
	}
	if len(offsets) != 2 {
		return info, &FormatError{File: p.file.Name, Tensor: name, Field: "data_offsets", Want: "two offsets", Found: fmt.Sprint(len(offsets))}
	}
	info.Begin, info.End = offsets[0], offsets[1]
	return info, p.checkSize(info)
}

// checkSize holds the byte range against dtype and shape.
func (p *parser) checkSize(t Info) error {
	if _, ok := dtypeBits[t.DType]; !ok {
		return p.fail(t.Name, "dtype", "a safetensors dtype", t.DType)
	}
	size, err := Size(t.DType, t.Shape)
	if err != nil {
		return &FormatError{File: p.file.Name, Tensor: t.Name, Field: "shape", Want: "a size in bytes", Found: err.Error()}
	}
	if t.End-t.Begin != size {
		return &FormatError{
			File: p.file.Name, Tensor: t.Name, Field: "data_offsets",
			Want:  fmt.Sprintf("%d bytes for %s %s", size, t.DType, formatShape(t.Shape)),
			Found: fmt.Sprintf("[%d, %d], %d bytes", t.Begin, t.End, t.End-t.Begin),
		}
	}
	return nil
}

func (p *parser) text(tensor, field string) (string, error) {
	tok, err := p.dec.Token()
	if err != nil {
		return "", fmt.Errorf("%s: header: %w: %w", p.file.Name, ErrFormat, err)
	}
	text, ok := tok.(string)
	if !ok {
		return "", p.fail(tensor, field, "a string", tok)
	}
	return text, nil
}

// integers takes an array of at most limit non-negative integers.
func (p *parser) integers(tensor, field string, limit int) ([]int64, error) {
	if err := p.delim(tensor, field, '[', "an array"); err != nil {
		return nil, err
	}
	out := []int64{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%s: header: %w: %w", p.file.Name, ErrFormat, err)
		}
		number, ok := tok.(json.Number)
		if !ok {
			return nil, p.fail(tensor, field, "non-negative integers", tok)
		}
		if len(out) == limit {
			return nil, &FormatError{File: p.file.Name, Tensor: tensor, Field: field, Want: fmt.Sprintf("at most %d numbers", limit), Found: "more"}
		}
		v, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil || number[0] == '-' {
			return nil, p.fail(tensor, field, "non-negative integers below 2^63", number)
		}
		out = append(out, v)
	}
	return out, p.delim(tensor, field, ']', "]")
}

func toInts(dims []int64) []int {
	out := make([]int, len(dims))
	for i, d := range dims {
		out[i] = int(d)
	}
	return out
}

// checkRanges wants the tensors' ranges, relative to the data, to cover all of
// it without overlap or hole.
func checkRanges(f *File, data int64) error {
	order := slices.Clone(f.Tensors)
	slices.SortFunc(order, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End), cmp.Compare(a.Name, b.Name))
	})
	var at int64
	for _, t := range order {
		if t.Begin != at {
			why := "a hole before it"
			if t.Begin < at {
				why = "an overlap"
			}
			return &FormatError{
				File: f.Name, Tensor: t.Name, Field: "data_offsets",
				Want:  fmt.Sprintf("begin %d, where the tensor before it ends", at),
				Found: fmt.Sprintf("begin %d: %s", t.Begin, why),
			}
		}
		at = t.End
		if at > data {
			return &FormatError{
				File: f.Name, Tensor: t.Name, Field: "data_offsets",
				Want:  fmt.Sprintf("an end within the %d bytes of data", data),
				Found: fmt.Sprintf("end %d: the file is truncated", at),
			}
		}
	}
	if at != data {
		return &FormatError{
			File: f.Name, Field: "data",
			Want:  fmt.Sprintf("%d bytes, where the last tensor ends", at),
			Found: fmt.Sprintf("%d", data),
		}
	}
	return nil
}
