package mil

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// mutation turns fuzz bytes into changes of a program: what a decoder of
// hostile bytes could hand to Check.
type mutation struct{ data []byte }

func (m *mutation) byte() int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b)
}

// number is small, or any 64-bit value.
func (m *mutation) number() int {
	if m.byte()%2 == 0 {
		return m.byte() - 4
	}
	var b [8]byte
	for i := range b {
		b[i] = byte(m.byte())
	}
	return int(binary.LittleEndian.Uint64(b[:]))
}

func pick[T any](m *mutation, s []T) *T {
	if len(s) == 0 {
		return new(T)
	}
	return &s[m.byte()%len(s)]
}

func (m *mutation) name(f *Function) string {
	var names []string
	for _, op := range f.Ops {
		if op != nil {
			for _, out := range op.Outputs {
				names = append(names, out.Name)
			}
		}
	}
	return *pick(m, append(names, "x", "k", "", "a-b"))
}

func (m *mutation) typ(t *Type) {
	switch m.byte() % 4 {
	case 0:
		t.DType = DType(m.byte())
	case 1:
		t.State = !t.State
	case 2:
		*pick(m, t.Shape) = m.number()
	case 3:
		t.Shape = append(t.Shape, m.number())
	}
}

func (m *mutation) literal(l *Literal) {
	if l == nil {
		return
	}
	switch m.byte() % 6 {
	case 0:
		m.typ(&l.Type)
	case 1:
		*pick(m, l.Ints) = int32(m.number())
	case 2:
		n := m.byte() % 6
		l.Ints = make([]int32, n)
		l.Type.Shape = []int{n}
		for i := range l.Ints {
			l.Ints[i] = int32(m.number())
		}
	case 3:
		l.Blob = &BlobRef{File: "w", Offset: uint64(m.number())}
	case 4:
		l.Blob, l.Ints, l.Bytes, l.Strings = nil, nil, nil, nil
	case 5:
		l.Strings = []string{string(rune(m.byte()))}
	}
}

func (m *mutation) op(f *Function, op *Op) {
	if op == nil {
		return
	}
	arg := pick(m, op.Args)
	b := pick(m, arg.Bindings)
	switch m.byte() % 8 {
	case 0:
		op.Type = *pick(m, OpTypes())
	case 1:
		arg.Param = pick(m, opTable[*pick(m, OpTypes())].params).name
	case 2:
		b.Name = m.name(f)
	case 3:
		m.literal(b.Literal)
	case 4:
		m.literal(op.Val)
	case 5:
		m.typ(&pick(m, op.Outputs).Type)
	case 6:
		op.Args = append(op.Args, Argument{Param: pick(m, opTable[op.Type].params).name, Bindings: []Binding{{Name: m.name(f)}}})
	case 7:
		*b = Binding{Literal: &Literal{Type: i32(), Ints: []int32{int32(m.number())}}}
	}
}

// FuzzCheck: Check and Print take any program without a panic, Check's error is
// located, and what Check accepts is safe to walk with a Scope.
func FuzzCheck(f *testing.F) {
	good := sample(f)
	f.Add([]byte{})
	f.Add([]byte{0, 3, 0, 0, 5, 0, 2, 1, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Add([]byte{1, 5, 0, 0, 0, 9, 0, 7, 0, 0, 4, 2, 3, 0, 1, 0, 2, 0, 3})
	f.Add([]byte{0, 14, 1, 0, 2, 3, 1, 9, 0, 0, 1, 17})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := good.Clone()
		m := &mutation{data: data}
		for len(m.data) > 0 {
			fn := *pick(m, p.Functions)
			if m.byte() == 255 {
				m.typ(&pick(m, fn.Inputs).Type)
				continue
			}
			m.op(fn, *pick(m, fn.Ops))
		}
		checkSafely(t, p)
	})
}

// FuzzCheckOps is FuzzCheck on programs of one op, which reach each op's own
// rule more often.
func FuzzCheckOps(f *testing.F) {
	cases := opCases()
	for i := range cases {
		f.Add(uint16(i), []byte{byte(i), byte(i >> 3), 4, 0, 2, 1, 255})
	}
	f.Fuzz(func(t *testing.T, which uint16, data []byte) {
		b, outs := cases[int(which)%len(cases)].build()
		p := &Program{Functions: []*Function{b.f}}
		b.f.Outputs = outs
		m := &mutation{data: data}
		for len(m.data) > 0 {
			if m.byte()%4 == 0 {
				m.typ(&pick(m, b.f.Inputs).Type)
			} else {
				m.op(b.f, *pick(m, b.f.Ops))
			}
		}
		checkSafely(t, p)
	})
}

func checkSafely(t *testing.T, p *Program) {
	t.Helper()
	err := p.Check()
	if printErr := Print(io.Discard, p); printErr != nil {
		t.Fatal(printErr)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Kind == nil {
			t.Fatalf("an error that is not located: %v", err)
		}
		return
	}
	for _, f := range p.Functions {
		s, err := NewScope(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range f.Ops {
			params := s.Params(op)
			for _, out := range op.Outputs {
				if NumElements(out.Type.Shape) < 0 {
					t.Fatalf("accepted %s", out.Type)
				}
			}
			for _, a := range op.Args {
				params.Types(a.Param)
				params.Ints(a.Param)
				params.Half(a.Param, 0)
				params.Bool(a.Param, false)
				_ = params.String(a.Param, "")
			}
		}
	}
}
