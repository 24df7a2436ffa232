package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// Patterns of a tokenizer.json are written for Oniguruma and run here by
// regexp2. The two agree on the constructs below and differ on others (^ and $,
// \h, nested classes, intervals that are possessive or not...), so a pattern is
// read construct by construct and whatever else it has is refused.

// matchTimeout bounds the search for one match. Real patterns take microseconds;
// the bound is for those that backtrack without end.
const matchTimeout = 10 * time.Second

// matchStack bounds the places that one match may come back to.
const matchStack = 1 << 20

// maxNesting bounds the groups of a pattern within each other.
const maxNesting = 32

// maxRepeat bounds an interval such as {1,3}.
const maxRepeat = 1000

// compile makes a pattern ready to run. The error speaks of the pattern alone;
// it is a *patternError if a construct is not read.
func compile(pattern string) (*regexp2.Regexp, error) {
	t := translator{rest: pattern}
	takes, err := t.alternatives(0)
	if err == nil && t.rest != "" {
		err = t.refuse(") without (")
	}
	if err == nil && !takes {
		err = &patternError{"a pattern that takes at least one character", fmt.Sprintf("%.80q", pattern)}
	}
	if err != nil {
		return nil, err
	}
	re, err := regexp2.Compile(t.out.String(), regexp2.OptionMaxBacktrackingStackSize(matchStack))
	if err != nil {
		return nil, &patternError{"a pattern that compiles", err.Error()}
	}
	re.MatchTimeout = matchTimeout
	return re, nil
}

// patternError says what in a pattern is not read.
type patternError struct{ want, found string }

func (e *patternError) Error() string { return "want " + e.want + ", found " + e.found }

// translator writes a pattern anew for regexp2. Its methods report whether what
// they read takes a character in every case: an empty match splits nothing.
type translator struct {
	rest string
	out  strings.Builder
	fold bool // within (?i:...)
	last rune // the literal just before, within (?i:...); else 0
}

func (t *translator) refuse(found string) error {
	return &patternError{
		"a pattern of literals, classes, \\s, \\S, \\d, \\D, \\p{category or script}, groups (?: (?i: (?> (?= (?! (?<= (?<!, and greedy, lazy or possessive repetition",
		fmt.Sprintf("%s before %.40q", found, t.rest),
	}
}

func (t *translator) accept(prefix string) bool {
	rest, ok := strings.CutPrefix(t.rest, prefix)
	t.rest = rest
	return ok
}

// next takes one character; 0 at the end.
func (t *translator) next() rune {
	r, n := utf8.DecodeRuneInString(t.rest)
	if n == 0 {
		return 0
	}
	t.rest = t.rest[n:]
	return r
}

func (t *translator) alternatives(depth int) (bool, error) {
	if depth > maxNesting {
		return false, t.refuse("groups too deep")
	}
	all := true
	for {
		takes, err := t.sequence(depth)
		if err != nil {
			return false, err
		}
		all = all && takes
		t.last = 0
		if !t.accept("|") {
			return all, nil
		}
		t.out.WriteByte('|')
	}
}

func (t *translator) sequence(depth int) (bool, error) {
	some := false
	for t.rest != "" && t.rest[0] != '|' && t.rest[0] != ')' {
		from := t.out.Len()
		takes, looks, err := t.atom(depth)
		if err != nil {
			return false, err
		}
		optional, err := t.repetition(from, looks)
		if err != nil {
			return false, err
		}
		some = some || takes && !optional
	}
	return some, nil
}

// groups are the openings that mean the same to both engines.
var groups = []struct {
	open        string
	fold, looks bool
}{
	{"(?:", false, false},
	{"(?i:", true, false},
	{"(?>", false, false},
	{"(?=", false, true},
	{"(?!", false, true},
	{"(?<=", false, true},
	{"(?<!", false, true},
}

