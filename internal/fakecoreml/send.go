package fakecoreml

import (
	"unsafe"

	"lockstep/coreml/native/objc"
)

// call is a message on its way.
type call struct {
	*Runtime
	row  *objc.Row
	self *object
	args []objc.Value
}

// protocols that classes conform to.
var protocols = map[string][]string{
	"MLDictionaryFeatureProvider": {"<MLFeatureProvider>"},
	resultProvider:                {"<MLFeatureProvider>"},
}

// Send implements objc.Runtime.
func (r *Runtime) Send(self objc.ID, sel objc.Selector, result objc.Kind, args ...objc.Value) objc.Value {
	none := objc.Value{Kind: result}
	r.mu.Lock()
	name, known := r.bySel[sel]
	r.mu.Unlock()
	if !known {
		r.fault("selector %d was never registered", sel)
		return none
	}
	r.inPool(name)
	o := r.object(self, name)
	if o == nil {
		return none // a message to nil is answered with zero
	}
	row := r.find(o, name)
	if row == nil {
		r.fault("unrecognized selector %s sent to %s", name, o.class)
		return none
	}
	if r.opt.MacOS.Before(row.Since) {
		r.fault("%s: needs macOS %s, this is %s", row.Name(), row.Since, r.opt.MacOS)
		return none
	}
	if err := row.Check(result, args); err != nil {
		r.fault("%v", err)
		return none
	}
	if !r.living(row, args) {
		return none
	}
	r.mu.Lock()
	r.sent[row.Name()]++
	r.mu.Unlock()
	method := r.methods[row.Name()]
	if method == nil {
		r.fault("%s: the fake does not answer this message", row.Name())
		return none
	}
	value := method(&call{r, row, o, args})
	value.Kind = result
	return value
}

// find looks a message up in the object's class, its protocols and NSObject.
func (r *Runtime) find(o *object, selector string) *objc.Row {
	key := lookup{o.class, o.isClass, selector}
	r.mu.Lock()
	row, ok := r.found[key]
	r.mu.Unlock()
	if !ok {
		row = r.findRow(o, selector)
		r.mu.Lock()
		r.found[key] = row
		r.mu.Unlock()
	}
	return row
}

// lookup is a message to an object of a class, or to the class.
type lookup struct {
	class    string
	isClass  bool
	selector string
}

func (r *Runtime) findRow(o *object, selector string) *objc.Row {
	want := objc.InstanceMethod
	if o.isClass {
		want = objc.ClassMethod
	}
	for _, class := range append(append([]string{o.class}, protocols[o.class]...), "NSObject") {
		if row := r.table.Row(class + " " + selector); row != nil && row.Kind == want {
			return row
		}
	}
	return nil
}

// living checks that the arguments are living objects and blocks.
func (r *Runtime) living(row *objc.Row, args []objc.Value) bool {
	for _, arg := range args {
		switch arg.Kind {
		case objc.Object, objc.Block, objc.Class:
			if arg.ID() != 0 && r.object(arg.ID(), row.Name()) == nil {
				return false
			}
		}
	}
	return true
}

// object is the object that is the i-th argument, or nil.
func (c *call) arg(i int) *object { return c.object(c.args[i].ID(), c.row.Name()) }

// text is the i-th argument's NSString.
func (c *call) text(i int) string { return c.goText(c.args[i].ID()) }

// answer hands out a new object that the caller does not own.
func (c *call) answer(id objc.ID) objc.Value { return objc.Of(c.autoreleased(id)) }

// behaviour is how this message misbehaves.
func (c *call) behaviour() Behaviour { return c.opt.Behave[c.row.Name()] }

// orError answers make's object, not owned by the caller, or nil and an NSError
// in the last argument.
func (c *call) orError(make func() (objc.ID, *Failure)) objc.Value {
	id, failure := c.result(make)
	if failure != nil {
		*(*objc.ID)(c.args[len(c.args)-1].Pointer) = c.autoreleased(c.nsError(failure))
	}
	if id == 0 {
		return objc.Of(0)
	}
	return c.answer(id)
}

// result is make's, unless the message is to misbehave.
func (c *call) result(make func() (objc.ID, *Failure)) (objc.ID, *Failure) {
	switch b := c.behaviour(); {
	case b.Failure != nil:
		return 0, b.Failure
	case b.Empty:
		return 0, nil
	}
	return make()
}

// complete calls the handler that is the last argument with make's object or an
// NSError, on a thread of its own, which has no pool.
func (c *call) complete(make func() (objc.ID, *Failure)) objc.Value {
	handler := c.args[len(c.args)-1].ID()
	o := c.object(handler, c.row.Name())
	if o == nil {
		c.fault("%s: no handler", c.row.Name())
		return objc.Value{}
	}
	c.retain(handler)
	b := c.behaviour()
	if b.Silent {
		c.mu.Lock()
		o.system++
		c.mu.Unlock()
		return objc.Value{}
	}
	for _, arg := range c.args[:len(c.args)-1] {
		c.retain(arg.ID())
	}
	times := 1
	if b.Twice {
		times = 2
	}
	c.handlers.Add(1)
	go func() {
		defer c.handlers.Done()
		if b.After != nil {
			<-b.After
		}
		for range times {
			id, failure := c.result(make)
			err := objc.ID(0)
			if failure != nil {
				err = c.nsError(failure)
			}
			c.invoke(handler, objc.Of(id), objc.Of(err))
			c.releaseID(id)
			c.releaseID(err)
		}
		for _, arg := range c.args {
			c.releaseID(arg.ID())
		}
	}()
	return objc.Value{}
}

// list reads an argument of several objects.
func list(v objc.Value, n int) []objc.ID {
	if n == 0 {
		return nil
	}
	return append([]objc.ID(nil), unsafe.Slice((*objc.ID)(v.Pointer), n)...)
}
