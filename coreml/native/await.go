package native

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lockstep/coreml/native/objc"
)

// errPanic is wrapped by what a panic inside a block becomes: on a thread that
// is not Go's it would end the process.
var errPanic = errors.New("panic in a block")

// guarded runs the body of a block; a panic becomes an error.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return do()
}

// answer is what a completion handler came to. It keeps the first of several
// calls, and none after the waiting was given up.
type answer struct {
	mu    sync.Mutex
	taken bool
	done  chan error
}

// take runs do unless the answer is taken already.
func (a *answer) take(do func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.taken {
		a.taken = true
		a.done <- guarded(do)
	}
}

// giveUp takes the answer with err if nothing else has.
func (a *answer) giveUp(err error) { a.take(func() error { return err }) }

// await sends the message called name, whose last argument is a completion
// handler that is given an object and an NSError, and waits until it was
// called, on whatever thread, or ctx is done. keep runs inside the handler, in
// a pool of its own, and retains what it needs of the object. What ctx leaves
// behind goes on in Core ML, unheeded.
func (b *binding) await(ctx context.Context, doing, name string, send func(s *scope) (self objc.ID, args []objc.Value), keep func(s *scope, id objc.ID) error) error {
	m, ok := b.messages[name]
	if !ok {
		return fmt.Errorf("%w: %s", objc.ErrTable, name)
	}
	a := &answer{done: make(chan error, 1)}
	block, err := b.rt.NewBlock(m.row.Block, func(args []objc.Value) {
		a.take(func() error {
			return b.pool(func(s *scope) error {
				if len(args) != 2 {
					return fmt.Errorf("%s: a handler was given %d arguments", doing, len(args))
				}
				if args[0].ID() == 0 {
					return s.nsError(doing, args[1].ID())
				}
				return keep(s, args[0].ID())
			})
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer b.rt.ReleaseBlock(block) // Core ML has its own reference
	err = b.pool(func(s *scope) error {
		self, args := send(s)
		s.do(self, name, append(args, objc.Handler(block))...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		a.giveUp(fmt.Errorf("%s: no answer from Core ML: %w", doing, ctx.Err()))
		return <-a.done
	}
}

// within sends a message whose last argument is a block that is called before
// the message returns, if it is called at all.
func (s *scope) within(doing string, self objc.ID, name string, args []objc.Value, body func(args []objc.Value) error) {
	m, ok := s.b.messages[name]
	if s.err != nil {
		return
	}
	if !ok {
		s.fail(fmt.Errorf("%w: %s", objc.ErrTable, name))
		return
	}
	a := &answer{done: make(chan error, 1)}
	block, err := s.b.rt.NewBlock(m.row.Block, func(args []objc.Value) {
		a.take(func() error { return body(args) })
	})
	if err != nil {
		s.fail(fmt.Errorf("%s: %w", doing, err))
		return
	}
	defer s.b.rt.ReleaseBlock(block)
	s.do(self, name, append(args, objc.Handler(block))...)
	a.giveUp(fmt.Errorf("%s: Core ML did not call the block of %s", doing, name))
	if err := <-a.done; err != nil {
		s.fail(err)
	}
}
