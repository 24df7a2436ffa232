package mlpackage

import (
	"encoding/binary"
	"fmt"
	"math"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage/milpb"
)

// payload is the one field of a mil.Literal that holds its elements.
type payload int

const (
	payloadBytes payload = iota
	payloadInts
	payloadFloats
	payloadBools
	payloadStrings
)

func (p payload) String() string {
	return [...]string{"bytes", "ints", "floats", "bools", "strings"}[p]
}

// payloadOf says where package mil keeps immediate elements of dt. On the wire
// they lie in the field of the same name, except that uint32 lies in bytes.
func payloadOf(dt mil.DType) payload {
	switch dt {
	case mil.Bool:
		return payloadBools
	case mil.String:
		return payloadStrings
	case mil.Float32:
		return payloadFloats
	case mil.Int32, mil.Int16, mil.UInt16, mil.UInt32:
		return payloadInts
	}
	return payloadBytes
}

// immediate wraps a tensor's elements as a value in place.
func immediate(tensor *milpb.TensorValue) *milpb.Value_ImmediateValue_ {
	return &milpb.Value_ImmediateValue_{ImmediateValue: &milpb.Value_ImmediateValue{
		Value: &milpb.Value_ImmediateValue_Tensor{Tensor: tensor},
	}}
}

// checkLiteral verifies that exactly the right field of l is set, that its
// length and values fit the type, and that the unused bits of packed elements
// are zero.
func checkLiteral(at place, l *mil.Literal) error {
	if err := l.Check(); err != nil {
		return at.fault(err)
	}
	if wanted, found := paddingFault(l.Type, l.Bytes); wanted != "" {
		return at.err(ErrConvention, wanted, "%s", found)
	}
	return nil
}

func encodeLiteral(at place, l *mil.Literal) (*milpb.Value, error) {
	t, err := encodeType(at, l.Type)
	if err != nil {
		return nil, err
	}
	if err := checkLiteral(at, l); err != nil {
		return nil, err
	}
	if l.Blob != nil {
		return &milpb.Value{Type: t, Value: &milpb.Value_BlobFileValue_{
			BlobFileValue: &milpb.Value_BlobFileValue{FileName: l.Blob.File, Offset: l.Blob.Offset},
		}}, nil
	}
	return &milpb.Value{Type: t, Value: immediate(encodeElements(l))}, nil
}

func encodeElements(l *mil.Literal) *milpb.TensorValue {
	switch payloadOf(l.Type.DType) {
	case payloadBools:
		return &milpb.TensorValue{Value: &milpb.TensorValue_Bools{Bools: &milpb.TensorValue_RepeatedBools{Values: l.Bools}}}
	case payloadStrings:
		return &milpb.TensorValue{Value: &milpb.TensorValue_Strings{Strings: &milpb.TensorValue_RepeatedStrings{Values: l.Strings}}}
	case payloadFloats:
		return &milpb.TensorValue{Value: &milpb.TensorValue_Floats{Floats: &milpb.TensorValue_RepeatedFloats{Values: l.Floats}}}
	case payloadInts:
		if l.Type.DType != mil.UInt32 {
			return &milpb.TensorValue{Value: &milpb.TensorValue_Ints{Ints: &milpb.TensorValue_RepeatedInts{Values: l.Ints}}}
		}
		return bytesValue(littleEndian(l))
	}
	return bytesValue(l.Bytes)
}

func bytesValue(raw []byte) *milpb.TensorValue {
	return &milpb.TensorValue{Value: &milpb.TensorValue_Bytes{Bytes: &milpb.TensorValue_RepeatedBytes{Values: raw}}}
}

func decodeLiteral(at place, v *milpb.Value) (*mil.Literal, error) {
	if v.GetDocString() != "" {
		return nil, at.err(ErrUnsupported, "no docString", "%q", v.GetDocString())
	}
	t, err := decodeType(at, v.GetType())
	if err != nil {
		return nil, err
	}
	out := &mil.Literal{Type: t}
	switch value := v.GetValue().(type) {
	case *milpb.Value_BlobFileValue_:
		out.Blob = &mil.BlobRef{File: value.BlobFileValue.GetFileName(), Offset: value.BlobFileValue.GetOffset()}
	case *milpb.Value_ImmediateValue_:
		tensor, ok := value.ImmediateValue.GetValue().(*milpb.Value_ImmediateValue_Tensor)
		if !ok {
			return nil, at.err(ErrUnsupported, "a tensor's elements", "%T", value.ImmediateValue.GetValue())
		}
		if err := decodeElements(at, tensor.Tensor, out); err != nil {
			return nil, err
		}
	default:
		return nil, at.err(ErrConvention, "an immediate value or a blob", "no value")
	}
	return out, checkLiteral(at, out)
}

// decodeElements fills the field of l that its type wants from the field of
// the wire that the type wants.
func decodeElements(at place, tensor *milpb.TensorValue, l *mil.Literal) error {
	wanted, found := payloadOf(l.Type.DType), payloadBytes
	if l.Type.DType == mil.UInt32 {
		wanted = payloadBytes
	}
	switch v := tensor.GetValue().(type) {
	case *milpb.TensorValue_Bytes:
		l.Bytes = nonEmpty(v.Bytes.GetValues())
	case *milpb.TensorValue_Ints:
		found, l.Ints = payloadInts, v.Ints.GetValues()
	case *milpb.TensorValue_Floats:
		found, l.Floats = payloadFloats, v.Floats.GetValues()
	case *milpb.TensorValue_Bools:
		found, l.Bools = payloadBools, v.Bools.GetValues()
	case *milpb.TensorValue_Strings:
		found, l.Strings = payloadStrings, v.Strings.GetValues()
	default:
		return at.err(ErrConvention, wanted.String(), "%T", v)
	}
	if found != wanted {
		return at.err(ErrConvention, fmt.Sprintf("%v for %v", wanted, l.Type), "%v", found)
	}
	if l.Type.DType == mil.UInt32 {
		return splitUint32(at, l)
	}
	return nil
}

// splitUint32 moves l's little-endian bytes to Ints, the bits unchanged.
func splitUint32(at place, l *mil.Literal) error {
	if len(l.Bytes)%4 != 0 {
		return at.err(ErrConvention, "four bytes for each uint32", "%d bytes", len(l.Bytes))
	}
	for i := 0; i < len(l.Bytes); i += 4 {
		l.Ints = append(l.Ints, int32(binary.LittleEndian.Uint32(l.Bytes[i:])))
	}
	l.Bytes = nil
	return nil
}

// littleEndian returns an immediate literal's elements as a weight file would
// hold them; bools are one byte each. Literals of bytes are returned as they
// stand. Strings give nil.
func littleEndian(l *mil.Literal) []byte {
	var out []byte
	switch payloadOf(l.Type.DType) {
	case payloadBytes:
		return l.Bytes
	case payloadInts:
		for _, v := range l.Ints {
			if l.Type.DType.Bits() == 16 {
				out = binary.LittleEndian.AppendUint16(out, uint16(v))
			} else {
				out = binary.LittleEndian.AppendUint32(out, uint32(v))
			}
		}
	case payloadFloats:
		for _, v := range l.Floats {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	case payloadBools:
		for _, v := range l.Bools {
			b := byte(0)
			if v {
				b = 1
			}
			out = append(out, b)
		}
	}
	return out
}

// nonEmpty makes an empty slice nil, so that equal literals compare equal.
func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
