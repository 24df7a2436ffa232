package fakecoreml

import (
	"runtime"

	"lockstep/coreml/native/objc"
)

// object is an object, a class or a block.
type object struct {
	id       objc.ID
	class    string
	isClass  bool
	payload  any
	holds    []objc.ID // references that end with the object
	refs     int
	system   int // references that Core ML keeps for good
	immortal bool
	freed    bool
	freeing  func()
}

// pool is an open autorelease pool.
type pool struct {
	id   objc.Pool
	owed []objc.ID
}

// add gives an object its address, which is never given again.
func (r *Runtime) add(o *object) objc.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.id = r.next
	r.next += 16
	r.objects[o.id] = o
	return o.id
}

// make makes an object with one reference, which retains what it holds.
func (r *Runtime) make(class string, payload any, holds ...objc.ID) objc.ID {
	for _, id := range holds {
		r.retain(id)
	}
	return r.add(&object{class: class, payload: payload, holds: holds, refs: 1})
}

// object looks an address up. nil is nil; what is no living object is a fault,
// and nil too.
func (r *Runtime) object(id objc.ID, doing string) *object {
	if id == 0 {
		return nil
	}
	r.mu.Lock()
	o := r.objects[id]
	dead := o != nil && o.freed
	r.mu.Unlock()
	if o == nil {
		r.fault("%s: %#x is no object", doing, uintptr(id))
		return nil
	}
	if dead {
		r.fault("%s: %s is used after its release", doing, o.class)
		return nil
	}
	return o
}

func (r *Runtime) retain(id objc.ID) {
	if o := r.object(id, "retain"); o != nil {
		r.mu.Lock()
		o.refs++
		r.mu.Unlock()
	}
}

// releaseID gives a reference up; the last one ends the object.
func (r *Runtime) releaseID(id objc.ID) {
	o := r.object(id, "release")
	if o == nil || o.immortal {
		return
	}
	r.mu.Lock()
	o.refs--
	o.freed = o.refs <= 0
	last := o.freed
	r.mu.Unlock()
	if !last {
		return
	}
	if o.freeing != nil {
		o.freeing()
	}
	for _, held := range o.holds {
		r.releaseID(held)
	}
}

// autoreleased hands an object's one reference to the innermost pool.
func (r *Runtime) autoreleased(id objc.ID) objc.ID {
	g := thread()
	r.mu.Lock()
	defer r.mu.Unlock()
	if stack := r.pools[g]; len(stack) > 0 {
		top := stack[len(stack)-1]
		top.owed = append(top.owed, id)
	}
	return id // without a pool it leaks, as it would
}

// inPool checks that a pool of this thread is open.
func (r *Runtime) inPool(doing string) {
	g := thread()
	r.mu.Lock()
	open := len(r.pools[g])
	r.mu.Unlock()
	if open == 0 {
		r.fault("%s: outside an autorelease pool of this thread", doing)
	}
}

// PushPool implements objc.Runtime.
func (r *Runtime) PushPool() objc.Pool {
	g := thread()
	r.mu.Lock()
	r.next += 16
	p := &pool{id: objc.Pool(r.next)}
	r.next += 16
	r.pools[g] = append(r.pools[g], p)
	r.mu.Unlock()
	runtime.Gosched() // who did not lock the thread may wake on another
	return p.id
}

// PopPool implements objc.Runtime.
func (r *Runtime) PopPool(id objc.Pool) {
	r.inPool("pop a pool")
	g := thread()
	r.mu.Lock()
	stack := r.pools[g]
	if len(stack) == 0 || stack[len(stack)-1].id != id {
		r.mu.Unlock()
		r.fault("pop a pool: it is not the thread's newest")
		return
	}
	top := stack[len(stack)-1]
	if r.pools[g] = stack[:len(stack)-1]; len(stack) == 1 {
		delete(r.pools, g)
	}
	r.mu.Unlock()
	for _, id := range top.owed {
		r.releaseID(id)
	}
}

// block is the payload of a block.
type block struct {
	params []objc.Kind
	body   func(args []objc.Value)
}

// NewBlock implements objc.Runtime.
func (r *Runtime) NewBlock(params []objc.Kind, body func(args []objc.Value)) (objc.ID, error) {
	return r.make("block", &block{params, body}), nil
}

// ReleaseBlock implements objc.Runtime.
func (r *Runtime) ReleaseBlock(id objc.ID) { r.releaseID(id) }

// invoke calls a block. A panic would end the process of a real runtime.
func (r *Runtime) invoke(id objc.ID, args ...objc.Value) {
	o := r.object(id, "call a block")
	if o == nil {
		return
	}
	b, ok := o.payload.(*block)
	if !ok {
		r.fault("call a block: %s is none", o.class)
		return
	}
	for i, arg := range args {
		if i >= len(b.params) || b.params[i] != arg.Kind || len(b.params) != len(args) {
			r.fault("a block takes %q and is given %q as argument %d of %d", b.params, arg.Kind, i+1, len(args))
			return
		}
	}
	defer func() {
		if p := recover(); p != nil {
			r.fault("a panic left a block: %v", p)
		}
	}()
	b.body(args)
}

// invokeInside calls a block before its message returns.
func (r *Runtime) invokeInside(id objc.ID, args ...objc.Value) {
	if !r.opt.BlocksElsewhere {
		r.invoke(id, args...)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.invoke(id, args...)
	}()
	<-done
}
