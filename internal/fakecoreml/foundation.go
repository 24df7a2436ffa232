package fakecoreml

import (
	"maps"
	"slices"
	"strings"

	"lockstep/coreml/native/objc"
)

// method answers a message; the kind of its value is set by the caller.
type method func(*call) objc.Value

// foundation answers the messages to Foundation's classes.
func foundation() map[string]method {
	return map[string]method{
		"NSObject alloc":             func(c *call) objc.Value { return objc.Of(c.make(c.self.class, nil)) },
		"NSObject retain":            func(c *call) objc.Value { c.retain(c.self.id); return objc.Of(c.self.id) },
		"NSObject release":           func(c *call) objc.Value { c.releaseID(c.self.id); return objc.Value{} },
		"NSObject isKindOfClass:":    func(c *call) objc.Value { return truth(c.arg(0) != nil && c.arg(0).class == c.self.class) },
		"NSURL fileURLWithPath:":     func(c *call) objc.Value { return c.answer(c.make("NSURL", c.text(0))) },
		"NSURL path":                 func(c *call) objc.Value { return c.answer(c.nsString(c.self.payload.(string))) },
		"NSArray count":              func(c *call) objc.Value { return number(len(c.self.holds)) },
		"NSArray objectAtIndex:":     objectAtIndex,
		"NSDictionary allKeys":       allKeys,
		"NSDictionary objectForKey:": objectForKey,
		"NSError localizedDescription": func(c *call) objc.Value {
			return c.answer(c.nsString(c.self.payload.(*Failure).Description))
		},
		"NSError domain":            func(c *call) objc.Value { return c.answer(c.nsString(c.self.payload.(*Failure).Domain)) },
		"NSError code":              func(c *call) objc.Value { return number(c.self.payload.(*Failure).Code) },
		"NSError userInfo":          userInfo,
		"NSProcessInfo processInfo": func(c *call) objc.Value { return c.answer(c.make("NSProcessInfo", nil)) },
		"NSNumber longLongValue":    func(c *call) objc.Value { return number(c.self.payload.(int)) },
		"NSString UTF8String":       func(c *call) objc.Value { return objc.Value{Text: c.self.payload.(string)} },
		"NSNumber numberWithLongLong:": func(c *call) objc.Value {
			return c.answer(c.make("NSNumber", c.args[0].Int()))
		},
		"NSString stringWithUTF8String:": func(c *call) objc.Value {
			text, _, _ := strings.Cut(c.args[0].Text, "\x00")
			return c.answer(c.nsString(text))
		},
		"NSArray arrayWithObjects:count:": func(c *call) objc.Value {
			return c.answer(c.array(list(c.args[0], c.args[1].Int())))
		},
		"NSDictionary dictionaryWithObjects:forKeys:count:": func(c *call) objc.Value {
			n := c.args[2].Int()
			entries := map[string]objc.ID{}
			for i, key := range list(c.args[1], n) {
				entries[c.goText(key)] = list(c.args[0], n)[i]
			}
			return c.answer(c.dictionary(entries))
		},
		"NSProcessInfo operatingSystemVersion": func(c *call) objc.Value {
			return objc.Value{Words: [3]int64{int64(c.opt.MacOS.Major), int64(c.opt.MacOS.Minor)}}
		},
	}
}

func number(n int) objc.Value { return objc.Integer(n) }

func truth(yes bool) objc.Value {
	if yes {
		return objc.Value{Word: 1}
	}
	return objc.Value{}
}

func (r *Runtime) nsString(text string) objc.ID { return r.make("NSString", text) }

// goText is an NSString's text.
func (r *Runtime) goText(id objc.ID) string {
	o := r.object(id, "read a text")
	if o == nil {
		return ""
	}
	text, ok := o.payload.(string)
	if !ok {
		r.fault("want an NSString, found %s", o.class)
	}
	return text
}

// array makes an NSArray, with one reference.
func (r *Runtime) array(ids []objc.ID) objc.ID {
	if slices.Contains(ids, 0) {
		r.fault("an NSArray was given nil")
	}
	return r.make("NSArray", nil, ids...)
}

// numbers makes an NSArray of NSNumbers.
func (r *Runtime) numbers(values []int) objc.ID {
	return r.arrayOf(len(values), func(i int) objc.ID { return r.make("NSNumber", values[i]) })
}

// arrayOf makes an NSArray of new objects.
func (r *Runtime) arrayOf(n int, element func(i int) objc.ID) objc.ID {
	ids := make([]objc.ID, n)
	for i := range ids {
		ids[i] = element(i)
	}
	array := r.array(ids)
	for _, id := range ids {
		r.releaseID(id)
	}
	return array
}

// goNumbers reads an NSArray of NSNumbers.
func (r *Runtime) goNumbers(id objc.ID) []int {
	o := r.object(id, "read numbers")
	if o == nil {
		return nil
	}
	values := make([]int, len(o.holds))
	for i, element := range o.holds {
		if e := r.object(element, "read numbers"); e != nil {
			values[i], _ = e.payload.(int)
		}
	}
	return values
}

// dictionary makes an NSDictionary.
func (r *Runtime) dictionary(entries map[string]objc.ID) objc.ID {
	var ids []objc.ID
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		ids = append(ids, entries[name])
	}
	if slices.Contains(ids, 0) {
		r.fault("an NSDictionary was given nil")
	}
	return r.make("NSDictionary", entries, ids...)
}

// dictionaryOf makes an NSDictionary of new objects.
func (r *Runtime) dictionaryOf(names []string, value func(name string) objc.ID) objc.ID {
	entries := map[string]objc.ID{}
	for _, name := range names {
		entries[name] = value(name)
	}
	d := r.dictionary(entries)
	for _, id := range entries {
		r.releaseID(id)
	}
	return d
}

func (r *Runtime) nsError(f *Failure) objc.ID { return r.make("NSError", f) }

func userInfo(c *call) objc.Value {
	var names []string
	under := c.self.payload.(*Failure).Underlying
	if under != nil {
		names = []string{"NSUnderlyingError"}
	}
	return c.answer(c.dictionaryOf(names, func(string) objc.ID { return c.nsError(under) }))
}

func objectAtIndex(c *call) objc.Value {
	i := c.args[0].Int()
	if i < 0 || i >= len(c.self.holds) {
		c.fault("NSRangeException: index %d of %d", i, len(c.self.holds))
		return objc.Value{}
	}
	return objc.Of(c.self.holds[i])
}

// allKeys has no order that anything may rely on: here the reverse one.
func allKeys(c *call) objc.Value {
	keys := slices.Sorted(maps.Keys(c.self.payload.(map[string]objc.ID)))
	slices.Reverse(keys)
	return c.answer(c.arrayOf(len(keys), func(i int) objc.ID { return c.nsString(keys[i]) }))
}

func objectForKey(c *call) objc.Value {
	return objc.Of(c.self.payload.(map[string]objc.ID)[c.text(0)])
}
