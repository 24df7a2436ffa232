package mlpackage

import (
	"errors"
	"fmt"
	"strings"

	"lockstep/internal/mil"
)

// The kinds of failure, matched with errors.Is.
var (
	// ErrWire means bytes that are not a protobuf message of this schema in
	// canonical form: malformed, an unknown field, or a field given twice.
	ErrWire = errors.New("not a canonical model protobuf")
	// ErrUnsupported means a model that may be valid but that the typed values
	// of this package and package mil cannot hold.
	ErrUnsupported = errors.New("not supported")
	// ErrConvention means a model that breaks MIL's storage conventions.
	ErrConvention = errors.New("breaks MIL storage conventions")
	// ErrManifest means a Manifest.json that Core ML would refuse.
	ErrManifest = errors.New("bad package manifest")
	// ErrWeights means a weight file, or a plan of one, that breaks MIL blob
	// storage v2.
	ErrWeights = errors.New("bad weight file")
	// ErrPackage means a package directory that lacks a file or holds one that
	// cannot be read.
	ErrPackage = errors.New("bad package directory")
	// ErrSignature means that the model description and the program disagree.
	ErrSignature = errors.New("description and program disagree")
	// ErrReference means a literal whose blob does not exist or has another
	// element type or length.
	ErrReference = errors.New("bad blob reference")
)

// Error says where in which file something was found in place of what was
// wanted. It wraps one of the kinds above.
type Error struct {
	File   string // relative to the package directory
	Field  string // for example "function t1, op q, parameter x"
	Wanted string
	Found  string
	Kind   error
}

// Error names file, field, wanted and found, each cut to a readable length.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: wanted %s, found %s: %v", e.File, clip(e.Field), clip(e.Wanted), clip(e.Found), e.Kind)
}

// clip cuts text that a hostile file has made long.
func clip(text string) string {
	const most = 240
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// modelError is an Error about model.mlmodel.
func modelError(kind error, field, wanted, format string, args ...any) error {
	return &Error{File: ModelPath, Field: field, Wanted: wanted, Found: fmt.Sprintf(format, args...), Kind: kind}
}

// place is where in a program the codec stands; it becomes text only when
// there is an error to report.
type place struct {
	function, op string
	kind, name   string // "parameter", "attribute", "input" or "output" and its name
}

func (p place) String() string {
	var parts []string
	for _, part := range []struct{ kind, name string }{{"function", p.function}, {"op", p.op}, {p.kind, p.name}} {
		if part.name != "" {
			parts = append(parts, part.kind+" "+clip(part.name))
		}
	}
	if len(parts) == 0 {
		return "program"
	}
	return strings.Join(parts, ", ")
}

// inOp is the place of an operation of p's function.
func (p place) inOp(name string) place { return place{function: p.function, op: name} }

// at is the place of a parameter, attribute, input or output of p's operation
// or function.
func (p place) at(kind, name string) place {
	return place{function: p.function, op: p.op, kind: kind, name: name}
}

func (p place) err(kind error, wanted, format string, args ...any) error {
	return modelError(kind, p.String(), wanted, format, args...)
}

// fault reports what package mil found wrong with a type or a literal.
func (p place) fault(err error) error { return faultAt(p.String(), err) }

func faultAt(field string, err error) error {
	var e *mil.Error
	if errors.As(err, &e) {
		return modelError(ErrConvention, field, e.Wanted, "%s", e.Found)
	}
	return modelError(ErrConvention, field, "what package mil takes", "%v", err)
}
