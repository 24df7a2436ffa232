package native

import (
	"errors"
	"fmt"
	"runtime"

	"lockstep/coreml/native/objc"
)

// errNil means that a message was to be sent to nil, which Objective-C answers
// with zero in silence.
var errNil = errors.New("message to nil")

// binding is the table bound to a runtime: every row's selector registered,
// every class looked up. It does not change.
type binding struct {
	rt       objc.Runtime
	table    *objc.Table
	messages map[string]message // by objc.Row.Name
	classes  map[string]objc.ID
}

// message is a row that can be sent.
type message struct {
	row *objc.Row
	sel objc.Selector
}

func bind(rt objc.Runtime) (*binding, error) {
	table, err := objc.Load()
	if err != nil {
		return nil, fmt.Errorf("table of messages: %w", err)
	}
	b := &binding{rt: rt, table: table, messages: map[string]message{}, classes: map[string]objc.ID{}}
	for i := range table.Rows {
		row := &table.Rows[i]
		switch row.Kind {
		case objc.ClassMethod, objc.InstanceMethod:
			b.messages[row.Name()] = message{row, rt.Selector(row.Selector)}
		}
		if row.Class != "" && row.Class[0] != '<' {
			b.classes[row.Class] = rt.Class(row.Class)
		}
	}
	return b, nil
}

// pool runs do inside an autorelease pool of its own, on a locked thread. The
// first thing that went wrong in the scope is the error.
func (b *binding) pool(do func(s *scope) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pool := b.rt.PushPool()
	defer b.rt.PopPool(pool)
	s := &scope{b: b}
	defer s.end()
	err := do(s)
	if s.err != nil { // what do makes of the zeros after it is no news
		return s.err
	}
	return err
}

// release gives references up.
func (b *binding) release(ids ...objc.ID) error {
	return b.pool(func(s *scope) error {
		s.owned = append(s.owned, ids...)
		return nil
	})
}

// scope is one autorelease pool. After the first error every message is left
// out and answers zero, so that a sequence of messages is checked once.
type scope struct {
	b     *binding
	err   error
	owned []objc.ID // references that end with the scope
}

// end gives the scope's references up, the newest first.
func (s *scope) end() {
	m := s.b.messages["NSObject release"]
	for i := len(s.owned) - 1; i >= 0; i-- {
		s.b.rt.Send(s.owned[i], m.sel, objc.Void)
	}
}

// fail notes the scope's first error.
func (s *scope) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// send sends the row called "Class selector", a class method's to its class.
func (s *scope) send(self objc.ID, name string, result objc.Kind, args ...objc.Value) objc.Value {
	m, ok := s.b.messages[name]
	switch {
	case s.err != nil:
	case !ok:
		s.fail(fmt.Errorf("%w: %s", objc.ErrTable, name))
	case self == 0:
		s.fail(fmt.Errorf("%w: %s", errNil, name))
	default:
		if err := m.row.Check(result, args); err != nil {
			s.fail(err)
			break
		}
		return s.b.rt.Send(self, m.sel, result, args...)
	}
	return objc.Value{Kind: result}
}

// class is a class of the table.
func (s *scope) class(name string) objc.ID {
	id := s.b.classes[name]
	if id == 0 {
		s.fail(fmt.Errorf("this system has no class %s", name))
	}
	return id
}

// object sends a message that is answered by an object, or nil.
func (s *scope) object(self objc.ID, name string, args ...objc.Value) objc.ID {
	return s.send(self, name, objc.Object, args...).ID()
}

// integer sends a message that is answered by an NSInteger.
func (s *scope) integer(self objc.ID, name string, args ...objc.Value) int {
	return s.send(self, name, objc.Int, args...).Int()
}

// do sends a message without an answer.
func (s *scope) do(self objc.ID, name string, args ...objc.Value) {
	s.send(self, name, objc.Void, args...)
}

// alloc makes an object of a class, which an init message must follow.
func (s *scope) alloc(class string) objc.ID {
	return s.object(s.class(class), "NSObject alloc")
}

// own ends a reference with the scope that an alloc, new or copy gave it.
func (s *scope) own(id objc.ID) objc.ID {
	if id != 0 {
		s.owned = append(s.owned, id)
	}
	return id
}

// retain takes a reference that outlives the scope.
func (s *scope) retain(id objc.ID) objc.ID { return s.object(id, "NSObject retain") }

// isKind tells whether an object is of a class.
func (s *scope) isKind(id objc.ID, class string) bool {
	return s.send(id, "NSObject isKindOfClass:", objc.Bool, objc.ClassOf(s.class(class))).Word != 0
}

// checked sends a message whose last argument is an NSError **: no answer is
// an error.
func (s *scope) checked(doing string, self objc.ID, name string, args ...objc.Value) objc.ID {
	failure := new(objc.ID)
	id := s.object(self, name, append(args, objc.Out(failure))...)
	if id == 0 && s.err == nil {
		s.fail(s.nsError(doing, *failure))
	}
	return id
}
