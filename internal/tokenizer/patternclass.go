package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
)

// class reads a bracketed class after its bracket.
func (t *translator) class() error {
	t.out.WriteByte('[')
	if t.accept("^") {
		if t.fold {
			return t.refuse("a negated class where case is ignored")
		}
		t.out.WriteByte('^')
	}
	for first := true; ; first = false {
		switch {
		case t.rest == "":
			return t.refuse("[ without ]")
		case t.rest[0] == ']' && !first:
			t.rest = t.rest[1:]
			t.out.WriteByte(']')
			return nil
		case t.rest[0] == ']', t.rest[0] == '[', strings.HasPrefix(t.rest, "&&"):
			return t.refuse("an empty, nested or intersected class")
		case t.rest[0] == '-' && !first && !strings.HasPrefix(t.rest, "-]"):
			return t.refuse("- amid a class")
		}
		if err := t.member(); err != nil {
			return err
		}
	}
}

// member reads a character, a range or a set within a class.
func (t *translator) member() error {
	low, set, err := t.character()
	if err != nil {
		return err
	}
	if set != "" {
		t.out.WriteString(set)
		return nil
	}
	if t.fold && low > unicode.MaxASCII {
		return t.refuse(fmt.Sprintf("%q where case is ignored", low))
	}
	t.out.WriteString(literal(low))
	if !strings.HasPrefix(t.rest, "-") || strings.HasPrefix(t.rest, "-]") {
		return nil
	}
	t.rest = t.rest[1:]
	high, set, err := t.character()
	switch {
	case err != nil:
		return err
	case set != "" || high < low || t.fold:
		return t.refuse("a range other than of characters in order, or where case is ignored")
	}
	t.out.WriteString("-" + literal(high))
	return nil
}

// sets are the escapes that stand for the same characters in both engines.
var sets = map[rune]string{'s': `\s`, 'S': `\S`, 'd': `\p{Nd}`, 'D': `\P{Nd}`}

// controls are the escapes of single characters.
var controls = map[rune]rune{'t': '\t', 'n': '\n', 'v': '\v', 'f': '\f', 'r': '\r'}

// character reads a literal, or an escape: a character or a set.
func (t *translator) character() (r rune, set string, err error) {
	if r = t.next(); r != '\\' {
		return r, "", nil
	}
	r = t.next()
	if set, ok := sets[r]; ok {
		if t.fold {
			return 0, "", t.refuse("a set where case is ignored")
		}
		return 0, set, nil
	}
	if c, ok := controls[r]; ok {
		return c, "", nil
	}
	switch {
	case r == 'p' || r == 'P':
		set, err = t.property(r == 'P')
		return 0, set, err
	case r == 0 || r > unicode.MaxASCII || unicode.IsLetter(r) || unicode.IsDigit(r):
		return 0, "", t.refuse(fmt.Sprintf("the escape \\%c", r))
	}
	return r, "", nil
}

// property reads {Name} or {^Name} after \p or \P.
func (t *translator) property(negated bool) (string, error) {
	body, rest, ok := strings.Cut(t.rest, "}")
	name, opened := strings.CutPrefix(body, "{")
	if bare, inverted := strings.CutPrefix(name, "^"); inverted {
		name, negated = bare, !negated
	}
	if !ok || !opened || t.fold || !known(name) {
		return "", t.refuse("a property other than a category or script, or where case is ignored,")
	}
	t.rest = rest
	if negated {
		return `\P{` + name + `}`, nil
	}
	return `\p{` + name + `}`, nil
}

// known tells the categories and scripts that mean the same to both engines; of
// the categories all but C, which Go takes in parts.
func known(name string) bool {
	if len(name) <= 2 {
		_, ok := unicode.Categories[name]
		return ok && name[0] != 'C' && name != "LC"
	}
	_, ok := unicode.Scripts[name]
	return ok
}

// literal is a character as regexp2 reads it anywhere in a pattern.
func literal(r rune) string {
	if r <= unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
		return `\` + string(r)
	}
	return string(r)
}
