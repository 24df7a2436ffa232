package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// EncodeHeader returns the length and header of a file that holds the tensors
// one after another in the order given; the data follows the returned bytes
// directly. Name, DType and Shape are read, Begin and End are not. The header
// lists metadata (if not nil, keys sorted) before the tensors and is padded
// with spaces to a multiple of eight bytes, so the same arguments give the
// same bytes.
func EncodeHeader(tensors []Info, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, lengthBytes))
	b.WriteByte('{')
	if metadata != nil {
		if err := checkMetadata(metadata); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", metadataKey, marshal(metadata))
	}
	seen := make(map[string]bool, len(tensors))
	var at int64
	for i, t := range tensors {
		size, err := checkInfo(t, seen)
		if err != nil {
			return nil, err
		}
		if at+size < at {
			return nil, &FormatError{Tensor: t.Name, Field: "shape", Want: "data of less than 2^63 bytes in all", Found: formatShape(t.Shape)}
		}
		if i > 0 || metadata != nil {
			b.WriteByte(',')
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		fmt.Fprintf(&b, "%s:{\"dtype\":%q,\"shape\":%s,\"data_offsets\":[%d,%d]}", marshal(t.Name), t.DType, marshal(shape), at, at+size)
		at += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	header := b.Bytes()
	length := len(header) - lengthBytes
	if length > MaxHeader {
		return nil, &FormatError{Field: "header length", Want: fmt.Sprintf("at most %d", MaxHeader), Found: fmt.Sprint(length)}
	}
	binary.LittleEndian.PutUint64(header, uint64(length))
	return header, nil
}

// checkInfo refuses what Parse would refuse and returns the tensor's size.
func checkInfo(t Info, seen map[string]bool) (int64, error) {
	switch {
	case t.Name == metadataKey || !utf8.ValidString(t.Name):
		return 0, &FormatError{Tensor: t.Name, Field: "name", Want: "UTF-8 other than " + metadataKey, Found: excerpt(t.Name)}
	case seen[t.Name]:
		return 0, &FormatError{Tensor: t.Name, Field: "name", Want: "each name once", Found: "it twice"}
	case len(t.Shape) > MaxRank:
		return 0, &FormatError{Tensor: t.Name, Field: "shape", Want: fmt.Sprintf("at most %d dimensions", MaxRank), Found: fmt.Sprint(len(t.Shape))}
	}
	seen[t.Name] = true
	size, err := Size(t.DType, t.Shape)
	if err != nil {
		return 0, &FormatError{Tensor: t.Name, Field: "shape", Want: "a known dtype and a size in bytes", Found: err.Error()}
	}
	return size, nil
}

func checkMetadata(metadata map[string]string) error {
	for k, v := range metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return &FormatError{Field: metadataKey, Want: "UTF-8", Found: excerpt(k + ": " + v)}
		}
	}
	return nil
}

// marshal encodes a string, []int or map[string]string of valid UTF-8, which
// encoding/json cannot fail on; maps come out with sorted keys.
func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("safetensors: encoding %T: %v", v, err))
	}
	return text
}
