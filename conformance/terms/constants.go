package terms

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// literal is a compile-time value: numbers where the program holds them, one
// symbol per element where the weight file does.
func (m *machine) literal(l *mil.Literal) (*tensor, error) {
	t := &tensor{shape: l.Type.Shape}
	if l.Blob != nil {
		base := m.alg.seed(literalText(l))
		t.base = &base
		return t, nil
	}
	n := elements(l.Type.Shape)
	t.data = make([]Term, n)
	switch l.Type.DType {
	case mil.Float16:
		halfs := make([]float16.Float16, n)
		half.FromBytes(halfs, l.Bytes)
		for i, h := range halfs {
			t.data[i] = number(half.ToFloat64(h))
		}
	case mil.Float32:
		for i, f := range l.Floats {
			t.data[i] = number(float64(f))
		}
	case mil.Bool:
		for i, b := range l.Bools {
			if b {
				t.data[i] = one
			}
		}
	case mil.Int32, mil.Int16, mil.UInt16, mil.UInt32:
		for i, v := range l.Ints {
			t.data[i] = number(float64(v))
		}
	case mil.String:
	default: // packed integers, which constexpr ops alone read
		base := m.alg.seed(literalText(l))
		t.data, t.base = nil, &base
	}
	return t, nil
}

// weight is the result of a constexpr op: a symbol named by what it is computed
// from, so that two functions that read other blobs or scales differ.
func (o *operation) weight() *tensor {
	var name strings.Builder
	name.WriteString(o.op.Type)
	for _, arg := range o.op.Args {
		for _, b := range arg.Bindings {
			l := b.Literal
			if l == nil {
				l = o.scope.Literal(b.Name)
			}
			if l == nil { // made by another constexpr op
				base := o.values[b.Name].base
				fmt.Fprintf(&name, " %s=%v", arg.Param, *base)
				continue
			}
			fmt.Fprintf(&name, " %s=%s", arg.Param, literalText(l))
		}
	}
	base := o.alg.seed(name.String())
	return &tensor{shape: o.op.Outputs[0].Type.Shape, base: &base}
}

// literalText names a compile-time value by its type and its bytes, or by where
// these lie in the weight file.
func literalText(l *mil.Literal) string {
	if l.Blob != nil {
		return fmt.Sprintf("%s %s@%d", l.Type, l.Blob.File, l.Blob.Offset)
	}
	data := fmt.Append(nil, l.Ints, l.Floats, l.Bools, l.Strings, l.Bytes)
	return fmt.Sprintf("%s %x", l.Type, sha256.Sum256(data))
}
