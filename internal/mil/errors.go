package mil

import (
	"errors"
	"strconv"
	"strings"
)

// The kinds of fault that Check, NewScope and Builder.Finish report. Each error
// is an *Error that wraps one of them.
var (
	ErrFunction   = errors.New("malformed function")
	ErrOpset      = errors.New("unknown opset")
	ErrIdentifier = errors.New("not an identifier")
	ErrDuplicate  = errors.New("duplicate name")
	ErrUndefined  = errors.New("undefined value")
	ErrOp         = errors.New("malformed or unknown op")
	ErrParam      = errors.New("bad parameter")
	ErrType       = errors.New("type mismatch")
	ErrShape      = errors.New("shape out of range")
	ErrLiteral    = errors.New("literal does not match its type")
	ErrState      = errors.New("misused state")
)

// Error locates a fault in a program. Empty fields do not apply.
type Error struct {
	Kind     error  // one of the sentinels above
	Function string // function name
	Op       string // the op's name attribute
	OpType   string // for example "conv"
	Param    string // parameter of the op, or the name of the value concerned
	Wanted   string
	Found    string
}

// Error names, in this order, function, op, parameter, kind, wanted and found.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("mil: ")
	if e.Function != "" {
		b.WriteString("function " + quote(e.Function) + ": ")
	}
	if e.Op != "" || e.OpType != "" {
		b.WriteString("op " + quote(e.Op) + " (" + clip(e.OpType) + "): ")
	}
	if e.Param != "" {
		b.WriteString(clip(e.Param) + ": ")
	}
	b.WriteString(e.Kind.Error())
	if e.Wanted != "" {
		b.WriteString(": wanted " + clip(e.Wanted) + ", found " + clip(e.Found))
	}
	return b.String()
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func quote(s string) string { return strconv.Quote(clip(s)) }

// clip keeps a message readable when a hostile program has a huge name in it.
func clip(s string) string {
	const limit = 240
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