// atom reads what a repetition may follow. looks tells a group that only looks.
func (t *translator) atom(depth int) (takes, looks bool, err error) {
	if t.rest[0] == '(' {
		return t.group(depth)
	}
	if t.accept("[") {
		t.last = 0
		return true, false, t.class()
	}
	before := t.rest
	r, set, err := t.character()
	if err != nil {
		return false, false, err
	}
	if set != "" {
		t.last = 0
		t.out.WriteString(set)
		return true, false, nil
	}
	if before[0] != '\\' && strings.ContainsRune(`^$.*+?{}]`, r) {
		t.rest = before
		return false, false, t.refuse(string(r))
	}
	if err := t.folds(r); err != nil {
		return false, false, err
	}
	t.last = r
	t.out.WriteString(literal(r))
	return true, false, nil
}

func (t *translator) group(depth int) (takes, looks bool, err error) {
	for _, g := range groups {
		if !t.accept(g.open) {
			continue
		}
		outer := t.fold
		t.fold, t.last = outer || g.fold, 0
		t.out.WriteString(g.open)
		takes, err = t.alternatives(depth + 1)
		if err == nil && !t.accept(")") {
			err = t.refuse("( without )")
		}
		t.out.WriteByte(')')
		t.fold = outer
		return takes && !g.looks, g.looks, err
	}
	if t.accept("(?") {
		return false, false, t.refuse("another group")
	}
	return false, false, t.refuse("a capturing group")
}

// folded are the ASCII pairs that are one character in another case, to
// Oniguruma alone: the sharp s and the ligatures.
var folded = []string{"ss", "ff", "fi", "fl", "st"}

// folds refuses, where case is ignored, what the engines fold differently.
func (t *translator) folds(r rune) error {
	if !t.fold {
		return nil
	}
	low := unicode.ToLower(r)
	if r > unicode.MaxASCII || slices.Contains(folded, string([]rune{unicode.ToLower(t.last), low})) {
		return t.refuse(fmt.Sprintf("%q where case is ignored", r))
	}
	return nil
}

// repetition reads what follows an atom, which was written from a place on, and
// reports whether the atom may be absent.
func (t *translator) repetition(from int, looks bool) (optional bool, err error) {
	var how string
	switch {
	case t.accept("?"):
		how, optional = "?", true
	case t.accept("*"):
		how, optional = "*", true
	case t.accept("+"):
		how = "+"
	case strings.HasPrefix(t.rest, "{"):
		if how, optional, err = t.interval(); err != nil {
			return false, err
		}
	default:
		return false, nil
	}
	t.last = 0
	interval := how[0] == '{'
	switch {
	case looks:
		return false, t.refuse("a repeated look-around")
	case interval && t.rest != "" && strings.Contains("?+", t.rest[:1]):
		return false, t.refuse("an interval that is lazy or possessive")
	case t.accept("?"):
		how += "?"
	case t.accept("+"):
		atom := t.out.String()
		t.out.Reset()
		t.out.WriteString(atom[:from] + "(?>" + atom[from:])
		how += ")"
	}
	if t.rest != "" && strings.Contains("?*+{", t.rest[:1]) {
		return false, t.refuse("a repeated repetition")
	}
	t.out.WriteString(how)
	return optional, nil
}

// interval reads {n}, {n,} or {n,m}.
func (t *translator) interval() (how string, optional bool, err error) {
	body, rest, ok := strings.Cut(t.rest[1:], "}")
	low, high, ranged := strings.Cut(body, ",")
	n, ok1 := count(low)
	m := n
	if ranged && high != "" {
		var ok2 bool
		m, ok2 = count(high)
		ok = ok && ok2
	}
	if !ok || !ok1 || m < n || m == 0 {
		return "", false, t.refuse("an interval other than {n}, {n,} and {n,m}")
	}
	t.rest = rest
	return "{" + body + "}", n == 0, nil
}

func count(digits string) (int, bool) {
	if strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n <= maxRepeat
}

// matches are the byte ranges of all matches, in order.
func matches(re *regexp2.Regexp, text string) ([][]int, error) {
	found, err := re.FindAllStringIndex(text, -1)
	if err != nil {
		want := fmt.Sprintf("one that its pattern splits within %v", matchTimeout)
		if errors.Is(err, regexp2.ErrBacktrackingStackLimit) {
			want = fmt.Sprintf("one that its pattern splits with %d places to come back to", matchStack)
		}
		return nil, textError(want, fmt.Sprintf("%.40q...", text))
	}
	return found, nil
}
