package native

import (
	"errors"
	"fmt"

	"lockstep/coreml/native/objc"
)

// ErrCoreML is wrapped by everything that Core ML answered in place of a
// result; see Error.
//
//lint:ignore ST1005 a name keeps its capital
var ErrCoreML = errors.New("Core ML failed")

// Error is an NSError, or that there was neither a result nor an error.
type Error struct {
	Doing       string // what was asked for
	Domain      string // empty without an NSError
	Code        int
	Description string
	Underlying  error // of userInfo, or nil
}

// Error names what was asked for, then domain, code and description of the
// error and of what lies under it.
func (e *Error) Error() string {
	if e.Domain == "" {
		return fmt.Sprintf("%s: Core ML gave neither a result nor an error", e.Doing)
	}
	text := fmt.Sprintf("%s %d: %s", e.Domain, e.Code, e.Description)
	if e.Doing != "" {
		text = e.Doing + ": " + text
	}
	if e.Underlying != nil {
		text += fmt.Sprintf(" (%v)", e.Underlying)
	}
	return text
}

// Unwrap returns ErrCoreML and the underlying error.
func (e *Error) Unwrap() []error {
	if e.Underlying == nil {
		return []error{ErrCoreML}
	}
	return []error{ErrCoreML, e.Underlying}
}

// underlyingKey is NSUnderlyingErrorKey. The Neural Engine's own code stands
// there.
const underlyingKey = "NSUnderlyingError"

// maxUnderlying bounds a chain of errors, which could be a circle.
const maxUnderlying = 8

// nsError reads an NSError, or nil.
func (s *scope) nsError(doing string, id objc.ID) error {
	e := s.nsErrorChain(id, maxUnderlying)
	e.Doing = doing
	return e
}

func (s *scope) nsErrorChain(id objc.ID, depth int) *Error {
	e := &Error{}
	if id == 0 {
		return e
	}
	e.Domain = s.goText(s.object(id, "NSError domain"))
	e.Code = s.integer(id, "NSError code")
	e.Description = s.goText(s.object(id, "NSError localizedDescription"))
	info := s.object(id, "NSError userInfo")
	if info == 0 || depth == 0 {
		return e
	}
	under := s.object(info, "NSDictionary objectForKey:", objc.Of(s.text(underlyingKey)))
	if under != 0 && s.isKind(under, "NSError") {
		e.Underlying = s.nsErrorChain(under, depth-1)
	}
	return e
}
