package native

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"lockstep/coreml/native/objc"
)

// text makes an NSString.
func (s *scope) text(t string) objc.ID {
	if strings.ContainsRune(t, 0) || !utf8.ValidString(t) {
		s.fail(fmt.Errorf("text %q: want UTF-8 without NUL", t))
	}
	return s.object(s.class("NSString"), "NSString stringWithUTF8String:", objc.String(t))
}

// goText copies an NSString; nil is "".
func (s *scope) goText(id objc.ID) string {
	if id == 0 {
		return ""
	}
	return s.send(id, "NSString UTF8String", objc.Text).Text
}

// url makes a file URL.
func (s *scope) url(path string) objc.ID {
	return s.object(s.class("NSURL"), "NSURL fileURLWithPath:", objc.Of(s.text(path)))
}

// list makes an NSArray. It cannot hold nil: an exception would say so.
func (s *scope) list(ids []objc.ID) objc.ID {
	s.present(ids)
	return s.object(s.class("NSArray"), "NSArray arrayWithObjects:count:", objc.List(ids), objc.Count(len(ids)))
}

// present fails for a nil among objects.
func (s *scope) present(ids []objc.ID) {
	if slices.Contains(ids, 0) {
		s.fail(fmt.Errorf("%w: want objects in a collection, found nil", errNil))
	}
}

// numbers makes an NSArray of NSNumbers.
func (s *scope) numbers(values []int) objc.ID {
	ids := make([]objc.ID, len(values))
	for i, v := range values {
		ids[i] = s.object(s.class("NSNumber"), "NSNumber numberWithLongLong:", objc.Integer(v))
	}
	return s.list(ids)
}

// elements reads an NSArray; nil has none.
func (s *scope) elements(array objc.ID) []objc.ID {
	if array == 0 {
		return nil
	}
	ids := make([]objc.ID, s.send(array, "NSArray count", objc.Uint).Int())
	for i := range ids {
		ids[i] = s.object(array, "NSArray objectAtIndex:", objc.Count(i))
	}
	return ids
}

// goNumbers reads an NSArray of NSNumbers.
func (s *scope) goNumbers(array objc.ID) []int {
	ids := s.elements(array)
	values := make([]int, len(ids))
	for i, id := range ids {
		values[i] = s.integer(id, "NSNumber longLongValue")
	}
	return values
}

// dictionary makes an NSDictionary with text for keys.
func (s *scope) dictionary(entries map[string]objc.ID) objc.ID {
	var keys, values []objc.ID
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		keys, values = append(keys, s.text(name)), append(values, entries[name])
	}
	s.present(values)
	return s.object(s.class("NSDictionary"), "NSDictionary dictionaryWithObjects:forKeys:count:",
		objc.List(values), objc.List(keys), objc.Count(len(keys)))
}

// entries reads an NSDictionary with text for keys.
func (s *scope) entries(dictionary objc.ID) map[string]objc.ID {
	out := map[string]objc.ID{}
	if dictionary == 0 {
		return out
	}
	for _, key := range s.elements(s.object(dictionary, "NSDictionary allKeys")) {
		out[s.goText(key)] = s.object(dictionary, "NSDictionary objectForKey:", objc.Of(key))
	}
	return out
}
