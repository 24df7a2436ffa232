package mil

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Print writes a program as text, one input, op or output a line. The text is
// a function of the program alone and meant for golden files and for reading:
//
//	function t1 CoreML8
//	  input x fp16[1,2,32,32]
//	  state k state<fp16[1,2,32,32]>
//	  c fp16 = const(0.5)
//	  y fp16[1,2,32,32] = add(x: x, y: c)
//	  k_write_y: write_state(data: y, input: k)
//	  output y
//
// A line starts with the op's outputs and their types; an op whose name is not
// its first output's has its name before. Literals longer than 16 elements are
// cut and carry the start of their data's SHA-256. It takes any program, also
// one that Check refuses.
func Print(w io.Writer, p *Program) error {
	out := bufio.NewWriter(w)
	if p != nil {
		for i, f := range p.Functions {
			if i > 0 {
				fmt.Fprintln(out)
			}
			printFunction(out, f)
		}
	}
	return out.Flush()
}

func printFunction(w io.Writer, f *Function) {
	if f == nil {
		fmt.Fprintln(w, "function <nil>")
		return
	}
	fmt.Fprintf(w, "function %s %s\n", word(f.Name), word(f.Opset))
	for _, in := range f.Inputs {
		kind := "input"
		if in.Type.State {
			kind = "state"
		}
		fmt.Fprintf(w, "  %s %s %s\n", kind, word(in.Name), in.Type)
	}
	for _, op := range f.Ops {
		fmt.Fprintln(w, "  "+formatOp(op))
	}
	for _, name := range f.Outputs {
		fmt.Fprintf(w, "  output %s\n", word(name))
	}
}

// Line is an op as Print writes it, without indentation.
func Line(op *Op) string { return formatOp(op) }

func formatOp(op *Op) string {
	if op == nil {
		return "<nil>"
	}
	var b strings.Builder
	if len(op.Outputs) == 0 || op.Outputs[0].Name != op.Name {
		b.WriteString(word(op.Name) + ": ")
	}
	for i, out := range op.Outputs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(word(out.Name) + " " + out.Type.String())
	}
	if len(op.Outputs) > 0 {
		b.WriteString(" = ")
	}
	b.WriteString(word(op.Type) + "(")
	if op.Val != nil {
		b.WriteString(formatLiteral(op.Val))
	}
	for i, a := range op.Args {
		if i > 0 || op.Val != nil {
			b.WriteString(", ")
		}
		b.WriteString(word(a.Param) + ": " + formatBindings(a.Bindings))
	}
	b.WriteString(")")
	return b.String()
}

func formatBindings(bindings []Binding) string {
	parts := make([]string, len(bindings))
	for i, b := range bindings {
		switch {
		case b.Literal != nil && b.Name != "":
			parts[i] = word(b.Name) + " and " + b.Literal.Type.String() + " " + formatLiteral(b.Literal)
		case b.Literal != nil:
			parts[i] = b.Literal.Type.String() + " " + formatLiteral(b.Literal)
		default:
			parts[i] = word(b.Name)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// word is a name as it stands, or quoted if it is not an identifier.
func word(s string) string {
	if isIdentifier(s) {
		return s
	}
	return strconv.Quote(s)
}

// formatLiteral writes the data of a literal without its type: a scalar bare,
// a tensor's elements in braces.
func formatLiteral(l *Literal) string {
	if l.Blob != nil {
		if l.Blob.File == WeightFile {
			return fmt.Sprintf("blob@%d", l.Blob.Offset)
		}
		return fmt.Sprintf("blob %q@%d", l.Blob.File, l.Blob.Offset)
	}
	if l.Check() != nil {
		return "<malformed " + digest(l) + ">"
	}
	const limit = 16
	elements := formatElements(l, limit)
	switch {
	case len(l.Type.Shape) == 0:
		return elements[0]
	case len(elements) <= limit:
		return "{" + strings.Join(elements, ", ") + "}"
	}
	return "{" + strings.Join(elements[:limit], ", ") + ", ... " + digest(l) + "}"
}

// formatElements writes the first elements, at most limit+1 of them: one too
// many tells the caller that there are more.
func formatElements(l *Literal, limit int) []string {
	var out []string
	for i := range min(NumElements(l.Type.Shape), limit+1) {
		out = append(out, formatElement(l, i))
	}
	return out
}

func formatElement(l *Literal, i int) string {
	switch d := l.Type.DType; d {
	case Float16, Float32: // shortest decimal that gives the same float32
		return strconv.FormatFloat(float64(l.float32At(i)), 'g', -1, 32)
	case Int16, Int32, UInt16:
		return strconv.Itoa(int(l.Ints[i]))
	case UInt32: // travels as the int32 of the same bits
		return strconv.FormatUint(uint64(uint32(l.Ints[i])), 10)
	case Bool:
		return strconv.FormatBool(l.Bools[i])
	case String:
		return strconv.Quote(l.Strings[i])
	default:
		return strconv.Itoa(l.packed(i, d.Bits()))
	}
}

// packed reads element i of packed data: bits [i*bits, (i+1)*bits) of the
// little-endian bit stream, two's complement for int4 and int8.
func (l *Literal) packed(i, bits int) int {
	v := 0
	for b := range bits {
		at := i*bits + b
		v |= int(l.Bytes[at/8]>>(at%8)&1) << b
	}
	if d := l.Type.DType; (d == Int4 || d == Int8) && v>>(bits-1) == 1 {
		v -= 1 << bits
	}
	return v
}

// digest is the start of the SHA-256 of an immediate's data and storage.
func digest(l *Literal) string {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, l.Ints)
	_ = binary.Write(h, binary.LittleEndian, l.Floats)
	_ = binary.Write(h, binary.LittleEndian, l.Bools)
	h.Write(l.Bytes)
	_ = json.NewEncoder(h).Encode(l.Strings)
	return fmt.Sprintf("sha256:%x", h.Sum(nil)[:8])
}
